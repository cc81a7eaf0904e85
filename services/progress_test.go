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

func TestHowFarAStartIsIsShownAndDecidesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		start := agent.command()
		tell := func(progress models.Progress) {
			agent.send(wire.TypeStatus, wire.Status{SessionID: "one", Generation: 1, State: "pending", Progress: &progress})
		}
		tell(models.Progress{Message: "pulling image " + strings.Repeat("é", 1000), Percent: 430})
		w.await("the progress is there", func() bool { return w.session("one").Progress != nil })
		session := w.session("one")
		if got := session.Progress; !strings.HasPrefix(got.Message, "pulling image é") || len(got.Message) > 310 || got.Percent != 100 {
			t.Errorf("the progress is %+v", got)
		}
		if session.State != models.SessionPending || session.Reason != "" {
			t.Errorf("the session is %+v", session)
		}
		tell(models.Progress{})
		w.await("the progress is gone", func() bool { return w.session("one").Progress == nil })
		agent.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID, Result: &models.CommandPayload{"state": "running"}})
		w.awaitSession("one", models.SessionRunning)
	})
}
