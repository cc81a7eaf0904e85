package sim

import (
	"context"
	"sync"
	"time"

	"github.com/streamspace/streamspace/models"
)

const operatorName = "user:olga"

// order is what an operator wanted of an agent, and what came of it.
type order struct {
	what  ask
	agent string
	// deadline is a drain's, or nil.
	deadline        *time.Time
	asked, answered time.Time
	accepted        bool
}

// operators take agents out of service and back, and remember what they were
// told. Safe for concurrent use.
type operators struct {
	world  *world
	chance *chance
	asking sync.WaitGroup

	mu     sync.Mutex
	orders []*order
}

func newOperators(w *world) *operators {
	return &operators{world: w, chance: newChance(w.plan.Seed, "operators")}
}

// ask does what an operator does, and waits for no answer.
func (o *operators) ask(what ask) {
	r := o.world.slots[o.chance.pick(len(o.world.slots))].running()
	m := o.world.machines[o.chance.pick(len(o.world.machines))]
	if r == nil {
		return // the console does not load
	}
	one := &order{what: what, agent: m.name, asked: time.Now()}
	if what == askDrain {
		at := r.slot.now().Add(o.chance.between(2*time.Second, 40*time.Second))
		one.deadline = &at
	}
	o.mu.Lock()
	o.orders = append(o.orders, one)
	o.mu.Unlock()
	o.asking.Go(func() { o.give(r, one) })
}

func (o *operators) give(r *replicaRun, one *order) {
	ctx, now := context.Background(), r.slot.now()
	var err error
	switch one.what {
	case askCordon:
		_, err = r.database.CordonAgent(ctx, one.agent, operatorName, now)
	case askUncordon:
		_, err = r.database.UncordonAgent(ctx, one.agent, operatorName, now)
	default:
		_, err = r.database.DrainAgent(ctx, one.agent, one.deadline, operatorName, now)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	one.answered, one.accepted = time.Now(), err == nil && !r.life.over()
}

// relent gives back some of the agents, once faults have ended.
func (o *operators) relent() {
	for _, m := range o.world.machines {
		if !o.chance.happens(0.6) {
			continue
		}
		for _, s := range o.world.slots {
			if r := s.running(); r != nil {
				one := &order{what: askUncordon, agent: m.name, asked: time.Now()}
				o.mu.Lock()
				o.orders = append(o.orders, one)
				o.mu.Unlock()
				o.give(r, one)
				break
			}
		}
	}
}

func (o *operators) wait() { o.asking.Wait() }

// given gives what was asked. It is complete once the world has ended.
func (o *operators) given() []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]order, 0, len(o.orders))
	for _, one := range o.orders {
		all = append(all, *one)
	}
	return all
}

// outOfService is what of an agent's row only operators change.
type outOfService struct {
	cordoned, draining bool
	deadline, by       string
}

func (a agentRow) service() outOfService {
	return outOfService{cordoned: a.Cordoned != 0, draining: a.Status == models.AgentDraining, deadline: a.Deadline, by: a.By}
}

// explains tells whether carrying out the order may change a row so.
func (o order) explains(was, now outOfService) bool {
	return o.holds(now) && (o.what == askUncordon || o.what == askCordon && was.draining == now.draining && was.deadline == now.deadline ||
		(o.what == askDrain || o.what == askDrainForEver) && was.cordoned == now.cordoned)
}

// holds tells whether the row is as the order wants it.
func (o order) holds(now outOfService) bool {
	switch o.what {
	case askCordon:
		return now.cordoned
	case askUncordon:
		return !now.cordoned && !now.draining && now.deadline == ""
	case askDrain:
		return now.draining && now.deadline == o.deadline.UTC().Format(rowTime)
	}
	return now.draining && now.deadline == ""
}

// rowTime is how the database keeps an instant.
const rowTime = "2006-01-02T15:04:05.000000Z"

// orders judges agents' service: only operators change it, and what they were
// told is so.
func (j judgement) orders() {
	w := j.world
	given := w.operators.given()
	for _, c := range j.changes {
		if c.kind != "agent" || c.created {
			continue
		}
		was, now := parseRow(c.was).service(), parseRow(c.became).service()
		if was == now {
			continue
		}
		explained := false
		for _, o := range given {
			if o.agent == c.agent && j.since(o.asked) <= c.at && (o.answered.IsZero() || c.at <= j.since(o.answered)) && o.explains(was, now) {
				explained = true
			}
		}
		if !explained {
			w.violateAt(c.at, "S3", "", "no operator asked for this: %s", c)
		}
	}
	for _, o := range given {
		if o.accepted && !j.obeyed(o) {
			w.violateAt(j.since(o.answered), "D2", "", "an order for %s was accepted and not carried out: %+v", o.agent, o)
		}
	}
}

// obeyed tells whether the agent's row once was as the order wanted it, from
// when it was asked to when it was answered.
func (j judgement) obeyed(o order) bool {
	var before outOfService
	for _, c := range j.changes {
		if c.kind != "agent" || c.agent != o.agent {
			continue
		}
		now := parseRow(c.became).service()
		switch {
		case c.at > j.since(o.answered):
			return o.holds(before)
		case c.at >= j.since(o.asked) && (o.holds(now) || o.holds(before)):
			return true
		}
		before = now
	}
	return o.holds(before)
}
