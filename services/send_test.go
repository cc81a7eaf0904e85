package services_test

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// stumbling is a handler that fails at every frame, so that the hub ends the
// connection.
type stumbling struct{}

func (stumbling) AgentConnected(context.Context, websocket.Peer) {}
func (stumbling) AgentMessage(context.Context, websocket.Peer, wire.Envelope) error {
	return errors.New("it cannot be stored")
}
func (stumbling) AgentDisconnected(websocket.Peer) {}

// counting counts the log lines that say the same.
type counting struct {
	slog.Handler
	message string
	count   *atomic.Int64
}

func (c counting) Handle(ctx context.Context, record slog.Record) error {
	if record.Message == c.message {
		c.count.Add(1)
	}
	return nil
}

func (c counting) WithAttrs([]slog.Attr) slog.Handler { return c }

// A connection that the hub ends is the agent's until the agent has answered
// the close, or has been given up. All that time it takes nothing.
func TestAConnectionThatIsBeingClosedKeepsNobodyElseWaiting(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.hub.Attach(stumbling{}, "stumble")
	var tries atomic.Int64
	dispatcher := services.NewCommandDispatcherWith(w.database, w.hub, services.DispatcherOptions{ // takes over from the world's own
		Workers: 1, PollEvery: time.Hour, Now: w.clock.Now,
		Logger: slog.New(counting{slog.NewTextHandler(t.Output(), nil), "not sent, it stays pending", &tries}),
	})
	w.dispatcher = dispatcher
	for _, id := range []string{"dying", "quick"} {
		w.register(models.Agent{ID: id})
	}
	dying, quick := w.connect("dying"), w.connect("quick")
	w.pending("c1", "dying", "s")
	dying.sendRaw(`{"type":"stumble","payload":{}}`) // and does not read, so it answers no close
	w.await("the connection takes nothing", func() bool {
		return models.CodeOf(w.hub.Send("dying", wire.TypePing, nil)) == models.CodeAgentUnavailable
	})
	w.start() // finds that both have connected
	w.await("it was tried", func() bool { return tries.Load() > 0 })
	second := w.pending("c2", "quick", "t")
	if err := dispatcher.DispatchCommand(&second); err != nil {
		t.Fatal(err)
	}
	if got := quick.command().CommandID; got != "c2" {
		t.Fatalf("got %s", got)
	}
	if count := tries.Load(); count > 10 { // each may be 1.5 s after the one before
		t.Errorf("by then the closing connection was tried %d times", count)
	}
	w.disconnect(dying)
	if row := w.row("c1"); row.Status != models.CommandPending || row.Attempts != 0 {
		t.Errorf("the command is %s after %d attempts", row.Status, row.Attempts)
	}
	if got := w.connect("dying").command().CommandID; got != "c1" {
		t.Errorf("the next connection got %s", got)
	}
}

// A start that was sent and never answered is not sent again behind its stop,
// whether the stop is done or not: an agent that has lost its journal would do
// it, perhaps after the stop.
func TestAStartWhoseStopWasAskedForIsNotSentAgain(t *testing.T) {
	for name, answered := range map[string]bool{"stopped": true, "to be stopped": false} {
		t.Run(name, func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				w := newWorld(t, database, services.DispatcherOptions{PollEvery: time.Hour})
				w.start()
				w.register(models.Agent{ID: "a"})
				agent := w.connect("a")
				w.launch("one")
				start := agent.command()
				if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
					t.Fatal(err)
				}
				stop := agent.command()
				if answered {
					agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
					w.awaitSession("one", models.SessionTerminated)
				}
				if row := w.awaitCommand(start.CommandID, models.CommandSent); row.Attempts != 1 {
					t.Fatalf("the start is %+v", row)
				}
				w.disconnect(agent)

				agent = w.connect("a")
				if !answered {
					if got := agent.command(); got.CommandID != stop.CommandID {
						t.Errorf("the agent got %s %s", got.Action, got.CommandID)
					}
					agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
				}
				last := w.pending("last", "a", "t")
				if err := w.dispatcher.DispatchCommand(&last); err != nil {
					t.Fatal(err)
				}
				if got := agent.command(); got.CommandID != "last" {
					t.Errorf("the agent got %s %s", got.Action, got.CommandID)
				}
				row := w.awaitCommand(start.CommandID, models.CommandCompleted)
				if row.Attempts != 1 || row.Result == nil || (*row.Result)["superseded"] != true {
					t.Errorf("the start is %+v, with %v", row, row.Result)
				}
				w.awaitSession("one", models.SessionTerminated)
			})
		})
	}
}

// The same holds for a start whose session is known to run, although the agent
// never said that it succeeded: one that fails clears away what it finds.
func TestAStartOfWhatRunsIsNotSentAgain(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{PollEvery: time.Hour})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.launch("one")
		start := agent.command()
		if verdicts := agent.lists(runs("one", 1)); verdicts[0] != "adopt" {
			t.Fatalf("it is to %s", verdicts[0])
		}
		w.awaitSession("one", models.SessionRunning)
		w.disconnect(agent)

		agent = w.negotiate("a")
		last := w.pending("last", "a", "t")
		if err := w.dispatcher.DispatchCommand(&last); err != nil {
			t.Fatal(err)
		}
		if got := agent.command(); got.CommandID != "last" {
			t.Errorf("the agent got %s %s", got.Action, got.CommandID)
		}
		w.awaitCommand(start.CommandID, models.CommandCompleted)
		if session := w.session("one"); session.State != models.SessionRunning || session.Generation != 1 {
			t.Errorf("it is %s", session.State)
		}
	})
}

// While the end of an overtaken start is being written, its row says "unsent"
// still.
func TestAnOvertakenStartIsNotSentBehindItsStop(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{Workers: 1, PollEvery: time.Hour})
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.launch("one")
	if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	start := w.sessionCommands("one")[0]
	w.register(models.Agent{ID: "b"})
	other := w.connect("b")
	mark := w.pending("mark", "b", "s")

	release := w.holdWrites()
	w.start()
	if err := w.dispatcher.DispatchPendingCommands(); err != nil {
		t.Fatal(err)
	}
	if got := agent.command(); got.Action != models.ActionStopSession {
		t.Fatalf("sent %s", got.Action)
	}
	if got := other.command().CommandID; got != "mark" {
		t.Fatalf("the other agent got %s", got)
	}
	mark.Status = models.CommandSent // asks for it again, behind the start
	for _, command := range []models.AgentCommand{start, mark} {
		if err := w.dispatcher.DispatchCommand(&command); err != nil {
			t.Fatal(err)
		}
	}
	if got := other.command().CommandID; got != "mark" {
		t.Fatalf("the other agent got %s", got)
	}
	if row := w.row(start.CommandID); row.Status != models.CommandPending {
		t.Fatalf("while nobody can write, the start became %s", row.Status)
	}
	release()
	if row := w.awaitCommand(start.CommandID, models.CommandCompleted); row.Attempts != 0 {
		t.Errorf("the start was sent: %+v", row)
	}
	last := w.pending("last", "a", "t")
	if err := w.dispatcher.DispatchCommand(&last); err != nil {
		t.Fatal(err)
	}
	if got := agent.command(); got.CommandID != "last" {
		t.Errorf("behind the stop came %s %s", got.Action, got.CommandID)
	}
}
