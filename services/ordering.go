package services

import "github.com/streamspace/streamspace/models"

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
	// worth is what the load of each agent is worth, in billionths, and at is
	// the level that it is in, or absent.
	worth  []int64
	at     []uint8
	levels [levels]level
	// used is the number of the decision that used it last.
	used int64
}

// absent is the level of an agent that takes no such session now.
const absent = levels

// level is agents of nearly the same load. No agent of a later level has a
// better one.
type level struct {
	members agentBits
	// most is what the best are worth, and best is how many those are.
	most int64
	best int
}

func newOrdering(by orderedBy, weight float64, p *picture) *ordering {
	o := &ordering{by: by, weight: weight, worth: make([]int64, len(p.agents)), at: make([]uint8, len(p.agents))}
	for number := range p.agents {
		o.at[number] = absent
		o.update(p, int32(number))
	}
	return o
}

// update puts an agent where it belongs now.
func (o *ordering) update(p *picture, number int32) {
	agent, limit := &p.agents[number], p.limits[number]
	worthNow, at := int64(0), uint8(absent)
	if takesNew(agent) && o.by.reserve.Fits(limit, agent.Reserved) {
		at = 0
		if !o.by.ignored {
			part := load(o.by.strategy, agent.Sessions, limit, agent.Reserved.Plus(o.by.reserve))
			worthNow, at = worth(part, o.weight), uint8((1-part)*(levels-1))
			if o.by.strategy != models.StrategyBinPack {
				at = uint8(min(max(0, agent.Sessions), levels-1)) // which are steps of their own
			}
		}
	}
	if o.at[number] != absent {
		o.levels[o.at[number]].leave(number, o.worth)
	}
	o.at[number], o.worth[number] = at, worthNow
	if at != absent {
		o.levels[at].enter(number, o.worth)
	}
}

// takesNew tells whether the agent has said nothing that keeps new sessions
// away.
func takesNew(agent *models.Agent) bool {
	return agent.Status == models.AgentOnline && !agent.Cordoned && agent.LastHeartbeat != nil
}

func (l *level) enter(number int32, worth []int64) {
	if l.members == nil {
		l.members = newAgentBits(len(worth))
	}
	l.members.add(number)
	l.count(worth[number])
}

func (l *level) leave(number int32, worth []int64) {
	l.members.remove(number)
	if worth[number] < l.most {
		return
	}
	if l.best--; l.best == 0 {
		l.members.from(0, func(other int32) bool {
			l.count(worth[other])
			return true
		})
	}
}

// count makes the best be those that are worth so much, if they are.
func (l *level) count(worth int64) {
	switch {
	case l.best == 0 || worth > l.most:
		l.most, l.best = worth, 1
	case worth == l.most:
		l.best++
	}
}

// most is what the best load of all is worth.
func (o *ordering) most() int64 {
	for i := range o.levels {
		if o.levels[i].best > 0 {
			return o.levels[i].most
		}
	}
	return 0
}
