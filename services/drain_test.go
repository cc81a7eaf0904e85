package services_test

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// drainer is a Drainer that looks all the time.
type drainer struct {
	*services.Drainer
	w     *world
	mu    sync.Mutex
	looks int
}

// drainer starts a Drainer, which is stopped when the test ends at the latest.
func (w *world) drainer() *drainer {
	d := &drainer{w: w}
	d.Drainer = services.NewDrainer(w.database, w.sessions, services.DrainerOptions{Every: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
		Now: func() time.Time {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.looks++
			return w.clock.Now()
		}})
	var running sync.WaitGroup
	running.Go(d.Start)
	w.t.Cleanup(func() { d.Stop(); running.Wait() })
	return d
}

// look returns when the drainer has looked once more, from beginning to end.
func (d *drainer) look() {
	d.w.t.Helper()
	seen := func() int {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.looks
	}
	from := seen()
	// The one that is under way, a whole one, and the beginning of the next.
	d.w.await("the drainer has looked", func() bool { return seen() >= from+3 })
}

func (w *world) drain(agentID string, within time.Duration) {
	w.t.Helper()
	deadline := w.clock.Now().Add(within)
	if _, err := w.database.DrainAgent(w.t.Context(), agentID, &deadline, "user:root", w.clock.Now()); err != nil {
		w.t.Fatal(err)
	}
}

func TestADrainStopsWhatIsLeftAtItsDeadline(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("done", agent)
		w.run("left", agent)
		drainer := w.drainer()
		w.drain("a", time.Minute)

		// The agent goes on, and so does the drain.
		agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		agent.settle()
		_ = agent.socket.CloseNow()
		agent = w.negotiate("a")
		w.clock.advance(time.Minute - time.Second)
		agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: "new", Template: "desk", Owner: w.owner, Wait: new(time.Duration)})
		mustCode(t, err, models.CodeNoSuitableAgent)
		if _, err := w.sessions.Stop(t.Context(), "done", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		w.awaitSession("done", models.SessionTerminated)
		drainer.look()
		if session := w.session("left"); session.State != models.SessionRunning {
			t.Fatalf("a second before the deadline it is %s", session.State)
		}

		w.clock.advance(time.Second)
		stopping := w.awaitSession("left", models.SessionTerminating)
		if !strings.Contains(stopping.Reason, `agent "a" is being taken out of service`) {
			t.Errorf("the reason is %q", stopping.Reason)
		}
		stop := agent.command()
		if stop.Action != models.ActionStopSession || (*stop.Payload)["sessionId"] != "left" {
			t.Fatalf("the agent is told %+v", stop)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		w.awaitSession("left", models.SessionTerminated)
		drainer.look()
		events, _, err := database.SessionEvents(t.Context(), "left", db.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if by := events[len(events)-2]; by.Actor != "drain" || by.To != string(models.SessionTerminating) || by.Reason != stopping.Reason {
			t.Errorf("the history is %+v", events)
		}
		stored, err := database.Agent(t.Context(), "a")
		if err != nil || stored.Status != models.AgentDraining || stored.Sessions != 0 {
			t.Errorf("in the end the agent is %+v, %v", stored, err)
		}
		if commands := w.sessionCommands("left"); len(commands) != 2 {
			t.Errorf("the session's commands are %+v", commands)
		}
	})
}

// All that a drain is lies in the database: another control plane keeps the
// deadline, even while the agent is away, and several stop everything once.
func TestADrainGoesOnAfterARestart(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		ids := []string{"s1", "s2", "s3", "s4"}
		for _, id := range ids {
			w.run(id, agent)
		}
		first := w.drainer()
		w.drain("a", time.Hour)
		first.look()
		first.Stop()
		first.Stop()
		_ = agent.socket.CloseNow()

		w.clock.advance(time.Hour)
		if session := w.session("s1"); session.State != models.SessionRunning {
			t.Fatalf("a drainer that has stopped went on: %s", session.State)
		}
		second, third := w.drainer(), w.drainer()
		for _, id := range ids {
			w.awaitSession(id, models.SessionTerminating)
		}
		second.look()
		third.look()
		for _, id := range ids {
			session := w.session(id)
			if session.Generation != 2 || len(w.sessionCommands(id)) != 2 {
				t.Errorf("%s was stopped more than once: generation %d, %+v", id, session.Generation, w.sessionCommands(id))
			}
		}
		// The agent hears of it when it comes back.
		agent = w.connect("a")
		var told []string
		for range ids {
			command := agent.command()
			told = append(told, (*command.Payload)["sessionId"].(string))
			agent.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
		}
		slices.Sort(told)
		if !slices.Equal(told, ids) {
			t.Errorf("the agent is told to stop %v", told)
		}
		for _, id := range ids {
			w.awaitSession(id, models.SessionTerminated)
		}
	})
}

func TestDrainsWithoutADeadlineAndUncordonedOnesStopNothing(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	for _, id := range []string{"ever", "ended"} {
		w.register(models.Agent{ID: id, Region: id})
		agent := w.connect(id)
		if _, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: "on-" + id, Template: "desk", Region: id, Owner: w.owner}); err != nil {
			t.Fatal(err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		w.awaitSession("on-"+id, models.SessionRunning)
	}
	drainer := w.drainer()
	if _, err := w.database.DrainAgent(t.Context(), "ever", nil, "user:root", w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.drain("ended", time.Minute)
	if _, err := w.database.UncordonAgent(t.Context(), "ended", "user:root", w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	w.clock.advance(1000 * time.Hour)
	drainer.look()
	for _, id := range []string{"on-ever", "on-ended"} {
		if session := w.session(id); session.State != models.SessionRunning {
			t.Errorf("%s is %s", id, session.State)
		}
	}
}

// store makes agents that share homes.
func (w *world) store(ids ...string) map[string]*agentSocket {
	w.t.Helper()
	agents := map[string]*agentSocket{}
	for _, id := range ids {
		w.register(models.Agent{ID: id, HomeStore: "cellar", Capacity: map[string]interface{}{"maxSessions": 2}})
		agents[id] = w.negotiate(id)
	}
	return agents
}

// drained checks what the agent's drain is said to have done.
func (w *world) drained(id string, want models.Drained) {
	w.t.Helper()
	agent, err := w.database.Agent(w.t.Context(), id)
	if err != nil || agent.Drained == nil || *agent.Drained != want {
		w.t.Errorf("agent %s has done %+v with sessions (%v), not %+v", id, agent.Drained, err, want)
	}
}

// What keeps a home hibernates at a drain's deadline and goes where its home is
// shared; what keeps none is stopped.
func TestADrainMovesWhatKeepsAHome(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agents := w.store("a")
		w.homely("kept", agents["a"])
		w.run("homeless", agents["a"])
		agents["b"] = w.store("b")["b"]
		w.register(models.Agent{ID: "stranger"})
		w.connect("stranger")
		w.drain("a", time.Minute)
		drainer := w.drainer()
		drainer.look()
		w.clock.advance(time.Minute)
		agents["b"].send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		agents["b"].settle()
		for range 2 {
			command := agents["a"].command()
			session := (*command.Payload)["sessionId"].(string)
			if want := map[string]string{"kept": models.ActionHibernateSession, "homeless": models.ActionStopSession}[session]; command.Action != want {
				t.Fatalf("agent a is told to do %s with %s", command.Action, session)
			}
			if session == "kept" {
				drainer.look() // it is woken nowhere before it is known to be over
				if now := w.session("kept"); now.State != models.SessionHibernating || now.Reason == "" || now.MoveUntil == nil {
					t.Fatalf("it is %+v", now)
				}
				w.drained("a", models.Drained{Hibernated: 1, Stopped: 1})
			}
			agents["a"].send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
		}
		w.awaitSession("homeless", models.SessionTerminated)
		agents["b"].obey(models.ActionWakeSession)
		if moved := w.awaitSession("kept", models.SessionRunning); moved.AgentID != "b" || moved.MoveUntil != nil || moved.Generation != 3 {
			t.Errorf("it runs as %+v", moved)
		}
		drainer.look()
		w.drained("a", models.Drained{Moved: 1, Stopped: 1})
		events, _, err := database.SessionEvents(t.Context(), "kept", db.Page{})
		if err != nil {
			t.Fatal(err)
		}
		var reasons []string
		for _, event := range events {
			if event.Actor == "drain" {
				reasons = append(reasons, event.From+">"+event.To+": "+event.Reason)
			}
		}
		if want := []string{`running>hibernating: agent "a" is being taken out of service, and the time it gave its sessions is over`,
			`hibernated>waking: it had to hibernate when agent "a" was taken out of service`}; !slices.Equal(reasons, want) {
			t.Errorf("the history of the drain is %q", reasons)
		}
	})
}

// When there is no room a move is tried for a while, also by the next control
// plane, and never back onto the agent that drains. Then who opens it wakes it.
func TestAMoveThatFindsNoRoom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		agents := w.store("a")
		w.homely("early", agents["a"])
		w.homely("late", agents["a"])
		agents["b"] = w.store("b")["b"]
		for _, id := range []string{"one", "two"} {
			w.run(id, agents["b"])
		}
		first := w.drainer()
		w.drain("a", 0)
		for range 2 {
			agents["a"].obey(models.ActionHibernateSession)
		}
		for _, id := range []string{"early", "late"} {
			if session := w.awaitSession(id, models.SessionHibernated); !strings.Contains(session.Reason, `agent "a" is being taken out of service`) {
				t.Errorf("%s says %q", id, session.Reason)
			}
		}
		first.look()
		first.Stop()
		w.drained("a", models.Drained{Hibernated: 2})
		_, err := w.sessions.Wake(t.Context(), services.WakeRequest{SessionID: "early", Actor: "user:ann"})
		mustCode(t, err, models.CodeNoSuitableAgent)
		if !strings.Contains(err.Error(), `agent "a", which has the session's home, is draining, and no other agent of home store "cellar"`) {
			t.Errorf("it is refused with %v", err)
		}
		free := func(id string) {
			t.Helper()
			if _, err := w.sessions.Stop(t.Context(), id, "user:ann"); err != nil {
				t.Fatal(err)
			}
			agents["b"].obey(models.ActionStopSession)
			w.awaitSession(id, models.SessionTerminated)
		}
		second := w.drainer()
		second.look()
		free("one")
		agents["b"].obey(models.ActionWakeSession)
		w.drained("a", models.Drained{Moved: 1, Hibernated: 1})
		left := "early"
		if w.session("early").AgentID == "b" {
			left = "late"
		}
		w.clock.advance(services.DefaultMoveFor)
		agents["b"].send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
		agents["b"].settle()
		free("two")
		second.look()
		if session := w.session(left); session.State != models.SessionHibernated {
			t.Fatalf("long after the deadline it is %s on %s", session.State, session.AgentID)
		}
		woken, err := w.sessions.Wake(t.Context(), services.WakeRequest{SessionID: left, Actor: "user:ann"})
		if err != nil || woken.AgentID != "b" {
			t.Fatalf("woken it is %+v, %v", woken, err)
		}
		w.drained("a", models.Drained{Moved: 2})
	})
}

// What is about to run hibernates once it does.
func TestADrainWaitsForWhatStarts(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	agents := w.store("a")
	agent := agents["a"]
	w.homely("one", agent)
	if _, err := w.sessions.Hibernate(t.Context(), "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	agent.obey(models.ActionHibernateSession)
	w.awaitSession("one", models.SessionHibernated)
	if _, err := w.sessions.Wake(t.Context(), services.WakeRequest{SessionID: "one", Actor: "user:ann"}); err != nil {
		t.Fatal(err)
	}
	drainer := w.drainer()
	w.drain("a", 0)
	drainer.look()
	if session := w.session("one"); session.State != models.SessionWaking {
		t.Fatalf("it is %s", session.State)
	}
	agent.obey(models.ActionWakeSession)
	agent.obey(models.ActionHibernateSession)
	w.awaitSession("one", models.SessionHibernated)
}

func TestADrainerThatWasStoppedDoesNotStart(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	drainer := services.NewDrainer(w.database, w.sessions, services.DrainerOptions{})
	drainer.Stop()
	drainer.Start()
}
