package services

import (
	"fmt"
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
	// forceEnd it without its agent's word.
	forceEnd
)

// decision is a step with all that it needs.
type decision struct {
	step      step
	to        models.SessionState
	reason    string
	code      models.ErrorCode
	retryable bool
}

// thresholds is how long is too long.
type thresholds struct {
	// stuck is how long a session may be in each state that should pass.
	stuck map[models.SessionState]time.Duration
	// agentGone is the silence after which an agent is taken for gone.
	agentGone time.Duration
	// giveUp is how long a connected agent may keep a session from ending.
	giveUp time.Duration
}

// situation is all that a decision depends on.
type situation struct {
	db.StuckSession
	// connected tells that the agent is connected to this replica.
	connected bool
	// watching is since when this replica can have heard of the agent.
	watching time.Time
	now      time.Time
}

// plan decides what to do about a session that may be stuck. It is a pure
// function.
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
	case s.connected:
		return decision{step: reissue}
	}
	if silence := s.now.Sub(s.lastHeard()); silence > limits.agentGone {
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
