package sim

import (
	"cmp"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// promises judges what users were told: D2, R1 and R2.
func (j judgement) promises() {
	w := j.world
	final := map[string]change{}
	for _, c := range j.changes {
		if c.kind == "session" {
			final[c.session] = c
		}
	}
	for _, one := range w.users.promises() {
		last, there := final[one.id]
		switch {
		case !there && !one.launched.IsZero():
			w.violate("D2", one.id, "the launch of session %s was accepted, and there is none", one.id)
		case !one.stopped.IsZero() && !models.SessionState(last.became).Terminal():
			w.violate("D2", one.id, "the stop of session %s was accepted, and it is %s", one.id, last.became)
		}
		j.rested(one, last)
	}
}

// ends judges why sessions ended: each for a reason that was there.
func (j judgement) ends() {
	asked := map[string]bool{"probe-1": true, "probe-2": true}
	for _, one := range j.world.users.promises() {
		asked[one.id] = !one.askedStop.IsZero()
	}
	drained := map[string]bool{}
	for _, c := range j.changes {
		if j.drained(c) {
			drained[c.session] = true
		}
		if c.lost() && c.deserted() {
			j.desertion(c)
		} else if c.lost() && !j.vanished(c) {
			j.world.violateAt(c.at, "R6", c.session, "session %s is begun again, and it was not lost: %s", c.session, c)
		}
		if c.kind != "session" || !models.SessionState(c.became).Terminal() || models.SessionState(c.was).Terminal() {
			continue
		}
		if c.became == string(models.SessionTerminated) {
			if !asked[c.session] && !j.ended(c, effectExit) && !drained[c.session] {
				j.world.violateAt(c.at, "R2", c.session, "nobody asked for the end of session %s, and it did not end by itself", c.session)
			}
			continue
		}
		j.failure(c)
	}
}

// failure judges why a session failed.
func (j judgement) failure(c change) {
	w := j.world
	violate := func(invariant, why string) {
		w.violateAt(c.at, invariant, c.session, "%s: %s", why, c)
	}
	switch models.ErrorCode(c.code) {
	case models.CodeCommandFailed, models.CodeStartTimeout:
		// The driver may fail and hang at any time; what is not to begin is tried again.
		if c.was != string(models.SessionPending) && c.was != string(models.SessionWaking) {
			violate("R2", "only a start ends with its failure")
		}
	case models.CodeUnavailable:
		if !w.plan.Enabled[SyncFailed] {
			violate("R2", "a journal that works refused a start")
		}
	case models.CodeWaitTimeout:
		j.gaveUp(c, violate)
	case models.CodeRuntimeExited:
		if !j.ended(c, effectExit) {
			violate("R2", "the runtime did not end by itself")
		}
	case models.CodeRuntimeLost:
		if !j.ended(c, effectExit) && !j.ended(c, effectGone) {
			violate("R2", "the runtime was not lost")
		}
	case models.CodeCommandTimeout:
		if !w.plan.Hasty {
			violate("D6", "a command was not done in a quarter of an hour that did not pass")
		} else if !j.outOfTime(c) {
			violate("R2", "no command of the session has come to its deadline")
		}
	case models.CodeAgentUnavailable:
		if c.was == string(models.SessionRunning) && w.users.wishOf(c.session).home {
			violate("R2", "what keeps its home waits for its agent")
		}
		j.declaredGone(c, violate)
	default:
		violate("R2", "nothing explains this")
	}
}

// desertion judges a session that is begun again elsewhere since its agent is gone.
func (j judgement) desertion(c change) {
	violate := func(invariant, why string) {
		j.world.violateAt(c.at, invariant, c.session, "%s: %s", why, c)
	}
	if asked := j.world.users.wishOf(c.session); asked.home || !asked.roams {
		violate("R3", "a session leaves its agent, and its template does not say that it may")
	}
	j.declaredGone(c, violate)
}

// ended tells whether the machine lost the runtime so before the change.
func (j judgement) ended(c change, kind effectKind) bool {
	for _, e := range j.effects {
		if e.SessionID == c.session && e.kind == kind && j.since(e.at) <= c.at {
			return true
		}
	}
	return false
}

// outOfTime tells whether a command of the session ended at its deadline when the
// session failed. Nothing is stuck for so long here that it has to be given up.
func (j judgement) outOfTime(c change) bool {
	for _, other := range j.changes {
		deadline, err := time.Parse(rowTime, other.deadline)
		if other.kind == "command" && other.session == c.session && other.n < c.n && other.at >= c.at-time.Second && ended(other.became) &&
			err == nil && deadline.Before(j.world.began.Add(c.at+j.world.drift())) {
			return true
		}
	}
	return false
}

// vanished tells whether the runtime that the session had before the change had
// ended without being stopped.
func (j judgement) vanished(c change) bool {
	return slices.ContainsFunc(j.effects, func(e effect) bool {
		return e.SessionID == c.session && e.Generation == c.generation-1 && (e.kind == effectExit || e.kind == effectGone) && j.since(e.at) <= c.at
	})
}

// declaredGone judges H4: an agent that was connected within its time, to a
// replica whose database and clock worked, is not gone.
func (j judgement) declaredGone(c change, violate func(invariant, why string)) {
	w := j.world
	s := w.slots[c.replica-1]
	var started time.Time
	for _, one := range s.starts {
		if j.since(one) <= c.at {
			started = one
		}
	}
	if watched := c.at - j.since(started); watched < w.plan.AgentGoneAfter-w.drift() {
		violate("H4", "a replica that had watched for "+watched.String()+" only declared an agent gone")
	}
	// The row's heartbeat may be as old as a rhythm and a write; clocks may
	// differ by the steps that they took.
	allowed := w.plan.AgentGoneAfter - 2*w.plan.HeartbeatEvery
	for _, s := range w.slots {
		allowed -= time.Duration(max(s.offset.Load(), -s.offset.Load()))
	}
	if w.plan.Enabled[DatabaseAway] || w.plan.Enabled[DatabaseSlow] || w.plan.Enabled[DatabaseFar] || w.plan.Enabled[CommitRefused] || w.plan.Enabled[FrameLost] ||
		w.plan.Enabled[HalfOpen] || w.plan.Enabled[FrameDelayed] {
		allowed -= w.plan.StaleAfter + 15*time.Second
	}
	after := w.began.Add(c.at - allowed)
	for _, l := range w.network.all(func(l *link) bool { return l.agent.machine.name == cmp.Or(c.agent, c.agentWas) && l.epochNow() > 0 }) {
		l.mu.Lock()
		until := l.broken
		if until.IsZero() || !l.torn.IsZero() && l.torn.Before(until) {
			until = l.torn
		}
		l.mu.Unlock()
		if allowed > 0 && (until.IsZero() || until.After(after)) && j.began(l) < c.at {
			violate("H4", "an agent that was connected was declared gone")
			return
		}
	}
}

// began is when the link's welcome was sent.
func (j judgement) began(l *link) time.Duration {
	for _, p := range j.passages {
		if p.link == l {
			return j.since(p.at)
		}
	}
	return 0
}
