package sim

import (
	"context"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// rest is one wish to have a session hibernate or wake, and what came of it.
type rest struct {
	what  ask
	asked time.Time
	// answered is when the answer came, zero when none did: then the wish may
	// have come true or not.
	answered time.Time
	accepted bool
}

// wakes tells a wish to wake from one to hibernate.
func (r *rest) wakes() bool { return r.what != askHibernate }

// askRest has a session hibernate or wake, as its user wants it, and waits for
// no answer.
func (u *users) askRest(what ask) {
	about := u.sleeper(what)
	if about == nil {
		return
	}
	times := 1
	if what == askView {
		times = 2
	}
	for range times {
		if r := u.world.slots[u.homes.pick(len(u.world.slots))].running(); r != nil {
			one := &rest{what: what, asked: time.Now()}
			u.mu.Lock()
			about.rests = append(about.rests, one)
			u.mu.Unlock()
			u.asking.Go(func() { u.rest(r, about.id, one) })
		}
	}
}

// sleeper is a session that keeps a home: mostly one of which the wish makes
// sense now, as people see in the console.
func (u *users) sleeper(what ask) *promise {
	state := models.SessionHibernated
	if what == askHibernate {
		state = models.SessionRunning
	}
	fit, err := u.world.history.texts(u.world.ctx(), `SELECT id FROM sessions WHERE state = ? AND template = ? ORDER BY id`, string(state), homeTemplate)
	if err != nil {
		u.world.fault("%v", err)
	}
	wanted := ""
	if len(fit) > 0 && u.homes.happens(0.85) {
		wanted = fit[u.homes.pick(len(fit))]
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	var homes []*promise
	for _, one := range u.order {
		if one.id == wanted {
			return one
		}
		if one.wish.home {
			homes = append(homes, one)
		}
	}
	if len(homes) == 0 {
		return nil
	}
	return homes[u.homes.pick(len(homes))]
}

func (u *users) rest(r *replicaRun, id string, one *rest) {
	ctx, actor := context.Background(), "user:"+ownerName
	var err error
	if one.wakes() {
		_, err = r.sessions.Wake(ctx, services.WakeRequest{SessionID: id, Actor: actor, Elsewhere: one.what == askWakeElsewhere})
	} else {
		_, err = r.sessions.Hibernate(ctx, id, actor)
	}
	u.heard(r, err, func() { one.answered, one.accepted = time.Now(), true }, func() { one.answered = time.Now() })
}

// last tells whether no other wish for the session can have been heard after
// this one was.
func (p promise) last(one *rest) bool {
	if !p.askedStop.IsZero() {
		return false
	}
	for _, other := range p.rests {
		if other.wakes() != one.wakes() && (other.answered.IsZero() || other.answered.After(one.asked)) {
			return false
		}
	}
	return true
}

// rested judges R2 of hibernating and waking: what was accepted last is what is,
// unless a drain came after it.
func (j judgement) rested(one promise, final change) {
	for _, asked := range one.rests {
		against := models.SessionHibernated
		if !asked.wakes() {
			against = models.SessionRunning
		}
		if asked.accepted && one.last(asked) && final.became == string(against) && !strings.Contains(final.reason, drainReason) {
			j.world.violate("R2", one.id, "the wish of %s was accepted last (%d), and session %s is %s",
				j.world.at(asked.answered), asked.what, one.id, final.became)
		}
	}
}
