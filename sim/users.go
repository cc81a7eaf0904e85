package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/models"
)

const (
	ownerID   = "u-ann"
	ownerName = "ann"
)

// promise is what a user was told of a session.
type promise struct {
	id   string
	wish wish
	// asked is when a launch was first asked for.
	asked time.Time
	// refused is when a launch was refused because no agent would do.
	refused time.Time
	// launched and stopped are when the control plane first accepted it.
	launched, stopped time.Time
	// askedStop is when a stop was first asked for, whatever became of it.
	askedStop time.Time
	// rests are what was asked of a session that keeps its home.
	rests []*rest
}

// users ask for sessions and for their ends, and remember what they were told.
// Safe for concurrent use.
type users struct {
	world  *world
	chance *chance
	wishes *chance
	homes  *chance
	roams  *chance
	asking sync.WaitGroup

	mu       sync.Mutex
	order    []*promise
	refused  int
	failed   int
	accepted int
}

func newUsers(w *world) *users {
	return &users{world: w, chance: newChance(w.plan.Seed, "users"), wishes: newChance(w.plan.Seed, "wishes"),
		homes: newChance(w.plan.Seed, "homes"), roams: newChance(w.plan.Seed, "roams")}
}

// ask does what a user does, and waits for no answer.
func (u *users) ask(what ask) {
	r := u.world.slots[u.chance.pick(len(u.world.slots))].running()
	if r == nil {
		return // the console does not load
	}
	u.mu.Lock()
	var about *promise
	if len(u.order) > 0 {
		about = u.order[u.chance.pick(len(u.order))]
	}
	if what == askLaunch {
		about = &promise{id: fmt.Sprintf("s%d", len(u.order)+1), asked: time.Now()}
		if u.world.plan.Varied {
			about.wish = drawWish(u.wishes)
		}
		about.wish.home = u.world.plan.Homely && u.homes.happens(0.6)
		about.wish.roams = u.roams.happens(0.5)
		u.order = append(u.order, about)
	}
	u.mu.Unlock()
	if about == nil {
		return
	}
	u.asking.Go(func() {
		if what == askStop {
			u.stop(r, about)
		} else {
			u.launch(r, about)
		}
	})
}

func (u *users) launch(r *replicaRun, about *promise) {
	_, _, err := r.launch(context.Background(), about.id, about.wish)
	u.heard(r, err, func() {
		if about.launched.IsZero() {
			about.launched = time.Now()
		}
	}, func() { about.refused = time.Now() })
}

func (u *users) stop(r *replicaRun, about *promise) {
	u.mu.Lock()
	if about.askedStop.IsZero() {
		about.askedStop = time.Now()
	}
	u.mu.Unlock()
	session, err := r.sessions.Stop(context.Background(), about.id, "user:"+ownerName)
	u.heard(r, err, func() {
		if about.stopped.IsZero() && session.State != models.SessionFailed {
			about.stopped = time.Now()
		}
	}, func() {})
}

// heard notes an answer, unless it is lost on its way or from a replica that
// was dead when it gave it.
func (u *users) heard(r *replicaRun, err error, accepted, refused func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case r.life.over() || u.world.faults.strikes(CallLost, u.chance, 0.1):
		u.failed++
	case err == nil:
		u.accepted++
		accepted()
	case slices.Contains([]models.ErrorCode{models.CodeNoSuitableAgent, models.CodeSessionUnknown, models.CodeSessionNotRunning}, models.CodeOf(err)):
		u.refused++
		refused()
	default:
		u.failed++
	}
}

// promises gives what users were told. It is complete after wait.
func (u *users) promises() []promise {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make([]promise, 0, len(u.order))
	for _, one := range u.order {
		all = append(all, *one)
	}
	return all
}

// wishOf is what a session's user asked of its agent.
func (u *users) wishOf(session string) wish {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, one := range u.order {
		if one.id == session {
			return one.wish
		}
	}
	return wish{} // a probe
}

func (u *users) wait() { u.asking.Wait() }
