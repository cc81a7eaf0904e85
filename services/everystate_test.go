package services_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// whereabouts are what a session's agent may be.
type whereabouts string

const (
	noAgent        whereabouts = "no agent"
	deletedAgent   whereabouts = "a deleted agent"
	silentAgent    whereabouts = "a silent agent"
	connectedAgent whereabouts = "a connected agent"
)

// resting says where a session in each state is to be, and the action that brings it there.
var resting = map[models.SessionState]struct {
	desired models.DesiredState
	action  string
}{
	models.SessionPending:     {models.DesiredRunning, models.ActionStartSession},
	models.SessionRunning:     {models.DesiredRunning, models.ActionStartSession},
	models.SessionHibernating: {models.DesiredHibernated, models.ActionHibernateSession},
	models.SessionHibernated:  {models.DesiredHibernated, models.ActionHibernateSession},
	models.SessionWaking:      {models.DesiredRunning, models.ActionWakeSession},
	models.SessionTerminating: {models.DesiredTerminated, models.ActionStopSession},
	models.SessionTerminated:  {models.DesiredTerminated, models.ActionStopSession},
	models.SessionFailed:      {models.DesiredRunning, models.ActionStartSession},
}

// nullable names the table's columns that may be NULL.
func (w *world) nullable(table string) (columns []string) {
	w.t.Helper()
	query := `SELECT name FROM pragma_table_info('` + table + `') WHERE "notnull" = 0 AND pk = 0 ORDER BY name`
	if w.database.Engine() == db.Postgres {
		query = `SELECT column_name FROM information_schema.columns
			WHERE table_schema = current_schema() AND table_name = '` + table + `' AND is_nullable = 'YES' ORDER BY column_name`
	}
	rows, err := w.database.DB().QueryContext(w.t.Context(), query)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var column string
		if err := rows.Scan(&column); err != nil {
			w.t.Fatal(err)
		}
		columns = append(columns, column+" = NULL")
	}
	if len(columns) < 3 {
		w.t.Fatalf("%s has the nullable columns %q", table, columns)
	}
	return columns
}

// inEveryState makes a session in each state, with as much in its row as may be
// and as little, whose command has failed. It gives their ids by state. From
// then on the agent is as it is said to be.
func (w *world) inEveryState(where whereabouts) (ids map[models.SessionState][]string) {
	w.t.Helper()
	w.register(models.Agent{ID: "a", Region: "r", ClusterID: "c"})
	agent := w.connect("a")
	w.policy(models.TemplateSpec{PersistentHome: true})
	ids = map[models.SessionState][]string{}
	bareColumns := slices.DeleteFunc(w.nullable("sessions"), func(column string) bool {
		return column == "agent_id = NULL" && where != noAgent || strings.HasPrefix(column, "spec ")
	})
	for state, is := range resting {
		for _, bare := range []bool{false, true} {
			id := fmt.Sprintf("%s-%v", state, bare)
			w.launch(id)
			w.exec(`DELETE FROM agent_commands WHERE session_id = '` + id + `'`)
			command := models.AgentCommand{CommandID: "first-" + id, AgentID: "a", SessionID: id, Generation: 2, Action: is.action,
				Payload: &models.CommandPayload{"sessionId": id}, DeadlineAt: w.clock.Now().Add(time.Hour)}
			if err := w.database.CreateCommand(w.t.Context(), &command, w.clock.Now()); err != nil {
				w.t.Fatal(err)
			}
			w.exec(fmt.Sprintf(`UPDATE agent_commands SET status = 'failed' WHERE session_id = '%s'`, id))
			w.exec(fmt.Sprintf(`UPDATE sessions SET state = '%s', desired_state = '%s', generation = 2 WHERE id = '%s'`, state, is.desired, id))
			if bare {
				w.exec(`UPDATE sessions SET ` + strings.Join(bareColumns, ", ") + ` WHERE id = '` + id + `'`)
			}
			ids[state] = append(ids[state], id)
		}
	}
	switch where {
	case noAgent:
		w.exec(`UPDATE sessions SET agent_id = NULL`)
	case deletedAgent:
		w.disconnect(agent)
		w.exec(`DELETE FROM agents`)
	case silentAgent:
		w.disconnect(agent)
		w.exec(`UPDATE agents SET ` + strings.Join(w.nullable("agents"), ", "))
	case connectedAgent:
		w.t.Cleanup(agent.answer(true))
	}
	return ids
}

// everywhere runs a test for each engine and each thing that may be with the
// sessions' agent.
func everywhere(t *testing.T, test func(t *testing.T, w *world, where whereabouts)) {
	for _, where := range []whereabouts{noAgent, deletedAgent, silentAgent, connectedAgent} {
		t.Run(string(where), func(t *testing.T) {
			dbtest.Each(t, func(t *testing.T, database *db.Database) {
				test(t, newWorld(t, database, services.DispatcherOptions{}), where)
			})
		})
	}
}

func TestEveryStateWithEveryAgentComesToRest(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, where whereabouts) {
		ids := w.inEveryState(where)
		w.start()
		reconciler := w.reconcile()
		w.clock.advance(12 * time.Minute)
		for state, is := range resting {
			want := models.SessionState(is.desired)
			passes := map[models.SessionState]bool{models.SessionPending: true, models.SessionHibernating: true, models.SessionWaking: true,
				models.SessionTerminating: true, models.SessionRunning: where == deletedAgent}[state] // whose home was there
			switch {
			case !passes:
				want = state // what rests or has ended is left alone
			case where != connectedAgent && state != models.SessionTerminating:
				want = models.SessionFailed
			}
			for _, id := range ids[state] {
				session := w.awaitSession(id, want)
				if passes && where != connectedAgent && (session.ReasonCode != models.CodeAgentUnavailable || session.Reason == "") {
					t.Errorf("%s ended with %q (%s)", id, session.Reason, session.ReasonCode)
				}
				if got := len(w.history(id)); got != map[bool]int{true: 2, false: 1}[passes] {
					t.Errorf("%s has the history %q", id, w.history(id))
				}
				if commands := w.sessionCommands(id); len(commands) != 1 && !(passes && where == connectedAgent && len(commands) == 2) {
					t.Errorf("%s has %d commands", id, len(commands))
				}
			}
		}
		stats, err := reconciler.GetStats()
		if err != nil || stats["stuck_pending"]+stats["stuck_hibernating"]+stats["stuck_waking"]+stats["stuck_terminating"] != 0 {
			t.Errorf("the statistics are %v (%v)", stats, err)
		}
	})
}

// R1, D6. A session is deleted from every state, by two at once, whatever its
// agent does: at once if nothing of it runs, and within a bound otherwise.
func TestEverySessionCanBeDeletedTwiceAtOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, w *world, where whereabouts) {
		ids := w.inEveryState(where)
		// A start is in flight, and others wait their turn.
		w.exec(`UPDATE agent_commands SET status = 'sent' WHERE session_id = 'pending-false'`)
		if where == connectedAgent {
			w.exec(`UPDATE agents SET cordoned = ` + map[db.Engine]string{db.SQLite: "1", db.Postgres: "true"}[w.database.Engine()])
			ids[models.SessionPending] = append(ids[models.SessionPending], w.launch("waits").ID)
			if !w.session("waits").Waiting() {
				t.Fatal("it does not wait")
			}
		}
		w.start()
		w.reconcile()
		var asking sync.WaitGroup
		for _, id := range slices.Concat(ids[models.SessionPending], ids[models.SessionRunning], ids[models.SessionHibernating],
			ids[models.SessionHibernated], ids[models.SessionWaking], ids[models.SessionTerminating], ids[models.SessionTerminated], ids[models.SessionFailed]) {
			for range 2 {
				asking.Go(func() {
					session, err := w.sessions.Stop(t.Context(), id, "user:ann")
					switch {
					case err != nil:
						t.Errorf("stop %s: %v", id, err)
					case session.State != models.SessionTerminating && !session.State.Terminal():
						t.Errorf("%s is %s once it is to stop", id, session.State)
					case !session.State.Terminal() && !strings.HasPrefix(id, "terminating") &&
						(where == noAgent || strings.HasPrefix(id, "hibernated") || id == "waits"):
						t.Errorf("nothing runs of %s, and it is %s", id, session.State)
					}
				})
			}
		}
		asking.Wait()
		w.clock.advance(12 * time.Minute)
		for state, of := range ids {
			for _, id := range of {
				want := models.SessionTerminated
				if state == models.SessionFailed {
					want = state
				}
				w.awaitSession(id, want)
				stops := 0
				for _, command := range w.sessionCommands(id) {
					if command.Action == models.ActionStopSession && command.CommandID != "first-"+id {
						stops++
					}
				}
				if stops > 1 {
					t.Errorf("%s was stopped with %d commands", id, stops)
				}
			}
		}
		w.await("no command is open", func() bool {
			w.clock.advance(time.Minute)
			for _, of := range ids {
				for _, id := range of {
					if open, err := w.database.HasUnfinishedCommand(t.Context(), id); err != nil || open {
						return false
					}
				}
			}
			return true
		})
	})
}
