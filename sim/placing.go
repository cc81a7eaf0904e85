package sim

import (
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
)

// drainReason is in the reason of what a drain's deadline stops.
const drainReason = "is being taken out of service"

// placement judges S3 and S2 of a session that gets an agent: by the agent's
// row in the transaction that writes it.
func (j judgement) placement(c change) {
	w, row := j.world, parseRow(c.agentRow)
	switch asked := w.users.wishOf(c.session); {
	case row.Status != models.AgentOnline:
		w.violateAt(c.at, "S3", c.session, "a session was placed on an agent that is %s", row.Status)
	case row.Cordoned != 0:
		w.violateAt(c.at, "S3", c.session, "a session was placed on an agent that is cordoned")
	case !asked.suits(row.traits()):
		w.violateAt(c.at, "S3", c.session, "a session that asks for region %q and disk %q was placed on an agent in %q with labels %v",
			asked.region, asked.disk, row.Region, row.Labels)
	}
	if c.agentWas != "" && takesRoom(c.was) {
		w.violateAt(c.at, "S2", c.session, "a session was placed on %s although it was on %s", c.agent, c.agentWas)
	}
}

// avoided judges S3 of agents that could not start a session: it does not come
// there again.
func (j judgement) avoided() {
	failed := map[couldTake]bool{}
	for _, c := range j.changes {
		switch {
		case c.kind == "session" && c.agentWas != "" && c.agent == "" && !c.lost():
			failed[couldTake{c.session, c.agentWas}] = true
		case c.placed() && failed[couldTake{c.session, c.agent}]:
			j.world.violateAt(c.at, "S3", c.session, "a session was placed on %s, which could not start it", c.agent)
		}
	}
}

// capacity judges S1: nothing is placed on an agent beyond what its row then
// says that it has. What an agent says may become less than what runs there.
func (j judgement) capacity() {
	w := j.world
	live := map[string]models.Amount{}
	for _, c := range j.changes {
		if c.kind != "session" {
			continue
		}
		amount := w.users.wishOf(c.session).amount()
		if c.agentWas != "" && takesRoom(c.was) {
			live[c.agentWas] = live[c.agentWas].Minus(amount)
		}
		if c.agent == "" || !takesRoom(c.became) {
			continue
		}
		if c.placed() {
			capacity := parseRow(c.agentRow).Capacity
			limit, known := w.meanings.of(capacity)
			if !known {
				w.fault("no agent has said that it has %v", capacity)
			} else if !takes(limit, live[c.agent], amount) {
				w.violateAt(c.at, "S1", c.session, "session %s takes %+v of agent %s, which has %+v in use and says that it has %v",
					c.session, amount, c.agent, live[c.agent], capacity)
			}
		}
		live[c.agent] = live[c.agent].Plus(amount)
	}
}

// clocks is how far replicas' clocks are from the right time at most.
func (w *world) clocks() (difference time.Duration) {
	for _, s := range w.slots {
		offset := time.Duration(s.offset.Load())
		difference += max(offset, -offset)
	}
	return difference
}

// drained tells whether this change stops a session for a drain, or has it
// hibernate, which must be past its deadline.
func (j judgement) drained(c change) bool {
	hibernates := c.became == string(models.SessionHibernating)
	if c.kind != "session" || !hibernates && c.became != string(models.SessionTerminating) || c.became == c.was || !strings.Contains(c.reason, drainReason) {
		return false
	}
	w, row := j.world, parseRow(c.agentRow)
	deadline, err := time.Parse(rowTime, row.Deadline)
	if row.Status != models.AgentDraining || err != nil || j.world.began.Add(c.at).Before(deadline.Add(-w.drift())) {
		w.violateAt(c.at, "R2", c.session, "a session was ended for a drain that is not over: %s", c.agentRow)
	}
	return !hibernates
}

// drift is clocks for the whole life, in which clocks went back and forth.
func (w *world) drift() time.Duration {
	return time.Duration(w.faults.counted()[ClockStep]) * 12 * time.Second
}

// gaveUp judges R2 of a session that no agent took in its time.
func (j judgement) gaveUp(c change, violate func(invariant, why string)) {
	if c.agent != "" {
		violate("R2", "a session that has an agent waits for none")
		return
	}
	w := j.world
	for _, one := range w.users.promises() {
		if waited := c.at - j.since(one.asked); one.id == c.session && waited < one.wish.patience()-w.drift() {
			violate("R2", "it waited for less than "+one.wish.patience().String())
		}
	}
}
