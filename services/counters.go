package services

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/models"
)

// DispatcherStats counts what a dispatcher has done since it was made.
type DispatcherStats struct {
	// Sent counts first sends, Resent every further send of a command.
	Sent, Resent uint64
	// Acknowledged, Completed and Failed count commands by what agents said of
	// them; Failed also has those that the dispatcher gave up.
	Acknowledged, Completed, Failed uint64
	// TimedOut counts those of Failed whose deadline passed.
	TimedOut uint64
	// Orphans counts runtimes that agents were told to stop since they should not
	// run, each time that they were.
	Orphans uint64
	// Lost counts sessions that their agent did not have any more, by what became
	// of them.
	Lost map[LostOutcome]uint64
	// QueueLength is how many commands wait in the queue now.
	QueueLength int
	// InFlight is how many commands were sent and are not acknowledged.
	InFlight int
	// Unwritten is how many commands have news that is not in the database yet.
	Unwritten int
	// Batches counts the transactions that wrote news of commands, BatchRows the
	// commands in them, BatchFailures those that had to be repeated.
	Batches, BatchRows, BatchFailures uint64
}

// LostOutcome is what becomes of a session that its agent does not have any
// more.
type LostOutcome string

// The outcomes of a loss: begun again where it was or elsewhere, or ended.
const (
	LostRestarted LostOutcome = "restarted"
	LostRecreated LostOutcome = "recreated"
	LostEnded     LostOutcome = "ended"
)

// ReconcilerStats counts what a reconciler has done since it was made.
type ReconcilerStats struct {
	// Retries counts commands of stuck sessions that were sent again, or issued
	// anew, by the sessions' state.
	Retries map[models.SessionState]uint64
	// ForcedEnds counts sessions that were ended, or placed anew, without their
	// agent's word, by the reason's code.
	ForcedEnds map[models.ErrorCode]uint64
	// Passes counts looks at all sessions, and PassSeconds the time they took.
	Passes      uint64
	PassSeconds float64
}

// reconcilerCounters are safe for concurrent use.
type reconcilerCounters struct {
	mu    sync.Mutex
	stats ReconcilerStats
}

func newReconcilerCounters() *reconcilerCounters {
	return &reconcilerCounters{stats: ReconcilerStats{Retries: map[models.SessionState]uint64{}, ForcedEnds: map[models.ErrorCode]uint64{}}}
}

func (c *reconcilerCounters) retried(state models.SessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Retries[state]++
}

func (c *reconcilerCounters) forced(code models.ErrorCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.ForcedEnds[code]++
}

func (c *reconcilerCounters) passed(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Passes++
	c.stats.PassSeconds += took.Seconds()
}

// Stats gives the counters as they are now.
func (r *SessionReconciler) Stats() ReconcilerStats {
	r.counters.mu.Lock()
	defer r.counters.mu.Unlock()
	stats := r.counters.stats
	stats.Retries, stats.ForcedEnds = maps.Clone(stats.Retries), maps.Clone(stats.ForcedEnds)
	return stats
}

// SessionsStats counts what a replica has done about placing sessions since it
// was started.
type SessionsStats struct {
	// Placed counts the sessions that were given an agent, once more for each
	// further one.
	Placed uint64
	// Conflicts counts the times that a race was lost: the chosen agent had no
	// room any more, or was not fit any more, or the session had been placed by
	// another replica. Most sessions are placed at the next try.
	Conflicts uint64
}

// Stats gives the counters as they are now.
func (s *Sessions) Stats() SessionsStats {
	return SessionsStats{Placed: s.placer.placed.Load(), Conflicts: s.placer.conflicts.Load()}
}

type counters struct {
	sent, resent, acknowledged, completed, failed, timedOut atomic.Uint64
	orphans, restarted, recreated, ended                    atomic.Uint64
}

// sends counts sends of any kind.
func (c *counters) sends() uint64 { return c.sent.Load() + c.resent.Load() }

// Stats gives the dispatcher's counters as they are now.
func (d *CommandDispatcher) Stats() DispatcherStats {
	written := d.recorders.counts()
	return DispatcherStats{
		Sent:         d.counters.sent.Load(),
		Resent:       d.counters.resent.Load(),
		Acknowledged: d.counters.acknowledged.Load(),
		Completed:    d.counters.completed.Load(),
		Failed:       d.counters.failed.Load(),
		TimedOut:     d.counters.timedOut.Load(),
		Orphans:      d.counters.orphans.Load(),
		Lost: map[LostOutcome]uint64{LostRestarted: d.counters.restarted.Load(), LostRecreated: d.counters.recreated.Load(),
			LostEnded: d.counters.ended.Load()},
		QueueLength: len(d.queue),
		InFlight:    d.flows.inFlight(),
		Unwritten:   d.recorders.unwritten(),
		Batches:     written.batches, BatchRows: written.rows, BatchFailures: written.failures,
	}
}
