package services

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// step is what reconciliation does about one session.
type step int

const (
	// leave it: its time has not come, or its agent may still come back.
	leave step = iota
	// reissue its command, under the same id if it is unfinished.
	reissue
	// forceEnd it, without its agent's word unless that is why.
	forceEnd
	// restart it on its agent, in the next generation.
	restart
	// recreate it on whatever agent can take it, in the next generation.
	recreate
	// rehome it: it hibernates on an agent that shares its home, and is woken from
	// there if it was to run.
	rehome
)

// decision is a step with all that it needs.
type decision struct {
	step      step
	to        models.SessionState
	reason    string
	code      models.ErrorCode
	retryable bool
	// losses are the session's once it has begun again.
	losses []models.Loss
}

// thresholds is how long is too long.
type thresholds struct {
	// stuck is how long a session may be in each state that should pass.
	stuck map[models.SessionState]time.Duration
	// agentGone is the silence after which an agent is taken for gone.
	agentGone time.Duration
	// giveUp is how long a connected agent may keep a session from ending.
	giveUp time.Duration
	// retry is how long after it was asked a second time an agent is asked once
	// more; it doubles each time, up to retryAtMost.
	retry, retryAtMost time.Duration
}

// patience is how long after it got stuck a session's agent is asked again that
// was asked so often. Up to a quarter is added, for sessions that got stuck at
// once not to be asked for at once for ever.
func (l thresholds) patience(sessionID string, tries int) time.Duration {
	var patience time.Duration
	for next := l.retry; tries > 1 && patience < l.giveUp; tries-- {
		patience += next
		next = min(2*next, l.retryAtMost)
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(sessionID)) // cannot fail
	return patience + patience/4*time.Duration(hash.Sum32()%1024)/1024
}

// situation is all that a decision depends on.
type situation struct {
	db.StuckSession
	// connected tells that the agent is connected, to whichever replica.
	connected bool
	// watching is since when this replica can have heard of the agent.
	watching time.Time
	// held tells that no agent is taken for gone now.
	held bool
	now  time.Time
}

// plan decides what to do about a session that may be stuck. It is a pure
// function, and needs no memory: when an agent is to be asked again follows from
// how often it was.
func plan(s situation, limits thresholds) decision {
	limit, passing := limits.stuck[s.Session.State]
	age := s.now.Sub(s.Session.StateSince)
	switch {
	case !passing || age <= limit:
		return decision{step: leave}
	case s.Session.Waiting():
		return decision{step: leave} // it has a time of its own, and is placed or ended by whoever places
	case s.Session.AgentID == "":
		return end(s.Session, "no agent has this session", models.CodeAgentUnavailable)
	case s.Agent == nil:
		return end(s.Session, fmt.Sprintf("agent %q is no longer registered", s.Session.AgentID), models.CodeAgentUnavailable)
	case s.connected && age > limits.giveUp:
		return end(s.Session, fmt.Sprintf("agent %q did not bring it to an end in %s%s", s.Agent.ID, age.Round(time.Minute), s.because()),
			models.CodeCommandTimeout)
	case s.connected && age <= limit+limits.patience(s.Session.ID, s.Tries):
		return decision{step: leave} // it was asked again, and has its time
	case s.connected:
		return decision{step: reissue}
	}
	if silence := s.now.Sub(s.lastHeard()); silence > limits.agentGone && !s.held {
		return end(s.Session, fmt.Sprintf("agent %q has been gone for %s", s.Agent.ID, silence.Round(time.Minute)), models.CodeAgentUnavailable)
	}
	return decision{step: leave}
}

// lastHeard is when the agent was last known to live. The time before this
// replica watched does not count: a control plane that was away has no right
// to call its agents gone.
func (s situation) lastHeard() time.Time {
	last := s.Agent.CreatedAt
	if s.Agent.LastHeartbeat != nil {
		last = *s.Agent.LastHeartbeat
	}
	if s.watching.After(last) {
		return s.watching
	}
	return last
}

// because adds what the agent last said of the session, if anything.
func (s situation) because() string {
	if s.Session.Reason == "" {
		return ""
	}
	return ": " + s.Session.Reason
}

// end is the forced end that suits the session's state: one that was to end
// has ended, and any other one has failed. A runtime that still exists is
// stopped when its agent reports it.
func end(session models.Session, reason string, code models.ErrorCode) decision {
	if session.State == models.SessionTerminating {
		return decision{step: forceEnd, to: models.SessionTerminated, reason: reason, code: code}
	}
	return decision{step: forceEnd, to: models.SessionFailed, reason: reason, code: code, retryable: true}
}

// absence is for how long a session that has just changed its state may be
// absent from what its agent says that it runs.
type absence time.Duration

// planMissing decides about a session that should have a runtime, when its
// agent says that there is none: by its template's policy, but not for ever and
// not all at once. It is a pure function.
func planMissing(session models.Session, grace absence, now time.Time) decision {
	if now.Sub(session.StateSince) < time.Duration(grace) {
		return decision{step: leave}
	}
	if session.State == models.SessionTerminating {
		return decision{step: forceEnd, to: models.SessionTerminated}
	}
	gone := fmt.Sprintf("agent %q no longer runs this session; its machine may have restarted", session.AgentID)
	policy := session.Spec.Spec.WhenLost()
	if policy == models.OnLostFail {
		return decision{step: forceEnd, to: models.SessionFailed, reason: gone + ". Launch it again", code: models.CodeRuntimeLost, retryable: true}
	}
	return again(session, policy, gone, fmt.Sprintf("agent %q no longer ran it", session.AgentID), models.CodeRuntimeLost, now)
}

// again has a session that was to run begin again by a policy, but not for ever
// and not all at once. gone says why it does not run, and happened the same once
// that is past.
func again(session models.Session, policy models.OnLost, gone, happened string, code models.ErrorCode, now time.Time) decision {
	recent := session.RecentLosses(now)
	switch {
	case len(recent) >= models.MaxLosses:
		return decision{step: forceEnd, to: models.SessionFailed, code: code, retryable: true,
			reason: fmt.Sprintf("%s. It has been begun again %d times within %s, which is enough; see what ends it, then launch it again",
				gone, len(recent), models.FormatDuration(models.LossWindow))}
	case len(recent) > 0 && now.Sub(recent[len(recent)-1].At) < models.LossBackoff<<(len(recent)-1):
		return decision{step: leave}
	}
	loss := models.Loss{AgentID: session.AgentID, Generation: session.Generation, Remedy: policy, At: now.UTC().Truncate(time.Microsecond)}
	decided := decision{step: restart, to: models.SessionPending, reason: loss.Recovery(happened, len(recent)+1), code: code, losses: append(recent, loss)}
	if policy == models.OnLostRecreate {
		decided.step = recreate
	}
	return decided
}
