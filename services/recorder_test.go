package services_test

import (
	"strings"
	"testing"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// A disk that is full for longer than a batch is tried loses nothing: what the
// agents have said is written when there is room again.
func TestAFullDiskLosesNoAnswer(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	w := newWorld(t, database, services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.pending("c1", "a", "s")
	database.DB().SetMaxOpenConns(1)    // the limit belongs to a connection
	w.exec("PRAGMA max_page_count = 1") // SQLite takes what is in use instead
	w.start()
	large := models.CommandPayload{"text": strings.Repeat("x", 100_000)}
	agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID, Result: &large})
	w.await("it is tried again and again", func() bool { return w.dispatcher.Stats().BatchFailures > 5 })
	w.exec("PRAGMA max_page_count = 1000000")
	w.await("it is written", func() bool { return w.row("c1").Status == models.CommandCompleted })
}

// A write that fails once the database is back is not one that is refused
// for good, however long it was away before.
func TestAFailureAfterAnOutageLosesNoAnswer(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	w := newWorld(t, database, services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.pending("c1", "a", "s")
	database.DB().SetMaxOpenConns(1)
	w.exec("PRAGMA max_page_count = 1")
	w.start()
	large := models.CommandPayload{"text": strings.Repeat("x", 100_000)}
	agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID, Result: &large})
	w.await("it is tried again and again", func() bool { return w.dispatcher.Stats().BatchFailures > 3 })
	atOnce := func(statements ...string) {
		conn, err := database.DB().Conn(t.Context()) // nobody else has one meanwhile
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, statement := range statements {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := w.dispatcher.Stats().BatchFailures
	atOnce("PRAGMA max_page_count = 1000000", `CREATE TRIGGER refuse BEFORE UPDATE ON agent_commands WHEN NEW.status = 'completed'
		BEGIN SELECT RAISE(ABORT, 'not now'); END`)
	w.await("it is refused", func() bool { return w.dispatcher.Stats().BatchFailures > before })
	atOnce("DROP TRIGGER refuse")
	w.await("it is written", func() bool { return w.row("c1").Status == models.CommandCompleted })
}
