package sim

import (
	"slices"
	"time"

	"github.com/streamspace/streamspace/services"
)

// Bounds that are small on purpose, so that they are reached.
const (
	agentConcurrent  = 3
	agentPending     = 24
	dispatcherQueue  = 16
	dispatcherWindow = 6
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
	// Limit is how many sessions a machine takes.
	Limit int
	// Chaos is how long things go wrong for.
	Chaos time.Duration
	// SettleWithin bounds the time from then until everything is as it should be.
	SettleWithin time.Duration
	Enabled      map[Fault]bool

	ReconcileEvery, StuckAfter, AgentGoneAfter, GiveUpAfter, CommandDeadline time.Duration
	HeartbeatEvery, StaleAfter, InventoryEvery, AckWithin, EffectWithin      time.Duration

	events []event
}

// event is something that happens at its time. What it happens to is drawn
// then, from those that are there.
type event struct {
	at    time.Duration // after the world is up
	fault Fault         // or empty, and ask says what a user does
	ask   ask
}

// ask is what a user does.
type ask int

const (
	askLaunch ask = iota
	// askAgain repeats an earlier launch.
	askAgain
	askStop
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
		Seed: seed, Hasty: c.happens(0.45), Replicas: 1 + c.pick(2), Machines: 1 + c.pick(3), Limit: 3 + c.pick(4),
		Chaos:          c.between(25*time.Second, 70*time.Second),
		HeartbeatEvery: 4 * time.Second, StaleAfter: 18 * time.Second, InventoryEvery: 15 * time.Second,
		AckWithin: 2 * time.Second, EffectWithin: 15 * time.Second,
		ReconcileEvery: 15 * time.Second, StuckAfter: services.DefaultStuckAfter, AgentGoneAfter: services.DefaultAgentGoneAfter,
		GiveUpAfter: services.DefaultGiveUpAfter, CommandDeadline: services.DefaultCommandDeadline,
		SettleWithin: 150 * time.Second, Enabled: map[Fault]bool{},
	}
	if p.Hasty {
		p.ReconcileEvery = c.between(4*time.Second, 8*time.Second)
		p.StuckAfter = c.between(15*time.Second, 40*time.Second)
		p.CommandDeadline = c.between(30*time.Second, 80*time.Second)
		p.AgentGoneAfter = c.between(25*time.Second, 60*time.Second)
		if c.happens(0.3) {
			p.AgentGoneAfter = 3 * time.Minute
		}
		p.GiveUpAfter = 4 * time.Minute
		p.SettleWithin = p.AgentGoneAfter + 2*p.CommandDeadline + 2*p.StuckAfter + time.Minute
	}
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
	slices.SortFunc(p.events, func(a, b event) int { return int(a.at - b.at) })
	return p
}

// recent is how old a recent heartbeat may be, with room for clocks that differ
// by the steps that they took.
func (p Plan) recent() time.Duration { return p.StaleAfter + time.Minute }
