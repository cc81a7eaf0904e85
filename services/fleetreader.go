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

// fleetReader keeps a Fleet as the database has it. Safe for concurrent use.
type fleetReader struct {
	*Fleet
	database *db.Database
	hub      *websocket.AgentHub
	now      func() time.Time

	reading sync.Mutex
	// took is how long the last reading took, and breakers are those that were
	// open then.
	took     time.Duration
	breakers []models.Breaker
}

func newFleetReader(database *db.Database, selector *AgentSelector) *fleetReader {
	return &fleetReader{Fleet: NewFleet(selector.options.Weights), database: database, hub: selector.hub, now: selector.options.Now}
}

// refresh reads the fleet anew if its picture is too old, or was made before
// the time given.
func (f *fleetReader) refresh(ctx context.Context, after time.Time) error {
	f.reading.Lock()
	took := f.took
	f.reading.Unlock()
	if read := f.read(); read.After(after) && time.Since(read) < staleFactor*took {
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
	f.Replace(agents, begin)
	f.reading.Lock()
	defer f.reading.Unlock()
	if f.read().Equal(begin) { // or else somebody has read it later
		f.breakers, f.took = breakers, time.Since(begin)
	}
	return nil
}

// failing are the agents that are not to be tried with the template now.
func (f *fleetReader) failing(template string) map[string]bool {
	f.reading.Lock()
	defer f.reading.Unlock()
	return failingAgents(f.breakers, template, f.now())
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
