package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// waitBound is how long a session may wait for an agent that could take it
	// once nothing goes wrong: the queue is looked through every second.
	waitBound = 8 * time.Second
	// drainBound is how late a drain may keep its deadline then.
	drainBound = 15 * time.Second
	// givesUpSoon is when a session's end of waiting is worth to be awaited.
	givesUpSoon = 4 * time.Minute
)

// couldTake is a session that waits and an agent that could take it.
type couldTake struct{ session, agent string }

// standing remembers since when something is so.
type standing struct {
	// healed is when nothing went wrong any more, zero before.
	healed time.Time
	since  map[couldTake]time.Time
	// orphans are runtimes that nobody wants.
	orphans map[orphan]time.Time
	told    map[string]bool
}

// fleetNow is what is so at one instant.
type fleetNow struct {
	agents   []models.Agent
	sessions []liveSession
	// inUse is what live sessions take, by their users' words.
	inUse map[string]models.Amount
	// failing are the agents that keep failing to start sessions.
	failing map[string]bool
}

// look reads what is so, and gives nil when it changed meanwhile.
func (w *world) look() (*fleetNow, error) {
	before, err := w.history.newest(w.ctx())
	if err != nil {
		return nil, err
	}
	now := fleetNow{inUse: map[string]models.Amount{}, failing: map[string]bool{}}
	failing, err := w.history.texts(w.ctx(), `SELECT agent_id FROM breakers WHERE failures >= ?`, models.BreakerTrips)
	if err != nil {
		return nil, err
	}
	for _, agent := range failing {
		now.failing[agent] = true
	}
	if now.agents, err = w.history.product.Candidates(w.ctx(), db.AgentFilter{}); err != nil {
		return nil, err
	}
	if now.sessions, err = w.history.live(w.ctx()); err != nil {
		return nil, err
	}
	for _, one := range now.sessions {
		if one.agent != "" && takesRoom(one.state) {
			now.inUse[one.agent] = now.inUse[one.agent].Plus(w.users.wishOf(one.id).amount())
		}
	}
	if after, err := w.history.newest(w.ctx()); err != nil || after != before {
		return nil, err
	}
	return &now, nil
}

// checkPlacement looks at what must be so of placements all the time.
func (w *world) checkPlacement() {
	unexplained, err := w.history.unexplained(w.ctx())
	if err != nil {
		w.fault("%v", err)
	}
	for _, line := range unexplained {
		_, session, words := described(line)
		w.once("explained", session, "nothing explains session %s", words)
	}
	now, err := w.look()
	if err != nil {
		w.fault("%v", err)
	}
	if now == nil {
		return
	}
	for _, agent := range now.agents {
		if agent.Reserved != now.inUse[agent.ID] {
			w.once("S4", agent.ID, "agent %s is taken to have %+v reserved, and live sessions take %+v", agent.ID, agent.Reserved, now.inUse[agent.ID])
		}
	}
	if !w.standing.healed.IsZero() {
		w.checkWaiting(now)
		w.checkDrains(now)
	}
}

// once notes a violation that would be found again every second.
func (w *world) once(invariant, about, format string, args ...any) {
	if w.standing.told == nil {
		w.standing.told = map[string]bool{}
	}
	if key := invariant + " " + about; !w.standing.told[key] {
		w.standing.told[key] = true
		session := about
		if w.machine(about) != nil {
			session = ""
		}
		w.violate(invariant, session, format, args...)
	}
}

// checkWaiting judges R1 of what waits, or is to be moved: not for long while an
// agent could take it.
func (w *world) checkWaiting(now *fleetNow) {
	since := map[couldTake]time.Time{}
	for _, one := range now.sessions {
		bound := waitBound
		if one.moving() {
			bound = drainBound
		}
		for _, agent := range now.agents {
			key := couldTake{one.id, agent.ID}
			if !w.awaits(now, agent, one) {
				continue
			}
			begun, before := w.standing.since[key]
			if !before {
				begun = time.Now()
			}
			since[key] = begun
			if waited := time.Since(begun); waited > bound {
				w.once("R1", one.id, "session %s has waited for %v although %s could take it: %s", one.id, waited, agent.ID, one.reason)
			}
		}
	}
	w.standing.since = since
}

// awaits tells whether the session waits or is to be moved, and the agent could
// take it.
func (w *world) awaits(now *fleetNow, agent models.Agent, one liveSession) bool {
	return (one.waits() || one.moving() && (agent.ID == one.agent || w.shareHomes(one.agent, agent.ID))) && w.could(now, agent, one)
}

// could tells whether an agent could take a session.
func (w *world) could(now *fleetNow, agent models.Agent, one liveSession) bool {
	asked := w.users.wishOf(one.id)
	limit, known := w.meanings.of(agent.Capacity)
	return known && !now.failing[agent.ID] && !one.failedOn(agent.ID) && agent.Status == models.AgentOnline && !agent.Cordoned && agent.LastHeartbeat != nil &&
		time.Since(*agent.LastHeartbeat) < 2*w.plan.HeartbeatEvery+w.clocks() &&
		asked.suits(traits{region: agent.Region, labels: agent.Labels}) && takes(limit, now.inUse[agent.ID], asked.amount())
}

// remains tells whether the session is neither about to leave its agent nor, as
// it keeps a home, is to hibernate once it runs.
func (w *world) remains(one liveSession) bool {
	switch models.SessionState(one.state) {
	case models.SessionRunning:
		return true
	case models.SessionPending, models.SessionWaking:
		return !w.users.wishOf(one.id).home
	}
	return false
}

// checkDrains judges R1 of what is left on an agent past its drain's deadline.
func (w *world) checkDrains(now *fleetNow) {
	if time.Since(w.standing.healed) < drainBound {
		return
	}
	for _, one := range now.sessions {
		for _, agent := range now.agents {
			if one.agent == agent.ID && agent.Status == models.AgentDraining && agent.DrainDeadline != nil &&
				w.remains(one) && time.Since(*agent.DrainDeadline) > drainBound+w.clocks() {
				w.once("R1", one.id, "session %s is left on %s, whose drain was to end at %s", one.id, agent.ID, w.at(*agent.DrainDeadline))
			}
		}
	}
}

// placementUnsettled tells what has a time of its own that is to come, and what
// replicas do not know yet.
func (w *world) placementUnsettled(add func(invariant, session, format string, args ...any)) {
	now, err := w.look()
	if err != nil {
		add("world", "", "%v", err)
	}
	if now == nil {
		add("world", "", "the system changes while it is looked at")
		return
	}
	for _, one := range now.sessions {
		until, err := time.Parse(rowTime, one.until)
		if one.waits() && (err != nil || time.Until(until) < givesUpSoon) {
			add("R1", one.id, "session %s waits and is to give up at %s", one.id, one.until)
		}
		for _, agent := range now.agents {
			switch {
			case w.awaits(now, agent, one):
				add("R1", one.id, "session %s waits although %s could take it: %s", one.id, agent.ID, one.reason)
			case one.agent == agent.ID && takesRoom(one.state) && agent.Status == models.AgentDraining && agent.DrainDeadline != nil:
				add("R1", one.id, "session %s is left on %s, which drains until %s", one.id, agent.ID, w.at(*agent.DrainDeadline))
			}
		}
	}
	for _, agent := range now.agents {
		m := w.machine(agent.ID)
		if m == nil || m.lost {
			continue
		}
		if said := m.says().claim.said; canonical(agent.Capacity) != canonical(said) {
			add("S1", "", "agent %s is taken to have %v and says that it has %v", agent.ID, agent.Capacity, said)
		}
	}
}

// checkExplanations asks every replica why each session is where it is, waits or
// was refused.
func (w *world) checkExplanations() {
	for _, s := range w.slots {
		r := s.running()
		if r == nil {
			continue
		}
		for _, one := range w.users.promises() {
			if one.launched.IsZero() && one.refused.IsZero() {
				continue
			}
			if wrong := r.explains(w.ctx(), one); wrong != "" {
				w.once("explained", one.id, "%s says of session %s: %s", r.name, one.id, wrong)
			}
		}
	}
}

// explains gives what is wrong with what the replica says of a session, or
// nothing.
func (r *replicaRun) explains(ctx context.Context, one promise) string {
	told, _, err := r.sessions.Explain(ctx, one.id)
	if err != nil && one.launched.IsZero() && r.world.explanationsMayFail() {
		return "" // a refusal whose explanation was not kept is a refusal all the same
	}
	if err != nil {
		return err.Error()
	}
	session, err := r.database.Session(ctx, one.id)
	// Of what gave up waiting it is kept why it waited at first, or where it
	// could not be started or was lost.
	ended := err == nil && session.AgentID == "" && session.State.Terminal()
	if ended && len(session.Failures)+len(session.Losses) > 0 {
		return ""
	}
	outcome := db.PlacementPlaced
	switch {
	case models.CodeOf(err) == models.CodeSessionUnknown:
		outcome = db.PlacementRefused
	case err != nil:
		return err.Error()
	case session.AgentID == "":
		outcome = db.PlacementWaiting
	}
	if told.Outcome != outcome || told.AgentID != session.AgentID {
		return fmt.Sprintf("it was %s on %q, and it is %s on %q", told.Outcome, told.AgentID, outcome, session.AgentID)
	}
	for i, verdict := range told.Agents {
		if chosen := outcome == db.PlacementPlaced && i == 0; chosen != (verdict.AgentID == session.AgentID) {
			return fmt.Sprintf("agent %s is number %d of those for it", verdict.AgentID, i)
		}
		if outcome != db.PlacementPlaced && !ended && (verdict.Score != nil || len(verdict.Rejections) == 0) {
			return fmt.Sprintf("it is %s, and nothing speaks against agent %s", outcome, verdict.AgentID)
		}
	}
	return ""
}

// explanationsMayFail tells whether a transaction of its own may have failed.
func (w *world) explanationsMayFail() bool {
	for _, kind := range []Fault{CommitRefused, CommitLied, DatabaseAway, DatabaseSlow, DatabaseFar, ReplicaCrash, CrashInCommit} {
		if w.plan.Enabled[kind] {
			return true
		}
	}
	return false
}
