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

// homely saves a template that keeps its home, and launches a session of it
// that runs.
func (w *world) homely(id string, agent *agentSocket) models.Session {
	w.t.Helper()
	templates := []models.Template{{Metadata: models.TemplateMetadata{Name: "desk"}}, {Metadata: models.TemplateMetadata{Name: "homely"},
		Spec: models.TemplateSpec{PersistentHome: true, DefaultResources: models.Resources{CPU: "1"}}}}
	if err := w.database.SaveTemplates(w.t.Context(), nil, templates, w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.sessions.Launch(w.t.Context(), services.LaunchRequest{ID: id, Template: "homely", Owner: w.owner}); err != nil {
		w.t.Fatal(err)
	}
	agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
	return w.awaitSession(id, models.SessionRunning)
}

// obey reads a command of the action and completes it.
func (a *agentSocket) obey(action string) wire.Command {
	a.t.Helper()
	command := a.command()
	if command.Action != action {
		a.t.Fatalf("the command is %+v", command)
	}
	a.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
	return command
}

func TestASessionHibernatesAndWakes(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		agent := w.connect("a")
		w.homely("one", agent)
		ctx := t.Context()
		wake := func(elsewhere bool) (models.Session, error) {
			return w.sessions.Wake(ctx, services.WakeRequest{SessionID: "one", Actor: "user:ann", Elsewhere: elsewhere})
		}
		// Waking what runs changes nothing.
		if session, err := wake(false); err != nil || session.State != models.SessionRunning || session.Generation != 1 {
			t.Fatalf("waking it gives %+v (%v)", session, err)
		}
		for range 2 {
			session, err := w.sessions.Hibernate(ctx, "one", "user:ann")
			if err != nil || session.State != models.SessionHibernating || session.Generation != 2 || session.DesiredState != models.DesiredHibernated {
				t.Fatalf("hibernating it gives %+v (%v)", session, err)
			}
		}
		_, err := wake(false) // before the first runtime is known to be over
		mustCode(t, err, models.CodeSessionNotRunning)
		agent.obey(models.ActionHibernateSession)
		w.awaitSession("one", models.SessionHibernated)
		if stored, err := database.Agent(ctx, "a"); err != nil || stored.Sessions != 0 || stored.Reserved != (models.Amount{}) {
			t.Errorf("hibernated it takes %+v (%v)", stored.Reserved, err)
		}

		// Its place may be taken meanwhile.
		w.run("other", agent)
		_, err = wake(false)
		mustCode(t, err, models.CodeNoSuitableAgent)
		if !strings.Contains(err.Error(), `agent "a", which has the session's home, is full; try again later`) {
			t.Errorf("it is refused with %v", err)
		}
		if _, err := w.sessions.Stop(ctx, "other", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.obey(models.ActionStopSession)
		w.awaitSession("other", models.SessionTerminated)
		for range 2 {
			session, err := wake(false)
			if err != nil || session.State != models.SessionWaking || session.Generation != 3 || session.AgentID != "a" || session.DesiredState != models.DesiredRunning {
				t.Fatalf("waking it gives %+v (%v)", session, err)
			}
		}
		if payload := *agent.obey(models.ActionWakeSession).Payload; payload["generation"] != 3.0 || payload["persistentHome"] != true || payload["templateManifest"] == nil {
			t.Errorf("the agent is told %+v", payload)
		}
		w.awaitSession("one", models.SessionRunning)

		// Where its home is not, it wakes only if somebody says so.
		if _, err := w.sessions.Hibernate(ctx, "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.obey(models.ActionHibernateSession)
		w.awaitSession("one", models.SessionHibernated)
		w.disconnect(agent)
		w.register(models.Agent{ID: "b"})
		second := w.connect("b")
		_, err = wake(false)
		mustCode(t, err, models.CodeNoSuitableAgent)
		if session, err := wake(true); err != nil || session.AgentID != "b" || session.Generation != 5 {
			t.Fatalf("waking it elsewhere gives %+v (%v)", session, err)
		}
		second.obey(models.ActionWakeSession)
		w.awaitSession("one", models.SessionRunning)
		why, _, err := w.sessions.Explain(ctx, "one")
		if err != nil || why.AgentID != "b" || why.Agents[0].AgentID != "b" || why.Agents[0].Score == nil || len(why.Agents[1].Rejections) == 0 {
			t.Errorf("it left its home because of %+v (%v)", why, err)
		}
	})
}

// With its home in a store, a session wakes on any agent of that store.
func TestASessionWakesWhereverItsHomeIsShared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		full := map[string]interface{}{"maxSessions": 1}
		w.register(models.Agent{ID: "home", HomeStore: "cellar", Capacity: full})
		agents := map[string]*agentSocket{"home": w.connect("home")}
		w.homely("one", agents["home"])
		for id, store := range map[string]string{"fuller": "cellar", "emptier": "cellar", "stranger": "attic", "alone": ""} {
			w.register(models.Agent{ID: id, HomeStore: store})
			agents[id] = w.connect(id)
		}
		w.exec(`INSERT INTO sessions (id, name, user_id, template, state, desired_state, generation, agent_id, spec, created_at, updated_at, state_since)
			SELECT 'other', name, user_id, 'desk', 'running', 'running', 1, 'fuller', spec, created_at, updated_at, state_since FROM sessions WHERE id = 'one'`)
		on := "home"
		wakes := func(elsewhere bool, want string) {
			t.Helper()
			if _, err := w.sessions.Hibernate(t.Context(), "one", "user:ann"); err != nil {
				t.Fatal(err)
			}
			agents[on].obey(models.ActionHibernateSession)
			w.awaitSession("one", models.SessionHibernated)
			session, err := w.sessions.Wake(t.Context(), services.WakeRequest{SessionID: "one", Actor: "user:ann", Elsewhere: elsewhere})
			if want == "" {
				mustCode(t, err, models.CodeNoSuitableAgent)
				if !strings.Contains(err.Error(), `is offline, and no other agent of home store "cellar" can take the session now`) {
					t.Errorf("it is refused with %v", err)
				}
				return
			}
			if err != nil || session.AgentID != want {
				t.Fatalf("it wakes on %q (%v), not %s", session.AgentID, err, want)
			}
			on = want
			agents[on].obey(models.ActionWakeSession)
			w.awaitSession("one", models.SessionRunning)
		}
		wakes(false, "home") // although others are as empty
		w.register(models.Agent{ID: "home", HomeStore: "cellar", Capacity: full})
		w.exec("UPDATE agents SET cordoned = true WHERE id = 'home'")
		wakes(false, "emptier")
		w.exec("UPDATE agents SET cordoned = true WHERE id = 'emptier'")
		wakes(true, "fuller") // sooner than where the home is not
		// And a new session of the user's goes to its home in the same way.
		if again := w.ask("again", w.owner, func(r *services.LaunchRequest) { r.Template = "homely" }); again.AgentID != "fuller" {
			t.Errorf("another session with the home is on %s", again.AgentID)
		}
		agents["fuller"].obey(models.ActionStartSession)
		w.exec("UPDATE agents SET status = 'offline' WHERE id = 'fuller'")
		wakes(false, "")
	})
}

func TestWhatCannotHibernateOrWake(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	ctx := t.Context()
	w.run("homeless", agent)
	_, err := w.sessions.Hibernate(ctx, "homeless", "user:ann")
	mustCode(t, err, models.CodeInvalidRequest)
	_, err = w.sessions.Hibernate(ctx, "nobody", "user:ann")
	mustCode(t, err, models.CodeSessionUnknown)
	_, err = w.sessions.Wake(ctx, services.WakeRequest{SessionID: "nobody"})
	mustCode(t, err, models.CodeSessionUnknown)
	w.homely("one", agent)
	// A stop is legal wherever it is.
	if _, err := w.sessions.Hibernate(ctx, "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	if session, err := w.sessions.Stop(ctx, "one", "user:ann"); err != nil || session.State != models.SessionTerminating {
		t.Fatalf("stopping it gives %+v (%v)", session, err)
	}
	agent.obey(models.ActionHibernateSession) // which changes nothing any more
	agent.obey(models.ActionStopSession)
	w.awaitSession("one", models.SessionTerminated)
	_, err = w.sessions.Wake(ctx, services.WakeRequest{SessionID: "one"})
	mustCode(t, err, models.CodeSessionNotRunning)
	_, err = w.sessions.Hibernate(ctx, "one", "user:ann")
	mustCode(t, err, models.CodeSessionNotRunning)
	// Hibernated it is stopped through the agent that has its home.
	w.homely("two", agent)
	if _, err := w.sessions.Hibernate(ctx, "two", "user:ann"); err != nil {
		t.Fatal(err)
	}
	agent.obey(models.ActionHibernateSession)
	w.awaitSession("two", models.SessionHibernated)
	if _, err := w.sessions.Stop(ctx, "two", "user:ann"); err != nil {
		t.Fatal(err)
	}
	agent.obey(models.ActionStopSession)
	w.awaitSession("two", models.SessionTerminated)
}
