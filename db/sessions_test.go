package db_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

func sessionIDs(sessions []models.Session) (ids []string) {
	for _, session := range sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

func TestSessionsAreFilteredAndPagedNewestFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.agent("a", 0)
		w.agent("b", 0)
		bob, err := w.EnsureUser(ctx, "bob", models.RoleUser, noon)
		must(t, err)
		for i := range 7 {
			launch := w.launch(fmt.Sprintf("s%d", i), []string{"a", "b"}[i%2])
			if i >= 5 {
				launch.Session.UserID, launch.Session.Template = bob.ID, "terminal"
			}
			_, _, err := w.LaunchSession(ctx, launch, after(time.Duration(i/3)*time.Microsecond)) // three at one instant
			must(t, err)
		}
		w.stop("s0", noon)
		w.sql("UPDATE sessions SET state = 'failed' WHERE id = 's1'")

		for _, test := range []struct {
			filter db.SessionFilter
			want   []string
		}{
			{db.SessionFilter{}, []string{"s6", "s5", "s4", "s3", "s2", "s1", "s0"}},
			{db.SessionFilter{UserID: w.user.ID}, []string{"s4", "s3", "s2", "s1", "s0"}},
			{db.SessionFilter{AgentID: "b"}, []string{"s5", "s3", "s1"}},
			{db.SessionFilter{Template: "terminal"}, []string{"s6", "s5"}},
			{db.SessionFilter{UserID: w.user.ID, AgentID: "a", States: []models.SessionState{models.SessionPending}}, []string{"s4", "s2"}},
			{db.SessionFilter{States: []models.SessionState{models.SessionTerminating, models.SessionFailed}}, []string{"s1", "s0"}},
			{db.SessionFilter{States: []models.SessionState{"$1'); --"}}, nil},
		} {
			for _, limit := range []int{1, 2, 3, 50} {
				listed := pages(t, limit, func(page db.Page) ([]models.Session, string, error) { return w.Sessions(ctx, test.filter, page) })
				equal(t, fmt.Sprintf("%+v by %d", test.filter, limit), sessionIDs(listed), test.want)
			}
		}

		// A session that is launched between two pages is on neither, and nothing is twice.
		first, next, err := w.Sessions(ctx, db.SessionFilter{}, db.Page{Limit: 4})
		must(t, err)
		w.session("s7", "a", after(time.Second))
		second, _, err := w.Sessions(ctx, db.SessionFilter{}, db.Page{Limit: 4, Cursor: next})
		must(t, err)
		equal(t, "two pages", sessionIDs(append(first, second...)), []string{"s6", "s5", "s4", "s3", "s2", "s1", "s0"})

		placed, err := w.AgentSessions(ctx, "b")
		must(t, err)
		equal(t, "placed on b", sessionIDs(placed), []string{"s3", "s5"})

		counts, err := w.CountSessions(ctx)
		must(t, err)
		if len(counts) != 3 || counts[models.SessionPending] != 6 || counts[models.SessionTerminating] != 1 || counts[models.SessionFailed] != 1 {
			t.Fatalf("the counts are %v", counts)
		}
		badPages(t, func(ctx context.Context, page db.Page) ([]models.Session, string, error) {
			return w.Sessions(ctx, db.SessionFilter{}, page)
		})
		badPages(t, func(ctx context.Context, page db.Page) ([]models.Event, string, error) {
			return w.SessionEvents(ctx, "s0", page)
		})
		events := pages(t, 1, func(page db.Page) ([]models.Event, string, error) { return w.SessionEvents(ctx, "s0", page) })
		if len(events) != 2 || events[0].To != "pending" || events[1].To != "terminating" || events[0].ID >= events[1].ID ||
			!events[1].At.Equal(noon) || events[1].Generation != 2 || events[1].AgentID != "a" {
			t.Fatalf("the events are %+v", events)
		}
	})
}

func TestTheDefaultPageHasFifty(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		for i := range 51 {
			w.session(fmt.Sprintf("s%02d", i), "a", noon)
		}
		sessions, next, err := w.Sessions(t.Context(), db.SessionFilter{}, db.Page{})
		must(t, err)
		if len(sessions) != 50 || next == "" {
			t.Fatalf("%d sessions, cursor %q", len(sessions), next)
		}
	})
}

func TestObserveMovesOnlyLegally(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		launch := w.launch("s", "a")
		launch.Session.Spec.Spec.PersistentHome = true // else it does not hibernate unasked
		_, _, err := w.LaunchSession(t.Context(), launch, noon)
		must(t, err)
		for _, from := range models.SessionStates() {
			for _, to := range models.SessionStates() {
				w.sql("UPDATE sessions SET state = '%s', reason = 'old'", from)
				w.sql("DELETE FROM events WHERE kind = 'session.state'")
				before := w.read("s")
				session, moved, err := w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epoch, SessionID: "s", Generation: 1, State: to,
					Reason: "new", ReasonCode: models.CodeRuntimeExited, Retryable: true}, after(time.Minute))
				must(t, err)
				stored := w.read("s")
				if moved != from.CanBecome(to) {
					t.Errorf("%s > %s: moved is %v", from, to, moved)
				}
				if moved {
					equal(t, "history", w.history("s"), []string{string(from) + ">" + string(to) + " agent:a"})
					if stored.State != to || session.State != to || stored.Reason != "new" || stored.ReasonCode != models.CodeRuntimeExited ||
						!stored.Retryable || !stored.StateSince.Equal(after(time.Minute)) {
						t.Errorf("%s > %s left %+v", from, to, stored)
					}
				} else {
					equal(t, "history", w.history("s"), nil)
					if stored.State != from || stored.Reason != "old" || stored.UpdatedAt != before.UpdatedAt || session.State != from {
						t.Errorf("%s > %s wrote %+v", from, to, stored)
					}
				}
			}
		}
	})
}

func TestObserveIsGuarded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		w.running("s", "a", epoch)
		seen := db.Observation{AgentID: "a", Epoch: epoch, SessionID: "s", State: models.SessionFailed}
		try := func(change func(*db.Observation), code models.ErrorCode) {
			t.Helper()
			observation := seen
			change(&observation)
			_, moved, err := w.Observe(ctx, observation, noon)
			refused(t, err, code)
			if moved || w.read("s").State != models.SessionRunning {
				t.Fatalf("moved to %s", w.read("s").State)
			}
		}
		try(func(o *db.Observation) { o.Epoch = old }, models.CodeEpochStale)
		try(func(o *db.Observation) { o.AgentID, o.Epoch = "b", other }, models.CodeForbidden)
		try(func(o *db.Observation) { o.SessionID = "nobody" }, models.CodeSessionUnknown)
		try(func(o *db.Observation) { o.AgentID = "nobody" }, models.CodeAgentUnknown)

		// After a wake the first runtime is history, whatever is said of it.
		must(t, w.CreateCommand(ctx, &models.AgentCommand{CommandID: "wake", AgentID: "a", SessionID: "s", Generation: 3,
			Action: models.ActionWakeSession}, noon))
		try(func(o *db.Observation) { o.Generation = 2 }, "")
		seen.Generation = 3
		if _, moved, err := w.Observe(ctx, seen, noon); err != nil || !moved {
			t.Fatalf("its newest runtime did not count: %v", err)
		}
	})
}

func TestStuckSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.session("s3", "a", after(3*time.Second))
		w.session("s2", "a", after(1*time.Second))
		w.session("s1", "a", after(2*time.Second))
		w.session("bare", "a", noon)
		w.sql("UPDATE sessions SET agent_id = NULL, cluster_id = NULL, platform = NULL, region = NULL, cpu = NULL, memory = NULL WHERE id = 'bare'")
		w.sql("DELETE FROM agent_commands WHERE session_id = 'bare'")
		w.sql("UPDATE sessions SET agent_id = 'gone' WHERE id = 's1'")
		w.sql("UPDATE agent_commands SET deadline_at = NULL, payload = NULL WHERE session_id = 's1'")
		must(t, w.CreateCommand(ctx, &models.AgentCommand{CommandID: "second-s2", AgentID: "a", SessionID: "s2", Action: "x"}, noon))

		stuck, err := w.StuckSessions(ctx, models.SessionPending, after(3*time.Second), 10)
		must(t, err)
		if len(stuck) != 3 || stuck[0].Session.ID != "bare" || stuck[1].Session.ID != "s2" || stuck[2].Session.ID != "s1" {
			t.Fatalf("stuck are %+v", stuck)
		}
		if bare := stuck[0]; bare.Agent != nil || bare.Open != nil || bare.Session.AgentID != "" || bare.Session.Region != "" {
			t.Errorf("the bare one is %+v", bare)
		}
		if orphan := stuck[2]; orphan.Agent != nil || orphan.Session.AgentID != "gone" || orphan.Open == nil || !orphan.Open.DeadlineAt.IsZero() || orphan.Open.Payload != nil {
			t.Errorf("the one whose agent is gone is %+v", orphan)
		}
		if placed := stuck[1]; placed.Agent == nil || placed.Agent.ID != "a" || placed.Agent.Epoch != epoch || placed.Open == nil || placed.Open.CommandID != "second-s2" {
			t.Errorf("the placed one is %+v", placed)
		}
		few, err := w.StuckSessions(ctx, models.SessionPending, after(time.Hour), 2)
		must(t, err)
		if len(few) != 2 || few[0].Session.ID != "bare" {
			t.Errorf("two are %+v", few)
		}
		counts, err := w.CountStuck(ctx, map[models.SessionState]time.Time{
			models.SessionPending: after(3 * time.Second), models.SessionTerminating: after(time.Hour)})
		must(t, err)
		if len(counts) != 2 || counts[models.SessionPending] != 3 || counts[models.SessionTerminating] != 0 {
			t.Errorf("the counts are %v", counts)
		}
	})
}

func TestForceEnd(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.session("s", "a", noon)
		w.stop("s", noon)
		end := db.ForcedEnd{SessionID: "s", From: models.SessionPending, To: models.SessionFailed, Reason: "its agent is gone",
			ReasonCode: models.CodeAgentUnavailable, Retryable: true, Actor: "reconciler"}
		done, err := w.ForceEnd(ctx, end, noon)
		must(t, err)
		if done || w.read("s").State != models.SessionTerminating || w.command("start-s").Status != models.CommandPending {
			t.Fatal("a session was ended in a state that it was not in")
		}
		end.From, end.To = models.SessionTerminated, models.SessionRunning
		_, err = w.ForceEnd(ctx, end, noon)
		refused(t, err, models.CodeTransitionIllegal)
		end.SessionID, end.From, end.To = "nobody", models.SessionTerminating, models.SessionTerminated
		if done, err = w.ForceEnd(ctx, end, noon); done || err != nil {
			t.Fatalf("nobody was ended: %v, %v", done, err)
		}

		end.SessionID = "s"
		done, err = w.ForceEnd(ctx, end, after(time.Hour))
		must(t, err)
		session := w.read("s")
		if !done || session.State != models.SessionTerminated || session.Reason != end.Reason || session.ReasonCode != end.ReasonCode {
			t.Fatalf("ended (%v) it is %+v", done, session)
		}
		for _, id := range []string{"start-s", "stop-s"} {
			if command := w.command(id); command.Status != models.CommandFailed || command.ErrorMessage != end.Reason || !command.CompletedAt.Equal(after(time.Hour)) {
				t.Errorf("the command is %+v", command)
			}
		}
		equal(t, "history", w.history("s"), []string{">pending user:ann", "pending>terminating user:ann", "terminating>terminated reconciler"})

		// What the agent says later changes nothing.
		result, err := w.FinishCommand(ending{CommandID: "stop-s", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, after(2*time.Hour))
		must(t, err)
		if result.Moved || result.Command.Status != models.CommandFailed || w.read("s").State != models.SessionTerminated {
			t.Fatalf("a late completion left %+v", result)
		}
		if again, err := w.ForceEnd(ctx, end, noon); err != nil || again {
			t.Fatalf("ended twice: %v, %v", again, err)
		}
	})
}

func TestReissue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.session("s", "a", noon)
		reissue := func(id string) (models.AgentCommand, error) {
			return w.ReissueCommand(ctx, db.Reissue{SessionID: "s", CommandID: id, DeadlineAt: after(time.Hour)}, after(time.Minute))
		}
		command, err := reissue("again-1")
		must(t, err)
		if command.CommandID != "start-s" {
			t.Fatalf("an open command was not given but %+v", command)
		}
		w.sql("UPDATE agent_commands SET status = 'failed'")
		command, err = reissue("again-2")
		must(t, err)
		stored := w.command("again-2")
		if command.CommandID != "again-2" || stored.Status != models.CommandPending || stored.Action != models.ActionStartSession ||
			stored.Generation != 1 || (*stored.Payload)["sessionId"] != "s" || !stored.DeadlineAt.Equal(after(time.Hour)) || !stored.CreatedAt.Equal(after(time.Minute)) {
			t.Fatalf("the copy is %+v, stored as %+v", command, stored)
		}
		if open, err := reissue("again-3"); err != nil || open.CommandID != "again-2" {
			t.Fatalf("then the copy is the open one: %+v, %v", open, err)
		}

		w.stop("s", noon)
		_, err = w.FinishCommand(ending{CommandID: "again-2", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, noon)
		must(t, err)
		_, err = w.FinishCommand(ending{CommandID: "stop-s", AgentID: "a", Epoch: epoch, Status: models.CommandFailed, Error: "busy"}, noon)
		must(t, err)
		if command, err = reissue("again-4"); err != nil || command.Action != models.ActionStopSession || command.Generation != 2 {
			t.Fatalf("a failed stop is reissued as %+v, %v", command, err)
		}
		w.sql("DELETE FROM agent_commands")
		_, err = reissue("again-5")
		refused(t, err, models.CodeCommandUnknown)
		w.sql("UPDATE sessions SET state = 'terminated'")
		_, err = reissue("again-6")
		refused(t, err, models.CodeTransitionIllegal)
		_, err = w.ReissueCommand(ctx, db.Reissue{SessionID: "nobody", CommandID: "again-7"}, noon)
		refused(t, err, models.CodeSessionUnknown)
	})
}

func TestConcurrentReissuesMakeOneCommand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		w.session("s", "a", noon)
		w.sql("UPDATE agent_commands SET status = 'failed'")
		ids := make([]string, 16)
		for _, err := range together(len(ids), func(i int) error {
			command, err := w.ReissueCommand(t.Context(), db.Reissue{SessionID: "s", CommandID: fmt.Sprintf("again-%d", i), DeadlineAt: noon}, noon)
			ids[i] = command.CommandID
			return err
		}) {
			must(t, err)
		}
		if len(slices.Compact(ids)) != 1 || w.count("SELECT count(*) FROM agent_commands") != 2 {
			t.Fatalf("reissued as %v", ids)
		}
	})
}

func TestSessionChangedIsToldOnceAfterEachCommit(t *testing.T) {
	for engine, open := range map[string]func(testing.TB, db.Options) *db.Database{"sqlite": dbtest.SQLite, "postgres": dbtest.Postgres} {
		t.Run(engine, func(t *testing.T) {
			var w *world
			var told []string
			options := db.Options{SessionChanged: func(id string) {
				// It is committed: another connection reads it, and even a write would go through.
				told = append(told, id+" "+string(w.read(id).State))
				_, err := w.EnsureUser(t.Context(), "listener", models.RoleUser, noon)
				must(t, err)
			}}
			w = newWorld(t, open(t, options))
			expect := func(want ...string) {
				t.Helper()
				equal(t, "told", told, want)
				told = nil
			}
			epoch := w.agent("a", 1)
			expect()
			w.running("s", "a", epoch)
			expect("s pending", "s running")
			_, _, err := w.LaunchSession(t.Context(), w.launch("s", "a"), noon)
			must(t, err)
			_, _, err = w.LaunchSession(t.Context(), w.launch("s2", "a"), noon)
			refused(t, err, models.CodeNoSuitableAgent)
			_, _, err = w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epoch, SessionID: "s", State: models.SessionRunning}, noon)
			must(t, err)
			expect()
			w.stop("s", noon)
			expect("s terminating")
			w.stop("s", noon)
			expect()
			_, err = w.FinishCommand(ending{CommandID: "stop-s", AgentID: "a", Epoch: epoch, Status: models.CommandFailed, Error: "busy"}, noon)
			must(t, err)
			expect("s terminating") // its reason changed
			_, err = w.ForceEnd(t.Context(), db.ForcedEnd{SessionID: "s", From: models.SessionTerminating, To: models.SessionTerminated, Actor: "reconciler"}, noon)
			must(t, err)
			expect("s terminated")
		})
	}
}
