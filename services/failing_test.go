package services_test

import (
	"fmt"
	"math"
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

// answer plays the agent's part until the test ends: it starts every session,
// or none.
func (a *agentSocket) answer(starts bool) (done func()) {
	var playing sync.WaitGroup
	playing.Go(func() {
		for {
			_, frame, err := a.socket.Read(a.t.Context())
			if err != nil {
				return
			}
			message, err := wire.Decode(frame)
			var command wire.Command
			if err != nil || message.Type != wire.TypeCommand || message.Into(&command) != nil {
				continue
			}
			if starts {
				a.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
			} else {
				a.send(wire.TypeFailed, wire.Failed{CommandID: command.CommandID, Error: "the disk is full"})
			}
		}
	})
	return func() {
		_ = a.socket.CloseNow()
		playing.Wait()
	}
}

// queue looks through the sessions that wait until the test ends.
func (w *world) queue(feed *services.Feed) {
	queue := services.NewQueue(w.sessions, services.QueueOptions{Feed: feed})
	var running sync.WaitGroup
	running.Go(queue.Start)
	w.t.Cleanup(func() { queue.Stop(); running.Wait() })
}

func TestAFailedStartIsTriedElsewhere(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a", Region: "r"})
		bad := w.connect("a")
		w.launch("one")
		w.register(models.Agent{ID: "b", Region: "r"})
		good := w.connect("b")
		bad.send(wire.TypeFailed, wire.Failed{CommandID: bad.command().CommandID, Error: "the disk is full", Retryable: true})
		w.await("another agent is looked for", func() bool { return w.session("one").Waiting() })
		if placed, err := w.sessions.PlaceWaiting(t.Context()); placed != 1 || err != nil {
			t.Fatalf("%d are placed (%v)", placed, err)
		}
		start := good.command()
		if generation := (*start.Payload)["generation"]; generation != 2.0 {
			t.Errorf("the second start has generation %v", generation)
		}
		explanation, _, err := w.sessions.Explain(t.Context(), "one")
		if err != nil || explanation.AgentID != "b" || len(explanation.Agents) != 2 || explanation.Agents[1].Rejections[0].Code != models.RejectedAvoided {
			t.Errorf("it is explained with %+v (%v)", explanation, err)
		}
		good.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID})
		session := w.awaitSession("one", models.SessionRunning)
		if session.Attempts != 2 || len(session.Failures) != 1 || session.Failures[0].AgentID != "a" || session.Failures[0].Reason != "the disk is full" {
			t.Errorf("it is %+v", session)
		}
	})
}

// When no other agent could ever take it, a failed session says at once what
// its agent said; when one could, it says so in the end.
func TestAFailedStartDoesNotWaitInVain(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	fail := func(id string) {
		t.Helper()
		w.launch(id)
		agent.send(wire.TypeFailed, wire.Failed{CommandID: agent.command().CommandID, Error: "the disk is full", Code: models.CodeUnavailable, Retryable: true})
		w.await("another agent is looked for", func() bool { return w.session(id).Waiting() })
		if _, err := w.sessions.PlaceWaiting(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fail("one")
	if session := w.session("one"); session.State != models.SessionFailed || session.Reason != "the disk is full" || !session.Retryable || session.ReasonCode != models.CodeUnavailable {
		t.Errorf("it is %+v", session)
	}
	w.register(models.Agent{ID: "away"}) // which may come
	fail("two")
	if session := w.session("two"); !session.Waiting() || !strings.Contains(session.Reason, "1 has failed to start this session, 1 is offline") {
		t.Errorf("it is %+v", session)
	}
	w.clock.advance(w.session("two").WaitUntil.Sub(w.clock.Now()) + time.Second)
	if _, err := w.sessions.PlaceWaiting(t.Context()); err != nil {
		t.Fatal(err)
	}
	if session := w.session("two"); session.State != models.SessionFailed || session.Reason != "the disk is full; no other agent could take it in time" {
		t.Errorf("it is %+v", session)
	}
}

// Three of ten agents fail every start. They look idle, so that the least
// loaded agent is always one of them.
func TestAgentsThatFailEveryStartCostNobodyASession(t *testing.T) {
	feed := services.NewFeed()
	w := newWorld(t, dbtest.SQLite(t, db.Options{SessionChanged: feed.Publish}), services.DispatcherOptions{})
	var agents []*agentSocket
	for i := range 10 {
		id := fmt.Sprint("agent-", i)
		w.register(models.Agent{ID: id})
		agents = append(agents, w.connect(id))
		t.Cleanup(agents[i].answer(i >= 3))
	}
	w.start()
	w.queue(feed)
	const waves, each = 50, 20
	naive := 0
	ids := make([]string, 0, waves*each)
	for wave := range waves {
		// Five minutes pass in all, so that agents are probed again and again.
		w.clock.advance(6 * time.Second)
		var pulses []db.Pulse
		for _, agent := range agents {
			epoch, _ := w.hub.Epoch(agent.id)
			pulses = append(pulses, db.Pulse{AgentID: agent.id, Epoch: epoch, At: w.clock.Now(), Heartbeat: wire.Heartbeat{Status: models.AgentOnline}})
		}
		if _, err := w.database.RecordHeartbeats(t.Context(), pulses); err != nil {
			t.Fatal(err)
		}
		var launching sync.WaitGroup
		for i := range each {
			id := fmt.Sprintf("s-%d-%d", wave, i)
			ids = append(ids, id)
			launching.Go(func() { w.launch(id) })
			// Placed once and never again, whoever is chosen.
			if chosen, err := w.selector.SelectAgent(t.Context(), nil); err == nil && chosen.AgentID >= "agent-3" {
				naive++
			}
		}
		launching.Wait()
		w.await("the wave is over", func() bool {
			pending, _, err := w.database.Sessions(t.Context(), db.SessionFilter{States: []models.SessionState{models.SessionPending}}, db.Page{Limit: 1})
			return err == nil && len(pending) == 0
		})
	}
	running, again := 0, int64(0)
	for _, id := range ids {
		session := w.session(id)
		if session.State == models.SessionRunning {
			running++
		} else {
			t.Logf("%s is %s: %s", id, session.State, session.Reason)
		}
		again += session.Attempts - 1
	}
	t.Logf("%d of %d sessions run, after %d further attempts; placed once on the least loaded agent, %d of them would", running, len(ids), again, naive)
	if share := float64(running) / float64(len(ids)); share < 0.999 || math.IsNaN(share) {
		t.Errorf("only %.2f %% of the sessions run", 100*share)
	}
	if again > waves*each/10 {
		t.Errorf("the agents that fail got %d sessions", again)
	}
}
