package services

import (
	"sync"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Fleet is a picture of all agents in memory that chooses agents for sessions,
// in a time that hardly grows with the number of agents. It may be wrong: what
// is decided is checked where it is written. Safe for concurrent use.
type Fleet struct {
	weights Weights

	mu      sync.Mutex
	picture *picture
	// held are reservations that have been decided on and are being written;
	// the picture has them.
	held   map[string]models.Amount
	readAt time.Time
	// looked has room for what Explain looks at, as it is asked for each session.
	looked []candidate
}

// NewFleet makes a Fleet without agents. The weights must be valid.
func NewFleet(weights Weights) *Fleet {
	return &Fleet{weights: weights, picture: newPicture(nil, weights), held: map[string]models.Amount{}}
}

// Circumstances are what a decision depends on besides what agents say.
type Circumstances struct {
	// Since is the time after which a heartbeat is recent.
	Since time.Time
	// Connected tells whether an agent is connected here, besides those that say
	// that they are connected somewhere; nil means that all are. It is asked of
	// few agents, and must not call the Fleet.
	Connected func(agentID string) bool
	// Failing are the agents that keep failing to start the template.
	Failing map[string]bool
	// User is where the user's sessions are; nil means nowhere.
	User *UserSessions
}

// connected tells whether some replica can reach the agent.
func (at Circumstances) connected(agent *models.Agent) bool {
	return agent.Connected || at.Connected == nil || at.Connected(agent.ID)
}

// Choice is the agent that was chosen.
type Choice struct {
	Agent *AgentInfo

	points points
}

// Score is how good the agent is.
func (c Choice) Score() *Score { return c.points.score() }

// Replace makes agents that were read from a time on the picture of the fleet,
// unless it has a later one. What is held stays held. Decisions go on while the
// picture is made. The agents belong to the Fleet from then on.
func (f *Fleet) Replace(agents []models.Agent, readAt time.Time) {
	next := newPicture(agents, f.weights)
	f.mu.Lock()
	defer f.mu.Unlock()
	if readAt.Before(f.readAt) {
		return
	}
	for agentID, amount := range f.held {
		if number, known := next.number[agentID]; known {
			next.take(number, amount)
		}
	}
	f.picture, f.readAt = next, readAt
}

// read gives when the picture was read.
func (f *Fleet) read() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.readAt
}

// size is how many agents the picture has.
func (f *Fleet) size() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.picture.agents)
}

// Best chooses the agent with the highest total of those that are fit, which
// is what ranking all of them gives. Among equals a hash of the criteria's
// SessionID decides. found is false when no agent is fit.
func (f *Fleet) Best(criteria SelectionCriteria, at Circumstances) (choice Choice, found bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	number := f.picture.best(criteria, at)
	if number == none {
		return Choice{}, false
	}
	agent := &f.picture.agents[number]
	return Choice{Agent: candidate{Agent: *agent, connected: at.connected(agent)}.info(), points: f.picture.score(number, criteria, at)}, true
}

// Explain gives a verdict on every agent: the fit ones with their scores, best
// first, then the others by id. It takes a time in proportion to the fleet, in
// which nothing else is decided.
func (f *Fleet) Explain(criteria SelectionCriteria, at Circumstances) []Verdict {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = f.look(f.looked[:0], at)
	return explain(f.looked, criteria, at.Since, f.weights)
}

// candidates gives the agents with what is known of each.
func (f *Fleet) candidates(at Circumstances) []candidate {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look(make([]candidate, 0, len(f.picture.agents)), at)
}

// look appends the agents with what is known of each. The lock is held.
func (f *Fleet) look(list []candidate, at Circumstances) []candidate {
	for i := range f.picture.agents {
		agent := &f.picture.agents[i]
		list = append(list, candidate{Agent: *agent, limit: &f.picture.limits[i], connected: at.connected(agent),
			failing: at.Failing[agent.ID], userSessions: at.User.on(agent.ID)})
	}
	return list
}

// Hold takes part of an agent until Settle. Of an agent that the picture lacks
// it is held for when it is there.
func (f *Fleet) Hold(agentID string, amount models.Amount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[agentID] = f.held[agentID].Plus(amount)
	f.take(agentID, amount)
}

// Settle ends a hold. What was written, from the time given on, stays part of a
// picture that is older; a later one may have it already, and having it twice
// would keep sessions from room that there is. The zero time is nothing written.
func (f *Fleet) Settle(agentID string, amount models.Amount, written time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := f.held[agentID].Minus(amount)
	if left == (models.Amount{}) {
		delete(f.held, agentID)
	} else {
		f.held[agentID] = left
	}
	if !f.readAt.Before(written) {
		f.take(agentID, models.Amount{}.Minus(amount))
	}
}

func (f *Fleet) take(agentID string, amount models.Amount) {
	if number, known := f.picture.number[agentID]; known {
		f.picture.take(number, amount)
	}
}
