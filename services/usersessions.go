package services

import (
	"cmp"
	"slices"
)

// UserSessions are where the live sessions of one user are. Not safe for
// concurrent use.
type UserSessions struct {
	byAgent map[string]int
	// of is the picture that the following are the numbers of: the agents with
	// some sessions of the user, in their order.
	of    *picture
	there []userAgent
}

// userAgent is an agent with so many sessions of the user.
type userAgent struct {
	number int32
	count  int
}

// NewUserSessions makes them of the counts by agent, which it keeps.
func NewUserSessions(byAgent map[string]int) *UserSessions { return &UserSessions{byAgent: byAgent} }

// Add counts one more session on an agent.
func (u *UserSessions) Add(agentID string) {
	u.byAgent[agentID]++
	if u.of != nil {
		u.put(agentID)
	}
}

func (u *UserSessions) on(agentID string) int {
	if u == nil {
		return 0
	}
	return u.byAgent[agentID]
}

// onNumber is on for an agent of a picture.
func (u *UserSessions) onNumber(p *picture, number int32) int {
	if u == nil {
		return 0
	}
	u.see(p)
	if at, some := u.find(number); some {
		return u.there[at].count
	}
	return 0
}

// see makes them known by the numbers of a picture.
func (u *UserSessions) see(p *picture) {
	if u.of == p {
		return
	}
	u.of, u.there = p, u.there[:0]
	for agentID, count := range u.byAgent {
		if count > 0 {
			u.put(agentID)
		}
	}
}

func (u *UserSessions) put(agentID string) {
	number, known := u.of.number[agentID]
	if !known {
		return
	}
	there := userAgent{number, u.byAgent[agentID]}
	at, already := u.find(number)
	if already {
		u.there[at] = there
		return
	}
	u.there = slices.Insert(u.there, at, there)
}

func (u *UserSessions) find(number int32) (at int, found bool) {
	return slices.BinarySearchFunc(u.there, number, func(a userAgent, number int32) int { return cmp.Compare(a.number, number) })
}
