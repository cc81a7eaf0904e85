package services

import (
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// desertion is that a session's agent is gone, and what is known of that.
type desertion struct {
	// reason says so in words.
	reason string
	// forever tells that the agent is not to be waited for: it has no row any more.
	forever bool
	// dead tells that a person said so, and that nothing runs there any more.
	dead bool
	// shared tells that another agent has the homes that the agent had.
	shared bool
}

// planDeserted decides about a session whose agent is gone, by its template's
// policy. It is a pure function. A session that keeps a home is never begun
// elsewhere before somebody has said that nothing of it runs any more: until then
// it waits for its agent, or fails if that is never to be waited for.
func planDeserted(session models.Session, from desertion, now time.Time) decision {
	policy, home := session.Spec.Spec.WhenLost(), session.Spec.Spec.PersistentHome
	failed := end(session, from.reason+". Launch it again", models.CodeAgentUnavailable)
	if home {
		failed.reason = from.reason + ", and the session's home was there. Launch it again"
	}
	rests := session.State == models.SessionHibernated || session.State == models.SessionHibernating
	switch {
	case session.State.Terminal() || session.AgentID == "":
		return decision{step: leave}
	case home && from.dead && from.shared && (rests || session.State == models.SessionRunning && policy != models.OnLostFail):
		return decision{step: rehome, to: models.SessionHibernated, reason: from.reason + "; its home is on other agents too", code: models.CodeAgentUnavailable}
	case session.State == models.SessionHibernated && !from.dead:
		return decision{step: leave} // nothing of it runs, and whoever wakes it is told
	case session.State != models.SessionRunning || policy == models.OnLostFail:
		return failed
	case policy == models.OnLostRecreate && !home:
		return again(session, policy, from.reason, from.reason, models.CodeAgentUnavailable, now)
	case from.forever:
		return failed
	}
	return decision{step: leave}
}

// deserted decides whether the session's agent is gone, and what then.
func deserted(s situation, limits thresholds) decision {
	if s.connected {
		return decision{step: leave}
	}
	if s.Agent == nil {
		if s.now.Sub(s.Session.StateSince) <= limits.agentGone || s.now.Sub(s.watching) <= limits.agentGone {
			return decision{step: leave}
		}
		return planDeserted(s.Session, desertion{forever: true, reason: fmt.Sprintf("agent %q is no longer registered", s.Session.AgentID)}, s.now)
	}
	silence := s.now.Sub(s.lastHeard())
	if silence <= limits.agentGone {
		return decision{step: leave}
	}
	return planDeserted(s.Session, desertion{reason: fmt.Sprintf("agent %q has been gone for %s", s.Agent.ID, silence.Round(time.Minute))}, s.now)
}
