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

// fall has a session hibernate.
func (w *world) fall(id string, agent *agentSocket) {
	w.t.Helper()
	if _, err := w.sessions.Hibernate(w.t.Context(), id, "user:ann"); err != nil {
		w.t.Fatal(err)
	}
	agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
	w.awaitSession(id, models.SessionHibernated)
}

func TestAnAgentThatIsConnectedOrInUseIsNotRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agent := w.spread()
		agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		agent.settle()
		remove := func(id string, force bool) models.ErrorCode {
			_, err := w.sessions.Remove(t.Context(), id, "user:root", force)
			return models.CodeOf(err)
		}
		if code := remove("none", true); code != models.CodeAgentUnknown {
			t.Errorf("an unknown agent gives %q", code)
		}
		if code := remove("a", true); code != models.CodeAgentConnected {
			t.Errorf("a connected agent gives %q", code)
		}
		w.disconnect(agent)
		if code := remove("a", false); code != models.CodeAgentInUse {
			t.Errorf("an agent with sessions gives %q", code)
		}
		if session := w.session("plain"); session.State != models.SessionRunning {
			t.Errorf("a refused removal has left it %s", session.State)
		}
		w.register(models.Agent{ID: "idle"})
		w.connect("idle")
		if code := remove("idle", false); code != "" {
			t.Errorf("an agent without sessions gives %q", code)
		}
		if _, err := database.Agent(t.Context(), "idle"); models.CodeOf(err) != models.CodeAgentUnknown {
			t.Errorf("a removed agent gives %v", err)
		}
	})
}

// Connected as its row says, but a replica that died said so.
func TestAnAgentOfADeadReplicaCanBeRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.spread()
		w.clock.advance(wire.StaleAfter + time.Second)
		if _, err := w.sessions.Remove(t.Context(), "a", "user:root", true); err != nil {
			t.Error(err)
		}
	})
}

func TestRemovingAnAgentEndsItsSessionsByTheirTemplates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agent := w.spread()
		w.policy(models.TemplateSpec{PersistentHome: true})
		w.run("asleep", agent)
		w.fall("asleep", agent)
		w.run("stopping", agent)
		w.launch("starting")
		w.disconnect(agent)
		if _, err := w.sessions.Stop(t.Context(), "stopping", "user:ann"); err != nil {
			t.Fatal(err)
		}
		left, err := w.sessions.Remove(t.Context(), "a", "user:root", true)
		if err != nil || len(left) != 6 {
			t.Fatalf("it leaves %+v (%v)", left, err)
		}
		for _, session := range left {
			want := map[string]models.SessionState{"roaming": models.SessionPending, "stopping": models.SessionTerminated}[session.ID]
			if want == "" {
				want = models.SessionFailed
			}
			home := session.ID != "plain" && session.ID != "roaming"
			if session.State != want || session.ReasonCode != models.CodeAgentUnavailable || !strings.Contains(session.Reason, `agent "a" was removed by root`) ||
				strings.Contains(session.Reason, "home was there") != home {
				t.Errorf("%s is %s: %s (%s)", session.ID, session.State, session.Reason, session.ReasonCode)
			}
			history := w.history(session.ID)
			if last := history[len(history)-1]; !strings.HasSuffix(last, " by user:root") {
				t.Errorf("%s has the history %q", session.ID, history)
			}
			if open, err := database.HasUnfinishedCommand(t.Context(), session.ID); err != nil || open {
				t.Errorf("%s has an open command (%v)", session.ID, err)
			}
		}
		if roaming := w.session("roaming"); !roaming.Waiting() || roaming.Generation != 2 || len(roaming.Losses) != 1 {
			t.Errorf("what may run anywhere is %+v", roaming)
		}
		// It comes back after all, enrolled anew.
		w.register(models.Agent{ID: "a"})
		if verdicts := w.negotiate("a").lists(runs("plain", 1), runs("homely", 1), runs("roaming", 1)); strings.Join(verdicts, " ") != "stop stop stop" {
			t.Errorf("back again it is told to %v", verdicts)
		}
	})
}

// A person has said that nothing of it runs, and its home is not lost.
func TestWhatKeepsASharedHomeMovesWhenItsAgentIsRemoved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a", HomeStore: "attic", Region: "here"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{PersistentHome: true})
		w.run("homely", agent)
		w.run("asleep", agent)
		w.fall("asleep", agent)
		w.register(models.Agent{ID: "b", HomeStore: "attic", Region: "there"})
		other := w.negotiate("b")
		w.register(models.Agent{ID: "c"}) // has another home
		w.connect("c")
		w.disconnect(agent)
		if _, err := w.sessions.Remove(t.Context(), "a", "user:root", true); err != nil {
			t.Fatal(err)
		}
		asleep := w.session("asleep")
		if asleep.State != models.SessionHibernated || asleep.AgentID != "b" || asleep.Region != "there" || asleep.MoveUntil != nil {
			t.Errorf("what hibernates is %+v", asleep)
		}
		if homely := w.session("homely"); homely.State != models.SessionHibernated || homely.AgentID != "b" || homely.MoveUntil == nil {
			t.Fatalf("what runs is %+v", homely)
		}
		other.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		w.drainer()
		start := other.obey(models.ActionWakeSession)
		if (*start.Payload)["sessionId"] != "homely" {
			t.Errorf("it is told %+v", start)
		}
		if homely := w.awaitSession("homely", models.SessionRunning); homely.AgentID != "b" || homely.Generation != 2 {
			t.Errorf("it runs as %+v", homely)
		}
	})
}
