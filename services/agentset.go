package services

import "math/bits"

// agentBits are a set of agents by their numbers, a bit each.
type agentBits []uint64

func newAgentBits(agents int) agentBits { return make(agentBits, (agents+63)/64) }

func (b agentBits) has(number int32) bool { return b[number/64]&(1<<(number%64)) != 0 }
func (b agentBits) add(number int32)      { b[number/64] |= 1 << (number % 64) }
func (b agentBits) remove(number int32)   { b[number/64] &^= 1 << (number % 64) }

// meet makes b what is both in one and in other, and gives how many those are.
func (b agentBits) meet(one, other agentBits) (count int) {
	one, other = one[:len(b)], other[:len(b)]
	for i := range b {
		b[i] = one[i] & other[i]
		count += bits.OnesCount64(b[i])
	}
	return count
}

// differ makes b what is in one and not in other, and gives how many those are.
func (b agentBits) differ(one, other agentBits) (count int) {
	one, other = one[:len(b)], other[:len(b)]
	for i := range b {
		b[i] = one[i] &^ other[i]
		count += bits.OnesCount64(b[i])
	}
	return count
}

// from calls visit with each member once, beginning with the one that skip
// others come before, until visit gives false.
func (b agentBits) from(skip int, visit func(number int32) bool) {
	first := 0
	for ; first < len(b); first++ {
		here := bits.OnesCount64(b[first])
		if skip < here {
			break
		}
		skip -= here
	}
	if first == len(b) {
		return
	}
	before, after := b[first], b[first]
	for range skip {
		after &= after - 1
	}
	before ^= after
	each := func(word uint64, i int) bool {
		for ; word != 0; word &= word - 1 {
			if !visit(int32(i*64 + bits.TrailingZeros64(word))) {
				return false
			}
		}
		return true
	}
	if !each(after, first) {
		return
	}
	for i := first + 1; i < len(b); i++ {
		if !each(b[i], i) {
			return
		}
	}
	for i := range first {
		if !each(b[i], i) {
			return
		}
	}
	each(before, first)
}

// agentSet is a set of agents that does not change: as bits when it is large,
// and as a list otherwise, since most labels belong to few agents.
type agentSet struct {
	large agentBits
	small []int32
}

// listFor is how many times as many agents there must be for a set to be a list,
// which then takes no more memory than bits do.
const listFor = 32

// newAgentSet makes a set of some of so many agents. It may keep the numbers.
func newAgentSet(numbers []int32, agents int) agentSet {
	if len(numbers)*listFor < agents {
		return agentSet{small: numbers}
	}
	set := agentSet{large: newAgentBits(agents)}
	for _, number := range numbers {
		set.large.add(number)
	}
	return set
}

// addTo makes b have the members too.
func (s agentSet) addTo(b agentBits) {
	for _, number := range s.small {
		b.add(number)
	}
	for i, word := range s.large {
		b[i] |= word
	}
}

// removeFrom makes b have none of the members.
func (s agentSet) removeFrom(b agentBits) {
	for _, number := range s.small {
		b.remove(number)
	}
	for i, word := range s.large {
		b[i] &^= word
	}
}

// within makes b those of the members that are in other too, and gives how many
// those are.
func (s agentSet) within(other, b agentBits) (count int) {
	if s.large != nil {
		return b.meet(s.large, other)
	}
	clear(b)
	for _, number := range s.small {
		if other.has(number) {
			b.add(number)
			count++
		}
	}
	return count
}

// agentScratch are sets to work with, for one at a time: they are taken and
// given back like a stack.
type agentScratch struct {
	agents int
	sets   []agentBits
	used   int
}

// take gives a set with whatever is in it.
func (s *agentScratch) take() agentBits {
	if s.used == len(s.sets) {
		s.sets = append(s.sets, newAgentBits(s.agents))
	}
	s.used++
	return s.sets[s.used-1]
}

func (s *agentScratch) giveBack(count int) { s.used -= count }
