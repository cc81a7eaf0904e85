package db_test

import (
	"context"
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

func TestListsOfCommands(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.agent("b$1", 0)
		w.create([3]string{"c1", "a", "s1"}, [3]string{"c2", "b$1", "s2"}, [3]string{"c3", "a", "s1"}, [3]string{"c4", "a", ""},
			[3]string{"c5", "a", "s3"}, [3]string{"c6", "nobody", ""})
		lists := map[string]func() ([]models.AgentCommand, error){
			"pending of all":            func() ([]models.AgentCommand, error) { return w.PendingCommands(ctx, nil, 100) },
			"two pending":               func() ([]models.AgentCommand, error) { return w.PendingCommands(ctx, nil, 2) },
			"pending of none":           func() ([]models.AgentCommand, error) { return w.PendingCommands(ctx, []string{}, 100) },
			"pending of b$1":            func() ([]models.AgentCommand, error) { return w.PendingCommands(ctx, []string{"b$1", "x'"}, 100) },
			"pending of s1":             func() ([]models.AgentCommand, error) { return w.SessionPending(ctx, "a", "s1") },
			"pending without a session": func() ([]models.AgentCommand, error) { return w.SessionPending(ctx, "a", "") },
			"unfinished of a":           func() ([]models.AgentCommand, error) { return w.UnfinishedCommands(ctx, "a") },
			"unsent of s1": func() ([]models.AgentCommand, error) {
				return w.UnsentCommands(ctx, db.Lane{AgentID: "a", SessionID: "s1"}, epoch)
			},
			"unsent of s1 on the next": func() ([]models.AgentCommand, error) {
				return w.UnsentCommands(ctx, db.Lane{AgentID: "a", SessionID: "s1"}, epoch+1)
			},
		}
		expect := func(when string, want map[string][]string) {
			t.Helper()
			for name, list := range lists {
				commands, err := list()
				must(t, err)
				equal(t, when+", "+name, commandIDs(commands), want[name])
			}
		}
		all := map[string][]string{
			"pending of all": {"c1", "c2", "c3", "c4", "c5", "c6"}, "two pending": {"c1", "c2"}, "pending of b$1": {"c2"},
			"pending of s1": {"c1", "c3"}, "pending without a session": {"c4"}, "unfinished of a": {"c1", "c3", "c4", "c5"},
			"unsent of s1": {"c1", "c3"}, "unsent of s1 on the next": {"c1", "c3"},
		}
		expect("at first", all)
		lanes, err := w.PendingLanes(ctx, 3)
		must(t, err)
		equal(t, "pending lanes", lanes, []db.Lane{{AgentID: "a", SessionID: "s1"}, {AgentID: "b$1", SessionID: "s2"}, {AgentID: "a"}})

		_, err = w.MarkSent(ctx, "c1", "a", epoch, noon)
		must(t, err)
		_, err = w.FinishCommand(ctx, db.Finish{CommandID: "c4", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, noon)
		must(t, err)
		all["pending of all"], all["two pending"] = []string{"c2", "c3", "c5", "c6"}, []string{"c2", "c3"}
		all["pending of s1"], all["pending without a session"] = []string{"c3"}, nil
		all["unfinished of a"], all["unsent of s1"] = []string{"c1", "c3", "c5"}, []string{"c3"}
		expect("with one sent and one completed", all)

		unsent := func(want []db.Lane, limit int, agents ...string) {
			t.Helper()
			lanes, err := w.UnsentLanes(ctx, agents, limit)
			must(t, err)
			equal(t, "unsent lanes", lanes, want)
		}
		_, err = w.MarkSent(ctx, "c3", "a", epoch, noon)
		must(t, err)
		unsent([]db.Lane{{AgentID: "b$1", SessionID: "s2"}, {AgentID: "a", SessionID: "s3"}}, 9, "a", "b$1", "nobody")
		unsent([]db.Lane{{AgentID: "b$1", SessionID: "s2"}}, 1, "a", "b$1")
		unsent(nil, 9)
		_, err = w.ConnectAgent(ctx, "a", noon)
		must(t, err)
		unsent([]db.Lane{{AgentID: "a", SessionID: "s1"}, {AgentID: "a", SessionID: "s3"}}, 9, "a") // sent before, to nobody knows whom
	})
}

func TestCommandsArePagedNewestFirstAndCounted(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.create([3]string{"c1", "a", "s1"}, [3]string{"c2", "b", "s1"}, [3]string{"c3", "a", "s2"}, [3]string{"c4", "a", ""}, [3]string{"c5", "a", "s1"})
		_, err := w.MarkSent(ctx, "c3", "a", epoch, noon)
		must(t, err)
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
		equal(t, "overdue", commandIDs(overdue), []string{"c0", "c2"})
		overdue, err = w.OverdueCommands(ctx, after(time.Hour), 1)
		must(t, err)
		equal(t, "one overdue", commandIDs(overdue), []string{"c0"})
	})
}

func TestMarks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		w.agent("b", 0)
		w.create([3]string{"c", "a", "s"})
		marked := func(want bool, got bool, err error) {
			t.Helper()
			must(t, err)
			if got != want {
				t.Fatalf("marked is %v, want %v: %+v", got, want, w.command("c"))
			}
		}
		mark := func(want bool, write func(context.Context, string, string, int64, time.Time) (bool, error), agentID string, epoch int64, now time.Time) {
			t.Helper()
			got, err := write(ctx, "c", agentID, epoch, now)
			marked(want, got, err)
		}
		mark(false, w.MarkSent, "a", old, noon)
		mark(false, w.MarkAcked, "a", old, noon)
		mark(false, w.MarkSent, "b", 1, noon)
		mark(false, w.MarkAcked, "b", 1, noon)
		if command := w.command("c"); command.Status != models.CommandPending || command.Attempts != 0 || command.SentAt != nil {
			t.Fatalf("a stale epoch or another agent wrote %+v", command)
		}
		mark(true, w.MarkSent, "a", epoch, after(1*time.Second))
		mark(true, w.MarkSent, "a", epoch, after(2*time.Second))
		if command := w.command("c"); command.Status != models.CommandSent || command.Attempts != 2 || !command.SentAt.Equal(after(time.Second)) {
			t.Fatalf("sent twice it is %+v", command)
		}
		mark(true, w.MarkAcked, "a", epoch, after(3*time.Second))
		mark(false, w.MarkAcked, "a", epoch, after(4*time.Second))
		mark(true, w.MarkSent, "a", epoch, after(5*time.Second))
		if command := w.command("c"); command.Status != models.CommandAck || command.Attempts != 3 || !command.AcknowledgedAt.Equal(after(3*time.Second)) {
			t.Fatalf("acknowledged and sent again it is %+v", command)
		}
		for _, status := range models.CommandStates() {
			w.sql("UPDATE agent_commands SET status = '%s'", status)
			mark(models.CanCommandBecome(status, models.CommandAck), w.MarkAcked, "a", epoch, noon)
			w.sql("UPDATE agent_commands SET status = '%s'", status)
			ended := len(models.CommandPredecessors(status)) > 0 && !slices.ContainsFunc(models.CommandStates(), func(to string) bool { return models.CanCommandBecome(status, to) })
			mark(!ended, w.MarkSent, "a", epoch, noon)
			want := status
			if status == models.CommandPending {
				want = models.CommandSent
			}
			if now := w.command("c").Status; now != want {
				t.Fatalf("a %s command sent again became %s", status, now)
			}
		}
	})
}

func TestFinishIsGuarded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		w.session("s", "a", noon)
		good := db.Finish{CommandID: "start-s", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}
		try := func(change func(*db.Finish), code models.ErrorCode) {
			t.Helper()
			finish := good
			change(&finish)
			_, err := w.FinishCommand(ctx, finish, noon)
			refused(t, err, code)
			if w.command("start-s").Status != models.CommandPending || w.read("s").State != models.SessionPending {
				t.Fatal("it was written all the same")
			}
		}
		try(func(f *db.Finish) { f.Epoch = old }, models.CodeEpochStale)
		try(func(f *db.Finish) { f.AgentID, f.Epoch = "b", other }, models.CodeForbidden)
		try(func(f *db.Finish) { f.CommandID = "nobody" }, models.CodeCommandUnknown)
		try(func(f *db.Finish) { f.Status = models.CommandAck }, models.CodeTransitionIllegal)
		result, err := w.FinishCommand(ctx, good, after(time.Second))
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
				finish := db.Finish{CommandID: "start-" + id, AgentID: "a", Epoch: epoch, Status: first, Error: "first",
					Result: &models.CommandPayload{"n": 1.0}, Code: models.CodeRuntimeExited}
				_, err := w.FinishCommand(t.Context(), finish, noon)
				must(t, err)
				command, session := w.command("start-"+id), w.read(id)
				finish.Status, finish.Error, finish.Result = second, "second", nil
				result, err := w.FinishCommand(t.Context(), finish, after(time.Hour))
				must(t, err)
				if result.Moved || result.Command.Status != first || w.command("start-"+id).ErrorMessage != command.ErrorMessage ||
					w.command("start-"+id).Result == nil || w.read(id).UpdatedAt != session.UpdatedAt || result.Session.State != session.State {
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
			result, err := w.FinishCommand(t.Context(), db.Finish{CommandID: "start-s", AgentID: "a", Epoch: epoch,
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
				result, err := w.FinishCommand(t.Context(), db.Finish{CommandID: id, AgentID: "a",
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
		finish := func(id, status string, change func(*db.Finish)) db.FinishResult {
			t.Helper()
			finish := db.Finish{CommandID: id, AgentID: "a", Epoch: epoch, Status: status}
			if change != nil {
				change(&finish)
			}
			result, err := w.FinishCommand(ctx, finish, after(time.Minute))
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
		result := finish("start-failing", models.CommandFailed, func(f *db.Finish) {
			f.Error, f.Code, f.Retryable = "no Xvnc\x00 here", models.CodeNeedsMissing, true
		})
		is("failing", models.SessionFailed, "no Xvnc\ufffd here", models.CodeNeedsMissing)
		if !result.Moved || !w.read("failing").Retryable || w.command("start-failing").ErrorMessage != "no Xvnc\ufffd here" {
			t.Fatalf("the result is %+v", result)
		}

		w.session("named", "a", noon)
		finish("start-named", models.CommandCompleted, func(f *db.Finish) { f.Result = &models.CommandPayload{"state": "terminated"} })
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
		if result := finish("stop-late", models.CommandFailed, func(f *db.Finish) { f.Error, f.Code = "busy", models.CodeCommandFailed }); result.Moved {
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
		finish("start-slow", models.CommandFailed, func(f *db.Finish) { f.Epoch, f.Error, f.Code = 0, "too slow", models.CodeStartTimeout })
		is("slow", models.SessionFailed, "too slow", models.CodeStartTimeout)
		equal(t, "history", w.history("slow"), []string{">pending user:ann", "pending>failed system"})
	})
}
