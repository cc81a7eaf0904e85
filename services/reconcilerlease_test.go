package services_test

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
)

// peer is one more control plane's reconciler, with a hub of its own, on the
// world's database.
type peer struct {
	*services.SessionReconciler
	now     func() time.Time
	frozen  atomic.Bool
	stopped chan struct{}
}

// replica starts reconciling as another replica. While it is frozen, as when the
// machine is suspended, its loop waits where it next looks at the clock.
func (w *world) replica(name string, lease time.Duration) *peer {
	w.t.Helper()
	hub := websocket.NewAgentHub(w.database)
	thawed := make(chan struct{})
	r := &peer{stopped: make(chan struct{})}
	r.now = func() time.Time {
		if r.frozen.Load() {
			<-thawed
		}
		return w.clock.Now()
	}
	r.SessionReconciler = services.NewSessionReconcilerWith(w.database, hub, services.NewCommandDispatcher(w.database, hub), services.ReconcilerOptions{
		Replica: name, Lease: lease, Interval: 5 * time.Millisecond, Now: r.now, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)).With("replica", name)})
	go func() { r.Start(); close(r.stopped) }()
	var once sync.Once
	w.t.Cleanup(func() {
		once.Do(func() { close(thawed) })
		r.Stop()
		<-r.stopped
		hub.Stop()
	})
	return r
}

func (w *world) holder() string {
	w.t.Helper()
	lease, _, err := w.database.Lease(w.t.Context(), "reconciler")
	if err != nil {
		w.t.Fatal(err)
	}
	return lease.Holder
}

// strand writes a session like another one that is stuck, on no agent.
func (w *world) strand(id, like string) {
	w.t.Helper()
	w.exec(fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, spec, request_hash,
			created_at, updated_at, state_since)
		SELECT '%s', name, user_id, template, protocol, 'pending', 'running', 1, spec, 'x', created_at, updated_at, %s
		FROM sessions WHERE id = '%s'`, id, map[db.Engine]string{db.SQLite: "'2020-01-01T00:00:00.000000Z'", db.Postgres: "'2020-01-01'"}[w.database.Engine()], like))
}

// R6. One of two reconciles. When it stops the other goes on at once, and when
// it is not heard of any more, once its lease is over.
func TestOneReplicaReconcilesAndAnotherTakesOver(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a"})
		runs := w.run("runs", w.startedAgent())
		const lease = 400 * time.Millisecond // of real time, as nobody sets that clock
		first := w.replica("first", lease)
		w.await("the first has the lease", func() bool { return w.holder() == "first" })
		second := w.replica("second", lease)
		stuck := func(id string) {
			t.Helper()
			w.strand(id, "runs")
			w.awaitSession(id, models.SessionFailed)
		}
		stuck("one")
		w.await("a pass is noted", func() bool {
			status, err := second.Status(t.Context())
			return err == nil && status.PassedAt != nil
		})
		status, err := second.Status(t.Context())
		if err != nil || status.Holder != "first" || status.Here || status.Epoch != 1 || len(status.Stuck) != 4 {
			t.Fatalf("the second says %+v, %v", status, err)
		}
		first.Stop()
		w.await("the second has what the first gave up", func() bool { return w.holder() == "second" })
		stuck("two")
		second.frozen.Store(true)
		begun := time.Now()
		third := w.replica("third", lease)
		w.await("the third has what the second does not renew", func() bool { return w.holder() == "third" })
		if took := time.Since(begun); took > 10*lease {
			t.Errorf("it took %s", took)
		}
		stuck("three")
		if status, err := third.Status(t.Context()); err != nil || !status.Here || status.Epoch != 3 {
			t.Errorf("the third says %+v, %v", status, err)
		}
		if after := w.session("runs"); after.Generation != runs.Generation || !after.UpdatedAt.Equal(runs.UpdatedAt) || len(w.sessionCommands("runs")) != 1 {
			t.Errorf("the session that ran became %+v", after)
		}
	})
}

// startedAgent is a connected agent "a" whose dispatcher runs.
func (w *world) startedAgent() *agentSocket {
	w.start()
	return w.connect("a")
}

// H4. When most agents fall silent together, none of them is given up until an
// hour later, and the status says why; one that is silent alone is.
func TestNobodyIsGivenUpWhileMostAgentsAreSilent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		var agents []*agentSocket
		for i := range 6 {
			w.register(models.Agent{ID: fmt.Sprint("agent-", i)})
			agents = append(agents, w.connect(fmt.Sprint("agent-", i)))
		}
		for i := range 6 {
			w.launch(fmt.Sprint("s", i))
		}
		for i, agent := range agents {
			if i > 0 {
				w.disconnect(agent)
			}
		}
		w.exec(`UPDATE agent_commands SET deadline_at = NULL`) // which would end them
		reconciler := w.reconcile()
		w.clock.advance(12 * time.Minute)
		var status models.ReconcilerStatus
		w.await("it is said why nobody is given up", func() bool {
			var err error
			if status, err = reconciler.Status(t.Context()); err != nil {
				t.Fatal(err)
			}
			return status.Hold != ""
		})
		// The one that is connected has said nothing since either.
		if !strings.Contains(status.Hold, "6 of 6 agents fell silent together") || !strings.Contains(status.Hold, "removes it") || status.HoldSince == nil {
			t.Errorf("it says %+v", status)
		}
		looks := w.looks.Load()
		w.await("there were some passes", func() bool { return w.looks.Load() > looks+20 })
		for i := range 6 {
			if session := w.session(fmt.Sprint("s", i)); session.State != models.SessionPending {
				t.Fatalf("%s is %s: %s", session.ID, session.State, session.Reason)
			}
		}
		w.clock.advance(time.Hour)
		failed := 0
		w.await("those that are away are given up", func() bool {
			failed = 0
			for i := range 6 {
				if session := w.session(fmt.Sprint("s", i)); session.ReasonCode == models.CodeAgentUnavailable && session.State == models.SessionFailed {
					failed++
				}
			}
			return failed >= 5
		})
		w.await("nothing is on hold", func() bool {
			status, err := reconciler.Status(t.Context())
			return err == nil && status.Hold == "" && status.HoldSince == nil
		})
	})
}

// H4. A replica that was suspended takes nobody for gone until agents have had
// the time to be heard of.
func TestAReplicaThatWasAwayGivesUpNobody(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.launch("one")
	w.disconnect(agent)
	w.exec(`UPDATE agent_commands SET deadline_at = NULL`) // which would end it
	r := w.replica("one", time.Minute)
	w.await("it has the lease", func() bool { return w.holder() == "one" })
	w.clock.advance(8 * time.Hour)
	w.await("it says that it was away", func() bool {
		status, err := r.Status(t.Context())
		return err == nil && strings.Contains(status.Hold, "suspended, or cut off from its database, for 8h0m0s")
	})
	if session := w.session("one"); session.State != models.SessionPending {
		t.Fatalf("the session is %s: %s", session.State, session.Reason)
	}
	for range 12 { // as time goes by
		w.clock.advance(50 * time.Second)
		w.await("the lease is renewed", func() bool {
			status, err := r.Status(t.Context())
			return err == nil && status.ExpiresAt != nil && status.ExpiresAt.Equal(w.clock.Now().Add(time.Minute))
		})
	}
	w.clock.advance(time.Second)
	if session := w.awaitSession("one", models.SessionFailed); session.ReasonCode != models.CodeAgentUnavailable {
		t.Errorf("it failed with %s", session.Reason)
	}
}

// H4. So does one that was suspended at any moment, just before it looks for
// what is stuck too: what it takes for silence is its own.
func TestAReplicaThatWasAwayAtAnyMomentGivesUpNobody(t *testing.T) {
	for moment := int64(2); moment < 9; moment++ { // at the first it has not begun to watch
		t.Run(fmt.Sprint(moment), func(t *testing.T) {
			w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
			w.start()
			w.register(models.Agent{ID: "a"})
			agent := w.connect("a")
			w.launch("one")
			w.disconnect(agent)
			w.exec(`UPDATE agent_commands SET deadline_at = NULL`) // which would end it
			var looks atomic.Int64
			r := services.NewSessionReconcilerWith(w.database, w.hub, w.dispatcher, services.ReconcilerOptions{
				Interval: 5 * time.Millisecond, Lease: time.Minute, Now: func() time.Time {
					if looks.Add(1) == moment {
						w.clock.advance(8 * time.Hour)
					}
					return w.clock.Now()
				}})
			ended := make(chan struct{})
			go func() { r.Start(); close(ended) }()
			t.Cleanup(func() { r.Stop(); <-ended })
			w.await("there were some passes since", func() bool { return looks.Load() > moment+20 && r.Stats().Passes > 5 })
			if session := w.session("one"); session.State != models.SessionPending {
				t.Errorf("the session is %s: %s", session.State, session.Reason)
			}
		})
	}
}

// words are what a logger wrote. Safe for concurrent use.
type words struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (w *words) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(text)
}

func (w *words) have(part string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Contains(w.text.String(), part)
}

// R6. A holder that was suspended between what it read and what it makes of it
// finds its lease taken, and writes nothing.
func TestASuspendedHoldersWriteIsFencedOff(t *testing.T) {
	decided, thawed := make(chan struct{}), make(chan struct{})
	thaw := sync.OnceFunc(func() { close(thawed) })
	decide := sync.OnceFunc(func() { close(decided) })
	read := false // the reconciler alone uses this handle
	database, own := dbtest.TracedPostgres(t, func(statement string) {
		if strings.Contains(statement, "FROM agent_commands") {
			read = true // and with it all about what is stuck
		} else if read && statement == "begin" {
			decide()
			<-thawed
		}
	})
	w := newWorld(t, database, services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	w.run("runs", w.startedAgent())
	const lease = 400 * time.Millisecond
	var heard words
	hub := websocket.NewAgentHub(own)
	first := services.NewSessionReconcilerWith(own, hub, services.NewCommandDispatcher(own, hub), services.ReconcilerOptions{
		Replica: "first", Lease: lease, Interval: 5 * time.Millisecond, Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(&heard, nil))})
	ended := make(chan struct{})
	go func() { first.Start(); close(ended) }()
	t.Cleanup(func() { thaw(); first.Stop(); <-ended; hub.Stop() })
	w.strand("one", "runs")
	<-decided
	// The second takes nothing for stuck, so whatever becomes of it is the first's work.
	never := 100 * 365 * 24 * time.Hour
	second := services.NewSessionReconcilerWith(database, w.hub, w.dispatcher, services.ReconcilerOptions{
		Replica: "second", Lease: lease, Interval: 5 * time.Millisecond, Now: w.clock.Now, PendingAfter: never})
	over := make(chan struct{})
	go func() { second.Start(); close(over) }()
	t.Cleanup(func() { second.Stop(); <-over })
	w.await("the second has what the first does not renew", func() bool { return w.holder() == "second" })
	thaw()
	w.await("the first is told", func() bool { return heard.have("another replica has taken over the lease") })
	if session := w.session("one"); session.State != models.SessionPending || len(first.Stats().ForcedEnds) > 0 {
		t.Errorf("the session is %s: %s", session.State, session.Reason)
	}
}

// A look that takes longer than the lease renews it on the way.
func TestALongLookKeepsItsLease(t *testing.T) {
	const lease = 1200 * time.Millisecond
	var w *world
	database, slow := dbtest.TracedPostgres(t, func(statement string) {
		if strings.Contains(statement, "s.state_since <") { // of four states
			<-time.After(lease * 5 / 12)
			w.clock.advance(lease * 5 / 12)
		}
	})
	w = newWorld(t, database, services.DispatcherOptions{})
	hub := websocket.NewAgentHub(slow)
	first := services.NewSessionReconcilerWith(slow, hub, services.NewCommandDispatcher(slow, hub), services.ReconcilerOptions{
		Replica: "first", Lease: lease, Interval: time.Hour, Now: w.clock.Now, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ended := make(chan struct{})
	go func() { first.Start(); close(ended) }()
	t.Cleanup(func() { first.Stop(); <-ended; hub.Stop() })
	w.await("the first has the lease", func() bool { return w.holder() == "first" })
	second := w.replica("second", lease)
	w.await("a look is over", func() bool { return first.Stats().Passes == 1 })
	if status, err := second.Status(t.Context()); err != nil || status.Holder != "first" || status.Epoch != 1 || status.PassedAt == nil {
		t.Errorf("it is %+v, %v", status, err)
	}
}

// What is stuck on an agent of another replica is asked for there.
func TestAStuckSessionIsBroughtOnByTheReplicaThatHasItsAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{PollEvery: 5 * time.Millisecond})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		start := agent.command()
		agent.send("ack", map[string]any{"commandId": start.CommandID})
		w.awaitCommand(start.CommandID, models.CommandAck)
		w.clock.advance(6 * time.Minute)
		w.exec(`UPDATE agents SET last_heartbeat = ` + map[db.Engine]string{
			db.SQLite: "'" + w.clock.Now().Format("2006-01-02T15:04:05.000000Z") + "'", db.Postgres: "'" + w.clock.Now().Format(time.RFC3339Nano) + "'"}[database.Engine()])
		w.replica("elsewhere", time.Hour)
		if again := agent.command(); again.CommandID != start.CommandID {
			t.Errorf("the agent got %s, and %s before", again.CommandID, start.CommandID)
		}
	})
}
