package sim

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// violate notes that an invariant does not hold now.
func (w *world) violate(invariant, session, format string, args ...any) {
	w.violateAt(time.Since(w.began), invariant, session, format, args...)
}

func (w *world) violateAt(at time.Duration, invariant, session, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, Violation{Invariant: invariant, Seed: w.plan.Seed, At: at, Session: session,
		What: fmt.Sprintf(format, args...)})
}

// fault notes that the simulation itself does not work.
func (w *world) fault(format string, args ...any) { w.violate("world", "", format, args...) }

// checkBounds looks at what must be bounded (D5), while things go wrong.
func (w *world) checkBounds() {
	for _, s := range w.slots {
		r := s.running()
		if r == nil {
			continue
		}
		stats := r.dispatcher.Stats()
		flight := dispatcherWindow * len(w.machines)
		switch {
		case stats.QueueLength > dispatcherQueue:
			w.violate("D5", "", "%s has %d hints in a queue of %d", r.name, stats.QueueLength, dispatcherQueue)
		case stats.InFlight > flight:
			w.violate("D5", "", "%s has %d commands in flight, %d are allowed", r.name, stats.InFlight, flight)
		case stats.Unwritten > 1000:
			w.violate("D5", "", "%s has %d commands with news that are not written", r.name, stats.Unwritten)
		}
	}
	without, err := w.history.withoutCommand(w.ctx())
	if err != nil {
		w.fault("%v", err)
	}
	for _, line := range without {
		_, session, words := described(line)
		w.violate("D2", session, "session %s has no command that starts it", words)
	}
	w.checkPlacement()
	w.checkOrphans()
}

// judge looks at the histories of the whole life.
func (w *world) judge() error {
	changes, err := w.history.changes(w.ctx(), 0)
	if err != nil {
		return err
	}
	var effects []effect
	for _, m := range w.machines {
		effects = append(effects, m.log()...)
	}
	slices.SortStableFunc(effects, func(a, b effect) int { return a.at.Compare(b.at) })
	j := judgement{world: w, changes: changes, effects: effects, passages: w.wireLog.all()}
	j.rows()
	j.capacity()
	j.avoided()
	j.orders()
	j.effectsOnce()
	j.homes()
	j.wire()
	j.replaced()
	j.staleFrames()
	j.promises()
	j.ends()
	w.tell(j)
	return nil
}

// judgement is all histories of a world that has ended.
type judgement struct {
	world    *world
	changes  []change
	effects  []effect
	passages []passage
}

// since is the virtual time of a moment.
func (j judgement) since(moment time.Time) time.Duration { return moment.Sub(j.world.began) }

// tell gives each violation the history of its session.
func (w *world) tell(j judgement) {
	slices.SortStableFunc(w.violations, func(a, b Violation) int { return cmp.Compare(a.At, b.At) })
	for i := range w.violations {
		if v := &w.violations[i]; v.Session != "" {
			v.History = j.of(v.Session)
		}
	}
}

// line is an entry of a history for people.
type line struct {
	at   time.Duration
	text string
}

// of gives all that happened to a session.
func (j judgement) of(session string) []string {
	var lines []line
	commands := map[string]bool{}
	for _, c := range j.changes {
		if c.session == session {
			lines = append(lines, line{c.at, c.String()})
		}
		if c.session == session && c.kind == "command" {
			commands[c.id] = true
		}
	}
	for _, e := range j.effects {
		if e.SessionID == session {
			lines = append(lines, line{j.since(e.at), fmt.Sprintf("on %s, run %d: %s of generation %d", e.machine, e.run, e.kind, e.Generation)})
		}
	}
	for _, p := range j.passages {
		if !commands[p.said.CommandID] {
			continue
		}
		how, way := "sent", "down"
		if p.arrived {
			how = "arrived"
		}
		if p.up {
			way = "up"
		}
		lines = append(lines, line{j.since(p.at), fmt.Sprintf("%s %s %s, connection %d of %s to %s",
			p.kind, p.said.CommandID, how+" "+way, p.link.epochNow(), p.link.agent.machine.name, p.link.replica.name)})
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.at, b.at) })
	texts := make([]string, 0, len(lines))
	for _, one := range lines {
		texts = append(texts, fmt.Sprintf("  %12v  %s", one.at.Round(time.Microsecond), one.text))
	}
	return texts
}

// report makes the world's report.
func (w *world) report() Report {
	r := Report{Seeds: 1, Virtual: time.Since(w.began), Faults: w.faults.counted(), Violations: w.violations, Accepted: w.users.accepted,
		Refused: w.users.refused, Unanswered: w.users.failed,
		Frames: len(w.wireLog.passages), Settled: w.settled}
	fingerprint := fnv.New64a()
	for _, m := range w.machines {
		for _, e := range m.effects {
			r.Effects++
			fmt.Fprintln(fingerprint, e.at.Sub(w.began), e.machine, e.run, e.kind, e.Ref)
		}
	}
	for _, p := range w.wireLog.passages {
		if p.arrived && p.kind == "command" {
			r.Commands++
		}
	}
	r.Fingerprint = fingerprint.Sum64()
	return r
}
