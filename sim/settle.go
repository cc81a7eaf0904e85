package sim

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// goroutinesOfAgent is how many a connected agent has at most, with those that
// its replica has for it.
const goroutinesOfAgent = 30

// unsettled is something that is not as it should be once faults have ended.
type unsettled struct {
	invariant, session, words string
}

// settle waits until everything is as it should be, which must come in time,
// stay so, cost nothing, and leave a system that works.
func (w *world) settle(baseline int) {
	deadline := time.Now().Add(w.plan.SettleWithin)
	for left := w.unsettled(); len(left) > 0; left = w.unsettled() {
		if time.Now().After(deadline) {
			for _, one := range left {
				w.violate(one.invariant, one.session, "%v after the last fault: %s", w.plan.SettleWithin, one.words)
			}
			return
		}
		w.watchUntil(time.Now().Add(time.Second + w.chance.between(0, time.Millisecond)))
	}
	w.settled = float64(w.plan.SettleWithin-time.Until(deadline)) / float64(w.plan.SettleWithin)
	w.probe()
	w.watchUntil(time.Now().Add(3 * time.Second)) // what waits is told why, now and then
	before, had := w.lastChange(), w.contents()
	w.watchUntil(time.Now().Add(2*w.plan.ReconcileEvery + w.plan.InventoryEvery + 2*time.Second))
	if after := w.lastChange(); after != before {
		changes, err := w.history.changes(w.ctx(), before)
		if err != nil {
			w.fault("%v", err)
		}
		for _, c := range changes {
			if c.kind == "command" || c.kind == "session" {
				w.violate("R5", c.session, "something is written although all was settled: %s", c)
			}
		}
	}
	if has := w.contents(); len(has.beyond(had))+len(had.beyond(has)) > 0 {
		w.violate("R5", "", "the database changed although all was settled, from\n%s\nto\n%s",
			strings.Join(had.beyond(has), "\n"), strings.Join(has.beyond(had), "\n"))
	}
	for _, one := range w.unsettled() {
		w.violate(one.invariant, one.session, "after all was settled: %s", one.words)
	}
	// Each machine that is lost takes its goroutines along, so fewer are no loss.
	// A few more are connections that net/http keeps for a while. Machines that
	// came later are not in the base line.
	late := 0
	for _, m := range w.machines {
		if m.joins > 0 {
			late++
		}
	}
	allowed := baseline + 4*len(w.machines) + goroutinesOfAgent*late
	time.Sleep(time.Millisecond) // those of the questions above end
	now := w.goroutines()
	for waited := 0; now > allowed && waited < 120; waited++ {
		time.Sleep(time.Second) // for longer than net/http keeps a connection that nobody uses
		now = w.goroutines()
	}
	if now > allowed {
		w.violate("H3", "", "%d goroutines are left, %d were there before the first fault", now, baseline)
	}
	w.checkExplanations()
}

func (w *world) lastChange() int64 {
	n, err := w.history.last(w.ctx())
	if err != nil {
		w.fault("%v", err)
	}
	return n
}

func (w *world) contents() contents {
	all, err := w.history.contents(w.ctx())
	if err != nil {
		w.fault("%v", err)
	}
	return all
}

// unsettled lists what is not as it should be.
func (w *world) unsettled() (left []unsettled) {
	add := func(invariant, session, format string, args ...any) {
		left = append(left, unsettled{invariant, session, fmt.Sprintf(format, args...)})
	}
	open, err := w.history.openCommands(w.ctx())
	if err != nil {
		add("world", "", "%v", err)
	}
	for _, line := range open {
		_, session, words := described(line)
		add("D6", session, "command %s", words)
	}
	passing, err := w.history.passing(w.ctx())
	if err != nil {
		add("world", "", "%v", err)
	}
	for _, line := range passing {
		_, session, words := described(line)
		add("R1", session, "session %s", words)
	}
	w.placementUnsettled(add)
	w.leaseUnsettled(add)
	for _, m := range w.machines {
		if m.lost {
			for _, s := range w.slots {
				r := s.running()
				if r == nil {
					continue
				}
				if r.hub.IsAgentConnected(m.name) {
					add("H1", "", "agent %s is lost, and connected to %s", m.name, r.name)
				}
				agent, err := r.database.Agent(w.ctx(), m.name)
				if err == nil && agent.Status == models.AgentOnline && agent.LastHeartbeat.After(s.now().Add(-w.plan.recent())) {
					add("S3", "", "agent %s is lost, and %s may place sessions on it", m.name, r.name)
				}
			}
			left, err := w.history.runningOn(w.ctx(), m.name)
			if err != nil {
				add("world", "", "%v", err)
			}
			for ref := range left {
				if !w.users.wishOf(ref.SessionID).home {
					add("R1", ref.SessionID, "session %s is taken to run on %s, which is lost", ref.SessionID, m.name)
				}
			}
			continue
		}
		w.agentUnsettled(m, add)
		should, err := w.history.runningOn(w.ctx(), m.name)
		if err != nil {
			add("world", "", "%v", err)
		}
		does := map[driver.Ref]bool{}
		for _, ref := range m.list() {
			does[ref] = true
			if !should[ref] {
				add("R4", ref.SessionID, "session %s runs on %s and should not", ref.SessionID, m.name)
			}
		}
		for ref := range should {
			if !does[ref] {
				add("R2", ref.SessionID, "session %s should run on %s and does not", ref.SessionID, m.name)
			}
		}
	}
	return left
}

// leaseUnsettled tells when nobody that runs reconciles.
func (w *world) leaseUnsettled(add func(invariant, session, format string, args ...any)) {
	holders, err := w.history.texts(w.ctx(), `SELECT holder FROM leases WHERE name = 'reconciler'`)
	if err != nil {
		add("world", "", "%v", err)
	}
	for _, s := range w.slots {
		if r := s.running(); r != nil && slices.Contains(holders, r.holder) {
			return
		}
	}
	add("R1", "", "nobody that runs reconciles: the lease is that of %q", holders)
}

// agentUnsettled tells when the hub does not use the agent's newest connection.
func (w *world) agentUnsettled(m *machine, add func(invariant, session, format string, args ...any)) {
	newest := w.connected(m)
	if newest == nil {
		add("H1", "", "agent %s is not connected", m.name)
		return
	}
	epoch, connected := newest.replica.hub.Epoch(m.name)
	if !connected || epoch != newest.epochNow() {
		add("H1", "", "agent %s is connected as %d to %s, which uses connection %d (%v)",
			m.name, newest.epochNow(), newest.replica.name, epoch, connected)
	}
}

// probe asks each replica for a session and its end: a system that has settled
// does at once what it is asked for.
func (w *world) probe() {
	const within = 20 * time.Second
	for _, s := range w.slots {
		r := s.running()
		id := fmt.Sprintf("probe-%d", s.number)
		session, _, err := r.launch(w.ctx(), id, wish{})
		if models.CodeOf(err) == models.CodeNoSuitableAgent {
			continue // there is no machine that could take it
		}
		if err != nil {
			w.violate("R1", id, "a launch after all was settled fails: %v", err)
			continue
		}
		if !session.Waiting() { // else all machines that this replica has are full
			w.probed(r, id, models.SessionRunning, within)
		}
		if _, err := r.sessions.Stop(w.ctx(), id, "user:"+ownerName); err != nil {
			w.violate("R1", id, "a stop after all was settled fails: %v", err)
		}
		w.probed(r, id, models.SessionTerminated, within)
	}
}

func (w *world) probed(r *replicaRun, id string, wanted models.SessionState, within time.Duration) {
	var session models.Session
	var err error
	for deadline := time.Now().Add(within); time.Now().Before(deadline); time.Sleep(500*time.Millisecond + w.chance.between(0, time.Millisecond)) {
		if session, err = r.database.Session(w.ctx(), id); err == nil && session.State == wanted {
			return
		}
	}
	w.violate("R1", id, "a new session is %s and not %s after %v (%v)", session.State, wanted, within, err)
}

// goroutines counts those of this bubble.
func (w *world) goroutines() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	// The first is this one, and its head names the bubble.
	head, _, _ := bytes.Cut(stacks, []byte("\n"))
	_, bubble, found := bytes.Cut(head, []byte("synctest bubble "))
	if !found {
		return 0
	}
	return bytes.Count(stacks, append([]byte("synctest bubble "), bubble...))
}
