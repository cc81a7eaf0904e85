package agent

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// maxExits bounds the ends that wait to be told. Of what is left out, the next
// inventory tells, only without the reason.
const maxExits = 4096

// unsent marks an end that has not been sent on the current connection.
const unsent = -1

// exits keeps the ends of sessions that nobody stopped until the control plane
// has them for certain. Nothing acknowledges a status by itself; but frames are
// handled in order, so the verdict on an inventory that was sent after it does.
// Safe for concurrent use.
type exits struct {
	mu sync.Mutex
	// waiting has the newest generation of each session.
	waiting map[string]*ended
	// on is the newest connection, inventories and verdicts are how many went
	// and came on it.
	on                    *connection
	inventories, verdicts int
	// known are journaled ends that the control plane has.
	known []wire.Status
}

// ended is a session's end.
type ended struct {
	status wire.Status
	// after is how many inventories at most had been sent before it, or unsent.
	after int
	// journaled tells that the journal remembers it until the control plane has it.
	journaled bool
}

func newExits() *exits { return &exits{waiting: map[string]*ended{}} }

// connected tells everything on a new connection.
func (e *exits) connected(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on, e.inventories, e.verdicts = c, 0, 0
	for _, end := range e.waiting {
		end.after = unsent
	}
	e.flush()
}

// note tells of an end, now or on the next connection. It reports false when
// too many are waiting.
func (e *exits) note(status wire.Status, journaled bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	earlier, known := e.waiting[status.SessionID]
	if known && earlier.status.Generation > status.Generation {
		return true
	}
	if !known && len(e.waiting) >= maxExits {
		return false
	}
	e.waiting[status.SessionID] = &ended{status: status, after: unsent, journaled: journaled}
	e.flush()
	return true
}

// inventoried counts an inventory that is about to be sent.
func (e *exits) inventoried() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.inventories++
}

// confirmed forgets what was sent before the inventory that c's next verdict
// is on.
func (e *exits) confirmed(c *connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.on != c {
		return
	}
	e.verdicts++
	for _, end := range e.waiting {
		if end.after != unsent && end.after < e.verdicts {
			e.forget(end)
		}
	}
}

// forget drops an end that the control plane has.
func (e *exits) forget(end *ended) {
	delete(e.waiting, end.status.SessionID)
	if end.journaled {
		e.known = append(e.known, end.status)
	}
}

// has tells whether an end is being told, or known.
func (e *exits) has(status wire.Status) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	waiting := e.waiting[status.SessionID]
	return waiting != nil && waiting.status.Generation >= status.Generation || slices.ContainsFunc(e.known, func(known wire.Status) bool {
		return known.SessionID == status.SessionID && known.Generation >= status.Generation
	})
}

// takeKnown gives the journaled ends that the control plane has since the last
// call.
func (e *exits) takeKnown() []wire.Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.known
	e.known = nil
	return known
}

// flush sends what has not been sent. An inventory may be sent at the same
// time, so the count is taken afterwards: too high only keeps an end longer.
func (e *exits) flush() {
	if e.on == nil {
		return
	}
	for _, sessionID := range slices.Sorted(maps.Keys(e.waiting)) {
		end := e.waiting[sessionID]
		if end.after != unsent {
			continue
		}
		if !e.on.send(wire.TypeStatus, end.status) {
			return
		}
		if end.after = e.inventories; !e.on.negotiated {
			e.forget(end) // there are no verdicts to wait for
		}
	}
}

func statusOf(exit driver.Exit) wire.Status {
	status := wire.Status{SessionID: exit.SessionID, Generation: exit.Generation,
		State: string(models.SessionTerminated), Reason: exit.Reason}
	switch {
	case exit.Lost:
		status.State, status.ReasonCode = string(models.SessionFailed), models.CodeRuntimeLost
	case !exit.Clean:
		status.State, status.ReasonCode = string(models.SessionFailed), models.CodeRuntimeExited
	}
	return status
}

// watchExits follows the driver until ctx ends.
func (a *Agent) watchExits(ctx context.Context) {
	for ctx.Err() == nil {
		ends, err := a.config.Driver.Exits(ctx)
		if err != nil {
			a.config.Logger.Error("sessions that end by themselves are not noticed; inventories tell of them", "error", err)
		} else {
			a.followExits(ends)
		}
		select {
		case <-ctx.Done():
		case <-time.After(repeatAfter):
		}
	}
}

func (a *Agent) followExits(ends <-chan driver.Exit) {
	for exit := range ends {
		a.config.Logger.Info("a session ended by itself", "session", exit.SessionID, "generation", exit.Generation,
			"clean", exit.Clean, "reason", exit.Reason)
		a.census.stopped(exit.Ref)
		if !a.exits.note(statusOf(exit), false) {
			a.config.Logger.Warn("too many ends wait to be told, this one is left to the inventory", "session", exit.SessionID)
		}
	}
}
