package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	key     = "a key"
	agentID = "one"
	// soon bounds every wait for something that must happen.
	soon = 10 * time.Second
)

// plane is the control plane's end, as small as it gets. Set its fields before
// the agent runs.
type plane struct {
	t      *testing.T
	url    *url.URL
	server *httptest.Server

	// basic leaves the protocol header and all that it means out.
	basic bool
	// needs and rhythm are the welcome's.
	needs []string
	// judge makes the verdict on an inventory; nil keeps everything.
	judge func(wire.Inventory) []wire.VerdictItem
	// mute leaves verdicts to the test.
	mute bool
	// refuse may answer a request in the plane's place.
	refuse func(w http.ResponseWriter, r *http.Request) bool
	// tunnels gets the sockets that the agent dials for streams.
	tunnels chan net.Conn

	links chan *link

	mu         sync.Mutex
	registered []wire.Register
	connects   int
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{t: t, links: make(chan *link, 1000), tunnels: make(chan net.Conn, 10)}
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	var err error
	if p.url, err = url.Parse(p.server.URL); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *plane) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get(wire.HeaderAgentKey) != key {
		p.t.Errorf("%s came with the key %q", r.URL, r.Header.Get(wire.HeaderAgentKey))
	}
	if p.refuse != nil && p.refuse(w, r) {
		return
	}
	switch r.URL.Path {
	case wire.RegisterPath:
		var body wire.Register
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			p.t.Error(err)
		}
		p.mu.Lock()
		p.registered = append(p.registered, body)
		p.mu.Unlock()
		w.WriteHeader(http.StatusCreated)
	case wire.ConnectPath:
		p.connect(w, r)
	case wire.TunnelPath:
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			p.t.Error(err)
			return
		}
		_, _ = buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + wire.TunnelUpgrade + "\r\n\r\n")
		_ = buffered.Flush()
		p.tunnels <- conn
	default:
		http.NotFound(w, r)
	}
}

func (p *plane) connect(w http.ResponseWriter, r *http.Request) {
	if got := r.URL.Query().Get(wire.ParamAgentID); got != agentID {
		p.t.Errorf("the agent calls itself %q", got)
	}
	if !p.basic {
		w.Header().Set(wire.HeaderProtocol, r.Header.Get(wire.HeaderProtocol))
	}
	socket, err := ws.Accept(w, r, nil)
	if err != nil {
		p.t.Error(err)
		return
	}
	defer func() { _ = socket.CloseNow() }()
	socket.SetReadLimit(wire.MaxFrame)
	p.mu.Lock()
	p.connects++
	epoch := p.connects
	p.mu.Unlock()
	l := &link{t: p.t, socket: socket, changed: make(chan struct{}), closed: make(chan struct{})}
	defer close(l.closed)
	if !p.basic {
		l.send(wire.TypeWelcome, wire.Welcome{Protocol: 1, Epoch: int64(epoch), HeartbeatSeconds: 1, Needs: p.needs})
	}
	p.links <- l
	l.read(p)
}

func (p *plane) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connects
}

func (p *plane) registrations() []wire.Register {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.registered)
}

// link waits for the agent's next connection.
func (p *plane) link() *link {
	p.t.Helper()
	select {
	case l := <-p.links:
		return l
	case <-time.After(soon):
		p.t.Fatal("the agent does not connect")
		return nil
	}
}

// link is one connection of the agent.
type link struct {
	t      *testing.T
	socket *ws.Conn
	closed chan struct{}
	why    error // once closed

	mu      sync.Mutex
	frames  []wire.Envelope
	changed chan struct{}
}

func (l *link) read(p *plane) {
	for {
		_, frame, err := l.socket.Read(context.Background())
		if err != nil {
			l.why = err
			return
		}
		message, err := wire.Decode(frame)
		if err != nil {
			p.t.Errorf("the agent sent %q: %v", frame, err)
			continue
		}
		l.mu.Lock()
		l.frames = append(l.frames, message)
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if message.Type == wire.TypeInventory && !p.mute {
			var inventory wire.Inventory
			if err := message.Into(&inventory); err != nil {
				p.t.Error(err)
			}
			verdict := wire.Verdict{Items: []wire.VerdictItem{}}
			if p.judge != nil {
				verdict.Items = p.judge(inventory)
			}
			l.send(wire.TypeVerdict, verdict)
		}
	}
}

func (l *link) send(kind wire.Type, payload any) {
	l.t.Helper()
	frame, err := wire.Encode(kind, payload)
	if err != nil {
		l.t.Error(err)
		return
	}
	l.write(string(frame))
}

func (l *link) write(frame string) {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	_ = l.socket.Write(ctx, ws.MessageText, []byte(frame)) // a lost socket shows in what is missing
}

// nth waits for the nth frame of a kind, from 1.
func (l *link) nth(n int, kind wire.Type) wire.Envelope {
	l.t.Helper()
	timeout := time.After(soon)
	for {
		l.mu.Lock()
		seen, changed := 0, l.changed
		for _, message := range l.frames {
			if message.Type != kind {
				continue
			}
			if seen++; seen == n {
				l.mu.Unlock()
				return message
			}
		}
		l.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			l.t.Fatalf("no frame %d of type %s within %v; there are %v", n, kind, soon, l.kinds())
		}
	}
}

// kinds lists what has come, but for what comes by the clock.
func (l *link) kinds() (kinds []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, message := range l.frames {
		if message.Type != wire.TypeHeartbeat {
			kinds = append(kinds, string(message.Type))
		}
	}
	return kinds
}

func (l *link) count(kind wire.Type) (count int) {
	for _, other := range l.kinds() {
		if other == string(kind) {
			count++
		}
	}
	return count
}

// into waits for the nth frame of a kind and decodes it.
func into[T any](l *link, n int, kind wire.Type) (payload T) {
	l.t.Helper()
	if err := l.nth(n, kind).Into(&payload); err != nil {
		l.t.Fatal(err)
	}
	return payload
}

func (l *link) awaitClosed() {
	l.t.Helper()
	select {
	case <-l.closed:
	case <-time.After(soon):
		l.t.Fatal("the connection stays")
	}
}

func (l *link) start(commandID, sessionID string, generation int64) {
	l.t.Helper()
	l.command(commandID, models.ActionStartSession, map[string]any{
		"sessionId": sessionID, "generation": generation, "user": "ada", "template": "desktop", "cpu": "1", "memory": "512Mi",
		"persistentHome": false, "templateManifest": map[string]any{
			"metadata": map[string]any{"name": "desktop"}, "spec": map[string]any{"displayName": "Desktop"}},
	})
}

func (l *link) stop(commandID, sessionID string, generation int64) {
	l.t.Helper()
	l.command(commandID, models.ActionStopSession, map[string]any{"sessionId": sessionID, "generation": generation})
}

func (l *link) command(commandID, action string, payload any) {
	l.t.Helper()
	l.send(wire.TypeCommand, map[string]any{"commandId": commandID, "action": action, "payload": payload})
}

// answered waits for a command's end, the nth time it is told, and gives the
// state of a completed one or the error's code.
func (l *link) answered(n int, commandID string) string {
	l.t.Helper()
	answer := ""
	program.Eventually(l.t, "an answer to "+commandID, soon, func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		seen := 0
		for _, message := range l.frames {
			var said struct {
				CommandID string           `json:"commandId"`
				Code      models.ErrorCode `json:"code"`
				Result    map[string]any   `json:"result"`
			}
			if message.Type != wire.TypeComplete && message.Type != wire.TypeFailed || message.Into(&said) != nil || said.CommandID != commandID {
				continue
			}
			if seen++; seen < n {
				continue
			}
			if answer = string(said.Code); message.Type == wire.TypeComplete {
				answer = fmt.Sprint(said.Result["state"])
				if said.Result["superseded"] == true {
					answer += " superseded"
				}
			}
			return nil
		}
		return errors.New("it has not come")
	})
	return answer
}

// machine is a driver whose sessions are entries in a map. Its effects are
// logged, one line each, in the order in which they happen.
type machine struct {
	// starting and stopping, if set, run before the effect and may keep it
	// from happening.
	starting func(ctx context.Context, spec driver.Spec) error
	stopping func(ctx context.Context, ref driver.Ref) error
	dialling func(ctx context.Context, ref driver.Ref) (net.Conn, error)
	present  []string
	exits    chan driver.Exit
	// now is the clock of StartedAt.
	now func() time.Time

	mu      sync.Mutex
	running map[driver.Ref]driver.Runtime
	effects []string
}

func newMachine() *machine {
	return &machine{running: map[driver.Ref]driver.Runtime{}, exits: make(chan driver.Exit), now: time.Now}
}

func (m *machine) Platform() string { return models.PlatformProcess }

func (m *machine) Facilities(_ context.Context, needs []string) (present []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, need := range needs {
		if slices.Contains(m.present, need) {
			present = append(present, need)
		}
	}
	return present, nil
}

func (m *machine) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	m.mu.Lock()
	runtime, there := m.running[spec.Ref]
	m.mu.Unlock()
	if there {
		return runtime, nil
	}
	if m.starting != nil {
		if err := m.starting(ctx, spec); err != nil {
			return driver.Runtime{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return driver.Runtime{}, err
	}
	runtime = driver.Runtime{Ref: spec.Ref, Protocol: models.ProtocolVNC, StartedAt: m.now(), TimeLimits: spec.TimeLimits(), Metadata: map[string]any{"pid": 42}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.running[spec.Ref] = runtime
	m.effects = append(m.effects, fmt.Sprintf("start %s/%d", spec.SessionID, spec.Generation))
	return runtime, nil
}

func (m *machine) Stop(ctx context.Context, ref driver.Ref) error {
	if m.stopping != nil {
		if err := m.stopping(ctx, ref); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.running, func(other driver.Ref, _ driver.Runtime) bool {
		return other.SessionID == ref.SessionID && other.Generation <= ref.Generation
	})
	m.effects = append(m.effects, fmt.Sprintf("stop %s/%d", ref.SessionID, ref.Generation))
	return nil
}

func (m *machine) Inventory(context.Context) ([]driver.Runtime, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Values(m.running)), nil
}

func (m *machine) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	ends := make(chan driver.Exit)
	go func() {
		defer close(ends)
		for {
			select {
			case <-ctx.Done():
				return
			case exit := <-m.exits:
				ends <- exit
			}
		}
	}()
	return ends, nil
}

func (m *machine) Dial(ctx context.Context, ref driver.Ref) (net.Conn, error) {
	if m.dialling == nil {
		return nil, models.Errorf(models.CodeSessionNotRunning, "session %q does not run here", ref.SessionID)
	}
	return m.dialling(ctx, ref)
}

// log gives the effects so far.
func (m *machine) log() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.effects, ", ")
}

// refs lists what runs.
func (m *machine) refs() []driver.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.running))
}

// effect waits for one.
func (m *machine) effect(t *testing.T, want string) {
	t.Helper()
	program.Eventually(t, want, soon, func() error {
		if log := m.log(); !strings.Contains(log, want) {
			return fmt.Errorf("the effects are %q", log)
		}
		return nil
	})
}

// hanging is a gate for starting or stopping: it says when it was reached, and
// opens when it is closed or ctx ends.
type hanging struct {
	reached chan driver.Ref
	open    chan struct{}
}

func newHanging() hanging {
	return hanging{reached: make(chan driver.Ref, 100), open: make(chan struct{})}
}

func (h hanging) start(ctx context.Context, spec driver.Spec) error { return h.wait(ctx, spec.Ref) }

func (h hanging) wait(ctx context.Context, ref driver.Ref) error {
	h.reached <- ref
	select {
	case <-h.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// await waits until somebody hangs.
func (h hanging) await(t *testing.T) driver.Ref {
	t.Helper()
	select {
	case ref := <-h.reached:
		return ref
	case <-time.After(soon):
		t.Fatal("the driver is not called")
		return driver.Ref{}
	}
}

// running is an agent under test.
type running struct {
	*agent.Agent
	t    *testing.T
	log  *program.Buffer
	stop func() error
}

// configure makes a configuration with short waits.
func configure(t *testing.T, p *plane, m *machine) agent.Config {
	t.Helper()
	return agent.Config{
		Server: p.url, Key: key, AgentID: agentID, JournalPath: filepath.Join(t.TempDir(), "journal"), Driver: m,
		Backoff:      agent.Backoff{Base: time.Millisecond, Cap: 20 * time.Millisecond, Refused: 20 * time.Millisecond},
		DrainWithin:  200 * time.Millisecond,
		HealthyAfter: time.Minute,
	}
}

// run runs an agent, until the test ends or stop is called.
func run(t *testing.T, config agent.Config) *running {
	t.Helper()
	r := &running{t: t, log: &program.Buffer{}}
	config.Logger = slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	made, err := agent.New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.Agent = made
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(soon):
			return errors.New("the agent does not end")
		}
	})
	t.Cleanup(func() {
		if err := r.stop(); !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the agent's log:\n%s", r.log)
		}
	})
	return r
}

// begin runs an agent with a driver against a control plane.
func begin(t *testing.T) (*plane, *machine, *link) {
	t.Helper()
	p, m := newPlane(t), newMachine()
	run(t, configure(t, p, m))
	return p, m, p.link()
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func awaitClosed(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(soon):
		t.Fatalf("%s: not within %v", what, soon)
	}
}
