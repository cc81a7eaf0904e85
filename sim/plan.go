package sim

import (
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// Bounds that are small on purpose, so that they are reached.
const (
	agentConcurrent  = 3
	agentPending     = 24
	dispatcherQueue  = 16
	dispatcherWindow = 6
	agentBackoff     = 4 * time.Second
)

// Plan is all that a seed decides before its world begins.
type Plan struct {
	Seed uint64
	// Hasty worlds give up soon: their reconciler and deadlines are quick, and
	// everything may fail. In patient ones both have the product's own times,
	// longer than the world lasts, so whatever settles is settled by sending
	// again and by polling alone.
	Hasty    bool
	Replicas int
	Machines int
	// Varied worlds have users who ask for more than a session, machines that
	// differ, and some that come later.
	Varied bool
	// Homely worlds have sessions that keep their homes, and users who have them
	// hibernate and wake.
	Homely bool
	// Chaos is how long things go wrong for.
	Chaos time.Duration
	// SettleWithin bounds the time from then until everything is as it should be.
	SettleWithin time.Duration
	Enabled      map[Fault]bool

	ReconcileEvery, Lease, StuckAfter, AgentGoneAfter, GiveUpAfter, CommandDeadline time.Duration
	RetryAfter, RetryAtMost                                                         time.Duration
	HeartbeatEvery, StaleAfter, InventoryEvery, AckWithin, EffectWithin             time.Duration

	events []event
	setups []setup
}

// setup is what a machine is at first.
type setup struct {
	profile profile
	joins   time.Duration
	// store is the home store that it shares, or empty.
	store string
}

// event is something that happens at its time. What it happens to is drawn
// then, from those that are there.
type event struct {
	at    time.Duration // after the world is up
	fault Fault         // or empty, and ask says what a person does
	ask   ask
}

// ask is what a user or an operator does.
type ask int

const (
	askLaunch ask = iota
	// askAgain repeats an earlier launch.
	askAgain
	askStop
	askCordon
	askUncordon
	// askDrain sets a deadline, askDrainForEver none.
	askDrain
	askDrainForEver
	askHibernate
	askWake
	// askWakeElsewhere allows another agent than the one that has the home.
	askWakeElsewhere
	// askView opens a session: whoever looks at one that hibernates wakes it, and
	// two who look at once do so twice.
	askView
)

// scheduled are the faults that come at a time; the others come with a frame, a
// commit or an effect.
func scheduled() []Fault {
	return []Fault{ReplicaCrash, CrashInCommit, AgentCrash, MachineRestart, MachineLost, LinkCut, HalfOpen, ConnectStorm,
		AgentMoved, DatabaseAway, ClockStep, RuntimeExit}
}

func drawn() []Fault {
	return []Fault{CrashInEffect, FrameLost, FrameDelayed, FrameDoubled, FrameReordered, CommitRefused, CommitLied, DatabaseSlow,
		EffectFailed, EffectHung, EffectDeaf, SyncFailed, CallLost}
}

// NewPlan makes the plan of a seed. Each has some kinds of fault only: where
// everything goes wrong at once, one fault hides what another would show.
func NewPlan(seed uint64) Plan {
	c := newChance(seed, "plan")
	p := Plan{
		Seed: seed, Hasty: c.happens(0.45), Replicas: 1 + c.pick(2), Machines: 1 + c.pick(3),
		Chaos:          c.between(25*time.Second, 70*time.Second),
		HeartbeatEvery: 4 * time.Second, StaleAfter: 18 * time.Second, InventoryEvery: 15 * time.Second,
		AckWithin: 2 * time.Second, EffectWithin: 15 * time.Second,
		ReconcileEvery: 15 * time.Second, Lease: services.DefaultLease, StuckAfter: services.DefaultStuckAfter, AgentGoneAfter: services.DefaultAgentGoneAfter,
		GiveUpAfter: services.DefaultGiveUpAfter, CommandDeadline: services.DefaultCommandDeadline,
		RetryAfter: services.DefaultRetryAfter, RetryAtMost: services.DefaultRetryAtMost,
		Enabled: map[Fault]bool{},
	}
	p.setUp(newChance(seed, "machines"))
	if p.Hasty {
		p.ReconcileEvery = c.between(4*time.Second, 8*time.Second)
		p.Lease = p.ReconcileEvery
		p.StuckAfter = c.between(15*time.Second, 40*time.Second)
		p.CommandDeadline = c.between(30*time.Second, 80*time.Second)
		p.AgentGoneAfter = c.between(25*time.Second, 60*time.Second)
		if c.happens(0.3) {
			p.AgentGoneAfter = 3 * time.Minute
		}
		p.GiveUpAfter = 4 * time.Minute
		p.RetryAfter, p.RetryAtMost = p.ReconcileEvery, 2*p.ReconcileEvery
	}
	p.SettleWithin = p.settleBound()
	var kinds []Fault
	for _, kind := range slices.Concat(scheduled(), drawn()) {
		if !c.happens(0.45) || kind == MachineLost && (!p.Hasty || p.Machines == 1) {
			continue
		}
		p.Enabled[kind] = true
		if slices.Contains(scheduled(), kind) {
			kinds = append(kinds, kind)
		}
	}
	for range 10 + c.pick(14) {
		one := event{at: c.between(0, p.Chaos)}
		switch {
		case c.happens(0.5):
			one.ask = askLaunch
		case c.happens(0.25):
			one.ask = askAgain
		default:
			one.ask = askStop
		}
		p.events = append(p.events, one)
	}
	for range len(kinds) * (1 + c.pick(3)) {
		p.events = append(p.events, event{at: c.between(0, p.Chaos), fault: kinds[c.pick(len(kinds))]})
	}
	p.crowd(newChance(seed, "placement"))
	p.house(newChance(seed, "hibernation"))
	if c := newChance(seed, "away"); c.happens(0.25) {
		p.Enabled[ControlPlaneAway] = true
		p.events = append(p.events, event{at: c.between(p.Chaos/8, p.Chaos/2), fault: ControlPlaneAway})
	}
	if p.Hasty && p.Enabled[ClockStep] {
		// For clocks that are further apart nobody makes a promise.
		p.AgentGoneAfter, p.CommandDeadline = max(p.AgentGoneAfter, 80*time.Second), max(p.CommandDeadline, 80*time.Second)
		p.SettleWithin = p.settleBound()
	} else if c := newChance(seed, "desertion"); p.Hasty && c.happens(0.5) {
		p.Enabled[AgentAway] = true
		p.AgentGoneAfter, p.Chaos = min(p.AgentGoneAfter, 25*time.Second), max(p.Chaos, time.Minute)
		p.SettleWithin = p.settleBound()
		p.events = append(p.events, event{at: c.between(p.Chaos/6, p.Chaos/3), fault: AgentAway})
	}
	c = newChance(seed, "disk")
	for _, kind := range []Fault{DiskWiped, DiskRestored} {
		if c.happens(0.25) {
			p.Enabled[kind] = true
			for range 1 + c.pick(3) {
				p.events = append(p.events, event{at: c.between(p.Chaos/8, p.Chaos), fault: kind})
			}
		}
	}
	slices.SortFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
	return p
}

// setUp decides what the machines are at first.
func (p *Plan) setUp(c *chance) {
	p.Varied = c.happens(0.7)
	for i := range p.Machines {
		one := setup{profile: profile{claim: honest(int64(3+c.pick(4)), 64, 256, false), traits: drawTraits(c)}}
		if p.Varied {
			one.profile.claim = honest(int64(2+c.pick(5)), int64(1+c.pick(4)), int64(1+c.pick(5)), c.happens(0.5))
			if i > 0 && c.happens(0.3) {
				one.joins = c.between(5*time.Second, p.Chaos)
			}
		}
		p.setups = append(p.setups, one)
	}
}

// crowd adds what makes placement hard: more users, operators, and agents that
// change.
func (p *Plan) crowd(c *chance) {
	if !p.Varied {
		return
	}
	var kinds []Fault
	for _, kind := range []Fault{AgentLeft, AgentChanged, CapacityLie, DatabaseFar} {
		if !c.happens(0.4) {
			continue
		}
		p.Enabled[kind] = true
		if kind != DatabaseFar {
			kinds = append(kinds, kind)
		}
	}
	for range len(kinds) * (1 + c.pick(4)) {
		p.events = append(p.events, event{at: c.between(0, p.Chaos), fault: kinds[c.pick(len(kinds))]})
	}
	if c.happens(0.5) {
		// Some come all at once, and meet on the way to the same agent.
		burst := c.between(0, p.Chaos)
		for range 6 + c.pick(14) {
			one := event{at: burst + c.between(0, 300*time.Millisecond), ask: askLaunch}
			if c.happens(0.4) {
				one.at = c.between(0, p.Chaos)
			}
			p.events = append(p.events, one)
		}
		if c.happens(0.4) {
			p.events = append(p.events, event{at: burst + c.between(0, 300*time.Millisecond), ask: askCordon})
		}
	}
	if c.happens(0.5) {
		for range 2 + c.pick(8) {
			p.events = append(p.events, event{at: c.between(0, p.Chaos),
				ask: []ask{askCordon, askUncordon, askUncordon, askDrain, askDrain, askDrainForEver}[c.pick(6)]})
		}
	}
}

// house adds sessions that keep their homes, early enough that they run before
// they are to hibernate.
func (p *Plan) house(c *chance) {
	if p.Homely = c.happens(0.6); !p.Homely {
		return
	}
	if c.happens(0.4) {
		for i := range p.setups {
			p.setups[i].store = []string{"", "attic", "attic"}[c.pick(3)]
		}
		// Late enough that what they move is still to be moved when faults end.
		drains := newChance(p.Seed, "drains of shared homes")
		for range drains.pick(3) {
			p.events = append(p.events, event{at: drains.between(p.Chaos/2, p.Chaos), ask: askDrain})
		}
	}
	for range 1 + c.pick(4) {
		p.events = append(p.events, event{at: c.between(0, p.Chaos/4), ask: askLaunch})
	}
	asks := []ask{askHibernate, askHibernate, askWake, askWake, askView, askWakeElsewhere}
	for range 8 + c.pick(16) {
		p.events = append(p.events, event{at: c.between(2*time.Second, p.Chaos), ask: asks[c.pick(len(asks))]})
	}
}

// settleBound is R1's bound: how long it may take after the last fault until every
// session is where it is to be. Both ends may notice only then that a connection
// is dead; the agent dials again, is told what it missed, does it, and lists what
// it runs. What it fails to start may wait for another agent, and what was lost
// before and is again waits a while. Where frames are
// lost and stops fail, a command may end by its deadline alone, its session be
// stuck until then, and an agent that never comes back has to be given up.
func (p Plan) settleBound() time.Duration {
	bound := 2*p.StaleAfter + agentBackoff + p.EffectWithin + p.InventoryEvery + models.TryElsewhereFor +
		models.LossBackoff<<(models.MaxLosses-2) + p.InventoryEvery + 10*time.Second
	if p.Hasty {
		bound += p.AgentGoneAfter + p.CommandDeadline + p.StuckAfter + 2*p.ReconcileEvery
	}
	return bound
}

// recent is how old a recent heartbeat may be, with room for clocks that differ
// by the steps that they took.
func (p Plan) recent() time.Duration { return p.StaleAfter + time.Minute }
