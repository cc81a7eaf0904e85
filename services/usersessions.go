package services

// UserSessions are where the live sessions of one user are. Not safe for
// concurrent use.
type UserSessions struct {
	byAgent map[string]int
	// of is the picture that the following are the numbers of: the agents with
	// some sessions of the user, and by how many.
	of      *picture
	some    agentBits
	byCount []agentBits
}

// NewUserSessions makes them of the counts by agent, which it keeps.
func NewUserSessions(byAgent map[string]int) *UserSessions { return &UserSessions{byAgent: byAgent} }

// Add counts one more session on an agent.
func (u *UserSessions) Add(agentID string) {
	u.byAgent[agentID]++
	if u.of == nil {
		return
	}
	if number, known := u.of.number[agentID]; known {
		if count := u.byAgent[agentID]; count > 1 {
			u.byCount[count-1].remove(number)
		}
		u.put(number, u.byAgent[agentID])
	}
}

func (u *UserSessions) on(agentID string) int {
	if u == nil {
		return 0
	}
	return u.byAgent[agentID]
}

// see makes them known by the numbers of a picture.
func (u *UserSessions) see(p *picture) {
	if u.of == p {
		return
	}
	u.of, u.some, u.byCount = p, newAgentBits(len(p.agents)), nil
	for agentID, count := range u.byAgent {
		if number, known := p.number[agentID]; known && count > 0 {
			u.put(number, count)
		}
	}
}

func (u *UserSessions) put(number int32, count int) {
	for len(u.byCount) <= count {
		u.byCount = append(u.byCount, nil)
	}
	if u.byCount[count] == nil {
		u.byCount[count] = newAgentBits(len(u.of.agents))
	}
	u.byCount[count].add(number)
	u.some.add(number)
}
