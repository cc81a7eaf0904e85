package sim

import (
	"slices"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// orphan is a runtime that nobody wants, and the connection over which its agent
// could be told so.
type orphan struct {
	machine string
	ref     driver.Ref
	epoch   int64
}

// orphanBound is how long an orphan may run once its agent is connected and
// nothing goes wrong: an inventory period with its jitter, and the time that a
// list, a verdict and a stop take.
func (p Plan) orphanBound() time.Duration { return p.InventoryEvery*11/10 + 10*time.Second }

// checkOrphans judges R4 every second once faults have ended.
func (w *world) checkOrphans() {
	if w.standing.healed.IsZero() {
		return
	}
	placed, err := w.history.placed(w.ctx())
	if err != nil {
		w.fault("%v", err)
	}
	since := map[orphan]time.Time{}
	for _, m := range w.machines {
		link := w.connected(m)
		if link == nil {
			continue
		}
		for _, ref := range m.list() {
			if placed[ref.SessionID] == m.name {
				continue
			}
			key := orphan{m.name, ref, link.epochNow()}
			begun, before := w.standing.orphans[key]
			if !before {
				begun = time.Now()
			}
			since[key] = begun
			if ran := time.Since(begun); ran > w.plan.orphanBound() {
				w.once("R4", ref.SessionID, "session %s, generation %d, has run on %s for %v although nobody wants it", ref.SessionID, ref.Generation, m.name, ran)
			}
		}
	}
	w.standing.orphans = since
}

// at gives the session's row as it was at a time.
func (j judgement) at(session string, at time.Duration) (row change, known bool) {
	for _, c := range j.changes {
		if c.at > at {
			break
		}
		if c.kind == "session" && c.session == session {
			row, known = c, true
		}
	}
	return row, known
}

// ceased judges R6 of a runtime that an agent ended: its session was not to run
// there any more. Whoever stops and starts may not end what is wanted.
func (j judgement) ceased(e effect, where place) {
	row, known := j.at(e.SessionID, j.since(e.at))
	if !known || row.agent != where.machine || row.generation != where.generation {
		return
	}
	switch models.SessionState(row.became) {
	case models.SessionPending, models.SessionRunning, models.SessionWaking:
		j.world.violateAt(j.since(e.at), "R6", e.SessionID, "generation %d of session %s, which is %s, was stopped on %s", where.generation,
			e.SessionID, row.became, e.machine)
	}
}

// homes judges R3 of what a session leaves behind when it goes elsewhere: no
// second runtime before it is known that the first is no more. Its home it
// leaves only when a person said so.
func (j judgement) homes() {
	w := j.world
	wishes := map[string]promise{}
	for _, one := range w.users.promises() {
		wishes[one.id] = one
	}
	was := map[string]string{}
	for _, c := range j.changes {
		if !c.placed() {
			continue
		}
		before := was[c.session]
		was[c.session] = c.agent
		if before == "" || before == c.agent {
			continue
		}
		if c.woken() && !w.shareHomes(before, c.agent) && !wishes[c.session].allowedElsewhere(w.began.Add(c.at)) {
			w.violateAt(c.at, "R3", c.session, "session %s was woken on %s, its home is on %s, and nobody said that it may leave it", c.session, c.agent, before)
		}
		if !j.knownDead(c.session, before, c.at) && !j.forsaken(c.session, place{machine: before}, c.at) {
			w.violateAt(c.at, "R3", c.session, "session %s was placed on %s before its runtime on %s was known to be no more", c.session, c.agent, before)
		}
	}
}

// forsaken tells whether a session without a home was begun again elsewhere since
// its agent was gone: then what it had there, of that generation or any, may run
// until its agent is back. R4 judges for how long then.
func (j judgement) forsaken(session string, where place, at time.Duration) bool {
	return !j.world.users.wishOf(session).home && slices.ContainsFunc(j.changes, func(c change) bool {
		return c.session == session && c.lost() && c.deserted() && c.at <= at && c.agentWas == where.machine &&
			(where.generation == 0 || where.generation == c.generation-1)
	})
}

// shareHomes tells whether two machines have the same homes.
func (w *world) shareHomes(one, other string) bool {
	store := w.machine(one).store
	return store != "" && store == w.machine(other).store
}

// allowedElsewhere tells whether somebody had asked for a wake without the home.
func (p promise) allowedElsewhere(at time.Time) bool {
	for _, one := range p.rests {
		if one.what == askWakeElsewhere && !one.asked.After(at) && (one.answered.IsZero() || !one.answered.Before(at)) {
			return true
		}
	}
	return false
}

// knownDead tells whether nothing ran of a session on a machine at a time, and
// the machine's agent had been heard since.
func (j judgement) knownDead(session, machine string, at time.Duration) bool {
	running := map[int64]bool{}
	var ended time.Duration
	for _, e := range j.effects {
		if e.SessionID != session || e.machine != machine || j.since(e.at) > at {
			continue
		}
		if e.kind == effectStart {
			running[e.Generation] = true
			continue
		}
		for generation := range running {
			if generation == e.Generation || generation < e.Generation && (e.kind == effectStop || e.kind == effectCleared) {
				delete(running, generation)
				ended = j.since(e.at)
			}
		}
	}
	if len(running) > 0 {
		return false
	}
	for _, p := range j.passages {
		if p.up && p.arrived && p.link.agent.machine.name == machine && j.since(p.at) >= ended && j.since(p.at) <= at {
			return true
		}
	}
	return ended == 0
}
