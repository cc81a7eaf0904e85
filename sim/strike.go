package sim

import "time"

// strike makes a fault happen to something that is there.
func (w *world) strike(kind Fault) {
	c := w.chance
	s := w.slots[c.pick(len(w.slots))]
	m := w.machines[c.pick(len(w.machines))]
	links := w.network.all((*link).open)
	switch kind {
	case ReplicaCrash:
		if r := s.running(); r != nil {
			w.faults.count(kind)
			r.crash()
		}
	case CrashInCommit:
		if r := s.running(); r != nil {
			r.early.Store(c.happens(0.5))
			r.commits.Store(int32(1 + c.pick(8)))
		}
	case AgentCrash, MachineRestart, MachineLost, DiskWiped, DiskRestored:
		w.strikeMachine(kind, m)
	case LinkCut, HalfOpen:
		if len(links) == 0 {
			return
		}
		w.faults.count(kind)
		one := links[c.pick(len(links))]
		if kind == LinkCut {
			one.cut()
			return
		}
		lane := []*lane{one.up, one.down}[c.pick(2)]
		lane.mu.Lock()
		lane.halve()
		lane.mu.Unlock()
	case ConnectStorm, AgentMoved:
		w.faults.count(kind)
		for _, one := range links {
			// An agent that moves gives up a connection that its old replica keeps.
			if kind == ConnectStorm {
				one.cut()
			} else if one.agent.machine == m {
				one.breakNear()
			}
		}
	case DatabaseAway:
		w.faults.count(kind)
		until := time.Now().Add(c.between(500*time.Millisecond, 15*time.Second)).UnixNano()
		s.away.Store(until)
		if c.happens(0.3) {
			for _, other := range w.slots {
				other.away.Store(until)
			}
		}
	case ControlPlaneAway:
		w.faults.count(kind)
		for _, s := range w.slots {
			if r := s.running(); r != nil {
				r.fall()
			}
		}
		w.later(c.between(20*time.Second, 80*time.Second), func() {
			for _, s := range w.slots {
				w.resume(s)
			}
		})
	case ClockStep:
		w.faults.count(kind)
		step := c.between(time.Second, 12*time.Second)
		if c.happens(0.5) {
			step = -step
		}
		s.offset.Add(int64(step))
	case AgentAway:
		if run := m.running(); run != nil {
			w.faults.count(kind)
			run.crash()
			w.later(w.plan.AgentGoneAfter+c.between(w.plan.ReconcileEvery, 3*w.plan.ReconcileEvery), func() { w.revive(m) })
		}
	case AgentLeft:
		if run := m.running(); run != nil {
			w.faults.count(kind)
			run.leaving.end()
		}
	case CapacityLie:
		w.faults.count(kind)
		m.say(w.claims[c.pick(len(w.claims))])
	case AgentChanged:
		if run := m.running(); run != nil {
			w.faults.count(kind)
			m.become(drawTraits(c))
			run.vanish(c.happens(0.7)) // so that it registers while it still counts as connected
			back := c.between(500*time.Millisecond, 3*time.Second)
			w.later(back, func() { w.revive(m) })
			for range 5 { // while replicas learn of it
				w.later(back+c.between(0, 400*time.Millisecond), func() {
					if w.faults.may(kind) {
						w.users.ask(askLaunch)
					}
				})
			}
		}
	case RuntimeExit:
		if refs := m.list(); len(refs) > 0 {
			w.faults.count(kind)
			m.expire(refs[c.pick(len(refs))])
		}
	}
}

// strikeMachine ends a machine's agent, and what more the fault takes.
func (w *world) strikeMachine(kind Fault, m *machine) {
	run := m.running()
	if run == nil {
		return
	}
	if kind == MachineLost {
		for _, other := range w.machines {
			if other.lost {
				return // one a world
			}
		}
	}
	w.faults.count(kind)
	run.crash()
	switch kind {
	case MachineRestart:
		m.restart()
	case DiskWiped, DiskRestored:
		if w.chance.happens(0.5) {
			m.restart()
		}
		m.forgets(kind == DiskRestored)
	case MachineLost:
		m.restart()
		m.mu.Lock()
		m.lost = true
		m.mu.Unlock()
		return
	}
	w.later(w.chance.between(time.Second, 30*time.Second), func() { w.revive(m) })
}
