package services

import (
	"context"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
)

// staleFactor is how many times longer than reading it took a picture of the
// fleet may be used: reading then takes a twentieth of the time at most, however
// large the fleet is.
const staleFactor = 20

// fleet is this replica's picture of all agents, for deciding on many launches
// without reading them for each. It may be wrong: what is decided is checked
// where it is written.
type fleet struct {
	database *db.Database
	hub      *websocket.AgentHub
	now      func() time.Time

	mu     sync.Mutex
	agents []models.Agent
	// index finds an agent in agents.
	index map[string]int
	// breakers are the open ones.
	breakers []models.Breaker
	// held are reservations that have been decided on and are not in agents,
	// as they are being written.
	held map[string]models.Amount
	// readAt is when agents was read, and took how long that took.
	readAt time.Time
	took   time.Duration
}

func newFleet(database *db.Database, hub *websocket.AgentHub, now func() time.Time) *fleet {
	return &fleet{database: database, hub: hub, now: now, held: map[string]models.Amount{}}
}

// refresh reads the fleet anew if its picture is too old, or was made before
// the time given.
func (f *fleet) refresh(ctx context.Context, after time.Time) error {
	f.mu.Lock()
	fresh := f.readAt.After(after) && time.Since(f.readAt) < staleFactor*f.took
	f.mu.Unlock()
	if fresh {
		return nil
	}
	begin := time.Now()
	agents, err := f.database.Candidates(ctx, db.AgentFilter{})
	if err != nil {
		return err
	}
	breakers, err := f.database.Breakers(ctx, f.now())
	if err != nil {
		return err
	}
	index := make(map[string]int, len(agents))
	for i, agent := range agents {
		index[agent.ID] = i
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if begin.Before(f.readAt) {
		return nil // somebody has read it later
	}
	f.agents, f.breakers, f.index, f.readAt, f.took = agents, breakers, index, begin, time.Since(begin)
	return nil
}

// failingAgents are those that are not to be tried with the template now.
func failingAgents(breakers []models.Breaker, template string, now time.Time) map[string]bool {
	failing := map[string]bool{}
	for _, breaker := range breakers {
		if breaker.Template == template && breaker.Blocks(now) {
			failing[breaker.AgentID] = true
		}
	}
	return failing
}

// candidates gives the fleet with what is held of it, for a session of the
// template.
func (f *fleet) candidates(template string) []candidate {
	f.mu.Lock()
	defer f.mu.Unlock()
	failing := failingAgents(f.breakers, template, f.now())
	list := make([]candidate, 0, len(f.agents))
	for _, agent := range f.agents {
		if held, some := f.held[agent.ID]; some {
			agent.Reserved = agent.Reserved.Plus(held)
			agent.Sessions += int(held.Sessions)
		}
		list = append(list, candidate{Agent: agent, connected: f.hub.IsAgentConnected(agent.ID), failing: failing[agent.ID]})
	}
	return list
}

// hold takes part of an agent until settle.
func (f *fleet) hold(agentID string, amount models.Amount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held[agentID] = f.held[agentID].Plus(amount)
}

// settle ends a hold. What was written, from the time given on, becomes part of
// a picture that is older; a later one may have it already, and having it twice
// would keep sessions from room that there is. The zero time is nothing written.
func (f *fleet) settle(agentID string, amount models.Amount, written time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	left := f.held[agentID].Minus(amount)
	if left == (models.Amount{}) {
		delete(f.held, agentID)
	} else {
		f.held[agentID] = left
	}
	if i, known := f.index[agentID]; known && f.readAt.Before(written) {
		f.agents[i].Reserved = f.agents[i].Reserved.Plus(amount)
		f.agents[i].Sessions += int(amount.Sessions)
	}
}
