package agent

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// timeLimits is what the agent knows of the use of its sessions. The control
// plane knows more and keeps their time limits while it is connected; without it
// the agent does.
type timeLimits struct {
	// grace is Config.TimeLimitsGrace.
	grace time.Duration
	// connected is when there last was a connection, or when the agent began.
	connected time.Time
	// used is when each runtime last had a tunnel.
	used map[driver.Ref]time.Time
}

// look gives the runtimes that are to be ended now, with the limits that they
// have reached.
func (l *timeLimits) look(runtimes []driver.Runtime, viewed map[driver.Ref]bool, connected bool, now time.Time) map[driver.Ref]models.ErrorCode {
	if connected {
		l.connected = now
	}
	used, reached := map[driver.Ref]time.Time{}, map[driver.Ref]models.ErrorCode{}
	for _, runtime := range runtimes {
		active := l.used[runtime.Ref]
		if viewed[runtime.Ref] {
			active = now
		}
		used[runtime.Ref] = active
		for _, later := range []time.Time{runtime.StartedAt, l.connected} {
			if later.After(active) {
				active = later
			}
		}
		expires, idle := runtime.TimeLimits.Ends(runtime.StartedAt, active)
		at := now
		if connected {
			at = at.Add(-l.grace)
		}
		if code := models.LimitReached(expires, idle, at); code != "" {
			reached[runtime.Ref] = code
		}
	}
	l.used = used
	return reached
}

// keepTimeLimits ends sessions at their time limits until ctx ends.
func (a *Agent) keepTimeLimits(ctx context.Context) {
	limits := timeLimits{grace: a.config.TimeLimitsGrace, connected: a.config.Now()}
	ticker := time.NewTicker(a.config.TimeLimitsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		connected := a.current.Load() != nil
		runtimes, counted := a.census.list()
		if !connected && !counted {
			// What an earlier run has started; with a connection the inventory tells.
			if _, err := a.list(ctx); err != nil && ctx.Err() == nil {
				a.config.Logger.Error("the sessions that run here cannot be listed", "error", err)
			}
			continue
		}
		reached := limits.look(runtimes, a.tunnels.viewed(), connected, a.config.Now())
		for _, runtime := range runtimes {
			if code := reached[runtime.Ref]; code != "" {
				a.endAtLimit(runtime, code)
			}
		}
		for _, status := range a.exits.takeKnown() {
			if err := a.executor.journal.Told(driver.Ref{SessionID: status.SessionID, Generation: status.Generation}); err != nil {
				// It is told again, which changes nothing.
				a.config.Logger.Warn("that an end is known is not in the journal", "session", status.SessionID, "error", err)
			}
		}
		a.endUntold()
	}
}

func (a *Agent) endAtLimit(runtime driver.Runtime, code models.ErrorCode) {
	state := models.SessionTerminated
	if runtime.TimeLimits.OnLimit == models.OnLimitHibernate {
		state = models.SessionHibernated
	}
	a.end(wire.Status{SessionID: runtime.SessionID, Generation: runtime.Generation, State: string(state),
		Reason: runtime.TimeLimits.Reason(code), ReasonCode: code})
}

// end stops a session by the agent's own decision, and has it told afterwards.
// What is being ended already is left at that.
func (a *Agent) end(status wire.Status) {
	ref := driver.Ref{SessionID: status.SessionID, Generation: status.Generation}
	if a.census.hold(ref) {
		a.config.Logger.Info("a session is past a time limit, and is ended without the control plane",
			"session", ref.SessionID, "generation", ref.Generation, "limit", status.ReasonCode)
	}
	a.executor.take(&task{action: models.ActionStopSession, ref: ref, ended: &status})
}

// endUntold does so again for what an earlier run may not have finished, and for
// what the driver could not stop.
func (a *Agent) endUntold() {
	for _, status := range a.executor.journal.Untold() {
		if !a.exits.has(status) {
			a.end(status)
		}
	}
}

// tellEnd has the control plane told of a session that has been ended so.
func (a *Agent) tellEnd(status wire.Status) {
	if !a.exits.note(status, true) {
		a.config.Logger.Warn("too many ends wait to be told, this one is told later", "session", status.SessionID)
	}
}
