package sim

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// slot is the place of a replica, with what outlives its processes.
type slot struct {
	number int
	// offset is how far its clock is from the right time, in nanoseconds.
	offset atomic.Int64
	// away is until when its database cannot be reached, in Unix nanoseconds.
	away atomic.Int64

	mu sync.Mutex
	// starts are when its processes were started.
	starts  []time.Time
	current *replicaRun
}

func (s *slot) running() *replicaRun {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// now is the slot's clock.
func (s *slot) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// replicaRun is one process of the control plane, from start to crash.
type replicaRun struct {
	world *world
	slot  *slot
	name  string
	// holder is its name in leases.
	holder string
	life   *life

	handle     *sql.DB
	database   *db.Database
	hub        *websocket.AgentHub
	dispatcher *services.CommandDispatcher
	reconciler *services.SessionReconciler
	queue      *services.Queue
	drainer    *services.Drainer
	sessions   *services.Sessions
	listener   *listener
	server     *http.Server
	running    sync.WaitGroup

	// commits counts down to the crash in the middle of one; 0 is none.
	commits atomic.Int32
	// early says that the crash comes before the commit is done.
	early    atomic.Bool
	commands atomic.Int64
}

// startReplica composes a replica as internal/server does, and starts it. The
// caller has the slot's lock.
func (w *world) startReplica(s *slot) {
	s.starts = append(s.starts, time.Now())
	run := len(s.starts)
	r := &replicaRun{world: w, slot: s, name: fmt.Sprintf("replica %d", s.number), life: newLife()}
	r.holder = fmt.Sprintf("%s run %d", r.name, run)
	s.current = r
	logger := w.options.Logger.With("on", r.name, "run", run)
	number := int64(s.number)
	store := &storage{path: w.path, gate: w.gate, life: r.life, faults: w.faults, awayUntil: &s.away, healed: w.healed,
		chance:   newChance(w.plan.Seed, fmt.Sprintf("%s run %d", r.name, run)),
		by:       func() (int64, int64) { return int64(time.Since(w.began)), number },
		atCommit: r.atCommit, far: w.far,
	}
	r.handle = store.open()
	r.database = db.FromDB(r.handle)
	r.hub = websocket.NewAgentHubWith(r.database, websocket.Options{Logger: logger, Now: s.now,
		HeartbeatEvery: w.plan.HeartbeatEvery, StaleAfter: w.plan.StaleAfter})
	r.dispatcher = services.NewCommandDispatcherWith(r.database, r.hub, services.DispatcherOptions{Logger: logger, Now: s.now,
		Workers: 3, QueueSize: dispatcherQueue, Window: dispatcherWindow, AckWithin: w.plan.AckWithin,
		CommandDeadline: w.plan.CommandDeadline, WaitFor: waitFor})
	services.NewInventory(r.database, r.hub, r.dispatcher, services.InventoryOptions{Logger: logger, Now: s.now})
	r.reconciler = services.NewSessionReconcilerWith(r.database, r.hub, r.dispatcher, services.ReconcilerOptions{
		Logger: logger, Now: s.now, Interval: w.plan.ReconcileEvery, Lease: w.plan.Lease, Replica: r.holder,
		PendingAfter: w.plan.StuckAfter, TerminatingAfter: w.plan.StuckAfter,
		HibernatingAfter: w.plan.StuckAfter, WakingAfter: w.plan.StuckAfter,
		AgentGoneAfter: w.plan.AgentGoneAfter, GiveUpAfter: w.plan.GiveUpAfter, CommandDeadline: w.plan.CommandDeadline,
		RetryAfter: w.plan.RetryAfter, RetryAtMost: w.plan.RetryAtMost})
	selector := services.NewAgentSelectorWith(r.handle, r.hub, services.SelectorOptions{Now: s.now, HeartbeatWithin: w.plan.recent()})
	r.sessions = services.NewSessions(r.database, selector, r.dispatcher, services.SessionsOptions{Logger: logger, Now: s.now,
		CommandDeadline: w.plan.CommandDeadline, WaitFor: waitFor,
		NewCommandID: func() string { return fmt.Sprintf("c%d-%d-%d", number, run, r.commands.Add(1)) }})
	r.queue = services.NewQueue(r.sessions, services.QueueOptions{Logger: logger})
	r.drainer = services.NewDrainer(r.database, r.sessions, services.DrainerOptions{Logger: logger, Now: s.now})
	r.listener = newListener(r.name, r.life)
	r.server = &http.Server{Handler: r.routes(), ErrorLog: w.quiet}
	r.running.Go(r.hub.Run)
	r.running.Go(r.dispatcher.Start)
	r.running.Go(r.reconciler.Start)
	r.running.Go(r.queue.Start)
	r.running.Go(r.drainer.Start)
	r.running.Go(func() { _ = r.server.Serve(r.listener) }) // it ends with the listener
	r.running.Go(func() {
		if err := r.dispatcher.DispatchPendingCommands(); err != nil {
			logger.Warn("queue the commands of an earlier run", "error", err)
		}
	})
}

// routes are the two of the API that agents use, without keys.
func (r *replicaRun) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+wire.RegisterPath, func(w http.ResponseWriter, request *http.Request) {
		var body wire.Register
		err := json.NewDecoder(request.Body).Decode(&body)
		if m := r.world.machine(body.AgentID); m != nil {
			body.Capacity = m.says().claim.said
		}
		if err == nil {
			_, _, err = r.database.RegisterAgent(request.Context(), models.Agent{
				ID: body.AgentID, Platform: body.Platform, Region: body.Region, HomeStore: body.HomeStore, Labels: body.Labels, Capacity: body.Capacity, Metadata: body.Metadata,
			}, r.slot.now())
		}
		if err != nil {
			http.Error(w, `{"detail":"not now"}`, http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	mux.HandleFunc("GET "+wire.ConnectPath, func(w http.ResponseWriter, request *http.Request) {
		r.hub.ServeConnect(w, request, request.URL.Query().Get(wire.ParamAgentID))
	})
	return mux
}

// atCommit crashes the replica at the commit that the world has chosen.
func (r *replicaRun) atCommit(done bool) {
	if done == r.early.Load() || r.commits.Load() <= 0 {
		return
	}
	if r.commits.Add(-1) == 0 && r.world.faults.may(CrashInCommit) {
		r.world.faults.count(CrashInCommit)
		r.crash()
	}
}

// crash ends the replica at once, and has another one started in a while.
func (r *replicaRun) crash() {
	if r.fall() {
		r.world.later(r.world.chance.between(500*time.Millisecond, 12*time.Second), func() { r.world.resume(r.slot) })
	}
}

// fall ends the replica at once, and tells whether it still ran.
func (r *replicaRun) fall() bool {
	if r.life.over() {
		return false
	}
	r.life.end()
	r.slot.mu.Lock()
	if r.slot.current == r {
		r.slot.current = nil
	}
	r.slot.mu.Unlock()
	for _, l := range r.world.network.all(func(l *link) bool { return l.replica == r }) {
		l.breakFar()
		if r.world.chance.happens(0.8) {
			l.breakNear()
		} else {
			l.down.swallow() // the machine went, and says nothing
		}
	}
	r.world.running.Go(r.stop)
	return true
}

// stop ends the replica in order, and after a crash what goroutines are left.
func (r *replicaRun) stop() {
	r.queue.Stop()
	r.drainer.Stop()
	r.reconciler.Stop()
	r.dispatcher.Stop()
	r.hub.Stop()
	_ = r.server.Close()
	r.life.end()
	r.running.Wait()
	_ = r.handle.Close()
}

// launch asks this replica for a session.
func (r *replicaRun) launch(ctx context.Context, id string, asked wish) (models.Session, bool, error) {
	return r.sessions.Launch(ctx, asked.request(id, r.world.owner))
}
