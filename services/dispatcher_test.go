package services_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	ws "github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

func TestASessionStartsAndStopsThroughAnAgentOfTheBasicProtocol(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")

		w.launch("one")
		start := agent.command()
		if start.Action != models.ActionStartSession || (*start.Payload)["sessionId"] != "one" ||
			(*start.Payload)["user"] != "ann" || (*start.Payload)["templateManifest"] == nil {
			t.Fatalf("the start is %+v", start)
		}
		sent := w.awaitCommand(start.CommandID, models.CommandSent)
		if sent.SentAt == nil || sent.Attempts != 1 {
			t.Errorf("sent at %v, %d attempts", sent.SentAt, sent.Attempts)
		}
		agent.send(wire.TypeAck, wire.Ack{CommandID: start.CommandID})
		if acked := w.awaitCommand(start.CommandID, models.CommandAck); acked.AcknowledgedAt == nil {
			t.Error("acknowledged at no time")
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: start.CommandID, Result: &models.CommandPayload{"state": "running"}})
		w.awaitSession("one", models.SessionRunning)
		if done := w.row(start.CommandID); done.Status != models.CommandCompleted || done.CompletedAt == nil {
			t.Errorf("the start is %+v", done)
		}

		if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		stop := agent.command()
		if stop.Action != models.ActionStopSession || (*stop.Payload)["sessionId"] != "one" {
			t.Fatalf("the stop is %+v", stop)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		w.awaitSession("one", models.SessionTerminated)
		w.await("all is counted", func() bool {
			stats := w.dispatcher.Stats()
			return stats.Sent == 2 && stats.Resent == 0 && stats.Completed == 2 && stats.Acknowledged == 1 && stats.Failed == 0 &&
				stats.InFlight == 0 && stats.Unwritten == 0 && stats.Batches > 0 && stats.BatchRows >= stats.Batches
		})
	})
}

func TestAFailedStartFailsTheSessionWithTheAgentsReason(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.launch("one")
	start := agent.command()
	agent.send(wire.TypeFailed, wire.Failed{CommandID: start.CommandID, Error: "no\x00 Xvnc " + strings.Repeat("é", 2000),
		Code: models.CodeNeedsMissing})
	w.await("the session looks for another agent", func() bool { return w.session("one").AgentID == "" })
	if _, err := w.sessions.PlaceWaiting(t.Context()); err != nil {
		t.Fatal(err)
	}
	session := w.session("one")
	if session.State != models.SessionFailed || !strings.HasPrefix(session.Reason, "no Xvnc é") || len(session.Reason) > 1100 || session.ReasonCode != models.CodeNeedsMissing {
		t.Errorf("failed with %q (%s)", session.Reason, session.ReasonCode)
	}
}

func TestCommandsOfASessionAreSentInOrderEachOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{Workers: 10})
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		const sessions, each = 8, 12
		var hints []models.AgentCommand
		for n := range each {
			for s := range sessions {
				sessionID := fmt.Sprint("s", s)
				hints = append(hints, w.pending(fmt.Sprintf("%s-%02d", sessionID, n), "a", sessionID))
			}
		}
		w.start()
		// Hints come from everywhere, in any order, and twice.
		var callers sync.WaitGroup
		for _, half := range [][]models.AgentCommand{hints[:len(hints)/2], hints[len(hints)/2:], hints} {
			callers.Go(func() {
				for _, command := range slices.Backward(half) {
					if err := w.dispatcher.DispatchCommand(&command); err != nil {
						t.Error(err)
					}
				}
			})
		}
		callers.Wait()
		got := agent.commands(len(hints))
		last := map[string]string{}
		for _, id := range got {
			session, _, _ := strings.Cut(id, "-")
			if id <= last[session] {
				t.Fatalf("%s came after %s", id, last[session])
			}
			last[session] = id
		}
		for _, command := range hints {
			if row := w.awaitCommand(command.CommandID, models.CommandSent); row.Attempts != 1 {
				t.Errorf("%s is %s after %d attempts", row.CommandID, row.Status, row.Attempts)
			}
		}
	})
}

func TestACommandWaitsForItsAgent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{PollEvery: time.Hour})
	w.start()
	w.register(models.Agent{ID: "a"})
	command := w.pending("c1", "a", "s1")
	if err := w.dispatcher.DispatchCommand(&command); err != nil {
		t.Fatal(err)
	}
	w.await("the queue is empty", func() bool { return w.dispatcher.GetQueueLength() == 0 })
	if row := w.row("c1"); row.Status != models.CommandPending || row.Attempts != 0 {
		t.Fatalf("without its agent the command is %s", row.Status)
	}
	agent := w.connect("a") // no poll comes: connecting alone must do
	if got := agent.command().CommandID; got != "c1" {
		t.Fatalf("got %s", got)
	}
}

func TestUnfinishedCommandsAreSentAgainAfterAReconnectUnderTheSameID(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{PollEvery: time.Hour})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		for _, id := range []string{"c1", "c2", "c3"} {
			command := w.pending(id, "a", "s")
			if err := w.dispatcher.DispatchCommand(&command); err != nil {
				t.Fatal(err)
			}
		}
		if got := agent.commands(3); !slices.Equal(got, []string{"c1", "c2", "c3"}) {
			t.Fatalf("sent %v", got)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: "c1"})
		agent.send(wire.TypeAck, wire.Ack{CommandID: "c2"})
		w.awaitCommand("c2", models.CommandAck)
		w.awaitCommand("c3", models.CommandSent)
		w.disconnect(agent)
		w.pending("c4", "a", "s")

		agent = w.connect("a")
		if got := agent.commands(3); !slices.Equal(got, []string{"c2", "c3", "c4"}) {
			t.Fatalf("sent again %v", got)
		}
		w.await("c4 is marked", func() bool { return w.row("c4").Attempts == 1 })
		for id, want := range map[string]int{"c1": 1, "c2": 2, "c3": 2} {
			if row := w.row(id); row.Attempts != want {
				t.Errorf("%s has %d attempts, not %d", id, row.Attempts, want)
			}
		}
		if row := w.row("c2"); row.Status != models.CommandAck {
			t.Errorf("sending again made the acknowledged command %s", row.Status)
		}
		w.await("all is counted", func() bool {
			stats := w.dispatcher.Stats()
			return stats.Resent == 2 && stats.Sent == 4
		})
	})
}

func TestDispatchPendingCommandsReachesMoreThanTheQueueHolds(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{QueueSize: 10, PollEvery: time.Hour})
		w.register(models.Agent{ID: "gone"})
		w.register(models.Agent{ID: "a"})
		const count = 70
		want := map[string]bool{}
		for n := range count {
			w.pending(fmt.Sprintf("gone-%03d", n), "gone", fmt.Sprint("g", n)) // older, and in nobody's way
			id := fmt.Sprintf("c%03d", n)
			w.pending(id, "a", fmt.Sprint("s", n))
			want[id] = true
		}
		agent := w.connect("a")
		if err := w.dispatcher.DispatchPendingCommands(); err != nil {
			t.Fatal(err)
		}
		if got := w.dispatcher.GetQueueLength(); got != 10 {
			t.Fatalf("%d are queued, not as many as fit", got)
		}
		w.start()
		for _, id := range agent.commands(count) {
			if !want[id] {
				t.Fatalf("%s came twice or for somebody else", id)
			}
			delete(want, id)
		}
	})
}

func TestACommandWrittenBeforeARestartIsSentAfterIt(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	before := newWorld(t, database, services.DispatcherOptions{})
	before.register(models.Agent{ID: "a"})
	before.pending("c1", "a", "s")
	before.dispatcher.Stop()

	after := newWorld(t, database, services.DispatcherOptions{PollEvery: time.Hour})
	agent := after.connect("a")
	after.start()
	if err := after.dispatcher.DispatchPendingCommands(); err != nil {
		t.Fatal(err)
	}
	if got := agent.command().CommandID; got != "c1" {
		t.Fatalf("got %s", got)
	}
}

func TestPollingFindsWhatNoHintToldOf(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.pending("c1", "a", "s")
	if got := agent.command().CommandID; got != "c1" {
		t.Fatalf("got %s", got)
	}
}

func TestARowIsWrittenBeforeItsCommandIsSent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	err := w.dispatcher.DispatchCommand(&models.AgentCommand{CommandID: "c1", AgentID: "a", Action: models.ActionStopSession,
		Payload: &models.CommandPayload{"sessionId": "s1"}, Status: models.CommandPending})
	if err != nil {
		t.Fatal(err)
	}
	row := w.row("c1")
	if row.Status != models.CommandPending || row.SessionID != "s1" || !row.DeadlineAt.After(w.clock.Now()) {
		t.Fatalf("the row is %+v", row)
	}
}

func TestDispatchCommandRefusesWhatCannotBeSent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.pending("taken", "a", "s")
	whole := models.AgentCommand{CommandID: "c", AgentID: "a", Action: models.ActionStopSession}
	for name, change := range map[string]func(*models.AgentCommand){
		"no id":               func(c *models.AgentCommand) { c.CommandID = "" },
		"a control character": func(c *models.AgentCommand) { c.CommandID = "c\x00" },
		"no agent":            func(c *models.AgentCommand) { c.AgentID = "" },
		"no action":           func(c *models.AgentCommand) { c.Action = "" },
		"ended":               func(c *models.AgentCommand) { c.Status = models.CommandCompleted },
		"another's id":        func(c *models.AgentCommand) { c.CommandID, c.AgentID = "taken", "b" },
	} {
		command := whole
		change(&command)
		if err := w.dispatcher.DispatchCommand(&command); models.CodeOf(err) != models.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	mustCode(t, w.dispatcher.DispatchCommand(nil), models.CodeInvalidRequest)
	if w.dispatcher.GetQueueLength() != 0 {
		t.Error("something was queued")
	}
}

func TestStopWritesWhatBecameOfCommands(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("stop", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{PollEvery: time.Hour, Workers: 1})
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		first, second := w.pending("c1", "a", "s"), w.pending("c2", "a", "t")
		for _, command := range []*models.AgentCommand{&first, &second} {
			if err := w.dispatcher.DispatchCommand(command); err != nil {
				t.Fatal(err)
			}
		}
		release := w.holdWrites()
		started := make(chan struct{})
		go func() { w.dispatcher.Start(); close(started) }()
		if got := agent.commands(2); !slices.Equal(got, []string{"c1", "c2"}) {
			t.Fatalf("got %v", got)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: "c1"})
		w.await("the answer is taken", func() bool { return w.dispatcher.Stats().InFlight == 1 })
		stopped := make(chan struct{})
		go func() { w.dispatcher.Stop(); close(stopped) }()
		w.await("it is stopping", func() bool {
			return models.CodeOf(w.dispatcher.DispatchCommand(&first)) == models.CodeStopped
		})
		awaitIn(t, "services.(*CommandDispatcher).Stop(", stopped, started)
		release()
		<-stopped
		<-started
		if row := w.row("c1"); row.Status != models.CommandCompleted || row.SentAt == nil {
			t.Errorf("the command that was answered is %s, sent at %v", row.Status, row.SentAt)
		}
		if row := w.row("c2"); row.Status != models.CommandSent {
			t.Errorf("the command that was sent is %s", row.Status)
		}
		// What is said from now on is for the next process.
		agent.send(wire.TypeComplete, wire.Complete{CommandID: "c2"})
		w.await("the connection ends", func() bool { return !w.hub.IsAgentConnected("a") })
		if row := w.row("c2"); row.Status != models.CommandSent {
			t.Errorf("a stopped dispatcher made it %s", row.Status)
		}
	})
}

func TestWhatNoWorkerHadTakenStaysPending(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	w.connect("a")
	command := w.pending("c", "a", "s")
	if err := w.dispatcher.DispatchCommand(&command); err != nil {
		t.Fatal(err)
	}
	w.dispatcher.Stop()
	w.dispatcher.Start()
	if row := w.row("c"); row.Status != models.CommandPending {
		t.Errorf("the command is %s", row.Status)
	}
}

// While the database takes no writes, agents are slowed down rather than
// forgotten, and none of what they say is lost.
func TestASlowDatabaseHoldsAgentsBack(t *testing.T) {
	w := newWorldWith(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{Window: 10_000},
		websocket.Options{QueueSize: 10_000, StaleAfter: 700 * time.Millisecond, HeartbeatEvery: time.Hour})
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	const count = 7000 // more than the recorder keeps
	w.exec(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 6999)
		INSERT INTO agent_commands (command_id, agent_id, action, status, created_at)
		SELECT 'c' || i, 'a', 'x', 'pending', '2030-01-01T00:00:00.000000Z' FROM n`)
	release := w.holdWrites()
	w.start()
	var answering sync.WaitGroup
	answering.Go(func() {
		for n := range count {
			if n%10 == 0 {
				agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
			}
			agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		}
	})
	w.await("much is unwritten", func() bool { return w.dispatcher.Stats().Unwritten >= 5000 })
	full := time.Now()
	w.await("the agent is held back for longer than a silent one would be kept", func() bool { return time.Since(full) > time.Second })
	if !w.hub.IsAgentConnected("a") {
		t.Fatal("the agent was given up although it is the database that is slow")
	}
	release()
	answering.Wait()
	w.await("all are completed", func() bool { return w.dispatcher.Stats().Completed == count })
	if most := w.dispatcher.Stats().BatchRows / w.dispatcher.Stats().Batches; most < 2 {
		t.Errorf("a transaction wrote %d commands on average", most)
	}
}

func TestACommandThatIsNotAcknowledgedIsSentAgain(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{AckWithin: 30 * time.Millisecond})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.pending("c", "a", "s")
	w.pending("acked", "a", "t")
	agent.commands(2)
	agent.send(wire.TypeAck, wire.Ack{CommandID: "acked"})
	for range 3 {
		if got := agent.command().CommandID; got != "c" {
			t.Fatalf("sent %s again", got)
		}
	}
	agent.send(wire.TypeComplete, wire.Complete{CommandID: "c"})
	if row := w.awaitCommand("c", models.CommandCompleted); row.Attempts < 4 {
		t.Errorf("after being sent 4 times it has %d attempts", row.Attempts)
	}
	if row := w.awaitCommand("acked", models.CommandAck); row.Attempts != 1 {
		t.Errorf("what was acknowledged was sent %d times", row.Attempts)
	}
}

func TestTheWindowBoundsWhatAnAgentHasNotAcknowledged(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{Window: 4, PollEvery: 5 * time.Millisecond})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	const count = 40
	for n := range count {
		w.pending(fmt.Sprintf("c%02d", n), "a", fmt.Sprint("s", n))
	}
	for n := range count {
		if got, want := agent.command().CommandID, fmt.Sprintf("c%02d", n); got != want {
			t.Fatalf("%s came, not %s", got, want)
		}
		if flying := w.dispatcher.Stats().InFlight; flying > 4 {
			t.Fatalf("%d are not acknowledged", flying)
		}
		if n >= 3 { // by then the window is full, and it takes one answer for each
			agent.send(wire.TypeAck, wire.Ack{CommandID: fmt.Sprintf("c%02d", n-3)})
		}
	}
}

func TestAStartThatAStopHasOvertakenIsNotSent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{PollEvery: time.Hour})
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		if _, err := w.sessions.Stop(t.Context(), "one", "user:ann"); err != nil {
			t.Fatal(err)
		}
		w.start()
		stop := agent.command()
		if stop.Action != models.ActionStopSession {
			t.Fatalf("sent %s", stop.Action)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		w.awaitSession("one", models.SessionTerminated)
		start := w.awaitCommand(w.sessionCommands("one")[0].CommandID, models.CommandCompleted)
		if start.Attempts != 0 || start.Result == nil || (*start.Result)["superseded"] != true {
			t.Errorf("the start is %+v", start)
		}
	})
}

func TestAnAgentThatAnswersAtOnceLeavesNoGapInTheHistory(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		const count = 60
		for n := range count {
			w.pending(fmt.Sprint("c", n), "a", fmt.Sprint("s", n))
		}
		w.start()
		for range count {
			agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		}
		for n := range count {
			if row := w.awaitCommand(fmt.Sprint("c", n), models.CommandCompleted); row.Attempts != 1 || row.SentAt == nil {
				t.Errorf("%s completed after %d attempts, sent at %v", row.CommandID, row.Attempts, row.SentAt)
			}
		}
	})
}

func TestADeadlineEndsTheCommandAndFailsTheSession(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		start := agent.command()
		w.awaitCommand(start.CommandID, models.CommandSent)
		w.disconnect(agent)
		w.clock.advance(services.DefaultCommandDeadline + time.Second)
		session := w.awaitSession("one", models.SessionFailed)
		if session.ReasonCode != models.CodeCommandTimeout || !session.Retryable || !strings.Contains(session.Reason, `"a" did not answer`) {
			t.Errorf("failed with %q (%s)", session.Reason, session.ReasonCode)
		}
		if row := w.row(start.CommandID); row.Status != models.CommandFailed {
			t.Errorf("the command is %s", row.Status)
		}
		w.await("it is counted", func() bool { return w.dispatcher.Stats().TimedOut == 1 })
	})
}

func TestNoCommandOvertakesOneThatCannotBeSent(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{Workers: 1, PollEvery: time.Hour})
	w.register(models.Agent{ID: "a"})
	first := w.pending("c1", "a", "s")
	w.clock.advance(2 * time.Hour) // past its deadline, which no poll has come upon yet
	second, other := w.pending("c2", "a", "s"), w.pending("c3", "a", "t")
	for _, command := range []models.AgentCommand{first, second, other} {
		if err := w.dispatcher.DispatchCommand(&command); err != nil {
			t.Fatal(err)
		}
	}
	agent := w.connect("a")
	w.start()
	if got := agent.command().CommandID; got != "c3" { // the one worker has been at s before
		t.Fatalf("%s was sent", got)
	}
}

func TestACommandTooLargeForAFrameFailsAndLetsOthersPass(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	large := models.AgentCommand{CommandID: "large", AgentID: "a", SessionID: "s", Action: models.ActionStartSession,
		Payload: &models.CommandPayload{"filler": strings.Repeat("x", wire.MaxFrame)}}
	if err := w.dispatcher.DispatchCommand(&large); err != nil {
		t.Fatal(err)
	}
	w.pending("next", "a", "s")
	w.start()
	if got := agent.command().CommandID; got != "next" {
		t.Fatalf("got %s", got)
	}
	if row := w.awaitCommand("large", models.CommandFailed); row.ErrorMessage == "" {
		t.Error("the large command failed without a reason")
	}
}

func TestAnAgentThatDoesNotReadKeepsNobodyElseWaiting(t *testing.T) {
	w := newWorldWith(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{Workers: 2, QueueSize: 8}, websocket.Options{QueueSize: 4})
	for _, id := range []string{"slow", "quick"} {
		w.register(models.Agent{ID: id})
	}
	w.connect("slow")
	quick := w.connect("quick")
	// Sockets buffer some megabytes before the hub's queue fills.
	filler := models.AgentCommand{CommandID: "filler", Action: "x",
		Payload: &models.CommandPayload{"filler": strings.Repeat("x", wire.MaxFrame-1000)}}
	var full error
	for deadline := time.Now().Add(patience); models.CodeOf(full) != models.CodeQueueFull; full = w.hub.SendCommandToAgent("slow", &filler) {
		if time.Now().After(deadline) {
			t.Fatal("the slow agent's queue never fills")
		}
	}
	for n := range 40 {
		w.pending(fmt.Sprint("slow-", n), "slow", fmt.Sprint("s", n))
	}
	w.pending("c1", "quick", "q")
	w.start()
	if got := quick.command().CommandID; got != "c1" {
		t.Fatalf("got %s", got)
	}
	if !w.hub.IsAgentConnected("slow") {
		t.Error("only the slow agent's end made way")
	}
	if row := w.row("slow-39"); row.Status != models.CommandPending {
		t.Errorf("a command for a full socket is %s", row.Status)
	}
}

func TestFramesMoveRowsOnlyAlongLegalTransitions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("one", agent)
		start := w.sessionCommands("one")[0].CommandID
		w.clock.advance(time.Second)
		// All of these come late: the command has ended.
		agent.send(wire.TypeFailed, wire.Failed{CommandID: start, Error: "late"})
		agent.send(wire.TypeAck, wire.Ack{CommandID: start})
		agent.send(wire.TypeComplete, wire.Complete{CommandID: start, Result: &models.CommandPayload{"state": "terminated"}})
		// A running session cannot become these.
		agent.send(wire.TypeStatus, wire.Status{SessionID: "one", State: "hibernated"})
		agent.send(wire.TypeStatus, wire.Status{SessionID: "one", State: "pending"})
		agent.send(wire.TypeStatus, wire.Status{SessionID: "one", State: "terminating"})
		agent.settle()
		if row := w.row(start); row.Status != models.CommandCompleted || row.ErrorMessage != "" || row.AcknowledgedAt != nil {
			t.Errorf("the ended command became %+v", row)
		}
		if session := w.session("one"); session.State != models.SessionRunning {
			t.Errorf("the running session became %s", session.State)
		}
		if stats := w.dispatcher.Stats(); stats.Completed != 1 || stats.Failed != 0 || stats.Acknowledged != 0 {
			t.Errorf("late messages were counted: %+v", stats)
		}
		agent.send(wire.TypeStatus, wire.Status{SessionID: "one", State: "stopped"})
		w.awaitSession("one", models.SessionTerminated)
	})
}

func TestStatusOfACrashFailsTheSessionWithAReason(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.start()
	w.register(models.Agent{ID: "a"})
	agent := w.connect("a")
	w.run("one", agent)
	agent.sendRaw(`{"type":"status","payload":{"sessionId":"one","state":"failed"}}`)
	session := w.awaitSession("one", models.SessionFailed)
	if session.Reason == "" || session.ReasonCode != models.CodeRuntimeExited || !session.Retryable {
		t.Errorf("failed with %q (%s), retryable %v", session.Reason, session.ReasonCode, session.Retryable)
	}
}

func TestBadFramesAreRefusedAndChangeNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		owner := w.connect("a")
		w.launch("one")
		start := owner.command().CommandID
		w.awaitCommand(start, models.CommandSent)
		w.register(models.Agent{ID: "b"})
		agent := w.negotiate("b")
		for _, c := range []struct {
			frame string
			code  models.ErrorCode
		}{
			{`{"type":"ack"}`, models.CodeFrameInvalid},
			{`{"type":"ack","payload":{}}`, models.CodeFrameInvalid},
			{`{"type":"ack","payload":{"commandId":7}}`, models.CodeFrameInvalid},
			{`{"type":"complete","payload":{"commandId":"x\u0000"}}`, models.CodeFrameInvalid},
			{`{"type":"complete","payload":{"commandId":"c","result":[]}}`, models.CodeFrameInvalid},
			{`{"type":"failed","payload":{"commandId":""}}`, models.CodeFrameInvalid},
			{`{"type":"status","payload":{"state":"running"}}`, models.CodeFrameInvalid},
			{`{"type":"status","payload":{"sessionId":"one","state":"dancing"}}`, models.CodeFrameInvalid},
			{`{"type":"inventory","payload":{"items":7}}`, models.CodeFrameInvalid},
			{`{"type":"ack","payload":{"commandId":"nobody"}}`, models.CodeCommandUnknown},
			{`{"type":"complete","payload":{"commandId":"nobody"}}`, models.CodeCommandUnknown},
			{`{"type":"failed","payload":{"commandId":"nobody"}}`, models.CodeCommandUnknown},
			{`{"type":"status","payload":{"sessionId":"nobody","state":"running"}}`, models.CodeSessionUnknown},
			{`{"type":"ack","payload":{"commandId":"` + start + `"}}`, models.CodeForbidden},
			{`{"type":"complete","payload":{"commandId":"` + start + `"}}`, models.CodeForbidden},
			{`{"type":"failed","payload":{"commandId":"` + start + `"}}`, models.CodeForbidden},
			{`{"type":"status","payload":{"sessionId":"one","state":"running"}}`, models.CodeForbidden},
			{`{"type":"status","payload":{"sessionId":"one","state":"waking"}}`, models.CodeForbidden},
		} {
			agent.sendRaw(c.frame)
			if code := agent.refused(); code != c.code {
				t.Errorf("%s was refused with %s, want %s", c.frame, code, c.code)
			}
		}
		if row := w.row(start); row.Status != models.CommandSent {
			t.Errorf("the other agent's command became %s", row.Status)
		}
		if session := w.session("one"); session.State != models.SessionPending {
			t.Errorf("the other agent's session became %s", session.State)
		}
	})
}

func TestFramesOfAReplacedConnectionChangeNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		agent := w.connect("a")
		w.launch("one")
		start := agent.command().CommandID
		w.awaitCommand(start, models.CommandSent)
		old, _ := w.hub.Epoch("a")
		w.connect("a")
		for kind, payload := range map[wire.Type]any{
			wire.TypeAck:      wire.Ack{CommandID: start},
			wire.TypeComplete: wire.Complete{CommandID: start},
			wire.TypeFailed:   wire.Failed{CommandID: start},
			wire.TypeStatus:   wire.Status{SessionID: "one", State: "running"},
		} {
			frame, err := wire.Encode(kind, payload)
			if err != nil {
				t.Fatal(err)
			}
			message, err := wire.Decode(frame)
			if err != nil {
				t.Fatal(err)
			}
			mustCode(t, w.dispatcher.AgentMessage(t.Context(), websocket.Peer{AgentID: "a", Epoch: old}, message), models.CodeEpochStale)
		}
		if row := w.row(start); row.Status != models.CommandSent {
			t.Errorf("an old connection's frame made the command %s", row.Status)
		}
		if session := w.session("one"); session.State != models.SessionPending {
			t.Errorf("an old connection's frame made the session %s", session.State)
		}
	})
}

func TestAReconnectStormSendsInOrderAndLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("storm", func(t *testing.T) {
		w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a"})
		var storm sync.WaitGroup
		storm.Go(func() {
			for range 30 {
				socket, _, err := ws.Dial(t.Context(), w.url+"?agent_id=a", nil)
				if err != nil {
					t.Error(err)
					return
				}
				_ = socket.CloseNow()
			}
		})
		var want []string
		for n := range 30 {
			id := fmt.Sprintf("c%02d", n)
			want = append(want, id)
			command := w.pending(id, "a", "s")
			if err := w.dispatcher.DispatchCommand(&command); err != nil {
				t.Fatal(err)
			}
		}
		storm.Wait()
		agent := w.connect("a")
		if got := agent.commands(len(want)); !slices.Equal(got, want) {
			t.Fatalf("after the storm came %v", got)
		}
	})
}
