package kubernetes_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/kube"
	"github.com/streamspace/streamspace/test/program"
)

// The whole program: two replicas of an agent, of which the one that works is
// killed. Within 15 s the other one has its sessions, which have not noticed:
// their shells remember. A home outlives hibernation, and in the end nothing is
// left but that.
func TestAgentReplicas(t *testing.T) {
	p := newPlace(t, "program")
	dir := t.TempDir()
	templates := filepath.Join(dir, "templates")
	if err := os.MkdirAll(templates, 0o755); err != nil {
		t.Fatal(err)
	}
	err := os.WriteFile(filepath.Join(templates, "shell.yaml"), []byte(`apiVersion: streamspace.io/v1
kind: Template
metadata: {name: shell}
spec:
  displayName: Shell
  protocol: terminal
  platforms: [kubernetes]
  baseImage: `+kube.ShellImage+`
  defaultResources: {cpu: 100m, memory: 64Mi}
  persistentHome: true
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	server := program.Start(t, nil, "server", "--data-dir", filepath.Join(dir, "server"), "--listen", "127.0.0.1:0", "--templates", templates)
	address := strings.TrimSuffix(strings.Fields(server.Line("StreamSpace serves on"))[3], ".")
	api := program.Admin(t, address, filepath.Join(dir, "server"))
	key, err := api.CreateAgentKey(program.Limit(t), "pods")
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(dir, "key")
	if err := os.WriteFile(keyFile, []byte(key.Key), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(replica string) *program.Program {
		return program.Start(t, nil, "agent", "--platform", "kubernetes", "--kubeconfig", p.kubeconfig, "--namespace", p.namespace, "--replica", replica,
			"--server", address, "--id", "pods", "--key-file", keyFile, "--data-dir", filepath.Join(dir, replica))
	}
	one := start("one")
	one.Line("Agent pods runs sessions")
	other := start("other")
	online(t, api, 0)

	if _, err := api.Launch(program.Limit(t), client.LaunchRequest{ID: "work", Template: "shell"}); err != nil {
		t.Fatal(err)
	}
	becomes(t, api, "work", models.SessionRunning)
	ask(t, api, "work", "word=remembered; echo precious > ~/kept; echo ok", "ok")
	agent, err := api.Agent(program.Limit(t), "pods")
	if err != nil {
		t.Fatal(err)
	}

	begun := time.Now()
	one.Kill()
	other.Line("Agent pods runs sessions")
	online(t, api, agent.Epoch)
	took := time.Since(begun)
	t.Logf("the other replica works after %v", took.Round(time.Millisecond))
	if took > 15*time.Second {
		t.Errorf("the other replica works after %v", took)
	}
	ask(t, api, "work", "echo [$word]", "[remembered]")
	session, err := api.Session(program.Limit(t), "work")
	if err != nil || session.State != models.SessionRunning || len(session.Losses) > 0 {
		t.Errorf("the session is %s, lost %v, %v", session.State, session.Losses, err)
	}

	if _, err := api.Hibernate(program.Limit(t), "work"); err != nil {
		t.Fatal(err)
	}
	becomes(t, api, "work", models.SessionHibernated)
	p.wantPods(t, 0)
	if _, err := api.Wake(program.Limit(t), "work", client.WakeRequest{}); err != nil {
		t.Fatal(err)
	}
	becomes(t, api, "work", models.SessionRunning)
	ask(t, api, "work", "cat ~/kept", "precious")
	if _, err := api.Stop(program.Limit(t), "work"); err != nil {
		t.Fatal(err)
	}
	becomes(t, api, "work", models.SessionTerminated)
	p.wantPods(t, 0)
	claims, err := p.Admin.CoreV1().PersistentVolumeClaims(p.namespace).List(limited(t), meta.ListOptions{})
	if err != nil || len(claims.Items) != 1 {
		t.Errorf("the homes are %v, %v", claims.Items, err)
	}
	other.Stop()
}

// online waits until the agent has a later connection than that of epoch.
func online(t *testing.T, api *client.Client, epoch int64) {
	t.Helper()
	program.Eventually(t, "the agent is online", within, func() error {
		agent, err := api.Agent(program.Limit(t), "pods")
		if err == nil && (agent.Status != models.AgentOnline || agent.Epoch <= epoch) {
			err = fmt.Errorf("it is %s, with epoch %d", agent.Status, agent.Epoch)
		}
		return err
	})
}

func becomes(t *testing.T, api *client.Client, id string, state models.SessionState) {
	t.Helper()
	program.Eventually(t, fmt.Sprintf("the session is %s", state), within, func() error {
		session, err := api.Session(program.Limit(t), id)
		if err == nil && session.State != state {
			err = fmt.Errorf("it is %s: %s", session.State, session.Reason)
		}
		return err
	})
}

// ask has the session's shell run a command, and waits for what it says.
func ask(t *testing.T, api *client.Client, id, command, want string) {
	t.Helper()
	var conn net.Conn
	program.Eventually(t, "the session's stream opens", within, func() (err error) {
		conn, err = api.Stream(program.Limit(t), id)
		return err
	})
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	typed := command + "\n"
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(typed))), typed...)); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for buffer := make([]byte, 4096); !strings.Contains(said.String(), "\n"+want); {
		n, err := conn.Read(buffer)
		said.Write(buffer[:n])
		if err != nil {
			t.Fatalf("the session does not say %q: %v; it says %q", want, err, said.String())
		}
	}
}

func (p place) wantPods(t *testing.T, want int) {
	t.Helper()
	eventually(t, "the pods are as wanted", func() error {
		pods, err := p.Admin.CoreV1().Pods(p.namespace).List(limited(t), meta.ListOptions{})
		if err == nil && len(pods.Items) != want {
			err = errors.New("they are " + fmt.Sprint(len(pods.Items)))
		}
		return err
	})
}
