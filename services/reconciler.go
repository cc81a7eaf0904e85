package services

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// The reconciler's defaults.
const (
	DefaultReconcileEvery = time.Minute
	DefaultStuckAfter     = 5 * time.Minute
	DefaultAgentGoneAfter = 10 * time.Minute
	DefaultGiveUpAfter    = time.Hour
	DefaultRetryAfter     = time.Minute
	DefaultRetryAtMost    = 15 * time.Minute
)

// reconcileBatch bounds what one pass reads of one state.
const reconcileBatch = 1000

// ReconcilerOptions configure a SessionReconciler. The zero value of a field
// means its default.
type ReconcilerOptions struct {
	// Interval is the time between passes; DefaultReconcileEvery.
	Interval time.Duration
	// PendingAfter, TerminatingAfter, HibernatingAfter and WakingAfter are how
	// long a session may be in that state; DefaultStuckAfter.
	PendingAfter, TerminatingAfter, HibernatingAfter, WakingAfter time.Duration
	// AgentGoneAfter is the silence of an agent that is not connected after
	// which its sessions are ended without it if they are stuck, or if their
	// template does not have them wait for it; DefaultAgentGoneAfter.
	AgentGoneAfter time.Duration
	// GiveUpAfter is how long a session may be stuck although its agent is
	// connected, before it is ended all the same; DefaultGiveUpAfter.
	GiveUpAfter time.Duration
	// RetryAfter is how long after a stuck session's agent was asked again it is
	// asked once more; DefaultRetryAfter. It doubles each time, up to RetryAtMost;
	// DefaultRetryAtMost.
	RetryAfter, RetryAtMost time.Duration
	// HoldFor is for how long agents that vanished together with most others do
	// not count as gone, after they would; DefaultHoldFor.
	HoldFor time.Duration
	// Lease is how long this replica keeps the others from reconciling when it is
	// not heard of any more; DefaultLease.
	Lease time.Duration
	// Replica names this replica and no other. One that was killed and starts again
	// under its name goes on at once. By default it is the host's name with some
	// random letters.
	Replica string
	// CommandDeadline is that of a command that is issued anew;
	// DefaultCommandDeadline.
	CommandDeadline time.Duration
	// WaitFor is how long a session whose agent is gone waits for another one;
	// DefaultWaitFor.
	WaitFor time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock that everything is compared with; time.Now.
	Now func() time.Time
}

// SessionReconciler handles sessions that stay too long in a state that should
// pass: pending, terminating, hibernating, waking. If the agent is connected
// the session's command is sent again, the same one while it is unfinished, so
// that commands never pile up, and ever more rarely. If the agent is gone the session is ended in
// the database, and whatever still runs is stopped when the agent comes back
// and reports it. Of several replicas one reconciles, which has a lease for it;
// when it is not heard of any more another one goes on. Safe for concurrent use.
type SessionReconciler struct {
	database   *db.Database
	hub        *websocket.AgentHub
	dispatcher *CommandDispatcher
	options    ReconcilerOptions
	limits     thresholds

	counters *reconcilerCounters

	loop *loop
	// What follows is the loop's own.
	lease *lease
	// watching is since when this replica can have heard of agents, and away for
	// how long it was not able to before.
	watching time.Time
	away     time.Duration
	// holding is why the last pass took no agent for gone.
	holding string
}

// reconcilerLease is the name of the lease of whoever reconciles.
const reconcilerLease = "reconciler"

// NewSessionReconciler creates a new session reconciler with default options.
func NewSessionReconciler(
	database *db.Database,
	agentHub *websocket.AgentHub,
	dispatcher *CommandDispatcher,
) *SessionReconciler {
	return NewSessionReconcilerWith(database, agentHub, dispatcher, ReconcilerOptions{})
}

// NewSessionReconcilerWith creates a session reconciler.
func NewSessionReconcilerWith(
	database *db.Database,
	agentHub *websocket.AgentHub,
	dispatcher *CommandDispatcher,
	options ReconcilerOptions,
) *SessionReconciler {
	for field, otherwise := range map[*time.Duration]time.Duration{
		&options.Interval:         DefaultReconcileEvery,
		&options.PendingAfter:     DefaultStuckAfter,
		&options.TerminatingAfter: DefaultStuckAfter,
		&options.HibernatingAfter: DefaultStuckAfter,
		&options.WakingAfter:      DefaultStuckAfter,
		&options.AgentGoneAfter:   DefaultAgentGoneAfter,
		&options.GiveUpAfter:      DefaultGiveUpAfter,
		&options.HoldFor:          DefaultHoldFor,
		&options.Lease:            DefaultLease,
		&options.RetryAfter:       DefaultRetryAfter,
		&options.RetryAtMost:      DefaultRetryAtMost,
		&options.CommandDeadline:  DefaultCommandDeadline,
		&options.WaitFor:          DefaultWaitFor,
	} {
		if *field <= 0 {
			*field = otherwise
		}
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	// Of two readings of Go's clock the difference is that of a clock which stands
	// still while the machine sleeps: it would hide for how long this replica did.
	clock := options.Now
	options.Now = func() time.Time { return clock().Round(0) }
	if options.Replica == "" {
		options.Replica = replicaName()
	}
	return &SessionReconciler{
		database: database, hub: agentHub, dispatcher: dispatcher, options: options,
		limits: thresholds{
			stuck: map[models.SessionState]time.Duration{
				models.SessionPending:     options.PendingAfter,
				models.SessionTerminating: options.TerminatingAfter,
				models.SessionHibernating: options.HibernatingAfter,
				models.SessionWaking:      options.WakingAfter,
			},
			agentGone: options.AgentGoneAfter,
			giveUp:    options.GiveUpAfter,
			retry:     options.RetryAfter, retryAtMost: options.RetryAtMost,
		},
		lease: &lease{database: database, name: reconcilerLease, holder: options.Replica, duration: options.Lease,
			logger: options.Logger, now: options.Now},
		counters: newReconcilerCounters(),
		loop:     newLoop(),
	}
}

// GetStats returns the number of sessions in each stuck state, under the keys
// stuck_pending, stuck_terminating, stuck_hibernating and stuck_waking. It
// works whether or not the loop runs.
func (r *SessionReconciler) GetStats() (map[string]int, error) {
	counts, err := r.database.CountStuck(context.Background(), r.before(r.options.Now()))
	if err != nil {
		return nil, fmt.Errorf("reconciliation statistics: %w", err)
	}
	stats := make(map[string]int, len(counts))
	for state, count := range counts {
		stats["stuck_"+string(state)] = count
	}
	return stats, nil
}

// before says since when a session in each state counts as stuck.
func (r *SessionReconciler) before(now time.Time) map[models.SessionState]time.Time {
	before := make(map[models.SessionState]time.Time, len(r.limits.stuck))
	for state, limit := range r.limits.stuck {
		before[state] = now.Add(-limit)
	}
	return before
}

// Start begins the reconciliation loop: one pass as soon as this replica has the
// lease, which is at once unless another one has it, then one every interval. It
// blocks until Stop and the end of the pass in hand. After Stop it returns at
// once; further calls start nothing and only wait.
func (r *SessionReconciler) Start() {
	r.loop.run(func() {
		ctx := context.Background() // a pass that has begun ends; db bounds each call
		defer r.lease.release(ctx)
		r.watching = r.options.Now()
		r.lease.answered = r.watching
		var last time.Time
		for more := true; more; more = r.loop.pause(min(r.options.Interval, r.options.Lease/3), nil) {
			now := r.keep(ctx)
			if now.holds && (now.taken || time.Since(last) >= r.options.Interval) {
				last = time.Now()
				r.pass(ctx, now.asked)
				r.counters.passed(time.Since(last))
			}
		}
	})
}

// keep renews the lease or tries to take it, and notes when this replica was away.
func (r *SessionReconciler) keep(ctx context.Context) tenure {
	now, err := r.lease.keep(ctx)
	if err != nil {
		r.options.Logger.Error("keep the reconciler's lease", "error", err)
	}
	if now.away > 0 {
		r.watching, r.away = now.asked, now.away
	}
	return now
}

// goesOn tells whether the pass in hand may go on, and renews the lease of one
// that takes long.
func (r *SessionReconciler) goesOn(ctx context.Context) bool {
	if r.loop.isStopped() {
		return false
	}
	if !r.lease.due() {
		return true
	}
	now := r.keep(ctx)
	return now.holds && now.away == 0
}

// Stop gracefully stops the reconciliation loop: it waits for the pass in
// hand, which goes no further than the state it is at, and gives the lease up.
// Calling it twice, or
// before Start, is safe.
func (r *SessionReconciler) Stop() { r.loop.stop() }

// pass looks at every stuck session once, as of the time given. However many are
// stuck, it is a few statements for each state and batch.
func (r *SessionReconciler) pass(ctx context.Context, now time.Time) {
	//failpoint:reconcile-ahead
	before := r.before(now)
	hold, err := r.hold(ctx, now)
	if err != nil {
		r.options.Logger.Error("look at which agents are silent", "error", err)
		return // who is gone cannot be told from who is away
	}
	if hold != r.holding {
		if r.holding = hold; hold != "" {
			r.options.Logger.Warn("no agent is taken for gone", "because", hold)
		} else {
			r.options.Logger.Info("agents are taken for gone again when they are")
		}
	}
	for _, state := range models.SessionStates() {
		since, passing := before[state]
		if !passing {
			continue
		}
		if !r.goesOn(ctx) {
			return
		}
		stuck, err := r.database.StuckSessions(ctx, state, since, reconcileBatch)
		if err != nil {
			r.options.Logger.Error("look for stuck sessions", "state", state, "error", err)
			continue
		}
		if len(stuck) == reconcileBatch {
			r.options.Logger.Warn("more sessions are stuck than one pass takes", "state", state, "taken", len(stuck))
		}
		if err := r.bringOn(ctx, stuck, hold != "", now); err != nil {
			r.options.Logger.Error("reconcile", "state", state, "error", err)
			if models.CodeOf(err) == models.CodeLeaseLost {
				return
			}
		}
	}
	if !r.goesOn(ctx) {
		return
	}
	if err := r.desert(ctx, hold != "", now); err != nil {
		r.options.Logger.Error("look for sessions whose agent is gone", "error", err)
		if models.CodeOf(err) == models.CodeLeaseLost {
			return
		}
	}
	if err := r.database.NoteWork(ctx, r.lease.held.Fence(), hold, now); err != nil {
		r.options.Logger.Error("note that sessions are reconciled", "error", err)
	}
}

// hold says why no agent is taken for gone now, or nothing.
func (r *SessionReconciler) hold(ctx context.Context, now time.Time) (reason string, err error) {
	if until := r.watching.Add(r.limits.agentGone); r.away > 0 && now.Before(until) {
		return awayReason(r.away, r.watching, until), nil
	}
	heard, err := r.database.AgentsHeard(ctx, now.Add(-r.limits.agentGone-r.options.HoldFor))
	if err != nil {
		return "", err
	}
	if found, most := vanished(heard, now.Add(-wire.StaleAfter)); most {
		return found.reason(found.since.Add(r.limits.agentGone + r.options.HoldFor)), nil
	}
	return "", nil
}

// connected tells whether some replica has the agent's connection.
func (r *SessionReconciler) connected(agent *models.Agent, now time.Time) bool {
	return agent != nil && (r.hub.IsAgentConnected(agent.ID) ||
		agent.Connected && agent.LastHeartbeat != nil && now.Sub(*agent.LastHeartbeat) <= wire.StaleAfter)
}

// desert looks at the sessions that should run on agents that are gone, and
// carries out what is decided about them. While no agent is gone it is two
// statements.
func (r *SessionReconciler) desert(ctx context.Context, held bool, now time.Time) error {
	if held {
		return nil
	}
	gone, err := r.database.GoneAgents(ctx, now.Add(-r.limits.agentGone))
	if err != nil || len(gone) == 0 {
		return err
	}
	after := ""
	for more := true; more && r.goesOn(ctx); {
		running, err := r.database.RunningOn(ctx, gone, after, reconcileBatch)
		if err != nil {
			return err
		}
		var ends []db.ForcedEnd
		for _, one := range running {
			after = one.Session.ID
			decided := deserted(situation{StuckSession: one, connected: r.connected(one.Agent, now), watching: r.watching, now: now}, r.limits)
			if decided.step == leave {
				continue
			}
			end := forced(one.Session, decided)
			if one.Agent != nil {
				end.Epoch = one.Agent.Epoch
			}
			if decided.step == recreate {
				end.Again.WaitUntil = now.Add(r.options.WaitFor)
			}
			ends = append(ends, end)
		}
		if err := r.forceEnds(ctx, ends, now); err != nil {
			return err
		}
		more = len(running) == reconcileBatch
	}
	return nil
}

// bringOn decides about stuck sessions of one state and carries that out.
func (r *SessionReconciler) bringOn(ctx context.Context, stuck []db.StuckSession, held bool, now time.Time) error {
	var again []db.StuckSession
	var ends []db.ForcedEnd
	for _, one := range stuck {
		at := situation{StuckSession: one, connected: r.connected(one.Agent, now), watching: r.watching, held: held, now: now}
		switch decided := plan(at, r.limits); decided.step {
		case reissue:
			again = append(again, one)
		case forceEnd:
			ends = append(ends, forced(one.Session, decided))
		}
	}
	hopeless, err := r.reissue(ctx, again, now)
	if err != nil {
		return err
	}
	return r.forceEnds(ctx, append(ends, hopeless...), now)
}

// reissue has the sessions' unfinished commands sent again, or new copies of
// those that failed. hopeless are the ends of sessions that have none.
func (r *SessionReconciler) reissue(ctx context.Context, stuck []db.StuckSession, now time.Time) (hopeless []db.ForcedEnd, err error) {
	var asked []db.Reissue
	var without []db.StuckSession
	for _, one := range stuck {
		here := r.hub.IsAgentConnected(one.Session.AgentID)
		if one.Open != nil && here {
			r.sendAgain(one.Session, *one.Open)
			continue
		}
		without = append(without, one)
		asked = append(asked, db.Reissue{SessionID: one.Session.ID, CommandID: newCommandID(now), DeadlineAt: now.Add(r.options.CommandDeadline),
			// A command that ended since the session was read has moved it too.
			State: one.Session.State, Generation: one.Session.Generation, Anywhere: !here})
	}
	if len(asked) == 0 {
		return nil, nil
	}
	issued, err := r.database.ReissueCommands(ctx, r.lease.held.Fence(), asked, now)
	if err != nil {
		return nil, err
	}
	//failpoint:reissue-committed
	for i, one := range without {
		switch {
		case models.CodeOf(issued[i].Err) == models.CodeCommandUnknown:
			// Nothing says how to bring it on, so it can only end.
			hopeless = append(hopeless, forced(one.Session, end(one.Session, "its command is not in the database", models.CodeInternal)))
		case issued[i].Err == nil && issued[i].Command.CommandID != "":
			r.sendAgain(one.Session, issued[i].Command)
		}
	}
	return hopeless, nil
}

// sendAgain gives the command to the dispatcher. What that does not take now,
// it finds by itself later.
func (r *SessionReconciler) sendAgain(session models.Session, command models.AgentCommand) {
	if command.Generation < session.Generation {
		return // left from before; it ends at its deadline, and the session's own is issued then
	}
	r.counters.retried(session.State)
	r.options.Logger.Warn("a session is stuck, its command is sent again", "session", session.ID,
		"state", session.State, "since", session.StateSince, "agent", session.AgentID, "command", command.CommandID)
	if !r.dispatcher.again(command) {
		r.options.Logger.Warn("the command of a stuck session waits for room in the queue", "session", session.ID, "command", command.CommandID)
	}
}

// forced is what has a session end as it was decided.
func forced(session models.Session, decided decision) db.ForcedEnd {
	end := db.ForcedEnd{SessionID: session.ID, AgentID: session.AgentID, Generation: session.Generation, From: session.State, To: decided.to,
		Reason: decided.reason, ReasonCode: decided.code, Retryable: decided.retryable, Actor: "reconciler"}
	if decided.step == recreate {
		end.Again = &db.Again{Losses: decided.losses}
	}
	return end
}

func (r *SessionReconciler) forceEnds(ctx context.Context, ends []db.ForcedEnd, now time.Time) error {
	if len(ends) == 0 {
		return nil
	}
	done, err := r.database.ForceEnds(ctx, r.lease.held.Fence(), ends, now)
	if err != nil {
		return err
	}
	//failpoint:force-end-committed
	for i, one := range ends {
		if done[i] {
			r.counters.forced(one.ReasonCode)
			r.options.Logger.Warn("a session was ended without its agent", "session", one.SessionID,
				"from", one.From, "to", one.To, "reason", one.Reason)
		}
	}
	return nil
}
