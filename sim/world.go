package sim

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamspace/streamspace/models"
)

// stopWithin is far more than a replica needs to stop, in virtual time.
const stopWithin = 2 * time.Minute

// templateName is what sessions run, homeTemplate what those run that keep a
// home, and roamingTemplate those that are placed anew when they are lost.
const (
	templateName    = "desk"
	homeTemplate    = "desk-with-home"
	roamingTemplate = "desk-anywhere"
)

// Options configure a run. Only the zero value of Logger has a meaning.
type Options struct {
	Plan Plan
	// Schema is what Prepare has made.
	Schema []byte
	// Dir is where the world keeps its files; it must be empty.
	Dir string
	// Logger hears everything that the product logs; the default discards it.
	Logger *slog.Logger
}

// world is one simulated system.
type world struct {
	options Options
	plan    Plan
	dir     string
	path    string
	gate    chan struct{}
	began   time.Time
	owner   models.User
	quiet   *log.Logger

	faults  *faults
	chance  *chance
	network *network
	wireLog wireLog
	history *history
	users   *users
	// operators take agents out of service.
	operators *operators
	// claims are the lies, and meanings what they and all others mean.
	claims   []claim
	meanings meanings
	// far is how far away a database that is far is.
	far time.Duration
	// settled is the part of R1's bound that it took to settle.
	settled float64
	// standing remembers what is so for a while.
	standing standing

	slots    []*slot
	machines []*machine
	// healed is closed when faults end.
	healed chan struct{}
	// running are the world's goroutines, and everybody's of former lives.
	running sync.WaitGroup

	mu         sync.Mutex
	violations []Violation
}

// Run lives one world through, from its plan, and gives what it found. It uses
// virtual time: the test's own is a moment.
func Run(t *testing.T, options Options) (report Report) {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{options: options, plan: options.Plan, dir: options.Dir, path: filepath.Join(options.Dir, "db"),
			gate: make(chan struct{}, 1), began: time.Now(), owner: models.User{ID: ownerID, Name: ownerName},
			quiet:  slog.NewLogLogger(options.Logger.Handler(), slog.LevelDebug),
			faults: newFaults(options.Plan.Enabled), chance: newChance(options.Plan.Seed, "world"),
			healed: make(chan struct{})}
		w.network = &network{world: w}
		w.users = newUsers(w)
		w.operators = newOperators(w)
		w.claims, w.meanings = lies(), meanings{}
		w.far = newChance(w.plan.Seed, "far").between(time.Millisecond, 60*time.Millisecond)
		if err := w.live(); err != nil {
			t.Fatalf("seed %d: %v", w.plan.Seed, err)
		}
		report = w.report()
	})
	return report
}

// live is the whole life of a world.
func (w *world) live() error {
	if err := os.WriteFile(w.path, w.options.Schema, 0o600); err != nil {
		return err
	}
	var err error
	if w.history, err = openHistory(w.path); err != nil {
		return err
	}
	defer w.history.close()
	for i := range w.plan.Replicas {
		w.slots = append(w.slots, &slot{number: i + 1})
		w.resume(w.slots[i])
	}
	for _, one := range w.claims {
		w.meanings.learn(one)
	}
	for i, one := range w.plan.setups {
		m := newMachine(fmt.Sprintf("m%d", i+1), one)
		w.meanings.learn(one.profile.claim)
		w.machines = append(w.machines, m)
		w.revive(m)
	}
	// Nothing goes wrong before the world is up: then it has a base line.
	for _, m := range w.machines {
		if m.joins > 0 {
			continue
		}
		select {
		case <-m.running().ready:
		case <-time.After(30 * time.Second):
			w.heal()
			w.shutDown()
			return fmt.Errorf("agent %s is not ready", m.name)
		}
	}
	time.Sleep(2*time.Second + w.chance.between(0, time.Second))
	baseline := w.goroutines()
	w.misbehave()
	w.heal()
	w.settle(baseline)
	w.shutDown()
	return w.judge()
}

// misbehave lets the plan's events happen.
func (w *world) misbehave() {
	start := time.Now()
	w.faults.turn(true)
	for _, m := range w.machines {
		if m.joins > 0 {
			w.later(m.joins, func() {
				m.join()
				w.revive(m)
			})
		}
	}
	for _, one := range w.plan.events {
		w.watchUntil(start.Add(one.at))
		if one.fault == "" && one.ask >= askCordon && one.ask <= askDrainForEver {
			w.operators.ask(one.ask)
		} else if one.fault == "" && one.ask >= askHibernate {
			w.users.askRest(one.ask)
		} else if one.fault == "" {
			w.users.ask(one.ask)
		} else if w.faults.may(one.fault) {
			w.strike(one.fault)
		}
	}
	w.watchUntil(start.Add(w.plan.Chaos))
}

// watchUntil lets time pass, and looks at what is bounded every second.
func (w *world) watchUntil(moment time.Time) {
	for {
		left := time.Until(moment)
		if left <= 0 {
			return
		}
		time.Sleep(min(left, time.Second))
		w.checkBounds()
	}
}

// heal ends all faults, and brings back what is away, except what is lost.
func (w *world) heal() {
	w.faults.turn(false)
	close(w.healed)
	for _, s := range w.slots {
		w.resume(s)
	}
	for _, m := range w.machines {
		m.join()
		w.revive(m)
	}
	w.users.wait()
	w.operators.wait()
	w.operators.relent()
	w.standing.healed = time.Now()
}

// resume starts a replica in the slot unless one runs.
func (w *world) resume(s *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		w.startReplica(s)
	}
}

// revive starts the machine's agent unless one runs.
func (w *world) revive(m *machine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.current != nil || m.lost || !m.joined {
		return
	}
	if err := w.startAgent(m); err != nil {
		w.fault("start %s: %v", m.name, err)
	}
}

// later does something in a while, or when faults end.
func (w *world) later(wait time.Duration, do func()) {
	w.running.Go(func() {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-w.healed:
		}
		do()
	})
}

// reachable is the replica that an agent comes to when it connects.
func (w *world) reachable(from *agentRun) *replicaRun {
	first := from.chance.pick(len(w.slots))
	for i := range w.slots {
		if r := w.slots[(first+i)%len(w.slots)].running(); r != nil {
			return r
		}
		if from.chance.happens(0.5) {
			return nil // an address that nobody answers at
		}
	}
	return nil
}

// shutDown ends everything in order, and waits for every goroutine.
func (w *world) shutDown() {
	for _, m := range w.machines {
		if run := m.running(); run != nil {
			run.life.end()
		}
	}
	var stopping sync.WaitGroup
	for _, s := range w.slots {
		if r := s.running(); r != nil {
			stopping.Go(r.stop)
		}
	}
	stopped := make(chan struct{})
	go func() {
		stopping.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-time.After(stopWithin):
		w.violate("H3", "", "a replica does not stop within %v", stopWithin)
	}
	for _, l := range w.network.all(func(*link) bool { return true }) {
		l.cut()
	}
	<-stopped
	w.running.Wait()
}

// connected gives the link of the agent's newest connection that works, or nil.
func (w *world) connected(m *machine) *link {
	run := m.running()
	if run == nil {
		return nil
	}
	var newest *link
	for _, l := range w.network.all(func(l *link) bool { return l.agent == run && l.carries() && l.epochNow() > 0 }) {
		if newest == nil || l.epochNow() > newest.epochNow() {
			newest = l
		}
	}
	return newest
}

// ctx is for the world's own questions.
func (w *world) ctx() context.Context { return context.Background() }

// at is the virtual time since the beginning, for people.
func (w *world) at(moment time.Time) string {
	return moment.Sub(w.began).Round(time.Millisecond).String()
}
