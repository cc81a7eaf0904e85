package services_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// clock is the control plane's clock in a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// world is a control plane without its HTTP API: a real database, a hub behind
// a real HTTP server, and the services.
type world struct {
	t          *testing.T
	database   *db.Database
	clock      *clock
	hub        *websocket.AgentHub
	dispatcher *services.CommandDispatcher
	selector   *services.AgentSelector
	sessions   *services.Sessions
	url        string
	owner      models.User
	// looks counts how often reconcilers have looked at the clock.
	looks atomic.Int64
}

// newWorld makes a control plane; its dispatcher is not started.
func newWorld(t *testing.T, database *db.Database, options services.DispatcherOptions) *world {
	t.Helper()
	return newWorldWith(t, database, options, websocket.Options{})
}

func newWorldWith(t *testing.T, database *db.Database, options services.DispatcherOptions, hub websocket.Options) *world {
	t.Helper()
	w := &world{t: t, database: database, clock: &clock{now: time.Now().UTC().Truncate(time.Microsecond)}}
	hub.Now = w.clock.Now
	w.hub = websocket.NewAgentHubWith(database, hub)
	options.Now = w.clock.Now
	if options.PollEvery == 0 {
		options.PollEvery = 10 * time.Millisecond
	}
	options.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	w.dispatcher = services.NewCommandDispatcherWith(database, w.hub, options)
	services.NewInventory(database, w.hub, w.dispatcher, services.InventoryOptions{Now: w.clock.Now, Needs: func(context.Context) []string { return []string{"Xvnc"} }})
	w.selector = services.NewAgentSelectorWith(database.DB(), w.hub, services.SelectorOptions{Now: w.clock.Now})
	w.sessions = services.NewSessions(database, w.selector, w.dispatcher, services.SessionsOptions{Now: w.clock.Now})

	var running sync.WaitGroup
	running.Go(w.hub.Run)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.hub.ServeConnect(rw, r, r.URL.Query().Get(wire.ParamAgentID))
	}))
	w.url = server.URL
	t.Cleanup(func() {
		w.dispatcher.Stop()
		w.hub.Stop()
		running.Wait()
		server.Close()
	})

	var err error
	if w.owner, err = database.EnsureUser(t.Context(), "ann", models.RoleUser, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"},
		Spec: models.TemplateSpec{DisplayName: "Desk", VNC: models.VNC{Enabled: true}}})
	return w
}

// start runs the dispatcher until the test ends.
func (w *world) start() {
	var running sync.WaitGroup
	running.Go(w.dispatcher.Start)
	w.t.Cleanup(func() { w.dispatcher.Stop(); running.Wait() })
}

func (w *world) saveTemplate(template models.Template) {
	w.t.Helper()
	if err := w.database.SaveTemplates(w.t.Context(), nil, []models.Template{template}, w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) register(agent models.Agent) {
	w.t.Helper()
	if agent.Platform == "" {
		agent.Platform = models.PlatformProcess
	}
	if _, _, err := w.database.RegisterAgent(w.t.Context(), agent, w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
}

// agentSocket is an agent in a test. It knows the basic protocol alone unless
// it negotiates.
type agentSocket struct {
	t      *testing.T
	id     string
	socket *ws.Conn
}

// connect connects a registered agent and returns when the hub has it.
func (w *world) connect(agentID string) *agentSocket { return w.dial(agentID, http.Header{}) }

// negotiate is connect for an agent that speaks more than the basic protocol.
func (w *world) negotiate(agentID string) *agentSocket {
	return w.dial(agentID, http.Header{wire.HeaderProtocol: {"1"}})
}

func (w *world) dial(agentID string, header http.Header) *agentSocket {
	w.t.Helper()
	before, _ := w.hub.Epoch(agentID)
	socket, _, err := ws.Dial(w.t.Context(), w.url+"?agent_id="+agentID, &ws.DialOptions{HTTPHeader: header})
	if err != nil {
		w.t.Fatal(err)
	}
	socket.SetReadLimit(wire.MaxFrame)
	w.t.Cleanup(func() { _ = socket.CloseNow() })
	w.await("the hub has "+agentID, func() bool {
		epoch, connected := w.hub.Epoch(agentID)
		return connected && epoch > before
	})
	return &agentSocket{t: w.t, id: agentID, socket: socket}
}

// disconnect ends the agent's connection and returns when the hub knows.
func (w *world) disconnect(agent *agentSocket) {
	w.t.Helper()
	_ = agent.socket.CloseNow()
	w.await(agent.id+" is gone", func() bool {
		stored, err := w.database.Agent(w.t.Context(), agent.id)
		return err == nil && stored.Status == models.AgentOffline && !w.hub.IsAgentConnected(agent.id)
	})
}

func (a *agentSocket) send(kind wire.Type, payload any) {
	a.t.Helper()
	frame, err := wire.Encode(kind, payload)
	if err != nil {
		a.t.Fatal(err)
	}
	a.sendRaw(string(frame))
}

func (a *agentSocket) sendRaw(frame string) {
	a.t.Helper()
	if err := a.socket.Write(a.t.Context(), ws.MessageText, []byte(frame)); err != nil {
		a.t.Fatal(err)
	}
}

// next reads frames until one of the given type comes, into payload.
func (a *agentSocket) next(kind wire.Type, payload any) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	for {
		_, frame, err := a.socket.Read(ctx)
		if err != nil {
			a.t.Fatalf("agent %s waits for %s: %v", a.id, kind, err)
		}
		message, err := wire.Decode(frame)
		if err != nil {
			a.t.Fatal(err)
		}
		if message.Type != kind {
			continue
		}
		if err := message.Into(payload); err != nil {
			a.t.Fatal(err)
		}
		return
	}
}

func (a *agentSocket) command() wire.Command {
	a.t.Helper()
	var command wire.Command
	a.next(wire.TypeCommand, &command)
	return command
}

// commands reads so many commands and gives their ids.
func (a *agentSocket) commands(count int) []string {
	a.t.Helper()
	ids := make([]string, 0, count)
	for range count {
		ids = append(ids, a.command().CommandID)
	}
	return ids
}

// refused reads the control plane's refusal of a frame, which only a
// negotiated agent is told.
func (a *agentSocket) refused() models.ErrorCode {
	a.t.Helper()
	var refusal wire.ErrorFrame
	a.next(wire.TypeError, &refusal)
	if refusal.Message == "" {
		a.t.Error("a refusal without a word")
	}
	return refusal.Code
}

// settle returns when everything that the negotiated agent sent before has
// been handled.
func (a *agentSocket) settle() {
	a.t.Helper()
	a.sendRaw(`{"type":"settle","payload":{}}`)
	if code := a.refused(); code != models.CodeMessageUnknown {
		a.t.Fatalf("refused with %s before the unknown message was", code)
	}
}

// await waits for a condition that other goroutines bring about.
func (w *world) await(what string, holds func() bool) {
	w.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (w *world) awaitCommand(commandID, status string) models.AgentCommand {
	w.t.Helper()
	var command models.AgentCommand
	w.await(fmt.Sprintf("command %s is %s", commandID, status), func() bool {
		command = w.row(commandID)
		return command.Status == status
	})
	return command
}

func (w *world) awaitSession(sessionID string, state models.SessionState) models.Session {
	w.t.Helper()
	var session models.Session
	w.await(fmt.Sprintf("session %s is %s", sessionID, state), func() bool {
		session = w.session(sessionID)
		return session.State == state
	})
	return session
}

func (w *world) row(commandID string) models.AgentCommand {
	w.t.Helper()
	command, err := w.database.Command(w.t.Context(), commandID)
	if err != nil {
		w.t.Fatal(err)
	}
	return command
}

func (w *world) session(sessionID string) models.Session {
	w.t.Helper()
	session, err := w.database.Session(w.t.Context(), sessionID)
	if err != nil {
		w.t.Fatal(err)
	}
	return session
}

// sessionCommands gives a session's commands, oldest first.
func (w *world) sessionCommands(sessionID string) []models.AgentCommand {
	w.t.Helper()
	commands, _, err := w.database.Commands(w.t.Context(), db.CommandFilter{SessionID: sessionID}, db.Page{Limit: db.MaxPageSize})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(commands)
	return commands
}

// launch launches the template desk.
func (w *world) launch(id string) models.Session {
	w.t.Helper()
	session, _, err := w.sessions.Launch(w.t.Context(), services.LaunchRequest{ID: id, Template: "desk", Owner: w.owner})
	if err != nil {
		w.t.Fatal(err)
	}
	return session
}

// run launches a session and plays its agent's part until it runs.
func (w *world) run(id string, agent *agentSocket) models.Session {
	w.t.Helper()
	w.launch(id)
	agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
	return w.awaitSession(id, models.SessionRunning)
}

// pending writes a command's row without telling the dispatcher.
func (w *world) pending(commandID, agentID, sessionID string) models.AgentCommand {
	w.t.Helper()
	command := models.AgentCommand{CommandID: commandID, AgentID: agentID, SessionID: sessionID,
		Action: models.ActionStopSession, Payload: &models.CommandPayload{"sessionId": sessionID},
		Status: models.CommandPending, DeadlineAt: w.clock.Now().Add(time.Hour)}
	if err := w.database.CreateCommand(w.t.Context(), &command, w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
	return command
}

// holdWrites keeps everybody from writing to a SQLite database until release.
func (w *world) holdWrites() (release func()) {
	w.t.Helper()
	tx, err := w.database.DB().BeginTx(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var once sync.Once
	release = func() { once.Do(func() { _ = tx.Rollback() }) }
	w.t.Cleanup(release)
	return release
}

func mustCode(t *testing.T, err error, code models.ErrorCode) {
	t.Helper()
	if models.CodeOf(err) != code {
		t.Errorf("the error is %v, want code %s", err, code)
	}
}

// awaitIn returns when some goroutine is in the function, and fails when any
// of the channels is closed before.
func awaitIn(t *testing.T, function string, early ...<-chan struct{}) {
	t.Helper()
	stacks := make([]byte, 4<<20)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		for _, closed := range early {
			select {
			case <-closed:
				t.Fatalf("it did not wait in %s", function)
			default:
			}
		}
		if bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte(function)) {
			return
		}
	}
	t.Fatalf("nobody is in %s", function)
}
