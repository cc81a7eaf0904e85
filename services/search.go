package services

import (
	"math/rand/v2"

	"github.com/streamspace/streamspace/models"
)

// search looks for the agent with the highest total by branch and bound: it
// parts the agents by what is wished, looks first at those that have it, and
// passes over a part whose best cannot be better than the best so far.
type search struct {
	*picture
	criteria SelectionCriteria
	at       Circumstances
	ordering *ordering
	// chance decides among agents that are equally good.
	chance uint64

	wishes []fulfilled
	// user is nil, and places are, when nothing depends on them.
	user   *UserSessions
	places *places

	// best is the best agent so far, or none, and total is what it is worth.
	best  int32
	total int64
}

// none is the number of no agent.
const none = -1

// fulfilled are the agents that have something that is wished, and what that is
// worth.
type fulfilled struct {
	by    agentBits
	worth int64
}

// best gives the number of the best agent, or none. Totals are as those of
// candidate.score.
func (p *picture) best(criteria SelectionCriteria, at Circumstances) int32 {
	if len(p.agents) == 0 {
		return none
	}
	s := &search{picture: p, criteria: criteria, at: at, ordering: p.ordering(criteria.orderedBy()),
		chance: tie(criteria.SessionID, ""), best: none}
	if criteria.SessionID == "" {
		s.chance = rand.Uint64()
	}
	p.scratch.used = 0
	able := s.able()
	wishes := criteria.Preferences
	if home, known := p.number[wishes.HomeAgent]; known && able.has(home) && s.ordering.at[home] != absent && s.reachable(home) {
		s.best, s.total = home, s.score(home, s.criteria, s.at).total
	}
	if wishes.HomeAgent != "" && wishes.HomeStore != "" {
		s.wish(p.weights.Home, []string{wishes.HomeStore}, func(store string) agentSet { return p.stores[store] })
	}
	s.wish(p.weights.PreferredRegion, wishes.Regions, p.regions.agentsOf)
	s.wish(p.weights.PreferredCluster, wishes.Clusters, p.clusters.agentsOf)
	if wishes.Image != "" {
		s.wish(p.weights.Image, []string{wishes.Image}, func(image string) agentSet { return p.images[image] })
	}
	sum := int64(0)
	if criteria.UserID != "" && p.weights.UserAntiAffinity > 0 {
		if at.User == nil {
			sum = worth(1, p.weights.UserAntiAffinity)
		} else {
			s.user = at.User
			s.user.see(p)
		}
	}
	if p.weights.Spread > 0 {
		switch wishes.SpreadOver {
		case models.SpreadRegion:
			s.places = p.regions
		case models.SpreadCluster:
			s.places = p.clusters
		}
	}
	s.byWish(able, sum, s.wishes)
	return s.best
}

// able are the agents that may take the session, as far as that does not change
// from one session to the next.
func (s *search) able() agentBits {
	p, c := s.picture, s.criteria
	able := p.scratch.take()
	copy(able, p.all)
	if c.Platform != "" {
		s.keep(able, p.platforms[c.Platform])
	}
	if len(c.Platforms) > 0 {
		keepAny(s, able, c.Platforms, func(platform string) agentSet { return p.platforms[platform] })
	}
	if c.ClusterID != "" {
		s.keep(able, p.clusters.agentsOf(c.ClusterID))
	}
	if c.Region != "" {
		s.keep(able, p.regions.agentsOf(c.Region))
	}
	for _, wanted := range c.Labels {
		with := func(value string) agentSet { return p.labels[label{wanted.Key, value}] }
		switch wanted.Operator {
		case models.LabelIn:
			keepAny(s, able, wanted.Values, with)
		case models.LabelNotIn:
			for _, value := range wanted.Values {
				with(value).removeFrom(able)
			}
		case models.LabelNotExists:
			p.labelKeys[wanted.Key].removeFrom(able)
		default:
			s.keep(able, p.labelKeys[wanted.Key])
		}
	}
	for _, need := range c.Needs {
		lacking := p.scratch.take()
		clear(lacking)
		p.lacking.addTo(lacking)
		p.having[need.Command].removeFrom(lacking)
		agentSet{large: lacking}.removeFrom(able)
		p.scratch.giveBack(1)
	}
	for _, agentID := range c.Avoid {
		s.drop(able, agentID)
	}
	for agentID, failing := range s.at.Failing {
		if failing {
			s.drop(able, agentID)
		}
	}
	return able
}

// keep leaves those in able that are in a set.
func (s *search) keep(able agentBits, set agentSet) {
	both := s.scratch.take()
	set.within(able, both)
	copy(able, both)
	s.scratch.giveBack(1)
}

// keepAny leaves those in able that are in the set of any of the names.
func keepAny(s *search, able agentBits, names []string, of func(name string) agentSet) {
	all := s.scratch.take()
	clear(all)
	for _, name := range names {
		of(name).addTo(all)
	}
	able.meet(able, all)
	s.scratch.giveBack(1)
}

func (s *search) drop(able agentBits, agentID string) {
	if number, known := s.number[agentID]; known {
		able.remove(number)
	}
}

// wish adds a wish for any of the names.
func (s *search) wish(weight float64, names []string, of func(name string) agentSet) {
	if len(names) == 0 || weight == 0 {
		return
	}
	by := s.scratch.take()
	clear(by)
	for _, name := range names {
		of(name).addTo(by)
	}
	s.wishes = append(s.wishes, fulfilled{by: by, worth: worth(1, weight)})
}

// byWish looks at some agents, which are worth a sum besides what is left to
// look at: those that fulfil the first of the wishes, and then the others.
func (s *search) byWish(among agentBits, sum int64, wishes []fulfilled) {
	if len(wishes) == 0 {
		s.byUser(among, sum)
		return
	}
	first, rest := wishes[0], wishes[1:]
	most := sum + s.mostApart() + s.ordering.most()
	for _, wish := range rest {
		most += wish.worth
	}
	part := s.scratch.take()
	defer s.scratch.giveBack(1)
	if s.better(most+first.worth) && part.meet(among, first.by) > 0 {
		s.byWish(part, sum+first.worth, rest)
	}
	if s.better(most) && part.differ(among, first.by) > 0 {
		s.byWish(part, sum, rest)
	}
}

// mostApart is the most that being apart from other sessions can be worth.
func (s *search) mostApart() int64 {
	if s.user == nil {
		return s.mostSpread()
	}
	return s.mostSpread() + worth(1, s.weights.UserAntiAffinity)
}

func (s *search) mostSpread() int64 {
	if s.places == nil {
		return 0
	}
	return s.spread(s.places.order[0])
}

func (s *search) spread(p *place) int64 { return worth(fewer(p.sessions), s.weights.Spread) }

// byUser parts agents by how many sessions the user has there.
func (s *search) byUser(among agentBits, sum int64) {
	if s.user == nil {
		s.byLoad(among, sum)
		return
	}
	part := s.scratch.take()
	defer s.scratch.giveBack(1)
	if part.differ(among, s.user.some) > 0 {
		s.byLoad(part, sum+worth(1, s.weights.UserAntiAffinity))
	}
	for count, those := range s.user.byCount {
		if those != nil && part.meet(among, those) > 0 {
			s.byLoad(part, sum+worth(fewer(count), s.weights.UserAntiAffinity))
		}
	}
}

// byLoad looks for the best agent among some that are equally good otherwise,
// except for the place that they are in.
func (s *search) byLoad(among agentBits, sum int64) {
	part := s.scratch.take()
	defer s.scratch.giveBack(1)
	for i := range s.ordering.levels {
		l := &s.ordering.levels[i]
		switch {
		case l.best == 0:
			continue
		case !s.better(sum + l.most + s.mostSpread()):
			return
		}
		if count := part.meet(among, l.members); count > few && s.places != nil {
			s.byPlace(part, sum, l.most)
		} else {
			s.look(part, count, sum, l.most)
		}
	}
}

// few is how many agents are sooner looked at than told apart by place.
const few = 128

// byPlace goes through agents of one level by where they are, which may be worth
// so much for their load.
func (s *search) byPlace(among agentBits, sum, most int64) {
	part := s.scratch.take()
	defer s.scratch.giveBack(1)
	for from := 0; from < len(s.places.order); {
		alike := s.places.alike(from)
		for i := range alike {
			one := alike[(uint64(i)+s.chance)%uint64(len(alike))]
			if !s.better(sum + most + s.spread(one)) {
				return
			}
			s.look(part, one.agents.within(among, part), sum, most)
		}
		from += len(alike)
	}
}

// look looks at each of some agents of one level, until one is worth as much as
// can be.
func (s *search) look(among agentBits, count int, sum, most int64) {
	if count == 0 {
		return
	}
	most += s.mostSpread()
	among.from(int(s.chance%uint64(count)), func(number int32) bool {
		load := s.ordering.worth[number]
		if s.places != nil {
			load += s.spread(s.places.of[number])
		}
		if s.better(sum+load) && s.reachable(number) {
			s.best, s.total = number, sum+load
		}
		return s.better(sum + most)
	})
}

// better tells whether a total is higher than that of the best agent so far.
func (s *search) better(total int64) bool { return s.best == none || total > s.total }

// reachable tells whether an agent was heard of lately and is connected, to
// whichever replica.
func (s *search) reachable(number int32) bool {
	agent := &s.agents[number]
	return !agent.LastHeartbeat.Before(s.at.Since) &&
		(s.criteria.AllowDisconnected || s.at.connected(agent))
}
