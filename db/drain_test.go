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

// service is what an agent's cordon and drain are, in one line.
func (w *world) service(id string) string {
	w.t.Helper()
	agent, err := w.Agent(w.t.Context(), id)
	must(w.t, err)
	line := agent.Status
	if agent.Cordoned {
		line += " cordoned"
	}
	if agent.DrainedBy != "" {
		line += " drained by " + agent.DrainedBy
	}
	if agent.DrainDeadline != nil {
		line += fmt.Sprint(" within ", agent.DrainDeadline.Sub(noon))
	}
	return line
}

func (w *world) is(id, want string) {
	w.t.Helper()
	if got := w.service(id); got != want {
		w.t.Fatalf("agent %s is %q, want %q", id, got, want)
	}
}

// agentHistory gives an agent's events as "from>to actor: reason".
func (w *world) agentHistory(id string) (lines []string) {
	w.t.Helper()
	rows, err := w.DB().QueryContext(w.t.Context(), fmt.Sprintf(
		"SELECT from_state, to_state, actor, reason FROM events WHERE kind = 'agent.state' AND agent_id = '%s' ORDER BY id", id))
	must(w.t, err)
	defer func() { must(w.t, rows.Close()) }()
	for rows.Next() {
		var from, to, actor, reason string
		must(w.t, rows.Scan(&from, &to, &actor, &reason))
		lines = append(lines, from+">"+to+" "+actor+": "+reason)
	}
	must(w.t, rows.Err())
	return lines
}

// The calls as user root.
func (w *world) cordon(id string) models.Agent {
	w.t.Helper()
	agent, err := w.CordonAgent(w.t.Context(), id, "user:root", after(time.Minute))
	must(w.t, err)
	return agent
}

func (w *world) uncordon(id string) models.Agent {
	w.t.Helper()
	agent, err := w.UncordonAgent(w.t.Context(), id, "user:root", after(time.Minute))
	must(w.t, err)
	return agent
}

// drain drains the agent until some time after noon; 0 is for ever.
func (w *world) drain(id string, within time.Duration) models.Agent {
	w.t.Helper()
	var deadline *time.Time
	if within != 0 {
		at := after(within)
		deadline = &at
	}
	agent, err := w.DrainAgent(w.t.Context(), id, deadline, "user:root", after(time.Minute))
	must(w.t, err)
	return agent
}

func TestACordonKeepsNewSessionsAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.running("old", "a", epoch)
		given := w.cordon("a")
		w.cordon("a")
		w.is("a", "online cordoned")
		if read, err := w.Agent(t.Context(), "a"); err != nil || !reflect.DeepEqual(read, given) || given.Sessions != 1 {
			t.Fatalf("given %+v, read %+v, %v", given, read, err)
		}
		_, _, err := w.LaunchSession(t.Context(), w.launch("new", "a"), noon)
		refused(t, err, models.CodeNoSuitableAgent)

		// It lasts through whatever the agent does.
		_, err = w.heartbeat("a", epoch, wire.Heartbeat{Status: "online"}, after(time.Second))
		must(t, err)
		_, err = w.DisconnectAgent(t.Context(), "a", epoch, after(time.Second))
		must(t, err)
		w.is("a", "offline cordoned")
		w.agent("a", 0)
		w.is("a", "online cordoned")
		if w.read("old").State != models.SessionRunning {
			t.Error("a cordon moved a session")
		}

		w.uncordon("a")
		w.uncordon("a")
		w.is("a", "online")
		w.session("new", "a", noon)
		equal(t, "history", w.agentHistory("a"), []string{
			"offline>online agent:a: connected",
			"online>online user:root: cordoned by root",
			"online>offline agent:a: disconnected",
			"offline>online agent:a: connected",
			"online>online user:root: uncordoned by root",
		})
	})
}

func TestADrainLastsUntilAnUncordon(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.session("old", "a", noon)
		if given := w.drain("a", time.Hour); given.Status != models.AgentDraining || given.DrainedBy != "user:root" ||
			!given.DrainDeadline.Equal(after(time.Hour)) || given.Sessions != 1 {
			t.Fatalf("given %+v", given)
		}
		const draining = "draining drained by user:root within 1h0m0s"
		w.is("a", draining)
		_, _, err := w.LaunchSession(ctx, w.launch("new", "a"), noon)
		refused(t, err, models.CodeNoSuitableAgent)

		for _, status := range []string{"online", "draining", "online"} {
			_, err = w.heartbeat("a", epoch, wire.Heartbeat{Status: status}, after(time.Second))
			must(t, err)
			w.is("a", draining)
		}
		_, err = w.DisconnectAgent(ctx, "a", epoch, after(time.Second))
		must(t, err)
		w.is("a", draining)
		epoch = w.agent("a", 0)
		w.is("a", draining)

		w.drain("a", 2*time.Hour)
		w.is("a", "draining drained by user:root within 2h0m0s")
		w.drain("a", 0)
		w.drain("a", 0)
		w.is("a", "draining drained by user:root")
		w.cordon("a")
		w.is("a", "draining cordoned drained by user:root")
		w.uncordon("a")
		w.is("a", "online")
		_, err = w.heartbeat("a", epoch, wire.Heartbeat{Status: "online"}, after(time.Second))
		must(t, err)
		w.is("a", "online")
		w.session("new", "a", noon)
		equal(t, "history", w.agentHistory("a"), []string{
			"offline>online agent:a: connected",
			"online>draining user:root: drained by root, stops what is left at 2030-04-01T13:00:00Z",
			"draining>draining user:root: drained by root, stops what is left at 2030-04-01T14:00:00Z",
			"draining>draining user:root: drained by root, waits for its sessions to end",
			"draining>draining user:root: cordoned by root",
			"draining>online user:root: uncordoned by root",
		})
	})
}

func TestAnUncordonedAgentIsOnlineIfItIsConnected(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		_, _, err := w.RegisterAgent(ctx, models.Agent{ID: "never", Platform: "docker"}, noon)
		must(t, err)
		w.drain("never", 0)
		w.is("never", "draining drained by user:root")
		w.uncordon("never")
		w.is("never", "offline")

		first := w.agent("a", 0)
		second := w.agent("a", 0)
		w.drain("a", 0)
		_, err = w.DisconnectAgent(ctx, "a", first, after(time.Second)) // it was replaced before
		must(t, err)
		w.uncordon("a")
		w.is("a", "online")
		w.drain("a", 0)
		_, err = w.DisconnectAgent(ctx, "a", second, after(time.Second))
		must(t, err)
		w.uncordon("a")
		w.is("a", "offline")
	})
}

// An agent that drains by itself has nobody who asked, and no uncordon keeps it
// from saying so again.
func TestAnAgentsOwnDrainIsItsOwn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		says := func(status string) {
			t.Helper()
			_, err := w.heartbeat("a", epoch, wire.Heartbeat{Status: status}, after(time.Second))
			must(t, err)
		}
		says("draining")
		w.is("a", "draining")
		w.drain("a", 0)
		w.is("a", "draining drained by user:root")
		w.uncordon("a")
		w.is("a", "online")
		says("draining")
		w.is("a", "draining")
		w.uncordon("a")
		says("online")
		w.is("a", "online")
	})
}

func TestAnUnknownAgentIsNotTakenOutOfService(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, err := w.CordonAgent(t.Context(), "a", "user:root", noon)
		refused(t, err, models.CodeAgentUnknown)
		_, err = w.UncordonAgent(t.Context(), "a", "user:root", noon)
		refused(t, err, models.CodeAgentUnknown)
		_, err = w.DrainAgent(t.Context(), "a", nil, "user:root", noon)
		refused(t, err, models.CodeAgentUnknown)
	})
}

func TestWhatIsLeftAtTheDeadlineIsOverdue(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		overdue := func(limit int, now time.Time) (ids []string) {
			t.Helper()
			first, err := w.OverdueSessions(t.Context(), db.Overdue{}, limit, now)
			must(t, err)
			var last db.Overdue
			for more := true; more; {
				page, err := w.OverdueSessions(t.Context(), last, 1, now)
				must(t, err)
				if more = len(page) == 1; more {
					last = page[0]
					ids = append(ids, last.AgentID+"/"+last.SessionID)
				}
			}
			if want := min(limit, len(ids)); len(first) != want || want > 0 && first[want-1].AgentID+"/"+first[want-1].SessionID != ids[want-1] {
				t.Fatalf("at once there are %+v, one after another %v", first, ids)
			}
			return ids[:len(first)]
		}
		for _, id := range []string{"later", "soon", "ever", "busy"} {
			w.agent(id, 0)
			for n := range 2 {
				w.session(fmt.Sprint(id, n), id, noon)
			}
		}
		w.drain("soon", time.Hour)
		w.drain("later", 2*time.Hour)
		w.drain("ever", 0)
		equal(t, "before", overdue(9, after(time.Hour-time.Microsecond)), nil)
		equal(t, "at the deadline", overdue(9, after(time.Hour)), []string{"soon/soon0", "soon/soon1"})
		equal(t, "of two", overdue(3, after(3*time.Hour)), []string{"soon/soon0", "soon/soon1", "later/later0"})
		w.uncordon("soon")
		equal(t, "uncordoned", overdue(9, after(3*time.Hour)), []string{"later/later0", "later/later1"})
		for _, state := range models.SessionStates() {
			w.sql("UPDATE sessions SET state = '%s' WHERE id = 'later1'", state)
			want := []string{"later/later0"}
			if state.Live() && state != models.SessionTerminating && state != models.SessionHibernating {
				want = append(want, "later/later1")
			}
			equal(t, "with one that is "+string(state), overdue(9, after(3*time.Hour)), want)
		}
	})
}

// What a drain stops is decided in the transaction that stops it.
func TestADrainStopsNothingThatItNeedNot(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		w.agent("b", 0)
		w.session("s", "a", noon)
		stop := func(now time.Time) models.SessionState {
			t.Helper()
			session, command, err := w.StopSession(t.Context(), db.Stop{SessionID: "s", CommandID: "stop-s", Actor: "drain",
				Reason: "over", DeadlineAt: after(9 * time.Hour), Draining: "a"}, now)
			must(t, err)
			if (command != nil) != (session.State == models.SessionTerminating) {
				t.Fatalf("the session is %s, the command %v", session.State, command)
			}
			return session.State
		}
		spared := func(what string, now time.Time) {
			t.Helper()
			if state := stop(now); state != models.SessionPending {
				t.Fatalf("%s: stopped, it is %s", what, state)
			}
		}
		spared("nobody drains", after(2*time.Hour))
		w.drain("a", time.Hour)
		spared("before the deadline", after(time.Hour-time.Second))
		w.uncordon("a")
		spared("uncordoned", after(2*time.Hour))
		w.drain("a", 0)
		spared("without a deadline", after(2*time.Hour))
		w.drain("a", time.Hour)
		w.sql("UPDATE sessions SET agent_id = 'b'")
		spared("on another agent", after(2*time.Hour))
		w.sql("UPDATE sessions SET agent_id = 'a'")
		if state := stop(after(2 * time.Hour)); state != models.SessionTerminating {
			t.Fatalf("past the deadline it is %s", state)
		}
		equal(t, "history", w.history("s"), []string{">pending user:ann", "pending>terminating drain"})
		if session := w.read("s"); session.Reason != "over" {
			t.Fatalf("the reason is %q", session.Reason)
		}
		w.drained("a", models.Drained{Stopped: 1})
	})
}

// drained checks what the agent's drain is said to have done.
func (w *world) drained(id string, want models.Drained) {
	w.t.Helper()
	agent, err := w.Agent(w.t.Context(), id)
	must(w.t, err)
	if agent.Drained == nil || *agent.Drained != want {
		w.t.Fatalf("agent %s has done %+v with sessions, not %+v", id, agent.Drained, want)
	}
}

// keeping launches a session that keeps its home and runs.
func (w *world) keeping(id, agentID string, epoch int64) {
	w.t.Helper()
	launch := w.launch(id, agentID)
	launch.Session.Spec.Spec.PersistentHome = true
	_, _, err := w.LaunchSession(w.t.Context(), launch, noon)
	must(w.t, err)
	_, err = w.FinishCommand(ending{CommandID: "start-" + id, AgentID: agentID, Epoch: epoch, Status: models.CommandCompleted}, after(time.Second))
	must(w.t, err)
}

// What a drain hibernates is decided in the transaction too, and so is whether
// it is to be moved, and what is counted.
func TestADrainHibernatesAndMoves(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		w.agent("b", 0)
		w.keeping("s", "a", epoch)
		now := after(2 * time.Hour)
		until := now.Add(time.Minute)
		moves := 0
		hibernate := func() models.Session {
			t.Helper()
			moves++
			session, command, err := w.HibernateSession(ctx, db.Hibernation{SessionID: "s", CommandID: fmt.Sprint("rest-", moves), Actor: "drain", Reason: "over",
				DeadlineAt: after(9 * time.Hour), Draining: "a", MoveUntil: until}, now)
			must(t, err)
			if command != nil && session.State != models.SessionHibernating {
				t.Fatalf("the session is %s, the command %v", session.State, command)
			}
			return session
		}
		moving := func(now time.Time) (lines []string) {
			t.Helper()
			var last db.Moving
			for {
				page, err := w.MovingSessions(ctx, last, 1, now)
				must(t, err)
				if len(page) == 0 {
					return lines
				}
				last = page[0]
				lines = append(lines, last.SessionID+" "+string(last.State)+" from "+last.AgentID)
			}
		}
		for _, spared := range []func(){func() {}, func() { w.drain("a", 3*time.Hour) }, func() { w.drain("a", 0) }, func() { w.drain("b", time.Hour) }} {
			spared()
			if session := hibernate(); session.State != models.SessionRunning {
				t.Fatalf("it is %s", session.State)
			}
		}
		// Without a home store nobody else could have it.
		w.drain("a", time.Hour)
		if session := hibernate(); session.State != models.SessionHibernating || session.MoveUntil != nil || session.Reason != "over" {
			t.Fatalf("it is %+v", session)
		}
		hibernate()
		w.drained("a", models.Drained{Hibernated: 1})
		equal(t, "moving", moving(now), nil)
		w.uncordon("a")
		w.sql("UPDATE sessions SET state = 'running'")
		w.sql("UPDATE agents SET home_store = 'cellar'")
		w.drain("a", time.Hour)
		w.drained("a", models.Drained{})
		if session := hibernate(); session.MoveUntil == nil || !session.MoveUntil.Equal(until) {
			t.Fatalf("it is %+v", session)
		}
		w.cordon("a")
		w.drained("a", models.Drained{Hibernated: 1})
		equal(t, "moving", moving(now), []string{"s hibernating from a"})
		result, err := w.FinishCommand(ending{CommandID: fmt.Sprint("rest-", moves), AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, now)
		must(t, err)
		if result.Session.State != models.SessionHibernated || w.read("s").Reason != "over" {
			t.Fatalf("it is %+v", result.Session)
		}
		equal(t, "moving", moving(until.Add(-time.Microsecond)), []string{"s hibernated from a"})
		equal(t, "given up", moving(until), nil)
		agent, err := w.Agent(ctx, "b")
		must(t, err)
		w.uncordon("b")
		agent.Status = models.AgentOnline
		before := w.read("s")
		if _, _, err := w.WakeSession(ctx, db.Awakening{SessionID: "s", Actor: "drain", Reason: "moved", Generation: before.Generation, Agent: agent, From: "a",
			Moves: true, Command: models.AgentCommand{CommandID: "wake-s", Action: models.ActionWakeSession, DeadlineAt: after(9 * time.Hour)}}, now); err != nil {
			t.Fatal(err)
		}
		if session := w.read("s"); session.AgentID != "b" || session.MoveUntil != nil || session.Reason != "moved" {
			t.Fatalf("it is %+v", session)
		}
		equal(t, "moving", moving(now), nil)
		w.drained("a", models.Drained{Moved: 1})
	})
}

// A drain moves what it has had hibernate, and not what its owner wants to stay
// so, even if that comes while it is being moved.
func TestADrainLeavesWhatItsOwnerHasHibernate(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.keeping("s", "a", w.agent("a", 0))
		w.agent("b", 0)
		w.sql("UPDATE agents SET home_store = 'cellar'")
		w.drain("a", time.Hour)
		now := after(2 * time.Hour)
		for i, draining := range []string{"a", ""} {
			session, _, err := w.HibernateSession(ctx, db.Hibernation{SessionID: "s", CommandID: fmt.Sprint("rest-", i), Actor: "ann",
				DeadlineAt: after(9 * time.Hour), Draining: draining, MoveUntil: now.Add(time.Minute)}, now)
			must(t, err)
			if stored := w.read("s"); (session.MoveUntil == nil) != (draining == "") || (stored.MoveUntil == nil) != (draining == "") {
				t.Fatalf("asked by %q it is %+v, and %+v is stored", draining, session, stored)
			}
		}
		w.sql("UPDATE sessions SET state = 'hibernated'")
		agent, err := w.Agent(ctx, "b")
		must(t, err)
		_, _, err = w.WakeSession(ctx, db.Awakening{SessionID: "s", Actor: "drain", Generation: w.read("s").Generation, Agent: agent, From: "a", Moves: true,
			Command: models.AgentCommand{CommandID: "wake-s", Action: models.ActionWakeSession, DeadlineAt: after(9 * time.Hour)}}, now)
		refused(t, err, models.CodeTransitionIllegal)
	})
}
