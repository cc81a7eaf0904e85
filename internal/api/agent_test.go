package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/webapp"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/wire"
)

var errNotYet = errors.New("not yet")

// fakeAgent is an agent that does nothing and says that it did. Streams that it
// brings send back what they get. Sessions whose id begins with "broken" do not
// start, those that begin with "slow" start when told, and those that begin
// with "mute" have no stream.
type fakeAgent struct {
	w      *world
	id     string
	key    string
	socket *ws.Conn
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu   sync.Mutex
	held []wire.Command
	// beforeStream is set by onStream.
	beforeStream func()
	// apps are the sessions that show pages.
	apps map[string]*httptest.Server
}

// shows makes a session one that shows the app's pages.
func (a *fakeAgent) shows(sessionID string, app *webapp.App) *webapp.App {
	server := httptest.NewServer(app)
	a.w.t.Cleanup(server.Close)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.apps == nil {
		a.apps = map[string]*httptest.Server{}
	}
	a.apps[sessionID] = server
	return app
}

func (a *fakeAgent) app(sessionID string) *httptest.Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.apps[sessionID]
}

// agentKey makes a key of the agent.
func (w *world) agentKey(id string) string {
	w.t.Helper()
	key, err := w.auth.IssueToken(w.t.Context(), auth.Grant{Kind: models.TokenAgent, AgentID: id})
	must(w.t, err)
	return w.secret(key)
}

// agent registers and connects an agent that has everything, with place for
// many sessions.
func (w *world) agent(id string) *fakeAgent {
	w.t.Helper()
	agent := &fakeAgent{w: w, id: id, key: w.agentKey(id)}
	w.post(wire.RegisterPath, header(wire.HeaderAgentKey, agent.key),
		jsonBody(`{"agentId":"`+id+`","platform":"process","region":"eu-1","capacity":{"maxSessions":1000}}`)).want(http.StatusCreated)
	agent.connect(w.facilities())
	return agent
}

func (w *world) facilities() []string { return []string{"Xvnc", "chromium"} }

// connect opens the command connection and returns when the hub has it, and
// knows what the agent has.
func (a *fakeAgent) connect(facilities []string) {
	a.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a.cancel = cancel
	socket, _, err := ws.Dial(ctx, a.w.url+wire.ConnectPath+"?"+wire.ParamAgentID+"="+a.id, &ws.DialOptions{HTTPClient: a.w.http,
		HTTPHeader: http.Header{wire.HeaderAgentKey: {a.key}, wire.HeaderProtocol: {"1"}}})
	must(a.w.t, err)
	socket.SetReadLimit(wire.MaxFrame)
	a.socket = socket
	a.done.Go(func() { a.serve(ctx) })
	a.w.t.Cleanup(a.disconnect)
	a.send(wire.TypeFacilities, wire.Facilities{Present: facilities})
	a.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
	a.w.eventually(a.id+" is connected", func() error {
		agent, err := a.w.database.Agent(a.w.t.Context(), a.id)
		if err != nil {
			return err
		}
		if !a.w.hub.IsAgentConnected(a.id) || len(agent.Facilities) != len(facilities) || agent.LastHeartbeat == nil {
			return errNotYet
		}
		return nil
	})
}

// disconnect ends the connection and returns when the hub knows.
func (a *fakeAgent) disconnect() {
	a.cancel()
	a.done.Wait()
	a.w.eventually(a.id+" is gone", func() error {
		if a.w.hub.IsAgentConnected(a.id) {
			return errNotYet
		}
		return nil
	})
}

func (a *fakeAgent) send(kind wire.Type, payload any) {
	frame, err := wire.Encode(kind, payload)
	if err == nil {
		err = a.socket.Write(context.Background(), ws.MessageText, frame)
	}
	if err != nil {
		a.w.t.Logf("agent %s sends %s: %v", a.id, kind, err)
	}
}

func (a *fakeAgent) serve(ctx context.Context) {
	defer func() { _ = a.socket.CloseNow() }()
	for {
		_, frame, err := a.socket.Read(ctx)
		if err != nil {
			return
		}
		message, err := wire.Decode(frame)
		if err != nil {
			return
		}
		switch message.Type {
		case wire.TypeCommand:
			var command wire.Command
			if message.Into(&command) != nil {
				return
			}
			a.obey(command)
		case wire.TypeOpenTunnel:
			var wanted wire.OpenTunnel
			if message.Into(&wanted) != nil {
				return
			}
			a.done.Go(func() { a.bring(ctx, wanted) })
		}
	}
}

func (a *fakeAgent) obey(command wire.Command) {
	session := fmt.Sprint((*command.Payload)["sessionId"])
	switch {
	case command.Action == models.ActionStartSession && strings.HasPrefix(session, "broken"):
		a.send(wire.TypeFailed, wire.Failed{CommandID: command.CommandID, Error: "the disk is full", Code: models.CodeCommandFailed})
	case strings.HasPrefix(session, "slow"):
		a.mu.Lock()
		a.held = append(a.held, command)
		a.mu.Unlock()
		a.send(wire.TypeAck, wire.Ack{CommandID: command.CommandID})
	default:
		a.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
	}
}

// onStream has what called before a stream is brought.
func (a *fakeAgent) onStream(what func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beforeStream = what
}

// finish completes the start of a slow session, once it has come.
func (a *fakeAgent) finish(sessionID string) {
	a.w.t.Helper()
	a.w.eventually("the start of "+sessionID+" comes", func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		for i, command := range a.held {
			if (*command.Payload)["sessionId"] == sessionID {
				a.held = slices.Delete(a.held, i, i+1)
				a.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
				return nil
			}
		}
		return errNotYet
	})
}

func (a *fakeAgent) bring(ctx context.Context, wanted wire.OpenTunnel) {
	if strings.HasPrefix(wanted.SessionID, "mute") {
		a.send(wire.TypeTunnelFailed, wire.TunnelFailed{TunnelID: wanted.TunnelID, Error: "Xvnc does not answer"})
		return
	}
	a.mu.Lock()
	before := a.beforeStream
	a.mu.Unlock()
	if before != nil {
		before()
	}
	server, err := url.Parse(a.w.url)
	if err != nil {
		return
	}
	stream, err := tunnel.Dial(ctx, tunnel.DialOptions{Server: server, Key: a.key, AgentID: a.id, TunnelID: wanted.TunnelID})
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { _ = stream.Close() })()
	if app := a.app(wanted.SessionID); app != nil {
		if session, err := new(net.Dialer).DialContext(ctx, "tcp", app.Listener.Addr().String()); err == nil {
			_ = tunnel.Join(ctx, session, stream)
		}
		return
	}
	_, _ = io.Copy(stream, stream)
	_ = stream.Close()
}

// launch launches a session of the template desk.
func (w *world) launch(user, id string) models.Session {
	w.t.Helper()
	var session models.Session
	encoded, err := json.Marshal(map[string]string{"id": id, "template": "desk"})
	must(w.t, err)
	w.post("/api/v1/sessions", w.as(user), jsonBody(string(encoded))).want(http.StatusCreated).into(&session)
	return session
}

// run is launch, and waits until the session runs.
func (w *world) run(user, id string) models.Session {
	w.t.Helper()
	w.launch(user, id)
	return w.await(id, models.SessionRunning)
}

// await waits until the session is in the state.
func (w *world) await(id string, state models.SessionState) models.Session {
	w.t.Helper()
	var session models.Session
	w.eventually(fmt.Sprintf("session %s is %s", id, state), func() error {
		var err error
		session, err = w.database.Session(w.t.Context(), id)
		if err == nil && session.State != state {
			err = fmt.Errorf("it is %s (%s)", session.State, session.Reason)
		}
		return err
	})
	return session
}
