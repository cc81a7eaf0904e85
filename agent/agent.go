package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/wire"
)

// The agent's defaults.
const (
	// DefaultMaxConcurrent is enough to keep a machine busy: more starts at
	// once make each of them slower.
	DefaultMaxConcurrent = 16
	DefaultMaxPending    = 4096
	DefaultMaxTunnels    = 1024
	// DefaultEffectWithin is shorter than the control plane's deadline for a
	// command, 15 minutes, so that the nearer cause is the one that is told.
	DefaultEffectWithin = 10 * time.Minute
	DefaultDrainWithin  = 10 * time.Second
	DefaultHealthyAfter = 30 * time.Second
	// DefaultTimeLimitsEvery is how often time limits are looked at, and
	// DefaultTimeLimitsGrace far more than the control plane needs to keep one.
	DefaultTimeLimitsEvery = 5 * time.Second
	DefaultTimeLimitsGrace = 2 * time.Minute
)

// Config configures an Agent. Server, Key, AgentID, JournalPath and Driver are
// needed. The zero value of any other field means its default.
type Config struct {
	// Server is the control plane's base URL, http or https.
	Server *url.URL
	// Key is the agent's key, AgentID the id that it was made for.
	Key, AgentID string
	// Region, ClusterID and ClusterName say where the agent is, for placement.
	Region, ClusterID, ClusterName string
	// HomeStore names the storage that the driver's persistent homes are on, if
	// agents on other machines share it.
	HomeStore string
	// MaxSessions limits the sessions that are placed here; 0 is no limit.
	MaxSessions int
	// Labels are what selectors of sessions choose by.
	Labels map[string]string
	// Allocatable is what sessions may have together: cpu and memory as
	// quantities, gpus as a number. What is left out is not limited, except GPUs,
	// of which there are none then.
	Allocatable map[string]string
	// Version is told to the control plane, for people; that of the build.
	Version string
	// JournalPath is the journal's file. No other process may use it.
	JournalPath string
	// SyncJournal is JournalOptions.Sync; (*os.File).Sync.
	SyncJournal func(*os.File) error
	// Driver runs the sessions.
	Driver driver.Driver

	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written to the journal, and of time limits;
	// time.Now.
	Now func() time.Time
	// Transport carries registration and the command connection; by default
	// one of HTTP/1.1 with the proxies of the environment.
	Transport http.RoundTripper
	// Backoff is the rhythm of attempts to connect.
	Backoff Backoff
	// HealthyAfter is how long a connection must have lasted for the next
	// attempts to start over with short waits; DefaultHealthyAfter.
	HealthyAfter time.Duration
	// StaleAfter is the silence that ends a connection; wire.StaleAfter. A
	// control plane that says how often it pings is given up sooner, after
	// wire.SilentPings of them.
	StaleAfter time.Duration
	// InventoryEvery is the rhythm of inventories; wire.InventoryEvery.
	InventoryEvery time.Duration
	// MaxConcurrent bounds the sessions that are started at once, and those
	// that are stopped at once; DefaultMaxConcurrent of each.
	MaxConcurrent int
	// MaxPending bounds the commands that the agent has taken and not ended;
	// DefaultMaxPending. One more is dropped without acknowledgement: the
	// control plane sends it again when its session is overdue, or on the next
	// connection.
	MaxPending int
	// MaxTunnels bounds the streams; DefaultMaxTunnels.
	MaxTunnels int
	// EffectWithin bounds one start or stop; DefaultEffectWithin.
	EffectWithin time.Duration
	// DrainWithin is for how long Run waits, once its context has ended, for
	// what is under way; DefaultDrainWithin. What takes longer is cancelled,
	// and done when the command comes again.
	DrainWithin time.Duration
	// TimeLimitsEvery is how often the sessions' time limits are looked at;
	// DefaultTimeLimitsEvery.
	TimeLimitsEvery time.Duration
	// TimeLimitsGrace is how far past its longest duration a session is left to
	// the control plane while that is connected; DefaultTimeLimitsGrace.
	TimeLimitsGrace time.Duration
}

// Agent carries out what the control plane commands. Safe for concurrent use.
type Agent struct {
	config   Config
	client   *http.Client
	capacity map[string]any
	census   *census
	// listing has one place, which is taken while the driver lists what runs.
	listing chan struct{}
	exits   *exits
	stock   *stock
	begun   atomic.Bool

	ready     chan struct{}
	readyOnce sync.Once

	// current is the connection that is open, or nil.
	current atomic.Pointer[connection]

	// Set by Run, before anything uses them.
	executor *executor
	tunnels  *tunnels
}

// New makes an agent. It does nothing until Run.
func New(config Config) (*Agent, error) {
	for name, missing := range map[string]bool{
		"Server": config.Server == nil, "Key": config.Key == "", "AgentID": config.AgentID == "",
		"JournalPath": config.JournalPath == "", "Driver": config.Driver == nil,
	} {
		if missing {
			return nil, fmt.Errorf("make an agent: %s is missing", name)
		}
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Version == "" {
		config.Version = buildVersion()
	}
	for field, otherwise := range map[*time.Duration]time.Duration{
		&config.HealthyAfter:   DefaultHealthyAfter,
		&config.StaleAfter:     wire.StaleAfter,
		&config.InventoryEvery: wire.InventoryEvery,
		&config.EffectWithin:   DefaultEffectWithin,
		&config.DrainWithin:    DefaultDrainWithin,

		&config.TimeLimitsEvery: DefaultTimeLimitsEvery,
		&config.TimeLimitsGrace: DefaultTimeLimitsGrace,
	} {
		if *field <= 0 {
			*field = otherwise
		}
	}
	for field, otherwise := range map[*int]int{
		&config.MaxConcurrent: DefaultMaxConcurrent,
		&config.MaxPending:    DefaultMaxPending,
		&config.MaxTunnels:    DefaultMaxTunnels,
	} {
		if *field <= 0 {
			*field = otherwise
		}
	}
	config.Backoff = config.Backoff.orDefaults()
	return &Agent{
		config:   config,
		client:   newClient(config.Transport),
		capacity: capacity(config.MaxSessions, config.Allocatable),
		census:   newCensus(),
		listing:  make(chan struct{}, 1),
		exits:    newExits(),
		stock:    newStock(),
		ready:    make(chan struct{}),
	}, nil
}

// Ready is closed once the control plane knows all that a launch needs: the
// agent is connected, and what it said of its machine has been stored.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run connects and works until ctx ends, and gives ctx's error then. It takes
// no more commands at that moment, waits up to DrainWithin for those under
// way, tells how they ended, and returns when everything it began is over.
// Sessions go on without it. An error before that means that the journal
// cannot be used. An agent runs once.
func (a *Agent) Run(ctx context.Context) error {
	if a.begun.Swap(true) {
		return errors.New("this agent has run already; make a new one")
	}
	journal, err := OpenJournal(a.config.JournalPath, JournalOptions{
		Logger: a.config.Logger, Now: a.config.Now, Sync: a.config.SyncJournal,
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := journal.Close(); err != nil {
			a.config.Logger.Warn("close the journal", "error", err)
		}
	}()
	a.tunnels = newTunnels(ctx, a.config)
	a.executor = newExecutor(a, journal)
	a.endUntold()

	// The connection stays for the last words.
	talking, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { a.stayConnected(ctx, talking) })
	running.Go(func() { a.watchExits(ctx) })
	running.Go(func() { a.keepTimeLimits(ctx) })
	running.Go(func() { a.watchImages(ctx) })
	<-ctx.Done()
	a.executor.drain(a.config.DrainWithin)
	hangUp()
	running.Wait()
	a.tunnels.wait()
	a.client.CloseIdleConnections()
	return ctx.Err()
}

// stayConnected connects whenever there is no connection, until ctx ends. The
// connection that is open then stays until talking ends.
func (a *Agent) stayConnected(ctx, talking context.Context) {
	failures, registered := 0, false
	for {
		lasted, err := a.connectOnce(ctx, talking, &registered)
		if ctx.Err() != nil {
			return
		}
		if lasted >= a.config.HealthyAfter {
			failures = 0
		}
		wait := a.config.Backoff.after(failures)
		failures++
		var refused *refusal
		switch {
		case errors.Is(err, errShutdown):
			wait = a.config.Backoff.spread()
		case errors.As(err, &refused) && refused.lasting():
			wait = a.config.Backoff.slow()
		}
		a.config.Logger.Warn("not connected to the control plane", "server", a.config.Server.Redacted(),
			"error", err, "tryAgainIn", wait.Round(time.Millisecond))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// connectOnce connects, and serves the connection until it is over. It tells
// how long the connection lasted, and why it ended or did not come about.
func (a *Agent) connectOnce(ctx, talking context.Context, registered *bool) (lasted time.Duration, err error) {
	if !*registered {
		if err := a.register(ctx); err != nil {
			return 0, err
		}
		*registered = true
	}
	c, err := a.connect(ctx)
	if err != nil {
		var refused *refusal
		if errors.As(err, &refused) && refused.status == http.StatusNotFound {
			*registered = false // it forgot this agent, as with a new database
		}
		return 0, err
	}
	began := time.Now()
	err = a.serve(talking, c)
	return time.Since(began), err
}

// tell sends a frame on the connection that is open. Without one nothing is
// sent: the control plane asks again about every command without an end when
// the agent connects.
func (a *Agent) tell(kind wire.Type, payload any) {
	if c := a.current.Load(); c != nil {
		c.send(kind, payload)
	}
}

func (a *Agent) becomeReady() { a.readyOnce.Do(func() { close(a.ready) }) }
