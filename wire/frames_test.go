package wire_test

import (
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// golden is one frame that testdata pins.
type golden struct {
	file    string
	kind    wire.Type
	payload any
}

// toAgent are all frames that a control plane sends.
func toAgent() []golden {
	template := models.Template{
		APIVersion: "streamspace.io/v1", Kind: "Template", Metadata: models.TemplateMetadata{Name: "desktop"},
		Spec: models.TemplateSpec{
			DisplayName: "Desktop", Description: "A light desktop", Icon: "desktop", Protocol: models.ProtocolVNC,
			Platforms: []string{"process", "docker"}, BaseImage: "registry.example.org/desktop:1",
			DefaultResources: models.Resources{CPU: "2", Memory: "2Gi", GPUs: 1},
			Ports:            []models.Port{{Name: "vnc", ContainerPort: 5900, Protocol: "TCP"}},
			Env:              []models.EnvVar{{Name: "LANG", Value: "C.UTF-8"}},
			VNC:              models.VNC{Enabled: true, Port: 5900, Protocol: "rfb"}, PersistentHome: true,
			IdleTimeout: "30m", MaxDuration: "8h", OnLimit: models.OnLimitHibernate, OnLost: models.OnLostRestart,
			Container: &models.ContainerSpec{Command: []string{"desk", "--full"}, Home: "/config", ShmSize: "1Gi", ReadOnlyRoot: true,
				PullPolicy: models.PullAlways},
			Kubernetes: &models.KubernetesSpec{NodeSelector: map[string]string{"disk": "ssd"},
				Tolerations:      []models.Toleration{{Key: "gpu", Operator: "Equal", Value: "yes", Effect: "NoSchedule"}},
				RuntimeClassName: "gvisor", ImagePullSecrets: []string{"registry"}, GPUResource: "amd.com/gpu", HomeSize: "20Gi", RunAsUser: 1001, RunAsRoot: true},
			HTTP: &models.HTTP{Port: 6901, TLS: true, Path: "/lab", HealthPath: "/health", Username: "kasm_user", Password: "$(VNC_PW)", PrefixEnv: "SUBFOLDER"},
			Process: &models.ProcessSpec{
				Command: []string{"icewm"}, Geometry: "1280x800",
				Needs: []models.Need{{Command: "icewm", Install: "apt-get install icewm"}},
			},
		},
	}
	start := command("cmd-1", models.ActionStartSession, wire.StartPayload{
		SessionID: "s-1", Generation: 1, User: "ada", Template: "desktop", CPU: "2", Memory: "2Gi",
		PersistentHome: true, Manifest: template,
	})
	return []golden{
		{"command-start", wire.TypeCommand, start},
		{"command-stop", wire.TypeCommand, command("cmd-2", models.ActionStopSession, wire.SessionPayload{SessionID: "s-1", Generation: 2})},
		{"command-hibernate", wire.TypeCommand, command("cmd-3", models.ActionHibernateSession, wire.SessionPayload{SessionID: "s-1", Generation: 2})},
		{"command-wake", wire.TypeCommand, command("cmd-4", models.ActionWakeSession, wire.SessionPayload{SessionID: "s-1", Generation: 3})},
		{"ping", wire.TypePing, nil},
		{"shutdown", wire.TypeShutdown, wire.Shutdown{Reason: "the control plane is stopping, reconnect"}},
		{"welcome", wire.TypeWelcome, wire.Welcome{Protocol: 1, Epoch: 7, HeartbeatSeconds: 10, PingSeconds: 4, Needs: []string{"Xvnc", "icewm"}}},
		{"open-tunnel", wire.TypeOpenTunnel, wire.OpenTunnel{TunnelID: "t-1", SessionID: "s-1", Generation: 1}},
		{"verdict", wire.TypeVerdict, wire.Verdict{Items: []wire.VerdictItem{
			{SessionID: "s-1", Generation: 1, Verdict: wire.VerdictKeep},
			{SessionID: "s-2", Generation: 4, Verdict: wire.VerdictStop},
		}, Needs: []string{"Xvnc"}}},
		{"error", wire.TypeError, wire.ErrorFrame{Code: models.CodeMessageUnknown, Message: `message type "song" is not known; the message was ignored`}},
	}
}

// toControlPlane are all frames that an agent sends.
func toControlPlane() []golden {
	return []golden{
		{"heartbeat", wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline, ActiveSessions: 2, Capacity: map[string]any{"maxSessions": 10.0}}},
		{"ack", wire.TypeAck, wire.Ack{CommandID: "cmd-1"}},
		{"complete", wire.TypeComplete, wire.Complete{CommandID: "cmd-1", Result: &models.CommandPayload{"state": "running"}}},
		{"failed", wire.TypeFailed, wire.Failed{CommandID: "cmd-1", Error: "Xvnc is not installed", Code: models.CodeNeedsMissing, Retryable: true, Lingers: true}},
		{"status", wire.TypeStatus, wire.Status{
			SessionID: "s-1", Generation: 1, State: "failed", VNCReady: true, VNCPort: 5900,
			PlatformMetadata: map[string]any{"pid": 4711.0}, Reason: "the program ended", ReasonCode: models.CodeRuntimeExited,
			Progress: &models.Progress{Message: "pulling image desktop:1", Percent: 43},
		}},
		{"pong", wire.TypePong, nil},
		{"facilities", wire.TypeFacilities, wire.Facilities{Present: []string{"Xvnc"}}},
		{"images", wire.TypeImages, wire.Images{Names: []string{"registry.example.org/desktop:1", "busybox"}}},
		{"inventory", wire.TypeInventory, wire.Inventory{Items: []wire.InventoryItem{{SessionID: "s-1", Generation: 1, State: "running"}}}},
		{"tunnel-failed", wire.TypeTunnelFailed, wire.TunnelFailed{TunnelID: "t-1", Error: "session s-1 does not run here"}},
	}
}

func command(id, action string, payload any) wire.Command {
	body := models.CommandPayload{}
	transcribe(payload, &body)
	return wire.Command{CommandID: id, Action: action, Payload: &body}
}

// longAgo is the timestamp of a frame whose clock is wrong.
func longAgo() time.Time { return time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC) }
