package tunnel_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// world is a control plane's tunnels behind a real HTTP server, and an agent
// that brings what it is asked for. Sessions are whatever bring gives.
type world struct {
	t      *testing.T
	broker *tunnel.Broker
	server *httptest.Server
	url    *url.URL
	// ctx ends the agent.
	ctx context.Context

	mu    sync.Mutex
	epoch int64
	// bring answers a request for a stream, in a goroutine of the agent; nil
	// ignores it.
	bring  func(wire.OpenTunnel)
	agents sync.WaitGroup
	// turn bounds how much the agent does at once, as a real one does.
	turn chan struct{}
}

func newWorld(t *testing.T, options tunnel.BrokerOptions) *world {
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, ctx: ctx, epoch: 1, turn: make(chan struct{}, 64)}
	w.broker = tunnel.NewBroker(w, options)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.TunnelPath, func(rw http.ResponseWriter, r *http.Request) {
		w.broker.ServeAgent(rw, r, r.URL.Query().Get(wire.ParamAgentID))
	})
	mux.HandleFunc("GET /stream/{session}", func(rw http.ResponseWriter, r *http.Request) {
		stream, err := w.broker.Open(r.Context(), target(r.PathValue("session")))
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		_ = tunnel.ServeViewer(rw, r, stream, tunnel.ViewerOptions{})
	})
	w.server = httptest.NewServer(mux)
	w.url, _ = url.Parse(w.server.URL)
	t.Cleanup(func() {
		w.broker.Stop()
		cancel()
		w.agents.Wait()
		w.server.Close()
		http.DefaultClient.CloseIdleConnections()
		if left := w.broker.Tunnels(); left != 0 {
			t.Errorf("%d tunnels are left", left)
		}
	})
	return w
}

// Epoch implements tunnel.Hub.
func (w *world) Epoch(agentID string) (int64, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.epoch, agentID == "agent" && w.epoch > 0
}

// Send implements tunnel.Hub.
func (w *world) Send(_ string, kind wire.Type, payload any) error {
	if kind != wire.TypeOpenTunnel {
		w.t.Errorf("the agent was sent %s", kind)
	}
	if w.bring != nil {
		w.agents.Go(func() {
			w.turn <- struct{}{}
			defer func() { <-w.turn }()
			w.bring(payload.(wire.OpenTunnel))
		})
	}
	return nil
}

// join makes the agent connect tunnels with what dial gives.
func (w *world) join(dial func(wire.OpenTunnel) net.Conn) {
	w.bring = func(asked wire.OpenTunnel) {
		session := dial(asked)
		conn, err := w.dial(asked.TunnelID)
		if err != nil {
			_ = session.Close()
			return
		}
		_ = tunnel.Join(w.ctx, session, conn)
	}
}

func (w *world) dial(tunnelID string) (net.Conn, error) {
	return tunnel.Dial(w.ctx, tunnel.DialOptions{Server: w.url, Key: "key", AgentID: "agent", TunnelID: tunnelID})
}

// view opens a session's stream as a browser does.
func (w *world) view(session string) *ws.Conn {
	w.t.Helper()
	socket, _, err := ws.Dial(w.ctx, w.server.URL+"/stream/"+session, &ws.DialOptions{Subprotocols: []string{"binary"}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = socket.CloseNow() })
	return socket
}

func target(session string) tunnel.Target {
	return tunnel.Target{AgentID: "agent", Epoch: 1, SessionID: session, Generation: 1}
}

// echo is a session that says what it is told.
func echo(t *testing.T) func(wire.OpenTunnel) net.Conn {
	t.Helper()
	return served(t, func(conn net.Conn, _ string) { _, _ = io.Copy(conn, conn) })
}

// served gives sessions on real sockets, each served by serve until the
// connection closes.
func served(t *testing.T, serve func(conn net.Conn, session string)) func(wire.OpenTunnel) net.Conn {
	t.Helper()
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(asked wire.OpenTunnel) net.Conn {
		ours, theirs := socketPair(t)
		serving.Go(func() {
			defer func() { _ = theirs.Close() }()
			serve(theirs, asked.SessionID)
		})
		return ours
	}
}

func codeOf(t *testing.T, err error, want models.ErrorCode) {
	t.Helper()
	if models.CodeOf(err) != want {
		t.Errorf("the error is %v, not %s", err, want)
	}
}

func eventually(t *testing.T, what string, probe func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !probe(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + ": not in time")
		}
	}
}
