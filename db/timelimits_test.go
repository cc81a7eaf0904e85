package db_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// limited launches a session with time limits and completes its start at a
// second past noon.
func (w *world) limited(id string, epoch int64, change func(*models.TemplateSpec)) models.Session {
	w.t.Helper()
	launch := w.launch(id, "a")
	change(&launch.Session.Spec.Spec)
	_, _, err := w.LaunchSession(w.t.Context(), launch, noon)
	must(w.t, err)
	_, err = w.FinishCommand(ending{CommandID: "start-" + id, AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, after(time.Second))
	must(w.t, err)
	return w.read(id)
}

// pastLimits are the sessions past a time limit, and what EndAtTimeLimits makes
// of them and of others.
func (w *world) pastLimits(now time.Time) []string {
	w.t.Helper()
	ids, err := w.PastTimeLimits(w.t.Context(), 10, now)
	must(w.t, err)
	slices.Sort(ids)
	return ids
}

func (w *world) endAtLimits(now time.Time, ids ...string) (ended []db.LimitEnd) {
	w.t.Helper()
	number := 0
	ended, err := w.EndAtTimeLimits(w.t.Context(), ids, "timekeeper", func() string { number++; return fmt.Sprint("end-", now.UnixNano(), "-", number) }, now.Add(time.Hour), now)
	must(w.t, err)
	slices.SortFunc(ended, func(a, b db.LimitEnd) int { return strings.Compare(a.Session.ID, b.Session.ID) })
	return ended
}

func (w *world) ends(id string) string {
	session := w.read(id)
	show := func(at *time.Time) string {
		if at == nil {
			return "never"
		}
		return at.Sub(noon).String()
	}
	return "expires " + show(session.ExpiresAt) + " idle " + show(session.IdleAt)
}

func (w *world) mustEnd(id, want string) {
	w.t.Helper()
	if got := w.ends(id); got != want {
		w.t.Fatalf("%s %s, want %s", id, got, want)
	}
}

func TestTimeLimitsCountFromWhenASessionRuns(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		launch := w.launch("s", "a")
		launch.Session.Spec.Spec.IdleTimeout, launch.Session.Spec.Spec.MaxDuration, launch.Session.Spec.Spec.PersistentHome = "10m", "1h", true
		session, _, err := w.LaunchSession(t.Context(), launch, noon)
		must(t, err)
		if session.TimeLimits != (models.TimeLimits{IdleTimeout: "10m", MaxDuration: "1h", OnLimit: models.OnLimitStop}) {
			t.Fatalf("launched with %+v", session.TimeLimits)
		}
		w.mustEnd("s", "expires never idle never")
		_, err = w.FinishCommand(ending{CommandID: "start-s", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, after(time.Minute))
		must(t, err)
		w.mustEnd("s", "expires 1h1m0s idle 11m0s")
		equal(t, "just before", w.pastLimits(after(11*time.Minute-time.Microsecond)), nil)
		equal(t, "at the limit", w.pastLimits(after(11*time.Minute)), []string{"s"})

		_, _, err = w.HibernateSession(t.Context(), db.Hibernation{SessionID: "s", CommandID: "sleep", Actor: "user:ann", DeadlineAt: after(time.Hour)}, after(2*time.Minute))
		must(t, err)
		w.mustEnd("s", "expires never idle never")
		_, err = w.FinishCommand(ending{CommandID: "sleep", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, after(3*time.Minute))
		must(t, err)
		agent, err := w.Agent(t.Context(), "a")
		must(t, err)
		_, _, err = w.WakeSession(t.Context(), db.Awakening{SessionID: "s", Actor: "user:ann", Generation: 2, Agent: agent, Command: models.AgentCommand{
			CommandID: "wake", Action: models.ActionWakeSession, Payload: &models.CommandPayload{}, DeadlineAt: after(9 * time.Hour)}}, after(2*time.Hour))
		must(t, err)
		// As an agent of the basic protocol might say it.
		_, _, err = w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epoch, SessionID: "s", State: models.SessionRunning}, after(3*time.Hour))
		must(t, err)
		w.mustEnd("s", "expires 4h0m0s idle 3h10m0s")
		w.stop("s", after(3*time.Hour))
		w.mustEnd("s", "expires never idle never")
		equal(t, "stopped", w.pastLimits(after(99*time.Hour)), nil)
	})
}

func TestWhatIsPastItsTimeLimitIsEnded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.running("free", "a", epoch)
		w.limited("idle", epoch, func(s *models.TemplateSpec) { s.IdleTimeout = "10m" })
		w.limited("long", epoch, func(s *models.TemplateSpec) {
			s.IdleTimeout, s.MaxDuration, s.OnLimit, s.PersistentHome = "5m", "5m", models.OnLimitHibernate, true
		})
		now := after(10*time.Minute + time.Second)
		equal(t, "past", w.pastLimits(now), []string{"idle", "long"})
		ended := w.endAtLimits(now, "free", "idle", "long", "nobody")
		if len(ended) != 2 {
			t.Fatalf("ended %+v", ended)
		}
		for i, want := range []struct {
			state   models.SessionState
			desired models.DesiredState
			code    models.ErrorCode
			reason  string
			action  string
		}{
			{models.SessionTerminating, models.DesiredTerminated, models.CodeIdleTimeout, "nobody used it for 10m", models.ActionStopSession},
			{models.SessionHibernating, models.DesiredHibernated, models.CodeMaxDuration, "it ran for 5m, the longest that it may at a stretch", models.ActionHibernateSession},
		} {
			one, session := ended[i], w.read(ended[i].Session.ID)
			if session.State != want.state || session.DesiredState != want.desired || session.ReasonCode != want.code || session.Reason != want.reason || session.Generation != 2 {
				t.Errorf("it is %+v", session)
			}
			stored := w.command(one.Command.CommandID)
			if stored.Action != want.action || stored.AgentID != "a" || stored.SessionID != session.ID || stored.Generation != 2 || stored.Status != models.CommandPending ||
				!stored.DeadlineAt.Equal(now.Add(time.Hour)) || (*stored.Payload)["sessionId"] != session.ID {
				t.Errorf("the command is %+v", stored)
			}
			w.mustEnd(session.ID, "expires never idle never")
			_, err := w.FinishCommand(ending{CommandID: stored.CommandID, AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, now)
			must(t, err)
			if session := w.read(session.ID); session.ReasonCode != want.code || session.Reason != want.reason || session.State == want.state {
				t.Errorf("in the end it is %+v", session)
			}
		}
		equal(t, "history", w.history("long"), []string{">pending user:ann", "pending>running agent:a", "running>hibernating timekeeper", "hibernating>hibernated agent:a"})
		equal(t, "past afterwards", w.pastLimits(now), nil)
		if again := w.endAtLimits(now, "idle", "long"); len(again) != 0 {
			t.Errorf("ended again: %+v", again)
		}
	})
}

// Whether a session is past its limit is decided in the transaction that ends it.
func TestUseJustInTimeSavesASession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.limited("s", epoch, func(s *models.TemplateSpec) { s.IdleTimeout, s.MaxDuration = "10m", "1h" })
		now := after(10*time.Minute + time.Second)
		equal(t, "past", w.pastLimits(now), []string{"s"})
		note := func(at time.Time) {
			t.Helper()
			must(t, w.NoteActivity(t.Context(), []db.Activity{{SessionID: "s", At: at}, {SessionID: "nobody", At: at}}, now))
		}
		note(now)
		w.mustEnd("s", "expires 1h0m1s idle 20m1s")
		note(now.Add(-time.Minute)) // older news
		w.mustEnd("s", "expires 1h0m1s idle 20m1s")
		if ended := w.endAtLimits(now, "s"); len(ended) != 0 {
			t.Fatalf("it was used, and ended: %+v", ended)
		}
		note(after(time.Hour))
		if ended := w.endAtLimits(after(time.Hour+time.Second), "s"); len(ended) != 1 || ended[0].Session.ReasonCode != models.CodeMaxDuration {
			t.Fatalf("use does not keep it beyond its longest duration: %+v", ended)
		}
		note(after(2 * time.Hour)) // it runs no more
		w.mustEnd("s", "expires never idle never")
	})
}

func TestSeveralEndASessionAtItsLimitOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		for i := range 5 {
			w.limited(fmt.Sprint("s", i), epoch, func(s *models.TemplateSpec) { s.MaxDuration = "10m" })
		}
		counts := make([]int, 4)
		now := after(time.Hour)
		for _, err := range together(len(counts), func(i int) error {
			number := 0
			ended, err := w.EndAtTimeLimits(t.Context(), []string{"s4", "s3", "s2", "s1", "s0"}, "timekeeper", func() string { number++; return fmt.Sprint(i, "-", number) }, now, now)
			counts[i] = len(ended)
			return err
		}) {
			must(t, err)
		}
		slices.Sort(counts)
		equal(t, "ended by each", counts, []int{0, 0, 0, 5})
	})
}

// The look for what is past its limit uses indexes, however many sessions there
// are.
func TestTimeLimitsAreFoundByIndex(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		conn, err := w.DB().Conn(t.Context())
		must(t, err)
		defer func() { must(t, conn.Close()) }()
		if w.Engine() == db.Postgres {
			_, err := conn.ExecContext(t.Context(), "SET enable_seqscan = off") // it is the cheaper one among no rows
			must(t, err)
		}
		explain := map[db.Engine]string{db.SQLite: "EXPLAIN QUERY PLAN ", db.Postgres: "EXPLAIN "}[w.Engine()]
		for column, index := range map[string]string{"expires_at": "sessions_by_expiry", "idle_at": "sessions_by_idleness"} {
			rows, err := conn.QueryContext(t.Context(), explain+"SELECT id FROM sessions WHERE "+column+" <= '2030-01-01T00:00:00Z'")
			must(t, err)
			defer func() { must(t, rows.Close()) }()
			columns, err := rows.Columns()
			must(t, err)
			plan, values := "", make([]any, len(columns))
			for i := range values {
				values[i] = new(any)
			}
			for rows.Next() {
				must(t, rows.Scan(values...))
				plan += fmt.Sprintln(*values[len(values)-1].(*any))
			}
			must(t, rows.Err())
			if !strings.Contains(plan, index) {
				t.Errorf("the plan is %s", plan)
			}
		}
	})
}

// What an agent says of a limit that it kept alone.
func TestAnAgentsOwnTimeLimits(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		limits := func(home bool) func(*models.TemplateSpec) {
			return func(s *models.TemplateSpec) { s.IdleTimeout, s.PersistentHome = "10m", home }
		}
		say := func(id string, state models.SessionState, want models.SessionState) {
			t.Helper()
			_, _, err := w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epoch, SessionID: id, Generation: 1, State: state,
				Reason: "nobody used it", ReasonCode: models.CodeIdleTimeout}, after(time.Hour))
			must(t, err)
			if session := w.read(id); session.State != want || (session.ReasonCode == models.CodeIdleTimeout) != (want != models.SessionRunning) {
				t.Fatalf("%s is %+v", id, session)
			}
		}
		w.limited("kept", epoch, limits(true))
		say("kept", models.SessionHibernated, models.SessionHibernated)
		if session := w.read("kept"); session.DesiredState != models.DesiredHibernated || session.Generation != 1 {
			t.Fatalf("it wants to be %s in generation %d", session.DesiredState, session.Generation)
		}
		w.limited("homeless", epoch, limits(false))
		say("homeless", models.SessionHibernated, models.SessionRunning)
		say("homeless", models.SessionTerminated, models.SessionTerminated)

		// A bare word on what a limit ended leaves the reason.
		w.limited("stopped", epoch, limits(false))
		w.endAtLimits(after(time.Hour), "stopped")
		_, _, err := w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epoch, SessionID: "stopped", State: models.SessionTerminated}, after(time.Hour))
		must(t, err)
		if session := w.read("stopped"); session.State != models.SessionTerminated || session.ReasonCode != models.CodeIdleTimeout || session.Reason == "" {
			t.Fatalf("it is %+v", session)
		}
	})
}
