package sim

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
)

// effectKind is what happened to a runtime.
type effectKind string

// The kinds of effect.
const (
	effectStart effectKind = "start"
	effectStop  effectKind = "stop"
	// effectUndone is the end of a runtime whose start failed after all.
	effectUndone effectKind = "undone start"
	// effectCleared is the stop with which an agent clears away what its failed
	// start may have left. Unlike another stop it forbids no start: who crashes
	// before saying that the start failed may try it again.
	effectCleared effectKind = "clearing"
	// effectExit is a runtime's own end, effectGone the machine's.
	effectExit effectKind = "exit"
	effectGone effectKind = "gone with the machine"
)

// effect is an entry in the log that a machine keeps for itself. A start that
// finds its runtime there already is no effect.
type effect struct {
	at      time.Time
	machine string
	run     int
	kind    effectKind
	driver.Ref
}

// machine is where an agent runs: its runtimes, which live on when the agent
// crashes, and what of its journal is on disk. Safe for concurrent use.
type machine struct {
	name string
	// joins is when the machine is set up, after the world began; 0 is at once.
	joins time.Duration
	// store is the home store that its agent shares, or empty.
	store string

	mu sync.Mutex
	// profile is what its agent says.
	profile  profile
	joined   bool
	runtimes map[driver.Ref]time.Time
	effects  []effect
	// failed has the starts that failed last, and in which run.
	failed map[driver.Ref]int
	// durable is the journal as far as it has been synced.
	durable []byte
	// backup is what durable was at some time before, and forgot is when something
	// of durable was lost.
	backup []byte
	forgot []time.Time
	// runs counts the agent's processes, restarts the machine's.
	runs, restarts int
	// lost is set when the machine never comes back.
	lost bool
	// current is the agent's process, nil while there is none.
	current *agentRun
}

func newMachine(name string, one setup) *machine {
	return &machine{name: name, joins: one.joins, store: one.store, joined: one.joins == 0, profile: one.profile, runtimes: map[driver.Ref]time.Time{}, failed: map[driver.Ref]int{}}
}

// join makes the machine one that is there.
func (m *machine) join() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joined = true
}

// note adds to the log. The caller has the lock.
func (m *machine) note(run int, kind effectKind, ref driver.Ref) {
	m.effects = append(m.effects, effect{at: time.Now(), machine: m.name, run: run, kind: kind, Ref: ref})
}

// begin makes a runtime unless it is there.
func (m *machine) begin(run int, ref driver.Ref) (since time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	since, there := m.runtimes[ref]
	if !there {
		since = time.Now()
		m.runtimes[ref] = since
		m.note(run, effectStart, ref)
	}
	return since
}

// finish ends the session's runtimes up to ref's generation.
func (m *machine) finish(run int, ref driver.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.runtimes {
		if other.SessionID == ref.SessionID && other.Generation <= ref.Generation {
			delete(m.runtimes, other)
		}
	}
	kind := effectStop
	if m.failed[ref] == run {
		kind = effectCleared
	}
	delete(m.failed, ref)
	m.note(run, kind, ref)
}

// undo ends a runtime, if it is there, as its start has failed.
func (m *machine) undo(run int, ref driver.Ref) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed[ref] = run
	if _, there := m.runtimes[ref]; there {
		delete(m.runtimes, ref)
		m.note(run, effectUndone, ref)
	}
}

// list gives the runtimes in order.
func (m *machine) list() []driver.Ref {
	m.mu.Lock()
	defer m.mu.Unlock()
	refs := make([]driver.Ref, 0, len(m.runtimes))
	for ref := range m.runtimes {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b driver.Ref) int {
		return cmp.Or(cmp.Compare(a.SessionID, b.SessionID), cmp.Compare(a.Generation, b.Generation))
	})
	return refs
}

// expire ends a runtime, if it is there, as if its own program had ended.
func (m *machine) expire(ref driver.Ref) {
	m.mu.Lock()
	_, there := m.runtimes[ref]
	if there {
		delete(m.runtimes, ref)
		m.note(m.runs, effectExit, ref)
	}
	run := m.current
	m.mu.Unlock()
	if there && run != nil {
		run.exited(ref)
	}
}

// restart ends every runtime.
func (m *machine) restart() {
	refs := m.list()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.restarts++
	for _, ref := range refs {
		m.note(m.runs, effectGone, ref)
	}
	clear(m.runtimes)
}

// forgets has the agent's disk be as it was when it was backed up, or new.
func (m *machine) forgets(restored bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.durable, m.forgot = nil, append(m.forgot, time.Now())
	if restored {
		m.durable = m.backup
	}
}

// log gives all effects so far.
func (m *machine) log() []effect {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.effects)
}

// running is the agent's process, nil while there is none.
func (m *machine) running() *agentRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}
