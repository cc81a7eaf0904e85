package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// idleAgent is an agent that does nothing and says that it did. The session
// named broken fails to start, and the one named pulling is about to.
type idleAgent struct {
	socket *ws.Conn
	done   chan struct{}
}

// connectAgent connects an idle agent, until the test ends or it is disconnected.
func connectAgent(t *testing.T, address, id, key string) (disconnect func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	body, err := json.Marshal(wire.Register{AgentID: id, Platform: models.PlatformProcess, Region: "eu-1",
		Capacity: map[string]any{"maxSessions": 4}, Metadata: map[string]any{"version": "v0.9"}})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address+wire.RegisterPath, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(wire.HeaderAgentKey, key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusCreated {
		t.Fatalf("register: %s", response.Status)
	}
	socket, _, err := ws.Dial(ctx, "ws"+strings.TrimPrefix(address, "http")+wire.ConnectPath+"?"+wire.ParamAgentID+"="+id,
		&ws.DialOptions{HTTPHeader: http.Header{wire.HeaderAgentKey: {key}, wire.HeaderProtocol: {"1"}}})
	if err != nil {
		t.Fatal(err)
	}
	// The welcome tells that the control plane has the connection.
	if _, _, err := socket.Read(ctx); err != nil {
		t.Fatal(err)
	}
	agent := &idleAgent{socket: socket, done: make(chan struct{})}
	go agent.serve(ctx)
	disconnect = func() {
		cancel()
		<-agent.done
	}
	t.Cleanup(disconnect)
	return disconnect
}

func (a *idleAgent) serve(ctx context.Context) {
	defer close(a.done)
	defer func() { _ = a.socket.CloseNow() }()
	for {
		_, frame, err := a.socket.Read(ctx)
		if err != nil {
			return
		}
		message, err := wire.Decode(frame)
		if err != nil || message.Type != wire.TypeCommand {
			continue
		}
		var command wire.Command
		if err := message.Into(&command); err != nil {
			return
		}
		reply, err := a.reply(command)
		if err != nil || a.socket.Write(ctx, ws.MessageText, reply) != nil {
			return
		}
	}
}

func (a *idleAgent) reply(command wire.Command) ([]byte, error) {
	if command.Action == models.ActionStartSession && (*command.Payload)["sessionId"] == "broken" {
		return wire.Encode(wire.TypeFailed, wire.Failed{CommandID: command.CommandID, Error: "the disk is full"})
	}
	if command.Action == models.ActionStartSession && (*command.Payload)["sessionId"] == "pulling" {
		return wire.Encode(wire.TypeStatus, wire.Status{SessionID: "pulling", Generation: 1, State: "pending",
			Progress: &models.Progress{Message: "pulling image desk:1", Percent: 43}})
	}
	return wire.Encode(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
}
