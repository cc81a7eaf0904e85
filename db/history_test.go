package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// keepMoves has the database itself note each change of a session's state, and
// refuse history while the table refusing has a row.
var keepMoves = map[db.Engine][]string{
	db.SQLite: {
		`CREATE TABLE moves (n integer PRIMARY KEY, session_id text, from_state text, to_state text)`, `CREATE TABLE refusing (is_so integer)`,
		`CREATE TRIGGER moves_new AFTER INSERT ON sessions BEGIN INSERT INTO moves VALUES (NULL, NEW.id, '', NEW.state); END`,
		`CREATE TRIGGER moves_on AFTER UPDATE ON sessions WHEN OLD.state <> NEW.state BEGIN
			INSERT INTO moves VALUES (NULL, NEW.id, OLD.state, NEW.state); END`,
		`CREATE TRIGGER refuse BEFORE INSERT ON events WHEN EXISTS (SELECT 1 FROM refusing) BEGIN SELECT RAISE(ABORT, 'no history'); END`,
	},
	db.Postgres: {
		`CREATE TABLE moves (n bigserial PRIMARY KEY, session_id text, from_state text, to_state text)`, `CREATE TABLE refusing (is_so integer)`,
		`CREATE FUNCTION note_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO moves (session_id, from_state, to_state) VALUES (NEW.id, CASE WHEN TG_OP = 'INSERT' THEN '' ELSE OLD.state END, NEW.state);
			RETURN NULL; END $$`,
		`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF EXISTS (SELECT 1 FROM refusing) THEN RAISE EXCEPTION 'no history'; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER moves_new AFTER INSERT ON sessions FOR EACH ROW EXECUTE FUNCTION note_move()`,
		`CREATE TRIGGER moves_on AFTER UPDATE ON sessions FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION note_move()`,
		`CREATE TRIGGER refuse BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse()`,
	},
}

// Every way in which a session changes its state writes its history in the same
// transaction: when that cannot be written nothing is.
func TestEveryChangeOfStateHasItsHistory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, statement := range keepMoves[w.Engine()] {
			w.sql("%s", statement)
		}
		ctx, now := t.Context(), noon
		a := w.agent("a", 0)
		homely := func(id, agentID string) db.Launch {
			launch := w.launch(id, agentID)
			launch.Session.Spec.Spec.PersistentHome = true
			if agentID == "" {
				until := after(time.Hour)
				launch.Session.WaitUntil, launch.Command = &until, models.AgentCommand{}
			}
			return launch
		}
		launch := func(launch db.Launch) func() error {
			return func() error {
				launched, err := w.LaunchSessions(ctx, []db.Launch{launch}, now)
				if err == nil {
					err = launched[0].Err
				}
				return err
			}
		}
		place := func(id string) func() error {
			return func() error {
				placed := homely(id, "a")
				placed.Session, placed.Waits = w.read(id), true
				placed.Session.AgentID, placed.Command.CommandID = "a", "place-"+id
				placed.Command.Generation = placed.Session.Generation
				return launch(placed)()
			}
		}
		finish := func(commandID string, end db.End) func() error {
			return func() error {
				end.At = now
				written, err := w.WriteTransitions(ctx, []db.Transition{{CommandID: commandID, AgentID: "a", Epoch: a, End: &end}}, now)
				if err == nil && !written[0].Moved {
					err = fmt.Errorf("it has not moved: %+v", written[0])
				}
				return err
			}
		}
		completed := db.End{Status: models.CommandCompleted}
		observe := func(id string, state models.SessionState) func() error {
			return func() error {
				_, moved, err := w.Observe(ctx, db.Observation{AgentID: "a", Epoch: a, SessionID: id, State: state}, now)
				if err == nil && !moved {
					err = fmt.Errorf("%s has not become %s", id, state)
				}
				return err
			}
		}
		stop := func(id string) func() error {
			return func() error {
				_, _, err := w.StopSession(ctx, db.Stop{SessionID: id, CommandID: "stop-" + id, Actor: "user:ann", DeadlineAt: after(time.Hour)}, now)
				return err
			}
		}
		beginAgain := func(id string, restart bool) func() error {
			return func() error {
				session := w.read(id)
				asked := db.Recovery{AgentID: "a", Epoch: a, SessionID: id, Generation: session.Generation, Actor: "reconciler", WaitUntil: after(time.Hour)}
				if restart {
					command := homely(id, "a").Command
					command.CommandID, command.Generation = "again-"+id, session.Generation+1
					asked.Command = &command
				}
				_, done, err := w.Recover(ctx, asked, now)
				if err == nil && !done {
					err = fmt.Errorf("%s is not begun again", id)
				}
				return err
			}
		}
		force := func(id string, from, to models.SessionState) func() error {
			return func() error {
				done, err := w.ForceEnd(ctx, db.ForcedEnd{SessionID: id, From: from, To: to, Reason: "why", ReasonCode: models.CodeInternal, Actor: "reconciler"}, now)
				if err == nil && !done {
					err = fmt.Errorf("%s is not ended", id)
				}
				return err
			}
		}
		hibernate := func() error {
			_, _, err := w.HibernateSession(ctx, db.Hibernation{SessionID: "one", CommandID: "hibernate", Actor: "user:ann", DeadlineAt: after(time.Hour)}, now)
			return err
		}
		wake := func() error {
			session := w.read("one")
			agent, err := w.Agent(ctx, "a")
			if err != nil {
				return err
			}
			command := homely("one", "a").Command
			command.CommandID, command.Action = "wake", models.ActionWakeSession
			_, _, err = w.WakeSession(ctx, db.Awakening{SessionID: "one", Actor: "user:ann", Generation: session.Generation, Agent: agent, Command: command}, now)
			return err
		}
		limit := func() error {
			_, err := w.EndAtTimeLimits(ctx, []string{"limited"}, "timekeeper", func() string { return "limit" }, after(time.Hour), now)
			return err
		}
		limited := homely("limited", "a")
		limited.Session.Spec.Spec.MaxDuration = "1m"
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"launch", launch(homely("one", "a"))}, {"start", finish("start-one", completed)},
			{"hibernate", hibernate}, {"hibernated", finish("hibernate", completed)}, {"wake", wake}, {"woken", finish("wake", completed)},
			{"restart", beginAgain("one", true)}, {"started again", finish("again-one", completed)}, {"stop", stop("one")}, {"stopped", finish("stop-one", completed)},
			{"wait", launch(homely("two", ""))}, {"place", place("two")}, {"status", observe("two", models.SessionRunning)},
			{"recreate", beginAgain("two", false)}, {"stop what waits", stop("two")},
			{"fail", launch(homely("three", "a"))},
			{"failed", finish("start-three", db.End{Status: models.CommandFailed, Error: "no", Code: models.CodeInvalidRequest})},
			{"try elsewhere", launch(homely("four", "a"))},
			{"elsewhere", finish("start-four", db.End{Status: models.CommandFailed, Error: "no", Code: models.CodeUnavailable, Retryable: true})},
			{"give up", force("four", models.SessionPending, models.SessionFailed)},
			{"launch to end", launch(homely("five", "a"))}, {"run to end", finish("start-five", completed)}, {"exit", observe("five", models.SessionTerminated)},
			{"launch with a limit", launch(limited)}, {"run with a limit", finish("start-limited", completed)}, {"limit", limit},
		} {
			now = now.Add(time.Minute + time.Second)
			before := w.count("SELECT count(*) FROM moves")
			w.sql("INSERT INTO refusing VALUES (1)")
			if err := step.do(); err == nil {
				t.Errorf("%s: it happens without history", step.name)
			}
			if after := w.count("SELECT count(*) FROM moves"); after != before {
				t.Errorf("%s: the state changes without history", step.name)
			}
			w.sql("DELETE FROM refusing")
			if err := step.do(); err != nil {
				t.Fatalf("%s: %v", step.name, err)
			}
			// What is placed, or tried elsewhere, stays pending.
			if after := w.count("SELECT count(*) FROM moves"); (after != before+1) != (step.name == "place" || step.name == "elsewhere") {
				t.Errorf("%s: the state changed %d times", step.name, after-before)
			}
		}
		unlike := w.count(`SELECT count(*) FROM (SELECT session_id, from_state, to_state, row_number() OVER (PARTITION BY session_id ORDER BY n) AS nth FROM moves) m
			FULL JOIN (SELECT session_id, coalesce(from_state, '') AS from_state, to_state, row_number() OVER (PARTITION BY session_id ORDER BY id) AS nth
				FROM events WHERE kind = 'session.state' AND coalesce(from_state, '') <> to_state) e
			ON e.session_id = m.session_id AND e.nth = m.nth
			WHERE e.nth IS NULL OR m.nth IS NULL OR e.from_state <> m.from_state OR e.to_state <> m.to_state`)
		if unlike != 0 {
			t.Errorf("%d changes and lines of history differ", unlike)
		}
		if silent := w.count(`SELECT count(*) FROM events WHERE kind = 'session.state' AND (actor = '' OR at IS NULL)`); silent != 0 {
			t.Errorf("%d lines of history do not say who or when", silent)
		}
	})
}
