package sim

import (
	"slices"
	"time"

	"github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// rows judges what was written: D3, H1, H2 of sends, and S2.
func (j judgement) rows() {
	w := j.world
	type activity struct {
		session, action string
		generation      int64
	}
	active, forced := map[activity]string{}, map[string]bool{}
	for _, c := range j.changes {
		switch c.kind {
		case "epoch":
			if c.sentNow <= c.sentWas {
				w.violateAt(c.at, "H1", "", "a new connection has no higher number: %s", c)
			}
		case "session":
			if models.SessionState(c.was).Terminal() {
				w.violateAt(c.at, "D3", c.session, "a session that had ended was written: %s", c)
			}
			if models.ErrorCode(c.code) == models.CodeAgentUnavailable && models.SessionState(c.became).Terminal() {
				forced[c.session] = true
			}
			if c.placed() {
				j.placement(c)
			}
		case "command":
			if ended(c.was) {
				w.violateAt(c.at, "D3", c.session, "a command that had ended was written: %s", c)
			}
			sent := c.sentNow != c.sentWas && c.sentNow != 0 // which stands for one that is to be sent again
			if sent && forced[c.session] {
				w.violateAt(c.at, "D3", c.session, "a command was sent of a session that had been ended without its agent: %s", c)
			}
			if sent && c.sentNow != c.epoch {
				w.violateAt(c.at, "H2", c.session, "a send on connection %d was written although %d is the newest: %s", c.sentNow, c.epoch, c)
			}
			what := activity{c.session, c.action, c.generation}
			switch {
			case ended(c.became) && active[what] == c.id:
				delete(active, what)
			case c.created && active[what] != "":
				w.violateAt(c.at, "S2", c.session, "%s was written while %s asked for the same", c.id, active[what])
			case c.created:
				active[what] = c.id
			}
		}
	}
}

func ended(status string) bool {
	return status == models.CommandCompleted || status == models.CommandFailed
}

// place is where a session runs, in which generation.
type place struct {
	machine    string
	generation int64
}

// effectsOnce judges D1, D4, R3 and R6 where the effects are.
func (j judgement) effectsOnce() {
	w := j.world
	type runtime struct {
		session    string
		generation int64
	}
	started, stopped := map[runtime]time.Time{}, map[string]int64{}
	running := map[string]map[place]bool{}
	for _, e := range j.effects {
		at := j.since(e.at)
		switch e.kind {
		case effectStart:
			key := runtime{e.SessionID, e.Generation}
			if first, before := started[key]; before && j.told(e, first) {
				w.violateAt(at, "D1", e.SessionID, "session %s, generation %d, was started at %s and again, although that had been told",
					e.SessionID, e.Generation, w.at(first))
			}
			started[key] = e.at
			if stopped[e.SessionID] >= e.Generation {
				w.violateAt(at, "D4", e.SessionID, "generation %d of session %s was started after generation %d was stopped",
					e.Generation, e.SessionID, stopped[e.SessionID])
			}
			for where := range running[e.SessionID] {
				if !j.forsaken(e.SessionID, where, at) {
					w.violateAt(at, "R3", e.SessionID, "session %s has two runtimes", e.SessionID)
				}
			}
			if running[e.SessionID] == nil {
				running[e.SessionID] = map[place]bool{}
			}
			running[e.SessionID][place{e.machine, e.Generation}] = true
		case effectStop, effectCleared:
			if e.kind == effectStop {
				stopped[e.SessionID] = max(stopped[e.SessionID], e.Generation)
			}
			for where := range running[e.SessionID] {
				if where.machine == e.machine && where.generation <= e.Generation {
					delete(running[e.SessionID], where)
					j.ceased(e, where)
				}
			}
		default:
			delete(running[e.SessionID], place{e.machine, e.Generation})
		}
	}
}

// told reports whether an agent had said, before its start was done again, how the
// first one of this generation ended. Until then a start that is gone with its
// machine may be done again: nobody can have seen it. An agent that has forgotten
// since what it said may do it again until the database knows.
func (j judgement) told(again effect, first time.Time) bool {
	forgot := slices.ContainsFunc(j.world.machine(again.machine).forgot, func(at time.Time) bool { return at.After(first) && at.Before(again.at) })
	starts := map[string]bool{}
	for _, c := range j.changes {
		if c.kind == "command" && c.session == again.SessionID && c.generation == again.Generation && models.Begins(c.action) {
			starts[c.id] = true
			if c.became == models.CommandCompleted && c.at < j.since(again.at) {
				return true
			}
		}
	}
	for _, p := range j.passages {
		if forgot || p.at.After(again.at) {
			break
		}
		if p.up && p.kind == wire.TypeComplete && starts[p.said.CommandID] && !p.link.agent.suspect.Load() {
			return true
		}
	}
	return false
}

// wire judges the frames: the order of commands on a connection (D4), and that
// agents say only what their disk has (D2).
func (j judgement) wire() {
	w := j.world
	seq, session := map[string]int64{}, map[string]string{}
	for _, c := range j.changes {
		if c.kind == "command" {
			seq[c.id], session[c.id] = c.seq, c.session
		}
	}
	type lane struct {
		link    int
		session string
	}
	type sending struct {
		link int
		id   string
	}
	newest, sent := map[lane]int64{}, map[sending]bool{}
	for _, p := range j.passages {
		if p.arrived || p.said.CommandID == "" {
			continue
		}
		id := p.said.CommandID
		if p.up && !p.durable {
			w.violateAt(j.since(p.at), "D2", session[id], "agent %s says %s of command %s before its journal does",
				p.link.agent.machine.name, p.kind, id)
		}
		if p.kind != wire.TypeCommand || sent[sending{p.link.number, id}] {
			continue
		}
		if _, written := seq[id]; !written {
			w.violateAt(j.since(p.at), "D2", session[id], "command %s was sent and is not in the database", id)
		}
		sent[sending{p.link.number, id}] = true
		on := lane{p.link.number, session[id]}
		if seq[id] < newest[on] {
			w.violateAt(j.since(p.at), "D4", session[id], "command %s was sent after a later one of its session, on connection %d",
				id, p.link.epochNow())
		}
		newest[on] = max(newest[on], seq[id])
	}
}

// replaced judges H1 where connections end: the hub ends one because of a newer
// one only if there is a newer one.
func (j judgement) replaced() {
	next, newest := 0, map[string]int64{}
	for _, p := range j.passages {
		for ; next < len(j.changes) && j.changes[next].at <= j.since(p.at); next++ {
			if c := j.changes[next]; c.kind == "epoch" {
				newest[c.agent] = c.sentNow
			}
		}
		agent, epoch := p.link.agent.machine.name, p.link.epochNow()
		if p.closing == int(websocket.StatusPolicyViolation) && epoch != 0 && newest[agent] <= epoch {
			j.world.violateAt(j.since(p.at), "H1", "", "connection %d of %s, the newest, was ended for a newer one", epoch, agent)
		}
	}
}

// staleFrames judges H2 for answers: a row says what an agent said only if the
// agent said so on what still was its newest connection. What it said on one
// whose welcome never left may have been that.
func (j judgement) staleFrames() {
	type word struct {
		id    string
		kind  wire.Type
		epoch int64
	}
	heard := map[word]bool{}
	next := 0
	for _, c := range j.changes {
		for ; next < len(j.passages) && j.since(j.passages[next].at) <= c.at; next++ {
			if p := j.passages[next]; p.up && p.arrived {
				heard[word{p.said.CommandID, p.kind, p.link.epochNow()}] = true
			}
		}
		if c.kind != "command" || c.superseded || c.was == c.became {
			continue
		}
		var said bool
		switch c.became {
		case models.CommandAck:
			said = heard[word{c.id, wire.TypeAck, c.epoch}] || heard[word{c.id, wire.TypeAck, 0}]
		case models.CommandCompleted:
			said = heard[word{c.id, wire.TypeComplete, c.epoch}] || heard[word{c.id, wire.TypeComplete, 0}]
		default:
			continue
		}
		if !said {
			j.world.violateAt(c.at, "H2", c.session, "written although connection %d did not say so: %s", c.epoch, c)
		}
	}
}
