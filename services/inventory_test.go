package services_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

func TestAnInventoryIsAnsweredWithVerdicts(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "b"})
		other := w.connect("b")
		w.run("elsewhere", other)
		w.disconnect(other)

		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("runs", agent)
		w.run("ended", agent)
		agent.send(wire.TypeStatus, wire.Status{SessionID: "ended", State: "terminated"})
		w.awaitSession("ended", models.SessionTerminated)
		w.run("stopping", agent)
		if _, err := w.sessions.Stop(t.Context(), "stopping", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.command()
		w.launch("starting")
		agent.command()

		items := []wire.InventoryItem{{SessionID: "runs", Generation: 1}, {SessionID: "ended", Generation: 1},
			{SessionID: "stopping", Generation: 1}, {SessionID: "starting", Generation: 1},
			{SessionID: "elsewhere", Generation: 1}, {SessionID: "nobody's", Generation: 1}}
		agent.send(wire.TypeInventory, wire.Inventory{Items: items})
		var verdict wire.Verdict
		agent.next(wire.TypeVerdict, &verdict)
		want := []string{"keep", "stop", "stop", "keep", "stop", "stop"}
		if len(verdict.Items) != len(want) {
			t.Fatalf("%d verdicts on %d items", len(verdict.Items), len(want))
		}
		if !slices.Equal(verdict.Needs, []string{"Xvnc"}) {
			t.Errorf("the verdict tells that templates need %v", verdict.Needs)
		}
		for i, item := range verdict.Items {
			if item.SessionID != items[i].SessionID || item.Verdict != want[i] {
				t.Errorf("the verdict on %s is %+v, want %s", items[i].SessionID, item, want[i])
			}
		}
		if session := w.session("starting"); session.State != models.SessionPending {
			t.Errorf("the inventory made the starting session %s", session.State)
		}
	})
}

func TestASessionWhoseRuntimeIsGoneFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("lost", agent)
		w.launch("starting") // its command says what becomes of it
		agent.command()
		empty := func() {
			agent.send(wire.TypeInventory, wire.Inventory{Items: []wire.InventoryItem{}})
			var verdict wire.Verdict
			agent.next(wire.TypeVerdict, &verdict)
			agent.settle()
		}
		empty()
		if session := w.session("lost"); session.State != models.SessionRunning {
			t.Fatalf("a session that started after the inventory was made became %s", session.State)
		}
		w.clock.advance(services.DefaultInventoryGrace + time.Second)
		empty()
		session := w.session("lost")
		if session.State != models.SessionFailed || session.ReasonCode != models.CodeRuntimeLost || !session.Retryable ||
			!strings.Contains(session.Reason, `"a" no longer runs`) {
			t.Errorf("the lost session is %s: %q (%s)", session.State, session.Reason, session.ReasonCode)
		}
		if session := w.session("starting"); session.State != models.SessionPending {
			t.Errorf("the starting session became %s", session.State)
		}
	})
}

func TestAStoppedRuntimeThatIsGoneEndsTheSession(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.negotiate("a")
	w.run("one", agent)
	if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	stop := agent.command()
	w.clock.advance(services.DefaultInventoryGrace + time.Second)
	agent.send(wire.TypeInventory, wire.Inventory{Items: []wire.InventoryItem{}})
	agent.settle()
	if session := w.session("one"); session.State != models.SessionTerminating {
		t.Fatalf("with its stop open the session became %s", session.State)
	}
	agent.send(wire.TypeFailed, wire.Failed{CommandID: stop.CommandID, Error: "hung"})
	agent.send(wire.TypeInventory, wire.Inventory{Items: []wire.InventoryItem{}})
	w.awaitSession("one", models.SessionTerminated)
}
