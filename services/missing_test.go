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

// policy saves the template desk anew.
func (w *world) policy(spec models.TemplateSpec) {
	w.t.Helper()
	spec.DisplayName, spec.VNC = "Desk", models.VNC{Enabled: true}
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: spec})
}

// lists sends an inventory of what runs and gives the verdict, once what
// follows from it is written.
func (a *agentSocket) lists(items ...wire.InventoryItem) []string {
	a.t.Helper()
	if items == nil {
		items = []wire.InventoryItem{}
	}
	a.send(wire.TypeInventory, wire.Inventory{Items: items})
	var verdict wire.Verdict
	a.next(wire.TypeVerdict, &verdict)
	a.settle()
	var words []string
	for _, item := range verdict.Items {
		words = append(words, item.Verdict)
	}
	return words
}

func runs(sessionID string, generation int64) wire.InventoryItem {
	return wire.InventoryItem{SessionID: sessionID, Generation: generation, State: "running"}
}

// history gives how a session came where it is, each as from>to by actor.
func (w *world) history(sessionID string) (lines []string) {
	w.t.Helper()
	events, _, err := w.database.SessionEvents(w.t.Context(), sessionID, db.Page{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, event := range events {
		lines = append(lines, event.From+">"+event.To+" by "+event.Actor)
	}
	return lines
}

// A session that keeps its home is started again where that is, with the
// template that it was launched with; and not for ever.
func TestALostSessionIsStartedAgainOnItsAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{PersistentHome: true, Env: []models.EnvVar{{Name: "EDITION", Value: "first"}}})
		w.run("one", agent)
		w.policy(models.TemplateSpec{PersistentHome: true, Env: []models.EnvVar{{Name: "EDITION", Value: "second"}}})
		w.register(models.Agent{ID: "b"})
		w.negotiate("b")
		for nth, word := range []string{"first", "second", "third"} {
			w.clock.advance(2 * time.Minute)
			generation := int64(nth + 1)
			if nth == 0 {
				agent.lists()
			} else { // the agent has seen itself that it was gone
				agent.send(wire.TypeStatus, wire.Status{SessionID: "one", Generation: generation, State: "failed", ReasonCode: models.CodeRuntimeLost})
				agent.settle()
			}
			session := w.session("one")
			if session.State != models.SessionPending || session.AgentID != "a" || session.Generation != generation+1 || session.ReasonCode != models.CodeRuntimeLost ||
				!strings.Contains(session.Reason, "the "+word+" time of at most 3") || len(session.Losses) != nth+1 {
				t.Fatalf("it is %+v", session)
			}
			start := agent.command()
			manifest := (*start.Payload)["templateManifest"].(map[string]any)["spec"].(map[string]any)
			if start.Action != models.ActionStartSession || (*start.Payload)["generation"] != float64(generation+1) ||
				manifest["env"].([]any)[0].(map[string]any)["value"] != "first" {
				t.Fatalf("it is started with %+v", start)
			}
			if verdicts := agent.lists(runs("one", generation)); verdicts[0] != "stop" {
				t.Errorf("what was lost and is found is to %s", verdicts[0])
			}
			// Old news, which an agent repeats until it has a verdict.
			agent.send(wire.TypeStatus, wire.Status{SessionID: "one", Generation: generation, State: "failed", ReasonCode: models.CodeRuntimeLost})
			agent.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID})
			if session := w.awaitSession("one", models.SessionRunning); session.Reason != "" || session.ReasonCode != "" {
				t.Errorf("it runs again, and says %q", session.Reason)
			}
		}
		w.clock.advance(2 * time.Minute)
		agent.lists()
		session := w.session("one")
		if session.State != models.SessionFailed || !session.Retryable || session.ReasonCode != models.CodeRuntimeLost || !strings.Contains(session.Reason, "3 times within 10m") {
			t.Errorf("lost for ever it is %s: %q", session.State, session.Reason)
		}
		if commands := w.sessionCommands("one"); len(commands) != 4 {
			t.Errorf("%d commands in all", len(commands))
		}
		if lost := w.dispatcher.Stats().Lost; lost[services.LostEnded] != 1 || lost[services.LostRestarted] == 0 || lost[services.LostRecreated] != 0 {
			t.Errorf("the losses are counted as %v", lost)
		}
		want := []string{">pending by user:ann", "pending>running by agent:a", "running>pending by reconciler", "pending>running by agent:a"}
		if got := w.history("one"); strings.Join(got[:4], ", ") != strings.Join(want, ", ") || len(got) != 9 {
			t.Errorf("its history is %q", got)
		}
	})
}

// A start on its own agent that fails is the end: its home is nowhere else.
func TestASessionThatCannotBeStartedAgainFails(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{PersistentHome: true})
		w.run("one", agent)
		w.clock.advance(time.Minute)
		agent.lists()
		agent.send(wire.TypeFailed, wire.Failed{CommandID: agent.command().CommandID, Error: "the disk is gone", Code: models.CodeUnavailable, Retryable: true})
		if session := w.awaitSession("one", models.SessionFailed); session.Reason != "the disk is gone" || session.AgentID != "a" {
			t.Errorf("it is %+v", session)
		}
	})
}

func TestALostSessionIsPlacedAnew(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{OnLost: models.OnLostRecreate})
		w.run("one", agent)
		w.register(models.Agent{ID: "b"})
		other := w.negotiate("b")
		if _, err := database.CordonAgent(t.Context(), "a", "user:ann", w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Minute)
		agent.lists()
		session := w.session("one")
		if !session.Waiting() || session.Generation != 2 || session.WaitUntil.Sub(w.clock.Now()) != services.DefaultWaitFor ||
			w.dispatcher.Stats().Lost[services.LostRecreated] != 1 {
			t.Fatalf("it is %+v", session)
		}
		other.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		w.await("it is placed", func() bool {
			placed, err := w.sessions.PlaceWaiting(t.Context())
			return err == nil && placed == 1
		})
		start := other.command()
		other.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID})
		if session := w.awaitSession("one", models.SessionRunning); session.AgentID != "b" || session.Generation != 2 {
			t.Errorf("it is %+v", session)
		}
		if verdicts := agent.lists(runs("one", 1)); verdicts[0] != "stop" {
			t.Errorf("what was lost and is found is to %s", verdicts[0])
		}
	})
}

// What failed before a session ran is not why it fails once it was lost.
func TestALostSessionThatNobodyTakesSaysSo(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.policy(models.TemplateSpec{OnLost: models.OnLostRecreate})
		w.register(models.Agent{ID: "a"})
		first := w.negotiate("a")
		w.launch("one")
		first.send(wire.TypeFailed, wire.Failed{CommandID: first.command().CommandID, Error: "the disk is full", Code: models.CodeUnavailable, Retryable: true})
		w.await("it waits", func() bool { return w.session("one").Waiting() })
		w.register(models.Agent{ID: "b"})
		second := w.negotiate("b")
		second.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		w.await("it is placed", func() bool { return w.placeWaiting() == 1 })
		second.send(wire.TypeComplete, wire.Complete{CommandID: second.command().CommandID})
		w.awaitSession("one", models.SessionRunning)
		if _, err := database.CordonAgent(t.Context(), "b", "user:root", w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(time.Minute)
		second.lists()
		w.placeWaiting()
		if session := w.session("one"); !session.Waiting() {
			t.Fatalf("it is %s: %s", session.State, session.Reason)
		}
		w.clock.advance(services.DefaultWaitFor + time.Minute)
		w.placeWaiting()
		if session := w.awaitSession("one", models.SessionFailed); session.ReasonCode != models.CodeWaitTimeout ||
			!strings.Contains(session.Reason, `lost on agent "b"`) || strings.Contains(session.Reason, "disk is full") {
			t.Errorf("it failed with %q (%s)", session.Reason, session.ReasonCode)
		}
	})
}

// A stop is the last word on a session that is being started again, and so is
// the one of who knows better than an old connection.
func TestWhatIsNewerThanALossWins(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{PersistentHome: true})
		before := w.run("one", agent)
		epoch, _ := w.hub.Epoch("a")
		recovery := db.Recovery{AgentID: "a", Epoch: epoch, SessionID: "one", Generation: before.Generation, Actor: "reconciler"}
		stale := recovery
		stale.Epoch--
		if _, _, err := database.Recover(t.Context(), stale, w.clock.Now()); models.CodeOf(err) != models.CodeEpochStale {
			t.Errorf("an old connection's word gives %v", err)
		}
		if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		if session, done, err := database.Recover(t.Context(), recovery, w.clock.Now()); err != nil || done || session.State != models.SessionTerminating {
			t.Errorf("after a stop it is %s, %v (%v)", session.State, done, err)
		}
	})
}

// A runtime of the right generation is what the session waits for, whether or
// not its agent can say that its start succeeded.
func TestARuntimeIsAdopted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.policy(models.TemplateSpec{PersistentHome: true})
		w.launch("one")
		start := agent.command()
		if verdicts := agent.lists(wire.InventoryItem{SessionID: "one", Generation: 1, State: "pending"}); verdicts[0] != "keep" || w.session("one").State != models.SessionPending {
			t.Fatalf("while it starts it is to %s, and is %s", verdicts[0], w.session("one").State)
		}
		if verdicts := agent.lists(runs("one", 1)); verdicts[0] != "adopt" {
			t.Errorf("it is to %s", verdicts[0])
		}
		if session := w.session("one"); session.State != models.SessionRunning {
			t.Fatalf("it is %s", session.State)
		}
		// Its command's deadline says nothing of it any more.
		w.clock.advance(services.DefaultCommandDeadline + time.Minute)
		w.awaitCommand(start.CommandID, models.CommandFailed)
		if verdicts := agent.lists(runs("one", 1)); verdicts[0] != "keep" || w.session("one").State != models.SessionRunning {
			t.Errorf("it is to %s, and is %s", verdicts[0], w.session("one").State)
		}
		if commands := w.sessionCommands("one"); len(commands) != 1 {
			t.Errorf("%d commands", len(commands))
		}
		// The same for one that wakes.
		if _, err := w.sessions.Hibernate(t.Context(), "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		w.awaitSession("one", models.SessionHibernated)
		agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		w.await("it wakes", func() bool {
			_, err := w.sessions.Wake(t.Context(), services.WakeRequest{SessionID: "one", Actor: "user:ann"})
			return err == nil
		})
		agent.command()
		if verdicts := agent.lists(runs("one", 1), runs("one", 3)); verdicts[0] != "stop" || verdicts[1] != "adopt" {
			t.Errorf("found twice they are to %v", verdicts)
		}
		w.awaitSession("one", models.SessionRunning)
	})
}

// What is wrong with what was asked for is wrong on every agent.
func TestAPermanentErrorEndsASessionAtOnce(t *testing.T) {
	for _, code := range []models.ErrorCode{models.CodeInvalidRequest, models.CodeTemplateInvalid, models.CodeImageMissing, models.CodeImageDenied} {
		t.Run(string(code), func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				w := newWorld(t, database, services.DispatcherOptions{})
				w.start()
				w.register(models.Agent{ID: "a"})
				agent := w.connect("a")
				w.launch("one")
				w.register(models.Agent{ID: "b"})
				w.connect("b") // would take it
				agent.send(wire.TypeFailed, wire.Failed{CommandID: agent.command().CommandID, Error: "no such thing", Code: code})
				session := w.awaitSession("one", models.SessionFailed)
				if session.Reason != "no such thing" || session.ReasonCode != code || session.Retryable || session.Attempts != 1 {
					t.Errorf("it is %+v", session)
				}
				w.clock.advance(time.Hour)
				w.reconcile()
				w.rest(w.sessionCommands("one")[0].CommandID)
				if commands := w.sessionCommands("one"); len(commands) != 1 {
					t.Errorf("%d commands", len(commands))
				}
			})
		})
	}
}
