package sim

import (
	"sync"
)

// Fault is a kind of thing that goes wrong.
type Fault string

// The kinds of fault.
const (
	ReplicaCrash   Fault = "replica crash"
	CrashInCommit  Fault = "replica crash at a commit"
	AgentCrash     Fault = "agent crash"
	CrashInEffect  Fault = "agent crash in an effect"
	MachineRestart Fault = "machine restart"
	MachineLost    Fault = "machine lost for good"
	DiskWiped      Fault = "agent's disk wiped"
	DiskRestored   Fault = "agent's disk restored from a backup"
	FrameLost      Fault = "frame lost"
	FrameDelayed   Fault = "frame delayed"
	FrameDoubled   Fault = "frame doubled"
	FrameReordered Fault = "frame reordered"
	LinkCut        Fault = "connection cut"
	HalfOpen       Fault = "connection half open"
	ConnectStorm   Fault = "reconnect storm"
	AgentMoved     Fault = "agent moved to another replica"
	CommitRefused  Fault = "commit failed"
	CommitLied     Fault = "commit done but called failed"
	DatabaseSlow   Fault = "database slow"
	DatabaseAway   Fault = "database unreachable"
	ClockStep      Fault = "clock step"
	EffectFailed   Fault = "effect failed"
	EffectHung     Fault = "effect hung"
	EffectDeaf     Fault = "effect went on though cancelled"
	RuntimeExit    Fault = "runtime ended by itself"
	SyncFailed     Fault = "journal sync failed"
	CallLost       Fault = "answer to a user lost"
	AgentLeft      Fault = "agent left for a while"
	AgentAway      Fault = "agent away for so long that it counts as gone"
	AgentChanged   Fault = "agent came back different"
	CapacityLie    Fault = "agent lied about its capacity"
	DatabaseFar    Fault = "database far away"
	// ControlPlaneAway is for longer than agents may be silent.
	ControlPlaneAway Fault = "control plane away"
)

// faults are what may go wrong in one world, and what has. Safe for concurrent
// use.
type faults struct {
	mu      sync.Mutex
	enabled map[Fault]bool
	// on is set while faults may happen.
	on     bool
	counts map[Fault]int
}

func newFaults(enabled map[Fault]bool) *faults {
	return &faults{enabled: enabled, counts: map[Fault]int{}}
}

// may tells whether a fault of this kind may happen now.
func (f *faults) may(kind Fault) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.enabled[kind] && f.on
}

// strikes decides whether a fault of this kind happens now, and counts it.
func (f *faults) strikes(kind Fault, c *chance, probability float64) bool {
	if !f.may(kind) || !c.happens(probability) {
		return false
	}
	f.count(kind)
	return true
}

func (f *faults) count(kind Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[kind]++
}

// turn lets faults happen from now on, or none any more.
func (f *faults) turn(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on = on
}

// counted gives how often each kind has happened.
func (f *faults) counted() map[Fault]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := make(map[Fault]int, len(f.counts))
	for kind, count := range f.counts {
		counts[kind] = count
	}
	return counts
}
