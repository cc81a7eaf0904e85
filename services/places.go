package services

// places are the regions of the fleet, or its clusters, with their agents and
// the live sessions on these, fit or not.
type places struct {
	named map[string]*place
	// order has those with the fewest sessions first.
	order []*place
	// of has the place of each agent.
	of []*place
}

type place struct {
	agents   agentSet
	sessions int
	// at is where it is in the order.
	at int
}

// newPlaces makes places of the numbers of the agents that are there.
func newPlaces(there map[string][]int32, agents int) *places {
	p := &places{named: make(map[string]*place, len(there)), of: make([]*place, agents)}
	for name, numbers := range there {
		one := &place{agents: newAgentSet(numbers, agents), at: len(p.order)}
		for _, number := range numbers {
			p.of[number] = one
		}
		p.named[name] = one
		p.order = append(p.order, one)
	}
	return p
}

// agentsOf gives the agents in a place.
func (p *places) agentsOf(name string) agentSet {
	if one, known := p.named[name]; known {
		return one.agents
	}
	return agentSet{}
}

// add counts more sessions where an agent is, or fewer.
func (p *places) add(number int32, sessions int) {
	one := p.of[number]
	one.sessions += sessions
	for ; one.at+1 < len(p.order) && p.order[one.at+1].sessions < one.sessions; one.at++ {
		p.shift(p.order[one.at+1], one.at)
	}
	for ; one.at > 0 && p.order[one.at-1].sessions > one.sessions; one.at-- {
		p.shift(p.order[one.at-1], one.at)
	}
	p.order[one.at] = one
}

func (p *places) shift(other *place, at int) { p.order[at], other.at = other, at }

// alike gives the places from one on that have as many sessions as it has.
func (p *places) alike(from int) []*place {
	to := from + 1
	for to < len(p.order) && p.order[to].sessions == p.order[from].sessions {
		to++
	}
	return p.order[from:to]
}
