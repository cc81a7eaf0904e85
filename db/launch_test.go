package db_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func TestLaunchWritesSessionCommandAndHistory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 1)
		east := time.FixedZone("east", 3*3600)
		launched := w.session("s", "a", noon.Add(789).In(east)) // nanoseconds and zones are not kept
		want := w.launch("s", "a").Session
		want.User, want.State, want.DesiredState, want.Generation, want.Attempts = "ann", models.SessionPending, models.DesiredRunning, 1, 1
		want.CreatedAt, want.UpdatedAt, want.StateSince = noon, noon, noon
		if !reflect.DeepEqual(launched, want) {
			t.Fatalf("launched %+v\nwant %+v", launched, want)
		}
		if read := w.read("s"); !reflect.DeepEqual(read, want) {
			t.Fatalf("read back %+v\nwant %+v", read, want)
		}
		command := w.command("start-s")
		if command.Status != models.CommandPending || command.Attempts != 0 || (*command.Payload)["sessionId"] != "s" ||
			command.Generation != 1 || !command.DeadlineAt.Equal(after(time.Minute)) || command.DeadlineAt.Location() != time.UTC ||
			command.SentAt != nil || command.AcknowledgedAt != nil || command.CompletedAt != nil || command.Result != nil {
			t.Fatalf("the start is %+v", command)
		}
		equal(t, "history", w.history("s"), []string{">pending user:ann"})

		repeated, existed, err := w.LaunchSession(t.Context(), w.launch("s", "a"), after(time.Hour))
		must(t, err)
		if !existed || !reflect.DeepEqual(repeated, want) {
			t.Fatalf("repeated (existed %v): %+v", existed, repeated)
		}
		equal(t, "history", w.history("s"), []string{">pending user:ann"})

		other := w.launch("s", "a")
		other.Session.RequestHash = "another"
		_, _, err = w.LaunchSession(t.Context(), other, noon)
		refused(t, err, models.CodeSessionConflict)
		bob, err := w.EnsureUser(t.Context(), "bob", models.RoleUser, noon)
		must(t, err)
		other = w.launch("s", "a")
		other.Session.UserID = bob.ID
		_, _, err = w.LaunchSession(t.Context(), other, noon)
		refused(t, err, models.CodeSessionConflict)
	})
}

func TestLaunchNeedsAnAgentThatMayTakeIt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		refusedWith := func(id, agentID string, required models.Requirements, code models.ErrorCode) {
			t.Helper()
			launch := w.launch(id, agentID)
			launch.Requirements = required
			_, _, err := w.LaunchSession(ctx, launch, noon)
			refused(t, err, code)
			_, err = w.Session(ctx, id)
			refused(t, err, models.CodeSessionUnknown)
			_, err = w.Command(ctx, "start-"+id)
			refused(t, err, models.CodeCommandUnknown)
			equal(t, "history", w.history(id), nil)
		}
		refusedLaunch := func(id, agentID string, code models.ErrorCode) {
			t.Helper()
			refusedWith(id, agentID, models.Requirements{}, code)
		}
		refusedLaunch("s1", "nobody", models.CodeAgentUnknown)

		epoch := w.agent("a", 1)
		w.running("s1", "a", epoch)
		refusedLaunch("s2", "a", models.CodeNoSuitableAgent) // full

		w.sql("UPDATE sessions SET state = 'hibernated' WHERE id = 's1'")
		w.session("s3", "a", noon) // a hibernated session holds no capacity

		epoch = w.agent("b", 0)
		_, err := w.DisconnectAgent(ctx, "b", epoch, noon)
		must(t, err)
		refusedLaunch("s4", "b", models.CodeNoSuitableAgent) // offline
		epoch = w.agent("b", 0)
		_, err = w.heartbeat("b", epoch, wire.Heartbeat{Status: "draining"}, noon)
		must(t, err)
		refusedLaunch("s5", "b", models.CodeNoSuitableAgent) // draining

		w.agent("c", 0)
		refusedWith("s6", "c", models.Requirements{Region: "there"}, models.CodeNoSuitableAgent) // unfit

		// A command id in use undoes the whole launch.
		launch := w.launch("s6", "c")
		launch.Command.CommandID = "start-s1"
		_, _, err = w.LaunchSession(ctx, launch, noon)
		refused(t, err, models.CodeInvalidRequest)
		_, err = w.Session(ctx, "s6")
		refused(t, err, models.CodeSessionUnknown)
	})
}

func TestConcurrentLaunchesNeverExceedCapacity(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 10)
		counts := codes(together(32, func(i int) error {
			_, _, err := w.LaunchSession(t.Context(), w.launch(fmt.Sprintf("s%d", i), "a"), noon)
			return err
		}))
		if counts[""] != 10 || counts[models.CodeNoSuitableAgent] != 22 {
			t.Fatalf("outcomes are %v", counts)
		}
		agent, err := w.Agent(t.Context(), "a")
		must(t, err)
		if agent.Sessions != 10 || w.count("SELECT count(*) FROM agent_commands") != 10 || w.count("SELECT count(*) FROM events WHERE kind = 'session.state'") != 10 {
			t.Fatalf("the agent has %d sessions", agent.Sessions)
		}
	})
}

// Two handles stand for two processes, which have no turn in common.
func TestHandlesOnOneDatabaseShareTheCapacity(t *testing.T) {
	for engine, url := range urls(t) {
		t.Run(string(engine), func(t *testing.T) {
			handles := []*db.Database{open(t, url), open(t, url)}
			must(t, handles[0].Migrate(t.Context()))
			w := newWorld(t, handles[0])
			w.agent("a", 10)
			counts := codes(together(24, func(i int) error {
				_, _, err := handles[i%2].LaunchSession(t.Context(), w.launch(fmt.Sprintf("s%d", i), "a"), noon)
				return err
			}))
			if counts[""] != 10 || counts[models.CodeNoSuitableAgent] != 14 {
				t.Fatalf("outcomes are %v", counts)
			}
		})
	}
}

func TestConcurrentLaunchesOfOneIDMakeOneSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 1) // so that the first launch takes the last place
		w.agent("b", 1)
		for _, agents := range [][]string{{"a", "a"}, {"a", "b"}} {
			w.sql("DELETE FROM sessions")
			w.sql("DELETE FROM agent_commands")
			made := make([]bool, 32)
			for _, err := range together(len(made), func(i int) error {
				launch := w.launch("s", agents[i%2])
				launch.Command.CommandID = fmt.Sprintf("start-%d", i)
				session, existed, err := w.LaunchSession(t.Context(), launch, noon)
				made[i] = !existed
				if err == nil && session.ID != "s" {
					return fmt.Errorf("got session %+v", session)
				}
				return err
			}) {
				must(t, err)
			}
			first := 0
			for _, made := range made {
				if made {
					first++
				}
			}
			if first != 1 || w.count("SELECT count(*) FROM sessions") != 1 || w.count("SELECT count(*) FROM agent_commands") != 1 {
				t.Fatalf("%d launches made the session", first)
			}
		}
	})
}

func TestConcurrentRequestsForOneIDConflict(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		counts := codes(together(16, func(i int) error {
			launch := w.launch("s", "a")
			launch.Session.RequestHash = fmt.Sprint(i)
			launch.Command.CommandID = fmt.Sprint(i)
			_, _, err := w.LaunchSession(t.Context(), launch, noon)
			return err
		}))
		if counts[""] != 1 || counts[models.CodeSessionConflict] != 15 {
			t.Fatalf("outcomes are %v", counts)
		}
	})
}

func TestStop(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.running("s", "a", epoch)
		session, command := w.stop("s", after(time.Hour))
		if session.State != models.SessionTerminating || session.DesiredState != models.DesiredTerminated || session.Generation != 2 ||
			!session.StateSince.Equal(after(time.Hour)) {
			t.Fatalf("stopped it is %+v", session)
		}
		if command == nil || command.CommandID != "stop-s" || command.Generation != 2 || command.Action != models.ActionStopSession {
			t.Fatalf("the stop is %+v", command)
		}
		if stored := w.command("stop-s"); stored.Status != models.CommandPending || stored.AgentID != "a" || (*stored.Payload)["sessionId"] != "s" {
			t.Fatalf("the stored stop is %+v", stored)
		}
		again, nothing, err := w.StopSession(t.Context(), db.Stop{SessionID: "s", CommandID: "other", Actor: "user:bob"}, after(2*time.Hour))
		must(t, err)
		if nothing != nil || !reflect.DeepEqual(again, session) {
			t.Fatalf("stopped again it is %+v with %+v", again, nothing)
		}
		equal(t, "history", w.history("s"), []string{">pending user:ann", "pending>running agent:a", "running>terminating user:ann"})

		_, _, err = w.StopSession(t.Context(), db.Stop{SessionID: "nobody"}, noon)
		refused(t, err, models.CodeSessionUnknown)
	})
}

func TestStopIsLegalInEveryState(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		for _, state := range models.SessionStates() {
			id := "in-" + string(state)
			w.session(id, "a", noon)
			w.sql("UPDATE sessions SET state = '%s' WHERE id = '%s'", state, id)
			session, command := w.stop(id, noon)
			switch {
			case state.Terminal() || state == models.SessionTerminating:
				if command != nil || session.State != state {
					t.Errorf("a %s session became %s with %v", state, session.State, command)
				}
			case command == nil || session.State != models.SessionTerminating && (state != models.SessionHibernated || session.State != models.SessionTerminated):
				t.Errorf("a %s session became %s with %v", state, session.State, command)
			}
		}
		w.session("orphan", "a", noon)
		w.sql("UPDATE sessions SET agent_id = NULL WHERE id = 'orphan'")
		if session, command := w.stop("orphan", noon); session.State != models.SessionTerminated || command != nil {
			t.Errorf("a session without agent became %s with %v", session.State, command)
		}
	})
}

func TestConcurrentStopsMakeOneCommand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.running("s", "a", w.agent("a", 0))
		for _, err := range together(16, func(i int) error {
			_, _, err := w.StopSession(t.Context(), db.Stop{SessionID: "s", CommandID: fmt.Sprintf("stop-%d", i)}, noon)
			return err
		}) {
			must(t, err)
		}
		if stops := w.count("SELECT count(*) FROM agent_commands WHERE action = 'stop_session'"); stops != 1 || w.read("s").Generation != 2 {
			t.Fatalf("%d stops, generation %d", stops, w.read("s").Generation)
		}
	})
}

func TestAStopRacingItsStartStillStops(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		for i := range 20 {
			id := fmt.Sprintf("s%d", i)
			w.session(id, "a", noon)
			for _, err := range together(2, func(i int) (err error) {
				if i == 0 {
					_, _, err = w.StopSession(t.Context(), db.Stop{SessionID: id, CommandID: "stop-" + id, Actor: "user:ann"}, noon)
					return err
				}
				_, err = w.FinishCommand(ending{CommandID: "start-" + id, AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, noon)
				return err
			}) {
				must(t, err)
			}
			if session := w.read(id); session.State != models.SessionTerminating || session.Generation != 2 {
				t.Fatalf("the session is %+v", session)
			}
			if start := w.command("start-" + id); start.Status != models.CommandCompleted {
				t.Fatalf("the start is %s", start.Status)
			}
		}
	})
}
