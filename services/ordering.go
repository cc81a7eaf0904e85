package services

import (
	"math"

	"github.com/streamspace/streamspace/models"
)

// orderedBy is what the order of agents by load depends on, and which of them
// have room.
type orderedBy struct {
	strategy models.Strategy
	// ignored is that all are as good.
	ignored bool
	reserve models.Amount
}

func (c SelectionCriteria) orderedBy() orderedBy {
	by := orderedBy{ignored: c.IgnoreLoad, reserve: c.reserves()}
	if !c.IgnoreLoad && c.Preferences.Strategy == models.StrategyBinPack {
		by.strategy = models.StrategyBinPack
	}
	return by
}

// levels is in how many steps an ordering tells agents apart.
const levels = 64

// ordering is the agents that have room for a session, the best load first. It
// is kept while sessions come and go, for all decisions that it serves.
type ordering struct {
	by     orderedBy
	weight float64
	of     []position
	levels [levels]level
	// used is the number of the decision that used it last.
	used int64
}

// position is where an agent is in an ordering.
type position struct {
	// worth is what its load is worth, in billionths.
	worth int64
	// level is the one that it is in, or absent.
	level uint8
}

// absent is the level of an agent that takes no such session now.
const absent = levels

// level is agents of nearly the same load. No agent of a later level has a
// better one.
type level struct {
	members agentBits
	size    int
	// most is what the best are worth, and best is how many those are: none when
	// those that were the best have left and nobody has asked since.
	most int64
	best int
}

func newOrdering(by orderedBy, weight float64, p *picture) *ordering {
	o := &ordering{by: by, weight: weight, of: make([]position, len(p.agents))}
	for number := range p.agents {
		o.of[number].level = absent
		o.update(p, int32(number))
	}
	return o
}

// update puts an agent where it belongs now.
func (o *ordering) update(p *picture, number int32) {
	agent, limit := &p.agents[number], p.limits[number]
	before, now := o.of[number], position{level: absent}
	if takesNew(agent) && o.by.reserve.Fits(limit, agent.Reserved) {
		now.level = 0
		if !o.by.ignored {
			part := load(o.by.strategy, agent.Sessions, limit, agent.Reserved.Plus(o.by.reserve))
			now = position{worth(part, o.weight), uint8((1 - part) * (levels - 1))}
			if o.by.strategy != models.StrategyBinPack {
				now.level = uint8(min(max(0, agent.Sessions), levels-1)) // which are steps of their own
			}
		}
	}
	if now == before {
		return
	}
	o.of[number] = now
	if before.level != absent {
		o.levels[before.level].leave(number, before.worth)
	}
	if now.level != absent {
		o.levels[now.level].enter(number, len(o.of), now.worth)
	}
}

// takesNew tells whether the agent has said nothing that keeps new sessions
// away.
func takesNew(agent *models.Agent) bool {
	return agent.Status == models.AgentOnline && !agent.Cordoned && agent.LastHeartbeat != nil
}

// enter adds one of so many agents.
func (l *level) enter(number int32, agents int, worth int64) {
	if l.members == nil {
		l.members = newAgentBits(agents)
	}
	l.members.add(number)
	l.size++
	l.count(worth)
}

func (l *level) leave(number int32, worth int64) {
	l.members.remove(number)
	l.size--
	if worth == l.most {
		l.best--
	}
}

// count makes the best be those that are worth so much, if they are.
func (l *level) count(worth int64) {
	switch {
	case l.size == 1 || worth > l.most:
		l.most, l.best = worth, 1
	case worth == l.most:
		l.best++
	}
}

// level gives the agents of a level, and what the best of them are worth.
func (o *ordering) level(i int) *level {
	l := &o.levels[i]
	if l.best == 0 && l.size > 0 {
		l.most = math.MinInt64
		l.members.from(0, func(number int32) bool {
			l.count(o.of[number].worth)
			return true
		})
	}
	return l
}

// most is what the best load of all is worth.
func (o *ordering) most() int64 {
	for i := range o.levels {
		if o.levels[i].size > 0 {
			return o.level(i).most
		}
	}
	return 0
}
