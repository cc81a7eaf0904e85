package services

import "sync/atomic"

// DispatcherStats counts what a dispatcher has done since it was made.
type DispatcherStats struct {
	// Sent counts first sends, Resent every further send of a command.
	Sent, Resent uint64
	// Acknowledged, Completed and Failed count commands by what agents said of
	// them; Failed also has those that the dispatcher gave up.
	Acknowledged, Completed, Failed uint64
	// TimedOut counts those of Failed whose deadline passed.
	TimedOut uint64
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
		QueueLength:  len(d.queue),
		InFlight:     d.flows.inFlight(),
		Unwritten:    d.recorders.unwritten(),
		Batches:      written.batches, BatchRows: written.rows, BatchFailures: written.failures,
	}
}
