package db_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func commandIDs(commands []models.AgentCommand) (ids []string) {
	for _, command := range commands {
		ids = append(ids, command.CommandID)
	}
	return ids
}

// create writes commands of agent/session in this order.
func (w *world) create(commands ...[3]string) {
	w.t.Helper()
	for _, c := range commands {
		must(w.t, w.CreateCommand(w.t.Context(), &models.AgentCommand{CommandID: c[0], AgentID: c[1], SessionID: c[2],
			Action: models.ActionStartSession}, noon))
	}
}

func TestCreateCommand(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		command := models.AgentCommand{CommandID: "c", AgentID: "a", Action: models.ActionStopSession, Generation: 4,
			Status: models.CommandCompleted, Attempts: 9, // neither is the caller's to say
			Payload: &models.CommandPayload{"sessionId": "s", "nested": map[string]any{"list": []any{1.5, "zwölf", nil, true}}}}
		must(t, w.CreateCommand(t.Context(), &command, noon))
		stored := w.command("c")
		if stored.Status != models.CommandPending || stored.Attempts != 0 || stored.Generation != 4 || stored.SessionID != "" ||
			!stored.CreatedAt.Equal(noon) || !stored.DeadlineAt.IsZero() {
			t.Fatalf("stored as %+v", stored)
		}
		if got := fmt.Sprint(*stored.Payload); got != fmt.Sprint(*command.Payload) {
			t.Fatalf("the payload is %s", got)
		}
		refused(t, w.CreateCommand(t.Context(), &command, noon), models.CodeInvalidRequest)
		_, err := w.Command(t.Context(), "nobody")
		refused(t, err, models.CodeCommandUnknown)
	})
}

func outgoingIDs(commands []db.Outgoing) (ids []string) {
	for _, command := range commands {
		ids = append(ids, command.CommandID)
	}
	return ids
}

func TestUnsentCommands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		other := w.agent("b$1", 0)
		w.create([3]string{"c1", "a", "s1"}, [3]string{"c2", "b$1", "s2"}, [3]string{"c3", "a", "s1"}, [3]string{"c4", "a", ""},
			[3]string{"c5", "a", "s3"}, [3]string{"c6", "nobody", ""})
		unsent := func(when string, want []string, wanted ...db.Unsent) []db.Outgoing {
			t.Helper()
			commands, err := w.UnsentCommands(ctx, wanted)
			must(t, err)
			equal(t, when, outgoingIDs(commands), want)
			return commands
		}
		a, b := db.Unsent{AgentID: "a", Epoch: epoch, Limit: 100}, db.Unsent{AgentID: "b$1", Epoch: other, Limit: 100}
		unsent("nothing wanted", nil)
		first := unsent("of a", []string{"c1", "c3", "c4", "c5"}, a)
		unsent("of both", []string{"c1", "c3", "c4", "c5", "c2"}, a, b)
		unsent("of nobody", []string{"c6"}, db.Unsent{AgentID: "nobody", Epoch: 1, Limit: 9})
		unsent("two", []string{"c1", "c3"}, db.Unsent{AgentID: "a", Epoch: epoch, Limit: 2})
		unsent("up to the second", []string{"c1", "c3"}, db.Unsent{AgentID: "a", Epoch: epoch, UpTo: first[1].Seq, Limit: 9})
		unsent("after the second", []string{"c4", "c5"}, db.Unsent{AgentID: "a", Epoch: epoch, After: first[1].Seq, Limit: 9})
		if got := first[0]; got.AgentID != "a" || got.SessionID != "s1" || got.Action != models.ActionStartSession ||
			got.Status != models.CommandPending || got.Attempts != 0 || got.SentEpoch != 0 || got.Payload != nil {
			t.Errorf("read as %+v", got)
		}

		w.markSent("c1", "a", epoch, noon)
		w.finish("c4", "a", epoch, db.End{Status: models.CommandCompleted, At: noon})
		unsent("with one sent and one completed", []string{"c3", "c5"}, a)
		next := a
		next.Epoch++
		if again := unsent("on the next connection", []string{"c1", "c3", "c5"}, next); again[0].Attempts != 1 || again[0].SentEpoch != epoch {
			t.Errorf("the one that was sent before is %+v", again[0])
		}

		some := func(want []string, limit int, wanted ...db.Unsent) {
			t.Helper()
			agents, err := w.AgentsWithUnsent(ctx, wanted, limit)
			must(t, err)
			equal(t, "agents with unsent commands", agents, want)
		}
		idle := db.Unsent{AgentID: "idle", Epoch: 1}
		some([]string{"a", "b$1"}, 9, a, b, idle)
		some([]string{"a"}, 1, a, b)
		some(nil, 9)
		w.markSent("c3", "a", epoch, noon)
		w.markSent("c5", "a", epoch, noon)
		some([]string{"b$1"}, 9, a, b)
		some([]string{"a"}, 9, next)
		next.After = first[3].Seq
		some(nil, 9, next)

		found, err := w.UnfinishedCommands(ctx, []string{"c5", "c4", "c1", "nothing", "c6"})
		must(t, err)
		equal(t, "unfinished", outgoingIDs(found), []string{"c1", "c5", "c6"})
		for session, want := range map[string]bool{"s1": true, "s2": true, "gone": false} {
			if has, err := w.HasUnfinishedCommand(ctx, session); err != nil || has != want {
				t.Errorf("%s has an unfinished command: %v, %v", session, has, err)
			}
		}
	})
}

func TestOutgoingPayloadsAreThoseThatWereWritten(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		must(t, w.CreateCommand(t.Context(), &models.AgentCommand{CommandID: "c", AgentID: "a", Action: "x", DeadlineAt: after(time.Hour),
			Payload: &models.CommandPayload{"text": "zwölf \\ \"", "list": []any{1.5, nil}}}, noon))
		commands, err := w.UnsentCommands(t.Context(), []db.Unsent{{AgentID: "a", Epoch: epoch, Limit: 1}})
		must(t, err)
		var payload map[string]any
		must(t, json.Unmarshal(commands[0].Payload, &payload))
		if payload["text"] != "zwölf \\ \"" || fmt.Sprint(payload["list"]) != "[1.5 <nil>]" {
			t.Errorf("the payload is %s", commands[0].Payload)
		}
		if !commands[0].CreatedAt.Equal(noon) || !commands[0].DeadlineAt.Equal(after(time.Hour)) {
			t.Errorf("created at %v, due at %v", commands[0].CreatedAt, commands[0].DeadlineAt)
		}
	})
}

func TestCommandsArePagedNewestFirstAndCounted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.create([3]string{"c1", "a", "s1"}, [3]string{"c2", "b", "s1"}, [3]string{"c3", "a", "s2"}, [3]string{"c4", "a", ""}, [3]string{"c5", "a", "s1"})
		w.markSent("c3", "a", epoch, noon)
		for _, test := range []struct {
			filter db.CommandFilter
			want   []string
		}{
			{db.CommandFilter{}, []string{"c5", "c4", "c3", "c2", "c1"}},
			{db.CommandFilter{AgentID: "a"}, []string{"c5", "c4", "c3", "c1"}},
			{db.CommandFilter{SessionID: "s1", AgentID: "a"}, []string{"c5", "c1"}},
			{db.CommandFilter{Status: models.CommandSent}, []string{"c3"}},
			{db.CommandFilter{Status: "nonsense"}, nil},
		} {
			listed := pages(t, 2, func(page db.Page) ([]models.AgentCommand, string, error) { return w.Commands(ctx, test.filter, page) })
			equal(t, fmt.Sprintf("%+v", test.filter), commandIDs(listed), test.want)
		}
		badPages(t, func(ctx context.Context, page db.Page) ([]models.AgentCommand, string, error) {
			return w.Commands(ctx, db.CommandFilter{}, page)
		})
		counts, err := w.CountCommands(ctx)
		must(t, err)
		if len(counts) != 2 || counts[models.CommandPending] != 4 || counts[models.CommandSent] != 1 {
			t.Fatalf("the counts are %v", counts)
		}
	})
}

func TestOverdueCommands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.agent("a", 0)
		for i, deadline := range []time.Time{after(2 * time.Second), {}, after(time.Second), after(3 * time.Second), after(time.Second)} {
			must(t, w.CreateCommand(ctx, &models.AgentCommand{CommandID: fmt.Sprintf("c%d", i), AgentID: "a", Action: "x", DeadlineAt: deadline}, noon))
		}
		w.sql("UPDATE agent_commands SET status = 'failed' WHERE command_id = 'c4'")
		overdue, err := w.OverdueCommands(ctx, after(3*time.Second), 10)
		must(t, err)
		equal(t, "overdue", commandIDs(overdue), []string{"c2", "c0"})
		overdue, err = w.OverdueCommands(ctx, after(time.Hour), 1)
		must(t, err)
		equal(t, "one overdue", commandIDs(overdue), []string{"c2"})
	})
}

func TestMarks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		w.agent("b", 0)
		w.create([3]string{"c", "a", "s"})
		for _, wrong := range []db.Transition{{AgentID: "a", Epoch: old}, {AgentID: "b", Epoch: 1}} {
			for _, said := range []db.Transition{{Sends: 1, SentAt: noon}, {AckedAt: noon}, {End: &db.End{Status: models.CommandCompleted, At: noon}}} {
				said.CommandID, said.AgentID, said.Epoch = "c", wrong.AgentID, wrong.Epoch
				if written := w.write(said)[0]; written.Err == nil || written.Acked || written.Ended {
					t.Errorf("%+v left %+v", said, written)
				}
			}
		}
		if command := w.command("c"); command.Status != models.CommandPending || command.Attempts != 0 || command.SentAt != nil {
			t.Fatalf("a stale epoch or another agent wrote %+v", command)
		}
		w.markSent("c", "a", epoch, after(1*time.Second))
		w.markSent("c", "a", epoch, after(2*time.Second))
		if command := w.command("c"); command.Status != models.CommandSent || command.Attempts != 2 || !command.SentAt.Equal(after(time.Second)) {
			t.Fatalf("sent twice it is %+v", command)
		}
		acked := func(want bool, now time.Time) {
			t.Helper()
			if written := w.write(db.Transition{CommandID: "c", AgentID: "a", Epoch: epoch, AckedAt: now})[0]; written.Err != nil || written.Acked != want {
				t.Fatalf("acknowledging left %+v", written)
			}
		}
		acked(true, after(3*time.Second))
		acked(false, after(4*time.Second))
		w.markSent("c", "a", epoch, after(5*time.Second))
		if command := w.command("c"); command.Status != models.CommandAck || command.Attempts != 3 || !command.AcknowledgedAt.Equal(after(3*time.Second)) {
			t.Fatalf("acknowledged and sent again it is %+v", command)
		}
		for _, status := range models.CommandStates() {
			is := func(said string, can bool, otherwise string) {
				t.Helper()
				want := status
				if can {
					want = otherwise
				}
				if now := w.command("c").Status; now != want {
					t.Fatalf("a %s command that was %s became %s", status, said, now)
				}
			}
			w.sql("UPDATE agent_commands SET status = '%s'", status)
			acked(models.CanCommandBecome(status, models.CommandAck), noon)
			is("acknowledged", models.CanCommandBecome(status, models.CommandAck), models.CommandAck)
			w.sql("UPDATE agent_commands SET status = '%s', attempts = 0", status)
			w.markSent("c", "a", epoch, noon)
			is("sent", models.CanCommandBecome(status, models.CommandSent), models.CommandSent)
			ended := !slices.ContainsFunc(models.CommandStates(), func(to string) bool { return models.CanCommandBecome(status, to) })
			if attempts := w.command("c").Attempts; (attempts == 0) != ended {
				t.Fatalf("a %s command has %d attempts", status, attempts)
			}
		}
	})
}

// What is said of a command at once is one write, and as good as said in turn.
func TestOneTransitionMaySayEverything(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.session("s", "a", noon)
		written := w.write(db.Transition{CommandID: "start-s", AgentID: "a", Epoch: epoch, Sends: 2, SentAt: after(1), AckedAt: after(2),
			End: &db.End{Status: models.CommandCompleted, At: after(3)}})[0]
		command := w.command("start-s")
		if !written.Acked || !written.Ended || !written.Moved || command.Status != models.CommandCompleted || command.Attempts != 2 ||
			command.SentAt == nil || command.AcknowledgedAt == nil || command.CompletedAt == nil {
			t.Fatalf("it left %+v and %+v", written, command)
		}
		if w.read("s").State != models.SessionRunning {
			t.Fatal("the session does not run")
		}
	})
}

// A batch does to each command what it would alone, whatever is wrong with the
// others, and two ends of one session follow each other.
func TestABatchOfTransitions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		w.session("starting", "a", noon)
		w.session("failing", "b", noon)
		w.session("stopping", "a", noon)
		w.stop("stopping", noon)
		w.create([3]string{"plain", "b", ""}, [3]string{"over", "a", ""})
		w.finish("over", "a", epoch, db.End{Status: models.CommandFailed, Error: "before", At: noon})
		completed := &db.End{Status: models.CommandCompleted, At: noon}
		written := w.write(
			db.Transition{CommandID: "stop-stopping", AgentID: "a", Epoch: epoch, End: completed},
			db.Transition{CommandID: "nobody", AgentID: "a", Epoch: epoch, End: completed},
			db.Transition{CommandID: "start-failing", AgentID: "b", Epoch: other, End: &db.End{Status: models.CommandFailed, Error: "no", At: noon}},
			db.Transition{CommandID: "over", AgentID: "a", Epoch: epoch, End: completed},
			db.Transition{CommandID: "start-starting", AgentID: "a", Epoch: epoch, Sends: 1, SentAt: noon},
			db.Transition{CommandID: "start-stopping", AgentID: "a", Epoch: epoch, End: completed},
			db.Transition{CommandID: "plain", AgentID: "b", Epoch: other + 1, End: completed},
		)
		for i, want := range []struct {
			code         models.ErrorCode
			ended, moved bool
		}{
			{"", true, true}, {models.CodeCommandUnknown, false, false}, {"", true, true}, {"", false, false}, {"", false, false},
			{"", true, false}, {models.CodeEpochStale, false, false},
		} {
			if got := written[i]; models.CodeOf(got.Err) != want.code || got.Ended != want.ended || got.Moved != want.moved {
				t.Errorf("transition %d left %+v", i, got)
			}
		}
		for id, state := range map[string]models.SessionState{"starting": models.SessionPending, "failing": models.SessionPending, "stopping": models.SessionTerminated} {
			if got := w.read(id); got.State != state {
				t.Errorf("%s is %s", id, got.State)
			}
		}
		for id, status := range map[string]string{"start-starting": models.CommandSent, "start-failing": models.CommandFailed,
			"stop-stopping": models.CommandCompleted, "start-stopping": models.CommandCompleted, "over": models.CommandFailed, "plain": models.CommandPending} {
			if got := w.command(id); got.Status != status {
				t.Errorf("%s is %s", id, got.Status)
			}
		}
		equal(t, "history", w.history("failing"), []string{">pending user:ann", "pending>pending agent:b"})
	})
}

func TestFinishIsGuarded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		w.session("s", "a", noon)
		good := ending{CommandID: "start-s", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}
		try := func(change func(*ending), code models.ErrorCode) {
			t.Helper()
			finish := good
			change(&finish)
			_, err := w.FinishCommand(finish, noon)
			refused(t, err, code)
			if w.command("start-s").Status != models.CommandPending || w.read("s").State != models.SessionPending {
				t.Fatal("it was written all the same")
			}
		}
		try(func(f *ending) { f.Epoch = old }, models.CodeEpochStale)
		try(func(f *ending) { f.AgentID, f.Epoch = "b", other }, models.CodeForbidden)
		try(func(f *ending) { f.CommandID = "nobody" }, models.CodeCommandUnknown)
		try(func(f *ending) { f.Status = models.CommandAck }, models.CodeTransitionIllegal)
		result, err := w.FinishCommand(good, after(time.Second))
		must(t, err)
		if !result.Moved || result.Session.State != models.SessionRunning || result.Command.Status != models.CommandCompleted ||
			!result.Command.CompletedAt.Equal(after(time.Second)) {
			t.Fatalf("the result is %+v", result)
		}
	})
}

func TestEndedCommandsAbsorb(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		for _, first := range []string{models.CommandCompleted, models.CommandFailed} {
			for _, second := range []string{models.CommandCompleted, models.CommandFailed} {
				id := first + "-" + second
				w.session(id, "a", noon)
				finish := ending{CommandID: "start-" + id, AgentID: "a", Epoch: epoch, Status: first, Error: "first",
					Result: &models.CommandPayload{"n": 1.0}, Code: models.CodeRuntimeExited}
				_, err := w.FinishCommand(finish, noon)
				must(t, err)
				command, session := w.command("start-"+id), w.read(id)
				finish.Status, finish.Error, finish.Result = second, "second", nil
				result, err := w.FinishCommand(finish, after(time.Hour))
				must(t, err)
				if result.Moved || result.Command.Status != first || w.command("start-"+id).ErrorMessage != command.ErrorMessage ||
					w.command("start-"+id).Result == nil || w.read(id).UpdatedAt != session.UpdatedAt {
					t.Errorf("%s then %s left %+v", first, second, result)
				}
			}
		}
	})
}

func TestConcurrentEndsOfACommandAreOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.session("s", "a", noon)
		moved := make([]bool, 16)
		for _, err := range together(len(moved), func(i int) error {
			result, err := w.FinishCommand(ending{CommandID: "start-s", AgentID: "a", Epoch: epoch,
				Status: []string{models.CommandCompleted, models.CommandFailed}[i%2]}, noon)
			moved[i] = result.Moved
			return err
		}) {
			must(t, err)
		}
		count := 0
		for _, one := range moved {
			if one {
				count++
			}
		}
		session, command := w.read("s"), w.command("start-s")
		if count != 1 || (session.State == models.SessionRunning) != (command.Status == models.CommandCompleted) || len(w.history("s")) != 2 {
			t.Fatalf("%d ends moved the session to %s, its command to %s", count, session.State, command.Status)
		}
	})
}

// Nothing but the command's own row orders these: no session, no connection.
func TestConcurrentEndsOfACommandWithoutSessionAgree(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for round := range 10 {
			id := fmt.Sprintf("c%d", round)
			w.create([3]string{id, "a", ""})
			ends := make([]string, 8)
			for _, err := range together(len(ends), func(i int) error {
				result, err := w.FinishCommand(ending{CommandID: id, AgentID: "a",
					Status: models.CommandFailed, Error: fmt.Sprint("end ", i)}, noon)
				ends[i] = result.Command.ErrorMessage
				return err
			}) {
				must(t, err)
			}
			if stored := w.command(id).ErrorMessage; len(slices.Compact(ends)) != 1 || ends[0] != stored {
				t.Fatalf("the ends are %v, stored is %q", ends, stored)
			}
		}
	})
}

func TestWhatEndsMakeOfSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		finish := func(id, status string, change func(*ending)) finished {
			t.Helper()
			finish := ending{CommandID: id, AgentID: "a", Epoch: epoch, Status: status}
			if change != nil {
				change(&finish)
			}
			result, err := w.FinishCommand(finish, after(time.Minute))
			must(t, err)
			return result
		}
		is := func(id string, state models.SessionState, reason string, code models.ErrorCode) {
			t.Helper()
			if session := w.read(id); session.State != state || session.Reason != reason || session.ReasonCode != code {
				t.Fatalf("session %s is %s, %q (%s)", id, session.State, session.Reason, session.ReasonCode)
			}
		}
		w.session("failing", "a", noon)
		result := finish("start-failing", models.CommandFailed, func(f *ending) {
			f.Error, f.Code, f.Retryable = "no Xvnc\x00 here", models.CodeNeedsMissing, true
		})
		is("failing", models.SessionPending, "agent \"a\" failed to start it: no Xvnc\ufffd here; another agent is looked for", models.CodeNeedsMissing)
		if !result.Moved || w.read("failing").Failures[0].Reason != "no Xvnc\ufffd here" || w.command("start-failing").ErrorMessage != "no Xvnc\ufffd here" {
			t.Fatalf("the result is %+v", result)
		}

		w.session("named", "a", noon)
		finish("start-named", models.CommandCompleted, func(f *ending) { f.Result = &models.CommandPayload{"state": "terminated"} })
		is("named", models.SessionTerminated, "", "")
		if w.read("named").DesiredState != models.DesiredTerminated || (*w.command("start-named").Result)["state"] != "terminated" {
			t.Fatal("the result was not kept, or an ended session wants to run")
		}

		// Stopped before its start completes: the late completion changes nothing.
		w.session("late", "a", noon)
		w.stop("late", noon)
		if result := finish("start-late", models.CommandCompleted, nil); result.Moved || result.Command.Status != models.CommandCompleted {
			t.Fatalf("the late start left %+v", result)
		}
		is("late", models.SessionTerminating, "", "")
		since := w.read("late").StateSince
		if result := finish("stop-late", models.CommandFailed, func(f *ending) { f.Error, f.Code = "busy", models.CodeCommandFailed }); result.Moved {
			t.Fatalf("a failed stop left %+v", result)
		}
		is("late", models.SessionTerminating, "busy", models.CodeCommandFailed)
		if w.read("late").StateSince != since {
			t.Fatal("a failed stop counts as a new state")
		}
		must(t, w.CreateCommand(ctx, &models.AgentCommand{CommandID: "stop-again", AgentID: "a", SessionID: "late", Generation: 2, Action: models.ActionStopSession}, noon))
		finish("stop-again", models.CommandCompleted, nil)
		is("late", models.SessionTerminated, "", "")
		equal(t, "history", w.history("late"), []string{">pending user:ann", "pending>terminating user:ann", "terminating>terminated agent:a"})

		// Without a session, or with one that is gone, only the command ends.
		w.create([3]string{"plain", "a", ""}, [3]string{"orphan", "a", "gone"})
		for _, id := range []string{"plain", "orphan"} {
			if result := finish(id, models.CommandCompleted, nil); result.Session != nil || result.Moved || result.Command.Status != models.CommandCompleted {
				t.Fatalf("%s left %+v", id, result)
			}
		}

		// The control plane itself ends a command at its deadline, with the agent away.
		w.session("slow", "a", noon)
		finish("start-slow", models.CommandFailed, func(f *ending) { f.Epoch, f.Error, f.Code = 0, "too slow", models.CodeStartTimeout })
		is("slow", models.SessionFailed, "too slow", models.CodeStartTimeout)
		equal(t, "history", w.history("slow"), []string{">pending user:ann", "pending>failed system"})
	})
}

// However many there are to delete, one call looks at a bounded piece.
func TestFinishedCommandsAreDeletedInPieces(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		series, stamp := "generate_series(0, 2499) AS n(i)", "CAST('2030-04-01T12:00:00.000000Z' AS timestamptz)"
		if w.Engine() == db.SQLite {
			series = "(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2499) SELECT i FROM n) AS n"
			stamp = "'2030-04-01T12:00:00.000000Z'"
		}
		w.sql(`INSERT INTO agent_commands (command_id, agent_id, action, status, created_at, completed_at)
			SELECT 'c' || i, 'a', 'x', CASE WHEN i %% 10 = 0 THEN 'sent' WHEN i %% 10 = 1 THEN 'failed' ELSE 'completed' END,
			%[1]s, CASE WHEN i %% 10 = 0 THEN NULL ELSE %[1]s END FROM %[2]s ORDER BY i`, stamp, series)
		var total int
		var pieces []int
		for place := int64(0); ; {
			deleted, next, err := w.DeleteFinishedCommands(t.Context(), after(time.Hour), place)
			must(t, err)
			total += deleted
			pieces = append(pieces, deleted)
			if place = next; place == 0 {
				break
			}
		}
		if total != 2250 || len(pieces) != 3 || pieces[0] != 900 {
			t.Errorf("deleted %d in %v", total, pieces)
		}
		if left := w.count("SELECT count(*) FROM agent_commands"); left != 250 {
			t.Errorf("%d are left", left)
		}
		if deleted, next, err := w.DeleteFinishedCommands(t.Context(), noon.Add(-time.Hour), 0); err != nil || deleted != 0 || next != 0 {
			t.Errorf("what is not old: %d, %d, %v", deleted, next, err)
		}
	})
}
