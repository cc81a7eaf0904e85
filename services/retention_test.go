package services_test

import (
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

func TestCommandsThatEndedLongAgoAreDeleted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.pending("open", "a", "s0")
		for _, id := range []string{"old", "older"} {
			w.pending(id, "a", id)
		}
		agent.commands(3)
		for _, id := range []string{"old", "older"} {
			agent.send(wire.TypeComplete, wire.Complete{CommandID: id})
			w.awaitCommand(id, models.CommandCompleted)
		}
		w.clock.advance(30 * time.Minute)
		w.pending("new", "a", "s1")
		agent.command()
		agent.send(wire.TypeFailed, wire.Failed{CommandID: "new", Error: "no"})
		w.awaitCommand("new", models.CommandFailed)

		w.clock.advance(40 * time.Minute)
		retention := services.NewRetention(database, services.RetentionOptions{Keep: time.Hour, Now: w.clock.Now})
		var running sync.WaitGroup
		running.Go(retention.Start)
		left := func() (ids []string) {
			commands, _, err := database.Commands(t.Context(), db.CommandFilter{}, db.Page{})
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range commands {
				ids = append(ids, command.CommandID)
			}
			return ids
		}
		w.await("the old ones are gone", func() bool { return len(left()) == 2 })
		retention.Stop()
		retention.Stop()
		running.Wait()
		if ids := left(); ids[0] != "new" || ids[1] != "open" {
			t.Errorf("what is left is %v", ids)
		}
	})
}

// Why a session was placed is known for as long as it lives, and for a while.
func TestOldPlacementsAreForgotten(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a"})
		w.connect("a")
		for _, id := range []string{"ended", "lives"} {
			w.ask(id, w.owner)
		}
		_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: "refused", Template: "desk", Region: "mars", Owner: w.owner})
		mustCode(t, err, models.CodeNoSuitableAgent)
		w.exec("UPDATE sessions SET state = 'terminated' WHERE id = 'ended'")
		w.clock.advance(2 * time.Hour)
		w.ask("new", w.owner) // it waits: the agent's heartbeat is old by now
		w.exec("UPDATE sessions SET state = 'failed' WHERE id = 'new'")
		retention := services.NewRetention(database, services.RetentionOptions{Keep: time.Hour, Now: w.clock.Now})
		var running sync.WaitGroup
		running.Go(retention.Start)
		known := func(id string) bool {
			_, known, err := database.PlacementOf(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return known
		}
		w.await("the old ones are forgotten", func() bool { return !known("ended") && !known("refused") })
		retention.Stop()
		running.Wait()
		if !known("lives") || !known("new") {
			t.Errorf("of lives and new is known: %v, %v", known("lives"), known("new"))
		}
	})
}
