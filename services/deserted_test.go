package services_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// spread runs a session without a home, one with and one that may be placed
// anywhere on agent a, and gives the agent.
func (w *world) spread() *agentSocket {
	w.t.Helper()
	w.register(models.Agent{ID: "a"})
	agent := w.negotiate("a")
	for id, spec := range map[string]models.TemplateSpec{"plain": {}, "homely": {PersistentHome: true}, "roaming": {OnLost: models.OnLostRecreate}} {
		w.policy(spec)
		w.run(id, agent)
	}
	return agent
}

func TestRunningSessionsOfAGoneAgentFollowTheirTemplates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agent := w.spread()
		w.disconnect(agent)
		w.reconcile()
		w.clock.advance(services.DefaultAgentGoneAfter)
		looks := w.looks.Load()
		w.await("some passes", func() bool { return w.looks.Load() > looks+5 })
		for _, id := range []string{"plain", "homely", "roaming"} {
			if session := w.session(id); session.State != models.SessionRunning {
				t.Fatalf("an agent that may come back has %s %s: %s", id, session.State, session.Reason)
			}
		}
		w.register(models.Agent{ID: "b"})
		other := w.negotiate("b")
		w.clock.advance(2 * time.Minute)
		plain := w.awaitSession("plain", models.SessionFailed)
		if plain.ReasonCode != models.CodeAgentUnavailable || !plain.Retryable || !strings.Contains(plain.Reason, `agent "a" has been gone for 12m`) {
			t.Errorf("it failed with %q (%s)", plain.Reason, plain.ReasonCode)
		}
		roaming := w.awaitSession("roaming", models.SessionPending)
		if !roaming.Waiting() || roaming.Generation != 2 || len(roaming.Losses) != 1 || roaming.Losses[0].AgentID != "a" || roaming.Losses[0].Generation != 1 {
			t.Errorf("it is %+v", roaming)
		}
		other.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		w.await("it is placed", func() bool {
			placed, err := w.sessions.PlaceWaiting(t.Context())
			return err == nil && placed == 1
		})
		other.send(wire.TypeComplete, wire.Complete{CommandID: other.command().CommandID})
		w.awaitSession("roaming", models.SessionRunning)
		if homely := w.session("homely"); homely.State != models.SessionRunning || homely.AgentID != "a" || homely.Generation != 1 {
			t.Errorf("what keeps its home is %+v", homely)
		}
		agent = w.negotiate("a")
		if verdicts := agent.lists(runs("plain", 1), runs("homely", 1), runs("roaming", 1)); strings.Join(verdicts, " ") != "stop keep stop" {
			t.Errorf("back again it is told to %v", verdicts)
		}
	})
}

// An agent that connects while it is being given up is not.
func TestWhatIsDecidedOfASilentAgentIsVoidOnceItConnects(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agent := w.spread()
		epoch, _ := w.hub.Epoch("a")
		w.disconnect(agent)
		w.negotiate("a")
		end := db.ForcedEnd{SessionID: "plain", AgentID: "a", Epoch: epoch, Generation: 1, From: models.SessionRunning, To: models.SessionFailed, Reason: "gone", Actor: "reconciler"}
		again := end
		again.SessionID, again.To, again.Again = "roaming", models.SessionPending, &db.Again{WaitUntil: w.clock.Now()}
		done, err := database.ForceEnds(t.Context(), db.Fence{}, []db.ForcedEnd{end, again}, w.clock.Now())
		if err != nil || done[0] || done[1] || w.session("plain").State != models.SessionRunning || w.session("roaming").Generation != 1 {
			t.Errorf("done %v (%v)", done, err)
		}
	})
}

// A row that somebody has deleted is no reason to run for ever.
func TestRunningSessionsOfAnAgentWithoutARowComeToRest(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agent := w.spread()
		w.policy(models.TemplateSpec{PersistentHome: true})
		w.run("asleep", agent)
		if _, err := w.sessions.Hibernate(t.Context(), "asleep", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		w.awaitSession("asleep", models.SessionHibernated)
		w.disconnect(agent)
		w.exec(`DELETE FROM agents`)
		w.reconcile()
		w.clock.advance(11 * time.Minute)
		for _, id := range []string{"plain", "homely"} {
			session := w.awaitSession(id, models.SessionFailed)
			if session.ReasonCode != models.CodeAgentUnavailable || !strings.Contains(session.Reason, "no longer registered") ||
				strings.Contains(session.Reason, "home was there") != (id == "homely") {
				t.Errorf("%s failed with %q (%s)", id, session.Reason, session.ReasonCode)
			}
		}
		if roaming := w.awaitSession("roaming", models.SessionPending); !roaming.Waiting() {
			t.Errorf("it is %+v", roaming)
		}
		if asleep := w.session("asleep"); asleep.State != models.SessionHibernated {
			t.Errorf("what hibernates is %s", asleep.State)
		}
		// Registered anew, it is told to stop what it runs still.
		w.register(models.Agent{ID: "a"})
		agent = w.negotiate("a")
		if verdicts := agent.lists(runs("plain", 1), runs("homely", 1), runs("roaming", 1)); strings.Join(verdicts, " ") != "stop stop stop" {
			t.Errorf("back again it is told to %v", verdicts)
		}
	})
}

// The verdict on what nobody wants is "stop", and for that no row is needed: it is
// the tombstone of sessions that ended while their agent was away.
func TestAnAgentThatReturnsStopsWhatIsLeft(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(w *world)
		found     []wire.InventoryItem
		want      string
	}{
		"after days": {func(w *world) { w.clock.advance(90 * 24 * time.Hour) }, []wire.InventoryItem{runs("plain", 1), runs("homely", 1), runs("roaming", 1)}, "stop keep stop"},
		"after its sessions' rows are gone": {func(w *world) {
			w.exec(`DELETE FROM agent_commands`)
			w.exec(`DELETE FROM sessions WHERE id <> 'homely'`)
		}, []wire.InventoryItem{runs("plain", 1), runs("homely", 1), runs("roaming", 1)}, "stop keep stop"},
		"after its own row is gone": {func(w *world) {
			w.exec(`DELETE FROM agents WHERE id = 'a'`)
			w.awaitSession("homely", models.SessionFailed)
			w.register(models.Agent{ID: "a"})
		}, []wire.InventoryItem{runs("plain", 1), runs("homely", 1), runs("roaming", 1)}, "stop stop stop"},
		// Without a journal it knows its runtimes by their names alone.
		"with its journal wiped": {func(*world) {}, []wire.InventoryItem{runs("plain", 1), runs("homely", 1), runs("roaming", 1)}, "stop keep stop"},
		"restored from a backup": {func(w *world) {
			w.exec(`UPDATE sessions SET generation = 5 WHERE id = 'homely'`)
		}, []wire.InventoryItem{runs("homely", 3), runs("homely", 5), runs("stranger", 1)}, "stop keep stop"},
		"without generations": {func(*world) {}, []wire.InventoryItem{runs("plain", 0), runs("homely", 0), runs("roaming", 0)}, "stop keep stop"},
	} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				w := newWorld(t, database, services.DispatcherOptions{})
				w.start()
				w.disconnect(w.spread())
				w.reconcile()
				w.clock.advance(11 * time.Minute)
				w.awaitSession("plain", models.SessionFailed)
				w.awaitSession("roaming", models.SessionPending)
				c.meanwhile(w)
				if verdicts := w.negotiate("a").lists(c.found...); strings.Join(verdicts, " ") != c.want {
					t.Errorf("it is told to %v", verdicts)
				}
			})
		})
	}
}
