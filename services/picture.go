package services

import "github.com/streamspace/streamspace/models"

// orderings bounds how many orderings a picture keeps. Each takes some
// nanoseconds when a session comes or goes, and one that is not kept takes as
// long as looking at every agent.
const orderings = 64

// kinds bounds for how many kinds of sessions a picture keeps which agents may
// take them.
const kinds = 256

// picture is what is known of all agents, by their numbers in it, in a form
// that finds those that have something in common without a look at each.
type picture struct {
	weights Weights
	agents  []models.Agent
	limits  []models.Amount
	number  map[string]int32

	platforms map[string]agentSet
	labels    map[label]agentSet
	labelKeys map[string]agentSet
	// lacking are the agents that may lack a command, and having those of them
	// that have it.
	lacking agentSet
	having  map[string]agentSet
	images  map[string]agentSet
	// stores are the agents that share homes.
	stores map[string]agentSet

	regions, clusters *places
	orderings         map[orderedBy]*ordering
	// able are the agents for kinds of sessions, and kind is for the name of the
	// one at hand.
	able map[string]agentBits
	kind []byte
	// decisions counts those made on the picture, all has every agent, and
	// scratch is for the decision at hand.
	decisions int64
	all       agentBits
	scratch   agentScratch
}

type label struct{ key, value string }

// newPicture makes a picture of agents, which it keeps.
func newPicture(agents []models.Agent, weights Weights) *picture {
	p := &picture{weights: weights, agents: agents, limits: make([]models.Amount, len(agents)),
		number: make(map[string]int32, len(agents)), orderings: map[orderedBy]*ordering{}, able: map[string]agentBits{}, all: newAgentBits(len(agents)),
		scratch: agentScratch{agents: len(agents)}}
	platforms, labels, keys := map[string][]int32{}, map[label][]int32{}, map[string][]int32{}
	having, images, stores := map[string][]int32{}, map[string][]int32{}, map[string][]int32{}
	regions, clusters := map[string][]int32{}, map[string][]int32{}
	var lacking []int32
	for i := range agents {
		agent, number := &agents[i], int32(i)
		p.all.add(number)
		p.number[agent.ID], p.limits[i] = number, agent.Limit()
		platforms[agent.Platform] = append(platforms[agent.Platform], number)
		regions[agent.Region] = append(regions[agent.Region], number)
		clusters[agent.ClusterID] = append(clusters[agent.ClusterID], number)
		if agent.HomeStore != "" {
			stores[agent.HomeStore] = append(stores[agent.HomeStore], number)
		}
		for key, value := range agent.Labels {
			keys[key] = append(keys[key], number)
			labels[label{key, value}] = append(labels[label{key, value}], number)
		}
		if agent.Platform == models.PlatformProcess && agent.Facilities != nil {
			lacking = append(lacking, number)
			for _, command := range agent.Facilities {
				having[command] = append(having[command], number)
			}
		}
		for _, image := range agent.Images() {
			images[image] = append(images[image], number)
		}
	}
	p.platforms, p.labels, p.labelKeys = setsOf(platforms, len(agents)), setsOf(labels, len(agents)), setsOf(keys, len(agents))
	p.lacking, p.having, p.images = newAgentSet(lacking, len(agents)), setsOf(having, len(agents)), setsOf(images, len(agents))
	p.stores = setsOf(stores, len(agents))
	p.regions, p.clusters = newPlaces(regions, len(agents)), newPlaces(clusters, len(agents))
	for i := range agents {
		p.regions.add(int32(i), agents[i].Sessions)
		p.clusters.add(int32(i), agents[i].Sessions)
	}
	return p
}

func setsOf[K comparable](numbers map[K][]int32, agents int) map[K]agentSet {
	sets := make(map[K]agentSet, len(numbers))
	for key, some := range numbers {
		sets[key] = newAgentSet(some, agents)
	}
	return sets
}

// take makes an agent have more sessions, or fewer.
func (p *picture) take(number int32, amount models.Amount) {
	agent := &p.agents[number]
	agent.Reserved = agent.Reserved.Plus(amount)
	agent.Sessions += int(amount.Sessions)
	p.regions.add(number, int(amount.Sessions))
	p.clusters.add(number, int(amount.Sessions))
	for _, o := range p.orderings {
		o.update(p, number)
	}
}

// score says what an agent is worth to a session.
func (p *picture) score(number int32, criteria SelectionCriteria, at Circumstances) points {
	one := candidate{Agent: p.agents[number], limit: &p.limits[number]}
	if criteria.UserID != "" {
		one.userSessions = at.User.onNumber(p, number)
	}
	return one.score(criteria, criteria.reserves(), neighbours{p.regions.of[number].sessions, p.clusters.of[number].sessions}, p.weights)
}

// ordering gives the agents that have room, the best load first.
func (p *picture) ordering(by orderedBy) *ordering {
	p.decisions++
	o, kept := p.orderings[by]
	if !kept {
		if len(p.orderings) == orderings {
			oldest := by
			for other, candidate := range p.orderings {
				if known, some := p.orderings[oldest]; !some || candidate.used < known.used {
					oldest = other
				}
			}
			delete(p.orderings, oldest)
		}
		o = newOrdering(by, p.weights.Load, p)
		p.orderings[by] = o
	}
	o.used = p.decisions
	return o
}
