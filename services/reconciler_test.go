package services_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// reconcile runs a reconciler with fast passes until the test ends. It returns
// when the reconciler has looked at the clock.
func (w *world) reconcile() *services.SessionReconciler {
	looked := make(chan struct{})
	var once sync.Once
	now := func() time.Time {
		defer once.Do(func() { close(looked) })
		w.looks.Add(1)
		return w.clock.Now()
	}
	reconciler := services.NewSessionReconcilerWith(w.database, w.hub, w.dispatcher, services.ReconcilerOptions{
		Interval: 5 * time.Millisecond, Now: now, Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)),
		Lease: 24 * time.Hour}) // so that a clock that is put forward is not a replica that was suspended
	var running sync.WaitGroup
	running.Go(reconciler.Start)
	w.t.Cleanup(func() { reconciler.Stop(); running.Wait() })
	<-looked
	return reconciler
}

// rest returns after some passes in which the command was not sent.
func (w *world) rest(commandID string) {
	w.t.Helper()
	var attempts int
	for rested := false; !rested; {
		attempts = w.row(commandID).Attempts
		looks := w.looks.Load()
		w.await("there were some passes", func() bool { return w.looks.Load() > looks+12 })
		rested = w.row(commandID).Attempts == attempts
	}
}

func (w *world) exec(query string) {
	w.t.Helper()
	if _, err := w.database.DB().ExecContext(w.t.Context(), query); err != nil {
		w.t.Fatal(err)
	}
}

func TestSessionsOfAGoneAgentEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.start()
		w.run("stopping", agent)
		w.disconnect(agent)
		// What was reserved before its agent left.
		agent = w.connect("a")
		w.launch("starting")
		start := agent.command()
		w.awaitCommand(start.CommandID, models.CommandSent)
		w.disconnect(agent)
		if _, err := w.sessions.Stop(t.Context(), "stopping", "user:ann"); err != nil {
			t.Fatal(err)
		}
		reconciler := w.reconcile()
		w.clock.advance(6 * time.Minute)
		stats, err := reconciler.GetStats()
		if err != nil || stats["stuck_pending"] != 1 || stats["stuck_terminating"] != 1 {
			t.Fatalf("the statistics are %v, %v", stats, err)
		}
		w.clock.advance(5 * time.Minute)
		failed := w.awaitSession("starting", models.SessionFailed)
		if failed.ReasonCode != models.CodeAgentUnavailable || !failed.Retryable || !strings.Contains(failed.Reason, `"a" has been gone`) {
			t.Errorf("failed with %q (%s), retryable %v", failed.Reason, failed.ReasonCode, failed.Retryable)
		}
		ended := w.awaitSession("stopping", models.SessionTerminated)
		if ended.ReasonCode != models.CodeAgentUnavailable {
			t.Errorf("terminated with %q (%s)", ended.Reason, ended.ReasonCode)
		}
		for _, id := range []string{"starting", "stopping"} {
			for _, command := range w.sessionCommands(id) {
				if command.Status != models.CommandFailed && command.Status != models.CommandCompleted {
					t.Errorf("%s's %s is %s", id, command.Action, command.Status)
				}
			}
		}
		// The agent comes back and still runs both: it is told to stop them.
		returned := w.negotiate("a")
		returned.send(wire.TypeInventory, wire.Inventory{Items: []wire.InventoryItem{
			{SessionID: "starting", Generation: 1}, {SessionID: "stopping", Generation: 1}}})
		var verdict wire.Verdict
		returned.next(wire.TypeVerdict, &verdict)
		for _, item := range verdict.Items {
			if item.Verdict != wire.VerdictStop {
				t.Errorf("the verdict on %s is %s", item.SessionID, item.Verdict)
			}
		}
		if did := reconciler.Stats(); did.ForcedEnds[models.CodeAgentUnavailable] != 2 || did.Passes == 0 || len(did.Retries) != 0 {
			t.Errorf("the reconciler counts %+v", did)
		}
		if did := w.dispatcher.Stats(); did.Orphans != 2 {
			t.Errorf("%d orphans are counted", did.Orphans)
		}
	})
}

func TestSessionsWithoutAnAgentAndWithADeletedOneEnd(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		for _, id := range []string{"a", "b"} {
			w.register(models.Agent{ID: id})
			w.connect(id)
		}
		w.launch("none")
		w.launch("deleted")
		w.launch("stopping")
		if _, err := w.sessions.Stop(t.Context(), "stopping", "user:ann"); err != nil {
			t.Fatal(err)
		}
		w.exec(`UPDATE sessions SET agent_id = NULL, cluster_id = NULL, platform = NULL, region = NULL, cpu = NULL, memory = NULL,
			reason = NULL, reason_code = NULL WHERE id = 'none'`)
		w.exec(`UPDATE sessions SET agent_id = 'deleted' WHERE id <> 'none'`)
		w.clock.advance(6 * time.Minute)
		w.reconcile()
		for id, state := range map[string]models.SessionState{
			"none": models.SessionFailed, "deleted": models.SessionFailed, "stopping": models.SessionTerminated,
		} {
			if session := w.awaitSession(id, state); session.ReasonCode != models.CodeAgentUnavailable || session.Reason == "" {
				t.Errorf("%s ended with %q (%s)", id, session.Reason, session.ReasonCode)
			}
		}
	})
}

func TestAStuckCommandIsSentAgainAndNotMultiplied(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		start := agent.command()
		agent.send(wire.TypeAck, wire.Ack{CommandID: start.CommandID})
		w.awaitCommand(start.CommandID, models.CommandAck)
		w.clock.advance(6 * time.Minute)
		w.reconcile()
		for attempts := 2; attempts <= 3; attempts++ {
			if again := agent.command(); again.CommandID != start.CommandID {
				t.Fatalf("sent %s again as %s", start.CommandID, again.CommandID)
			}
			w.await("the attempts are counted", func() bool { return w.row(start.CommandID).Attempts >= attempts })
			w.rest(start.CommandID)
			w.clock.advance(75 * time.Second)
		}
		if commands := w.sessionCommands("one"); len(commands) != 1 {
			t.Fatalf("the commands are %+v", commands)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID})
		w.awaitSession("one", models.SessionRunning)
	})
}

func TestAFailedStopIsTriedAnewOneAtATime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.run("one", agent)
		if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		first := agent.command()
		agent.send(wire.TypeFailed, wire.Failed{CommandID: first.CommandID, Error: "the disk is busy"})
		w.awaitCommand(first.CommandID, models.CommandFailed)
		if session := w.session("one"); session.State != models.SessionTerminating || session.Reason != "the disk is busy" {
			t.Fatalf("after a failed stop the session is %s: %q", session.State, session.Reason)
		}
		w.clock.advance(6 * time.Minute)
		w.reconcile()
		second := agent.command()
		if second.CommandID == first.CommandID || second.Action != models.ActionStopSession || (*second.Payload)["sessionId"] != "one" {
			t.Fatalf("then came %+v", second)
		}
		w.rest(second.CommandID)
		w.clock.advance(10 * time.Minute)
		if again := agent.command(); again.CommandID != second.CommandID {
			t.Fatalf("%s was issued while %s was open", again.CommandID, second.CommandID)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: second.CommandID})
		w.awaitSession("one", models.SessionTerminated)
		if commands := w.sessionCommands("one"); len(commands) != 3 {
			t.Errorf("%d commands in all", len(commands))
		}
	})
}

func TestAStartIsNeverSentAgainAfterItsStop(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.launch("one")
	hanging := agent.command().CommandID // never answered
	if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	stop := agent.command().CommandID
	agent.send(wire.TypeFailed, wire.Failed{CommandID: stop, Error: "it is still starting"})
	w.awaitCommand(stop, models.CommandFailed)
	w.clock.advance(time.Second)
	w.launch("sign") // sent again, which shows that passes happen
	sign := agent.command().CommandID
	w.clock.advance(6 * time.Minute)
	w.reconcile()
	if got := agent.command().CommandID; got != sign {
		t.Fatalf("%s was sent; the hanging start is %s", got, hanging)
	}
	w.rest(hanging)
	agent.send(wire.TypeComplete, wire.Complete{CommandID: sign})
	w.awaitSession("sign", models.SessionRunning)
	// The start's deadline makes way for the stop.
	w.clock.advance(services.DefaultCommandDeadline)
	for {
		command := agent.command()
		if command.CommandID == sign {
			continue // was on its way
		}
		if command.Action != models.ActionStopSession || command.CommandID == stop {
			t.Fatalf("then came %+v", command)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
		break
	}
	w.awaitSession("one", models.SessionTerminated)
}

func TestAStopThatNeverSucceedsEndsAllTheSame(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.run("one", agent)
	if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
		t.Fatal(err)
	}
	agent.send(wire.TypeFailed, wire.Failed{CommandID: agent.command().CommandID, Error: "the disk is busy"})
	w.await("the stop has failed", func() bool { return w.session("one").Reason != "" })
	w.clock.advance(services.DefaultGiveUpAfter + time.Minute)
	w.reconcile()
	session := w.awaitSession("one", models.SessionTerminated)
	if !strings.Contains(session.Reason, "the disk is busy") {
		t.Errorf("the reason is %q", session.Reason)
	}
}

func TestASettledSystemIsLeftAlone(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	before := w.run("runs", agent)
	w.disconnect(agent)
	w.clock.advance(24 * time.Hour)
	reconciler := services.NewSessionReconcilerWith(w.database, w.hub, w.dispatcher, services.ReconcilerOptions{
		Interval: time.Hour, Now: w.clock.Now})
	done := make(chan struct{})
	go func() { reconciler.Start(); close(done) }()
	// A stuck session without an agent is the sign that the pass is over.
	w.exec(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, spec, request_hash,
			created_at, updated_at, state_since)
		SELECT 'sign', name, user_id, template, protocol, 'pending', 'running', 1, spec, 'x', created_at, updated_at, created_at
		FROM sessions WHERE id = 'runs'`)
	reconciler.Stop()
	<-done
	second := w.reconcile()
	w.awaitSession("sign", models.SessionFailed)
	second.Stop()
	after := w.session("runs")
	if after.State != models.SessionRunning || !after.UpdatedAt.Equal(before.UpdatedAt) {
		t.Errorf("the running session became %s at %s", after.State, after.UpdatedAt)
	}
	if commands := w.sessionCommands("runs"); len(commands) != 1 {
		t.Errorf("it has %d commands", len(commands))
	}
}

func TestStopWaitsForTheReconcilersPassInHand(t *testing.T) {
	w := newWorld(t, dbtest.Postgres(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	w.connect("a")
	w.launch("one")
	w.exec(`UPDATE sessions SET agent_id = NULL`)
	w.clock.advance(6 * time.Minute)

	// The pass comes to the session and waits for its row.
	hold, err := w.database.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hold.Rollback() }()
	if _, err := hold.ExecContext(t.Context(), `SELECT 1 FROM sessions FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	reconciler := services.NewSessionReconcilerWith(w.database, w.hub, w.dispatcher, services.ReconcilerOptions{Now: w.clock.Now})
	started, stopped := make(chan struct{}), make(chan struct{})
	go func() { reconciler.Start(); close(started) }()
	w.await("the pass waits for the row", func() bool {
		var waiting int
		err := w.database.DB().QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == 1
	})
	go func() { reconciler.Stop(); close(stopped) }()
	awaitIn(t, "services.(*SessionReconciler).Stop(", stopped, started)
	second := make(chan struct{})
	go func() { reconciler.Start(); close(second) }() // returns with the first, not before
	if err := hold.Rollback(); err != nil {
		t.Fatal(err)
	}
	<-stopped
	<-started
	<-second
	if session := w.session("one"); session.State != models.SessionFailed {
		t.Errorf("the session in hand is %s", session.State)
	}
}

func TestTheReconcilerLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("run", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
		reconciler := w.reconcile()
		reconciler.Stop()
		reconciler.Stop()
		reconciler.Start() // after Stop it returns at once
	})
}
