package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// world is a hub behind a real HTTP server with a real database.
type world struct {
	t        *testing.T
	database *db.Database
	hub      *websocket.AgentHub
	handler  *recorder
	url      string
}

func newWorld(t *testing.T, options websocket.Options) *world {
	t.Helper()
	w := &world{t: t, database: dbtest.SQLite(t, db.Options{}), handler: newRecorder()}
	w.hub = websocket.NewAgentHubWith(w.database, options)
	w.hub.Attach(w.handler, wire.TypeAck, wire.TypeComplete)
	var running sync.WaitGroup
	running.Go(w.hub.Run)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.hub.ServeConnect(rw, r, r.URL.Query().Get(wire.ParamAgentID))
	}))
	w.url = server.URL
	t.Cleanup(func() {
		w.hub.Stop()
		running.Wait()
		server.Close()
	})
	return w
}

func (w *world) register(agentID string) {
	w.t.Helper()
	_, _, err := w.database.RegisterAgent(w.t.Context(),
		models.Agent{ID: agentID, Platform: models.PlatformProcess}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
}

// connect dials as a registered agent does and returns once the hub has it.
func (w *world) connect(agentID string, negotiate bool) *agentSocket {
	w.t.Helper()
	before := w.handler.count("connected " + agentID)
	header := http.Header{}
	if negotiate {
		header.Set(wire.HeaderProtocol, "1")
	}
	socket, _, err := ws.Dial(w.t.Context(), w.url+"?agent_id="+agentID, &ws.DialOptions{HTTPHeader: header})
	if err != nil {
		w.t.Fatal(err)
	}
	socket.SetReadLimit(wire.MaxFrame)
	w.t.Cleanup(func() { _ = socket.CloseNow() })
	w.handler.await(w.t, "connected "+agentID, before+1)
	return &agentSocket{t: w.t, socket: socket}
}

type agentSocket struct {
	t      *testing.T
	socket *ws.Conn
}

func (a *agentSocket) send(frame string) {
	a.t.Helper()
	if err := a.socket.Write(a.t.Context(), ws.MessageText, []byte(frame)); err != nil {
		a.t.Fatal(err)
	}
}

// next reads frames until one of the given type comes.
func (a *agentSocket) next(kind wire.Type) wire.Envelope {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 10*time.Second)
	defer cancel()
	for {
		_, frame, err := a.socket.Read(ctx)
		if err != nil {
			a.t.Fatalf("waiting for %s: %v", kind, err)
		}
		message, err := wire.Decode(frame)
		if err != nil {
			a.t.Fatal(err)
		}
		if message.Type == kind {
			return message
		}
	}
}

// closed reads until the socket is closed and gives the close code.
func (a *agentSocket) closed() ws.CloseError {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), 10*time.Second)
	defer cancel()
	for {
		if _, _, err := a.socket.Read(ctx); err != nil {
			var closing ws.CloseError
			if !errors.As(err, &closing) && ctx.Err() != nil {
				a.t.Fatal("the socket was not closed")
			}
			return closing
		}
	}
}

// recorder is a handler that remembers what it heard.
type recorder struct {
	mu      sync.Mutex
	changed *sync.Cond
	heard   map[string]int
	answer  error
	panics  bool
}

func newRecorder() *recorder {
	r := &recorder{heard: map[string]int{}}
	r.changed = sync.NewCond(&r.mu)
	return r
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[what]++
	r.changed.Broadcast()
}

func (r *recorder) count(what string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard[what]
}

func (r *recorder) await(t *testing.T, what string, times int) {
	t.Helper()
	timer := time.AfterFunc(10*time.Second, func() { r.changed.Broadcast() })
	defer timer.Stop()
	deadline := time.Now().Add(10 * time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.heard[what] < times {
		if time.Now().After(deadline) {
			t.Fatalf("%q was heard %d times, not %d; heard: %v", what, r.heard[what], times, r.heard)
		}
		r.changed.Wait()
	}
}

func (r *recorder) AgentConnected(_ context.Context, peer websocket.Peer) {
	r.note("connected " + peer.AgentID)
}

func (r *recorder) AgentMessage(_ context.Context, peer websocket.Peer, message wire.Envelope) error {
	r.note(fmt.Sprintf("%s %s epoch %d", message.Type, peer.AgentID, peer.Epoch))
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.panics {
		panic("a mistake")
	}
	return r.answer
}

func (r *recorder) AgentDisconnected(peer websocket.Peer) {
	r.note(fmt.Sprintf("disconnected %s epoch %d", peer.AgentID, peer.Epoch))
}

func TestAnAgentOfTheBasicProtocolGetsCommandsAndNothingElse(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	agent := w.connect("a", false)
	if !w.hub.IsAgentConnected("a") {
		t.Fatal("the hub does not know its connected agent")
	}
	err := w.hub.SendCommandToAgent("a", &models.AgentCommand{
		CommandID: "c1", Action: models.ActionStopSession, Payload: &models.CommandPayload{"sessionId": "s1"}})
	if err != nil {
		t.Fatal(err)
	}
	_, frame, err := agent.socket.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"command","payload":{"commandId":"c1","action":"stop_session","payload":{"sessionId":"s1"}}}`
	if string(frame) != want {
		t.Fatalf("the first frame is %s\nwant %s", frame, want)
	}
	agent.send(`{"type":"ack","payload":{"commandId":"c1"}}`)
	w.handler.await(t, "ack a epoch 1", 1)
}

func TestNegotiationBeginsWithAWelcome(t *testing.T) {
	w := newWorld(t, websocket.Options{Needs: func(context.Context) []string { return []string{"Xvnc"} }})
	w.register("a")
	agent := w.connect("a", true)
	var welcome wire.Welcome
	if err := agent.next(wire.TypeWelcome).Into(&welcome); err != nil {
		t.Fatal(err)
	}
	if welcome.Epoch != 1 || welcome.HeartbeatSeconds != 10 || len(welcome.Needs) != 1 {
		t.Fatalf("welcome is %+v", welcome)
	}
	agent.send(`{"type":"facilities","payload":{"present":[]}}`)
	agent.send(`{"type":"ack","payload":{"commandId":"c"}}`) // comes after the facilities are stored
	w.handler.await(t, "ack a epoch 1", 1)
	stored, err := w.database.Agent(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Facilities == nil || len(stored.Lacks([]string{"Xvnc"})) != 1 {
		t.Fatalf("facilities are %v, want none but known", stored.Facilities)
	}
}

func TestAnUnregisteredAgentIsToldToRegister(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	_, response, err := ws.Dial(t.Context(), w.url+"?agent_id=nobody", nil)
	if err == nil {
		t.Fatal("an unregistered agent was connected")
	}
	if response.StatusCode != http.StatusNotFound {
		t.Fatalf("status %d", response.StatusCode)
	}
}

func TestTheNewestConnectionWins(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	old := w.connect("a", true)
	newer := w.connect("a", true)

	if closing := old.closed(); closing.Code != ws.StatusPolicyViolation {
		t.Fatalf("the old socket was closed with %v", closing)
	}
	w.handler.await(t, "disconnected a epoch 1", 1)
	if epoch, connected := w.hub.Epoch("a"); !connected || epoch != 2 {
		t.Fatalf("after the old socket's end: epoch %d, connected %v", epoch, connected)
	}
	agent, err := w.database.Agent(t.Context(), "a")
	if err != nil || agent.Status != models.AgentOnline {
		t.Fatalf("the old socket's end made the agent %q (%v)", agent.Status, err)
	}
	newer.send(`{"type":"ack","payload":{"commandId":"c"}}`)
	w.handler.await(t, "ack a epoch 2", 1)
	if w.handler.count("ack a epoch 1") != 0 {
		t.Fatal("a frame was taken for the old epoch's")
	}
}

func TestBadFramesAreRefusedClearly(t *testing.T) {
	for _, c := range []struct {
		name, frame string
		code        models.ErrorCode
		closes      ws.StatusCode // 0: the connection goes on
	}{
		{"not JSON", `hello`, models.CodeFrameInvalid, ws.StatusInvalidFramePayloadData},
		{"two messages", `{"type":"pong"}{"type":"pong"}`, models.CodeFrameInvalid, ws.StatusInvalidFramePayloadData},
		{"no type", `{"payload":{}}`, models.CodeFrameInvalid, ws.StatusInvalidFramePayloadData},
		{"oversized", `{"type":"` + strings.Repeat("x", wire.MaxFrame) + `"}`, "", ws.StatusMessageTooBig},
		{"unknown type", `{"type":"gossip","payload":{}}`, models.CodeMessageUnknown, 0},
		{"malformed payload", `{"type":"heartbeat","payload":{"activeSessions":"many"}}`, models.CodeFrameInvalid, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, websocket.Options{})
			w.register("a")
			agent := w.connect("a", true)
			agent.send(c.frame)
			if c.code != "" {
				var refusal wire.ErrorFrame
				if err := agent.next(wire.TypeError).Into(&refusal); err != nil {
					t.Fatal(err)
				}
				if refusal.Code != c.code || refusal.Message == "" {
					t.Fatalf("refused with %+v, want %s", refusal, c.code)
				}
			}
			if c.closes == 0 {
				agent.send(`{"type":"ack","payload":{"commandId":"c"}}`)
				w.handler.await(t, "ack a epoch 1", 1)
			} else if closing := agent.closed(); closing.Code != c.closes {
				t.Fatalf("closed with %v, want %v", closing, c.closes)
			}
		})
	}
}

func TestAMessageThatCouldNotBeStoredEndsTheConnection(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	agent := w.connect("a", true)
	w.handler.answer = errors.New("disk full")
	agent.send(`{"type":"complete","payload":{"commandId":"c"}}`)
	closing := agent.closed()
	if closing.Code != ws.StatusInternalError || strings.Contains(closing.Reason, "disk") {
		t.Fatalf("closed with %v", closing)
	}
}

func TestAMistakeInHandlingAFrameEndsThatConnectionOnly(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	w.register("b")
	agent, other := w.connect("a", true), w.connect("b", true)
	w.handler.mu.Lock()
	w.handler.panics = true
	w.handler.mu.Unlock()
	agent.send(`{"type":"complete","payload":{"commandId":"c"}}`)
	if closing := agent.closed(); closing.Code != ws.StatusInternalError {
		t.Fatalf("closed with %v", closing)
	}
	w.handler.await(t, "disconnected a epoch 1", 1)
	w.handler.mu.Lock()
	w.handler.panics = false
	w.handler.mu.Unlock()
	other.send(`{"type":"ack","payload":{"commandId":"c"}}`)
	w.handler.await(t, "ack b epoch 1", 1)
}

func TestAnAgentThatDoesNotReadCostsOthersNothing(t *testing.T) {
	w := newWorld(t, websocket.Options{QueueSize: 4})
	w.register("slow")
	w.register("quick")
	w.connect("slow", false)
	quick := w.connect("quick", false)

	// Sockets buffer some megabytes, so it takes many large frames.
	large := models.CommandPayload{"filler": strings.Repeat("x", wire.MaxFrame/2)}
	var err error
	for i := 0; err == nil; i++ {
		if i > 10_000 {
			t.Fatal("the queue never filled")
		}
		err = w.hub.SendCommandToAgent("slow", &models.AgentCommand{CommandID: "big", Action: "x", Payload: &large})
		runtime.Gosched()
	}
	if models.CodeOf(err) != models.CodeQueueFull {
		t.Fatalf("a full queue gave %v", err)
	}
	if err := w.hub.SendCommandToAgent("quick", &models.AgentCommand{CommandID: "c", Action: "x"}); err != nil {
		t.Fatal(err)
	}
	quick.next(wire.TypeCommand)
}

func TestManyAgentsGoingSilentAtOnceAreAllLetGo(t *testing.T) {
	w := newWorld(t, websocket.Options{StaleAfter: 90 * time.Millisecond, HeartbeatEvery: time.Hour})
	const silent = 25
	for i := range silent {
		w.register(fmt.Sprint("silent-", i))
		w.connect(fmt.Sprint("silent-", i), true)
	}
	for i := range silent {
		w.handler.await(t, fmt.Sprintf("disconnected silent-%d epoch 1", i), 1)
	}
	if left := w.hub.GetConnectedAgents(); len(left) != 0 {
		t.Fatalf("still connected: %v", left)
	}
	agent, err := w.database.Agent(t.Context(), "silent-0")
	if err != nil || agent.Status != models.AgentOffline {
		t.Fatalf("a silent agent is %q (%v)", agent.Status, err)
	}
}

func TestHeartbeatsKeepAnAgent(t *testing.T) {
	const stale = 150 * time.Millisecond
	w := newWorld(t, websocket.Options{StaleAfter: stale, HeartbeatEvery: 10 * time.Millisecond})
	w.register("a")
	agent := w.connect("a", true)
	// Each ping of the hub is answered by a heartbeat, for several times the
	// silence that would end the connection.
	for begin := time.Now(); time.Since(begin) < 4*stale; {
		agent.next(wire.TypePing)
		agent.send(`{"type":"heartbeat","payload":{"status":"online","activeSessions":0}}`)
	}
	if !w.hub.IsAgentConnected("a") {
		t.Fatal("an agent with heartbeats was let go")
	}
}

func TestAHeartbeatDoesNotEndDraining(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	agent := w.connect("a", true)
	for _, status := range []string{"draining", "online"} {
		agent.send(`{"type":"heartbeat","payload":{"status":"` + status + `","activeSessions":0}}`)
	}
	agent.send(`{"type":"ack","payload":{"commandId":"c"}}`)
	w.handler.await(t, "ack a epoch 1", 1)
	await(t, "the heartbeats are written", func() bool {
		stored, err := w.database.Agent(t.Context(), "a")
		return err == nil && stored.Status == models.AgentDraining
	})
	agent.send(`{"type":"heartbeat","payload":{"status":"online","activeSessions":1}}`)
	written, err := w.database.Agent(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	await(t, "another one is written", func() bool {
		stored, err := w.database.Agent(t.Context(), "a")
		return err == nil && stored.Status == models.AgentDraining && !stored.UpdatedAt.Equal(written.UpdatedAt)
	})
}

func TestStopTellsAgentsAndRefusesNewOnes(t *testing.T) {
	w := newWorld(t, websocket.Options{})
	w.register("a")
	agent := w.connect("a", true)
	stopped := make(chan struct{})
	go func() { w.hub.Stop(); close(stopped) }()
	var shutdown wire.Shutdown
	if err := agent.next(wire.TypeShutdown).Into(&shutdown); err != nil || shutdown.Reason == "" {
		t.Fatalf("shutdown %+v, %v", shutdown, err)
	}
	if closing := agent.closed(); closing.Code != ws.StatusGoingAway {
		t.Fatalf("closed with %v", closing)
	}
	<-stopped
	w.hub.Stop() // twice is safe
	if w.handler.count("disconnected a epoch 1") != 1 {
		t.Fatal("Stop returned before the connection was over")
	}
	_, response, err := ws.Dial(t.Context(), w.url+"?agent_id=a", nil)
	if err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Fatalf("a stopped hub answered %v, %v", response, err)
	}
}

func TestAReconnectStormLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("storm", func(t *testing.T) {
		w := newWorld(t, websocket.Options{})
		const agents, rounds = 8, 10
		var storm sync.WaitGroup
		for i := range agents {
			agentID := fmt.Sprint("agent-", i)
			w.register(agentID)
			storm.Go(func() {
				for range rounds {
					socket, _, err := ws.Dial(t.Context(), w.url+"?agent_id="+agentID, nil)
					if err != nil {
						t.Error(err)
						return
					}
					_ = socket.CloseNow()
				}
			})
		}
		storm.Wait()
		for i := range agents {
			w.handler.await(t, fmt.Sprintf("disconnected agent-%d epoch %d", i, rounds), 1)
		}
		if left := w.hub.GetConnectedAgents(); len(left) != 0 {
			t.Fatalf("still connected: %v", left)
		}
	})
}

// await waits for a condition that other goroutines bring about.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
