package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/agent"
	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/wire"
)

var errSync = errors.New("sim: the disk refused")

// agentRun is one process of an agent, from start to crash.
type agentRun struct {
	world   *world
	machine *machine
	number  int
	life    *life
	// leaving ends when the agent is told to end in order.
	leaving *life
	chance  *chance
	exits   chan driver.Exit
	// journal is this run's copy of the journal. A crashed run goes on writing to
	// its own, which nobody reads any more.
	journal string
	running sync.WaitGroup
	ready   <-chan struct{}
	// suspect is set once a sync has failed: from then on the agent may tell what
	// is not on disk, and does so on purpose.
	suspect atomic.Bool
}

// startAgent runs the machine's agent, with the journal that the disk has. The
// caller has the machine's lock.
func (w *world) startAgent(m *machine) error {
	m.runs++
	run := &agentRun{world: w, machine: m, number: m.runs, life: newLife(), leaving: newLife(),
		exits:   make(chan driver.Exit, 64),
		journal: filepath.Join(w.dir, fmt.Sprintf("%s-%d.journal", m.name, m.runs)),
	}
	durable := m.durable
	m.current = run
	run.chance = newChance(w.plan.Seed, fmt.Sprintf("%s run %d", m.name, run.number))
	if len(durable) > 0 {
		if err := os.WriteFile(run.journal, durable, 0o600); err != nil {
			return err
		}
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.network.dial(ctx, run)
	}}
	made, err := agent.New(agent.Config{
		Server: &url.URL{Scheme: "http", Host: "control-plane"}, Key: "key", AgentID: m.name,
		Region: m.profile.region, Labels: m.profile.labels, HomeStore: m.store, JournalPath: run.journal, SyncJournal: run.sync, Driver: simDriver{run},
		Transport: transport, Logger: w.options.Logger.With("on", m.name), Version: "sim",
		Backoff:      agent.Backoff{Cap: agentBackoff, Refused: agentBackoff},
		HealthyAfter: 5 * time.Second, StaleAfter: w.plan.StaleAfter, InventoryEvery: w.plan.InventoryEvery,
		MaxConcurrent: agentConcurrent, MaxPending: agentPending, EffectWithin: w.plan.EffectWithin, DrainWithin: time.Second,
	})
	if err != nil {
		return err
	}
	run.ready = made.Ready()
	ctx, cancel := context.WithCancel(context.Background())
	run.running.Go(func() {
		select {
		case <-run.life.ended:
		case <-run.leaving.ended:
		}
		cancel()
	})
	w.running.Go(func() {
		err := made.Run(ctx)
		if run.leaving.over() && !run.life.over() {
			run.leave()
			w.later(w.chance.between(5*time.Second, time.Minute), func() { w.revive(m) })
		} else if !run.life.over() {
			// It cannot use its journal, and whoever supervises it tries again.
			if !run.suspect.Load() {
				w.fault("agent %s ended by itself: %v", m.name, err)
			}
			run.crash()
			w.later(w.chance.between(time.Second, 5*time.Second), func() { w.revive(m) })
		}
		transport.CloseIdleConnections()
		run.running.Wait()
	})
	return nil
}

// sync is the agent's fsync: what the file has now survives a crash.
func (r *agentRun) sync(*os.File) error {
	select {
	case <-time.After(r.chance.between(50*time.Microsecond, 3*time.Millisecond)):
	case <-r.life.ended:
		return errCrashed
	}
	if r.world.faults.strikes(SyncFailed, r.chance, 0.02) {
		r.suspect.Store(true)
		return errSync
	}
	// A journal that is written anew has its content before it has its name.
	content, err := os.ReadFile(r.journal + ".new")
	if errors.Is(err, os.ErrNotExist) {
		content, err = os.ReadFile(r.journal)
	}
	if err != nil {
		return err
	}
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if r.life.over() || r.machine.current != r {
		return errCrashed
	}
	r.machine.durable = content
	if r.chance.happens(0.1) {
		r.machine.backup = content
	}
	return nil
}

// remembers tells whether the journal on disk has what the agent says of the
// command.
func (r *agentRun) remembers(kind wire.Type, commandID string) bool {
	if r.suspect.Load() || r.life.over() {
		return true // a failed sync excuses, and the dead say nothing
	}
	record := []byte(`"kind":"intent"`)
	switch kind {
	case wire.TypeComplete, wire.TypeFailed:
		record = []byte(`"kind":"outcome"`)
	case wire.TypeAck:
	default:
		return true
	}
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	id := []byte(commandID)
	for line := range bytes.Lines(r.machine.durable) {
		// A repeat may be acknowledged once its outcome stands for its intent.
		if bytes.Contains(line, id) && (kind == wire.TypeAck || bytes.Contains(line, record)) {
			return true
		}
	}
	return false
}

// exited tells the agent of a runtime's own end.
func (r *agentRun) exited(ref driver.Ref) {
	select {
	case r.exits <- driver.Exit{Ref: ref, Clean: r.chance.happens(0.5), Reason: "it ended by itself"}:
	default:
	}
}

// mayCrash crashes the agent here, in the middle of an effect.
func (r *agentRun) mayCrash() {
	if !r.life.over() && r.world.faults.strikes(CrashInEffect, r.chance, 0.03) {
		r.crash()
		r.world.later(r.chance.between(time.Second, 10*time.Second), func() { r.world.revive(r.machine) })
	}
}

// leave ends a run that has ended in order.
func (r *agentRun) leave() {
	r.life.end()
	r.machine.mu.Lock()
	defer r.machine.mu.Unlock()
	if r.machine.current == r {
		r.machine.current = nil
	}
}

// crash ends the run: its connections are reset, or just fall silent.
func (r *agentRun) crash() { r.vanish(r.chance.happens(0.3)) }

// vanish is crash, silent or not.
func (r *agentRun) vanish(silent bool) {
	r.life.end()
	r.machine.mu.Lock()
	if r.machine.current == r {
		r.machine.current = nil
	}
	r.machine.mu.Unlock()
	for _, l := range r.world.network.all(func(l *link) bool { return l.agent == r && l.open() }) {
		l.up.swallow()
		l.breakNear()
		if !silent {
			l.breakFar()
		}
	}
}
