package services

import (
	"math/bits"
	"math/rand/v2"
	"slices"

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
	able := s.left(s.able())
	wishes := criteria.Preferences
	if home, known := p.number[wishes.HomeAgent]; known && able.has(home) && s.ordering.of[home].level != absent && s.reachable(home) {
		s.best, s.total = home, s.score(home, s.criteria, s.at).total
	}
	if wishes.HomeAgent != "" && wishes.HomeStore != "" {
		s.wish(p.weights.Home, []string{wishes.HomeStore}, func(store string) agentSet { return p.stores[store] })
	}
	s.wish(p.weights.PreferredRegion, wishes.Regions, p.regions.agentsOf)
	s.wish(p.weights.PreferredCluster, wishes.Clusters, p.clusters.agentsOf)
	if wishes.Image != "" {
		s.wish(p.weights.Image, []string{models.ImageName(wishes.Image)}, func(image string) agentSet { return p.images[image] })
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

// able are the agents that may take such a session at all. They are found once
// for each kind of session, and must not be changed.
func (s *search) able() agentBits {
	p := s.picture
	if !s.criteria.restricts() {
		return p.all
	}
	p.kind = s.criteria.appendKind(p.kind[:0])
	able, known := p.able[string(p.kind)]
	if !known {
		if len(p.able) == kinds {
			clear(p.able) // those that are asked for come back
		}
		able = s.findAble()
		p.able[string(p.kind)] = able
	}
	return able
}

// left leaves out the agents that are not to be tried with this session now.
func (s *search) left(able agentBits) agentBits {
	if len(s.criteria.Avoid) == 0 && len(s.at.Failing) == 0 {
		return able
	}
	left := s.scratch.take()
	copy(left, able)
	for _, agentID := range s.criteria.Avoid {
		s.drop(left, agentID)
	}
	for agentID, failing := range s.at.Failing {
		if failing {
			s.drop(left, agentID)
		}
	}
	return left
}

func (s *search) findAble() agentBits {
	p, c := s.picture, s.criteria
	able := slices.Clone(p.all)
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
		s.byLoad(among, nil, sum)
		return
	}
	some := s.scratch.take()
	defer s.scratch.giveBack(1)
	clear(some)
	for _, there := range s.user.there {
		some.add(there.number)
	}
	s.byLoad(among, some, sum+worth(1, s.weights.UserAntiAffinity))
	for i := range s.user.there {
		there := s.user.there[(uint64(i)+s.chance)%uint64(len(s.user.there))]
		if among.has(there.number) && s.ordering.of[there.number].level != absent {
			s.visit(there.number, sum+worth(fewer(there.count), s.weights.UserAntiAffinity), 0)
		}
	}
}

// byLoad looks for the best agent among some, without others, that are equally
// good otherwise, except for the place that they are in.
func (s *search) byLoad(among, without agentBits, sum int64) {
	part := s.scratch.take()
	defer s.scratch.giveBack(1)
	for i := range s.ordering.levels {
		l := s.ordering.level(i)
		switch {
		case l.size == 0:
			continue
		case !s.better(sum + l.most + s.mostSpread()):
			return
		case s.places == nil && len(among) > exact:
			s.lookAround(among, without, l.members, sum, l.most)
			continue
		}
		count := part.meet(among, l.members)
		if without != nil {
			count = part.differ(part, without)
		}
		if count > few && s.places != nil {
			s.byPlace(part, sum, l.most)
		} else {
			s.look(part, count, sum, l.most)
		}
	}
}

// exact is how many words of agents are counted, so that each of those that are
// equally good is as likely. Of more, a word is drawn.
const exact = 8

// lookAround is look for those of one level that are among some and not without
// others. It begins at a word by chance, and mostly ends there.
func (s *search) lookAround(among, without, members agentBits, sum, most int64) {
	begin := int(s.chance % uint64(len(among)))
	for i := range among {
		at := begin + i
		if at >= len(among) {
			at -= len(among)
		}
		word := among[at] & members[at]
		if without != nil {
			word &^= without[at]
		}
		if word != 0 && !s.lookAtWord(at, word, sum, most) {
			return
		}
	}
}

// lookAtWord looks at the agents of a word, and tells whether a better one is
// still possible.
func (s *search) lookAtWord(at int, word uint64, sum, most int64) bool {
	after := word
	for range (s.chance >> 32) % uint64(bits.OnesCount64(word)) {
		after &= after - 1
	}
	for _, part := range [...]uint64{after, word ^ after} {
		for ; part != 0; part &= part - 1 {
			if !s.visit(int32(at*64+bits.TrailingZeros64(part)), sum, most) {
				return false
			}
		}
	}
	return true
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
	among.from(int(s.chance%uint64(count)), func(number int32) bool { return s.visit(number, sum, most) })
}

// visit looks at one agent, and tells whether a better one is still possible.
func (s *search) visit(number int32, sum, most int64) bool {
	load := s.ordering.of[number].worth
	if s.places != nil {
		load += s.spread(s.places.of[number])
	}
	if s.better(sum+load) && s.reachable(number) {
		s.best, s.total = number, sum+load
	}
	return s.better(sum + most)
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
