package services

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// pollBatch bounds what one poll reads of either kind.
const pollBatch = 500

// poll finds what hints missed: commands for connected agents that were not
// sent on their connection, and commands past their deadline.
func (d *CommandDispatcher) poll() {
	timer := time.NewTimer(jittered(d.options.PollEvery))
	defer timer.Stop()
	for {
		select {
		case <-d.stopChan:
			return
		case <-d.wake:
		case <-timer.C:
			timer.Reset(jittered(d.options.PollEvery))
			d.expire(context.Background())
		}
		d.refill(context.Background())
	}
}

// refill queues lanes with something to send, as many as there is room for.
func (d *CommandDispatcher) refill(ctx context.Context) {
	room := min(cap(d.queue)-len(d.queue), pollBatch)
	agents := d.stalls.without(d.hub.GetConnectedAgents(), time.Now())
	before := d.counters.sends()
	if room <= 0 {
		d.rest.Store(&before)
	}
	if room <= 0 || len(agents) == 0 {
		return
	}
	found, err := d.database.UnsentLanes(ctx, agents, room)
	if err != nil {
		d.options.Logger.Error("look for unsent commands", "error", err)
		return
	}
	for _, lane := range found {
		if !d.offer(hint{lane: lane}) {
			break
		}
	}
	if len(found) == room {
		d.rest.Store(&before)
	}
}

// drained looks for more at once when the last poll left something out, but
// only if something was sent since: else it would turn in circles.
func (d *CommandDispatcher) drained() {
	if before := d.rest.Load(); before != nil && d.counters.sends() > *before && d.rest.CompareAndSwap(before, nil) {
		d.awake()
	}
}

// expire fails commands that are past their deadline.
func (d *CommandDispatcher) expire(ctx context.Context) {
	overdue, err := d.database.OverdueCommands(ctx, d.options.Now(), pollBatch)
	if err != nil {
		d.options.Logger.Error("look for overdue commands", "error", err)
		return
	}
	for _, command := range overdue {
		if d.isStopped() {
			return
		}
		if d.fail(ctx, command, models.CodeCommandTimeout, overdueReason(command), true) {
			d.counters.timedOut.Add(1)
		}
	}
}

func overdueReason(command models.AgentCommand) string {
	within := command.DeadlineAt.Sub(command.CreatedAt).Round(time.Second)
	switch command.Status {
	case models.CommandPending:
		return fmt.Sprintf("agent %q was not connected within %s; see that it runs", command.AgentID, within)
	case models.CommandSent:
		return fmt.Sprintf("agent %q did not answer within %s; see that it works", command.AgentID, within)
	}
	return fmt.Sprintf("agent %q did not finish within %s", command.AgentID, within)
}

// fail ends a command on the control plane's own word, and reports whether it
// was this call that ended it.
func (d *CommandDispatcher) fail(ctx context.Context, command models.AgentCommand, code models.ErrorCode, reason string, retryable bool) bool {
	now := d.options.Now()
	result, err := d.database.FinishCommand(ctx, db.Finish{
		CommandID: command.CommandID, AgentID: command.AgentID, Status: models.CommandFailed,
		Error: reason, Code: code, Retryable: retryable,
	}, now)
	if err != nil {
		d.options.Logger.Error("fail a command", "command", command.CommandID, "error", err)
		return false
	}
	if result.Command.Status != models.CommandFailed || !endedAt(result.Command, now) {
		return false // it ended otherwise meanwhile
	}
	d.counters.failed.Add(1)
	d.options.Logger.Warn("command failed", "command", command.CommandID, "agent", command.AgentID,
		"session", command.SessionID, "action", command.Action, "code", code, "reason", reason)
	return true
}

// endedAt tells whether the command ended at that instant, which is how a
// caller knows its own ending from an earlier one.
func endedAt(command models.AgentCommand, now time.Time) bool {
	return command.CompletedAt != nil && command.CompletedAt.Equal(now.Truncate(time.Microsecond))
}

// stallFor is how long polls pass over an agent whose socket is full, so that
// its lanes, being the oldest, do not take every batch from the others.
const stallFor = 1500 * time.Millisecond

// stalls are the agents whose sockets took no more frames.
type stalls struct {
	mu    sync.Mutex
	since map[string]time.Time
}

func newStalls() stalls { return stalls{since: map[string]time.Time{}} }

func (s *stalls) note(agentID string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since[agentID] = now
}

// without leaves out the agents that stalled a moment ago, and forgets those
// that stalled before.
func (s *stalls) without(agents []string, now time.Time) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for agentID, since := range s.since {
		if now.Sub(since) > stallFor {
			delete(s.since, agentID)
		}
	}
	ready := agents[:0]
	for _, agentID := range agents {
		if _, stalled := s.since[agentID]; !stalled {
			ready = append(ready, agentID)
		}
	}
	return ready
}
