package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// maxLane bounds the tasks of one session, which follow each other. The control
// plane gives a session a new command once the one before is overdue, so more
// than a few mean that something is wrong.
const maxLane = 64

var (
	errRevoked = errors.New("a later command stops the session")
	errDrained = errors.New("the agent stops before this is done")
	errTooLong = errors.New("it took too long")
)

// executor does what commands and verdicts ask for. Tasks of one session are
// done one after the other, in order of arrival; those of different sessions
// at the same time, within a bound. A stop cancels the starts before it that
// it makes pointless, so that it need not wait for one that hangs. Safe for
// concurrent use.
type executor struct {
	driver  driver.Driver
	journal *Journal
	logger  *slog.Logger
	within  time.Duration
	pending int
	tell    func(wire.Type, any)
	census  *census
	tunnels *tunnels
	// tellEnd has the control plane told of a session that the agent has stopped
	// by itself.
	tellEnd func(wire.Status)

	// starts and stops hold a token for each that is under way. They are apart
	// so that starts that hang keep no session from being stopped.
	starts, stops chan struct{}
	// effects ends when what is under way is to be given up.
	effects context.Context
	giveUp  context.CancelCauseFunc
	closing chan struct{}
	running sync.WaitGroup

	mu    sync.Mutex
	tasks map[taskKey]*task
	// lanes has each session's tasks in order of arrival.
	lanes map[string][]*task
}

func newExecutor(a *Agent, journal *Journal) *executor {
	e := &executor{
		driver: a.config.Driver, journal: journal, logger: a.config.Logger,
		within: a.config.EffectWithin, pending: a.config.MaxPending,
		tell: a.tell, census: a.census, tunnels: a.tunnels, tellEnd: a.tellEnd,
		starts: make(chan struct{}, a.config.MaxConcurrent), stops: make(chan struct{}, a.config.MaxConcurrent),
		closing: make(chan struct{}),
		tasks:   map[taskKey]*task{}, lanes: map[string][]*task{},
	}
	e.effects, e.giveUp = context.WithCancelCause(context.Background())
	return e
}

// take begins a task and does not wait for it. A command that has ended is
// answered as it was the first time; one that is under way is acknowledged
// again if it was before.
func (e *executor) take(t *task) {
	log := e.logger.With("session", t.ref.SessionID, "generation", t.ref.Generation, "action", t.action, "command", t.commandID)
	known, outcome := e.admit(t, log)
	switch {
	case outcome != nil:
		log.Info("a command came again and is answered as before", "completed", outcome.Completed)
		e.answer(t.commandID, *outcome)
	case known:
		e.acknowledge(t)
	}
}

// admit puts a task into its session's lane. For one that is there already and
// journaled it reports known, for one that has ended it gives the outcome.
func (e *executor) admit(t *task, log *slog.Logger) (known bool, outcome *Outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isClosing() {
		log.Info("not taken, the agent is stopping")
		return false, nil
	}
	if same := e.tasks[t.key()]; same != nil {
		return same.journaled, nil
	}
	// Looked up under the lock: a task leaves e.tasks after its outcome is
	// in the journal, so a repeat finds it in one or the other.
	if ended, over := e.journal.Outcome(t.commandID); over {
		return false, &ended
	}
	lane := e.lanes[t.ref.SessionID]
	if len(e.tasks) >= e.pending || len(lane) >= maxLane {
		log.Error("dropped, too much is waiting; the control plane sends it again later", "waiting", len(e.tasks), "ofThisSession", len(lane))
		return false, nil
	}
	for _, earlier := range lane {
		if t.revokes(earlier) {
			earlier.cancel(errRevoked)
		}
	}
	t.ctx, t.cancel = context.WithCancelCause(e.effects)
	t.done = make(chan struct{})
	if len(lane) > 0 {
		t.before = lane[len(lane)-1].done
	}
	e.tasks[t.key()] = t
	e.lanes[t.ref.SessionID] = append(lane, t)
	e.running.Go(func() { e.run(t, log) })
	return false, nil
}

// starting tells whether a start of the runtime is under way.
func (e *executor) starting(ref driver.Ref) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.lanes[ref.SessionID], func(t *task) bool { return models.Begins(t.action) && t.ref == ref })
}

// forget ends a task and lets its session's next one begin.
func (e *executor) forget(t *task) {
	t.cancel(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.tasks, t.key())
	lane := slices.DeleteFunc(e.lanes[t.ref.SessionID], func(other *task) bool { return other == t })
	if e.lanes[t.ref.SessionID] = lane; len(lane) == 0 {
		delete(e.lanes, t.ref.SessionID)
	}
	close(t.done)
}

// run takes a task from its intent to its answer.
func (e *executor) run(t *task, log *slog.Logger) {
	defer e.forget(t)
	err := e.journal.Intend(Intent{CommandID: t.commandID, Action: t.action, Ref: t.ref, Ended: t.ended})
	//failpoint:intent-synced
	if err == nil {
		e.markJournaled(t)
	}
	if t.before != nil {
		<-t.before
	}
	if err != nil {
		// It has had no effect and leaves no trace, so a repeat is a new try.
		log.Error("the journal cannot be written, nothing is done", "error", err)
		e.answer(t.commandID, failure(&models.Error{Code: models.CodeUnavailable, Retryable: true,
			Message: "the agent cannot write its journal; see that its disk works and has room"}, t.action))
		return
	}
	outcome, over := e.do(t, log)
	if !over {
		log.Info("not done before the agent stops; it is done when it comes again")
		return
	}
	log.Info("carried out", "completed", outcome.Completed, "superseded", outcome.superseded(), "error", outcome.Error)
	if t.commandID == "" {
		return
	}
	if err := e.journal.Conclude(t.commandID, outcome); err != nil {
		// It is told all the same: should the command come again, which it does
		// only if this answer is lost, its effect is found to be there.
		log.Error("the outcome is not in the journal", "error", err)
	}
	//failpoint:outcome-synced
	e.answer(t.commandID, outcome)
}

// markJournaled makes an acknowledgement true, and sends it.
func (e *executor) markJournaled(t *task) {
	e.mu.Lock()
	t.journaled = true
	e.mu.Unlock()
	e.acknowledge(t)
}

func (e *executor) acknowledge(t *task) {
	if t.commandID != "" {
		e.tell(wire.TypeAck, wire.Ack{CommandID: t.commandID})
	}
}

// answer tells how a command ended. For a verdict there is nobody to tell.
func (e *executor) answer(commandID string, outcome Outcome) {
	switch {
	case commandID == "":
	case outcome.Completed:
		e.tell(wire.TypeComplete, wire.Complete{CommandID: commandID, Result: &outcome.Result})
	default:
		e.tell(wire.TypeFailed, wire.Failed{CommandID: commandID,
			Error: outcome.Error, Code: outcome.Code, Retryable: outcome.Retryable, Lingers: outcome.Lingers})
	}
}

// drain takes nothing more, begins nothing more, gives what is under way some
// time, and returns when nothing runs.
func (e *executor) drain(within time.Duration) {
	e.mu.Lock()
	close(e.closing)
	e.mu.Unlock()
	tooLate := time.AfterFunc(within, func() { e.giveUp(errDrained) })
	defer tooLate.Stop()
	e.running.Wait()
	e.giveUp(errDrained)
}

func (e *executor) isClosing() bool {
	select {
	case <-e.closing:
		return true
	default:
		return false
	}
}
