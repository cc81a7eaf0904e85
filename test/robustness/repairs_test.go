package robustness

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// wrong is what has become of an operation, and needs to be put right.
type wrong string

const (
	// failed: its command has failed, and the session has been on its way for
	// long. It is issued anew.
	failed wrong = "its command failed"
	// orphaned: its agent is not registered any more. The session is ended.
	orphaned wrong = "its agent is unknown"
	// overdue: its command is past its deadline, and the session has been on its
	// way for long.
	overdue wrong = "its command is overdue"
)

// repair is a moment in which the control plane is killed while it puts
// something right.
type repair struct {
	point  string
	of     wrong
	during operation
}

// repairs are all such moments.
func repairs() []repair {
	var all []repair
	for _, during := range operations() {
		for _, one := range []struct {
			of     wrong
			points []string
		}{
			{failed, []string{"reconcile-ahead", "reissue-uncommitted", "reissue-committed"}},
			{orphaned, []string{"force-end-uncommitted", "force-end-committed"}},
			{overdue, []string{"status-unwritten", "status-written"}},
		} {
			for _, point := range one.points {
				all = append(all, repair{point, one.of, during})
			}
		}
	}
	return all
}

// becomes is where a session is in the end. What was to begin and has not is
// over when its time is.
func (r repair) becomes() models.SessionState {
	switch {
	case r.of == orphaned && r.during == stop:
		return models.SessionTerminated
	case r.of == orphaned, r.of == overdue && r.during.begins():
		return models.SessionFailed
	}
	return r.during.becomes()
}

// killRepairs kills a control plane that puts right what has gone wrong.
func killRepairs(t *testing.T, r *report, database string) {
	w := newWorld(t, failpointBinary(t), database)
	w.startServer()
	w.startAgent()
	w.launch(1)
	for _, at := range repairs() {
		one := r.begin(t, fmt.Sprintf("kill -9 of server: %s, %s, %s", at.during, at.of, at.point), w.engine())
		w.t.Logf("%s: %s", one.engine, one.fault)
		id := w.killRepair(one, at)
		w.agent.Stop() // which has its successor tell what it has, too
		w.startAgent()
		w.settleRepair(id, at)
		one.held()
	}
	w.finish()
}

// killRepair has an operation go wrong while the control plane is away, kills
// that when it sees to it, and starts it once more.
func (w *world) killRepair(one *row, at repair) (id string) {
	w.t.Helper()
	id = w.prepare(at.during, 1)[0]
	point := "supervisor-recorded" // of which no inventory tells
	if !at.during.begins() {
		point = at.during.last()
	}
	asked, release := w.requestUntilHeld(at.during, point, []string{id})
	asked.accepted()
	w.server.Kill()
	w.goWrong(id, at.of)
	w.failures = append(w.failures, id)
	if at.of == overdue || at.point == "reconcile-ahead" {
		w.faults.arm(at.point, 1, "kill")
		w.runServer() // which comes by there before it serves, perhaps
	} else {
		reconcile := w.startUnreconciled()
		w.faults.arm(at.point, 1, "kill")
		reconcile()
	}
	w.await(w.server)
	one.over()
	w.startUnreconciled()()
	goesOn := at.becomes() == at.during.becomes() && at.of != orphaned
	if goesOn {
		release()
	}
	w.reachRepaired(id, at)
	one.recovered()
	if !goesOn {
		release()
	}
	return id
}

// reachRepaired waits until a session is where it is to be in the end.
func (w *world) reachRepaired(id string, at repair) {
	w.t.Helper()
	program.Eventually(w.t, fmt.Sprintf("session %s is %s", id, at.becomes()), recoverWithin, func() error {
		session, err := w.api().Session(program.Limit(w.t), id)
		if err == nil && (session.State != at.becomes() || session.State == models.SessionFailed && session.Reason == "") {
			err = fmt.Errorf("it is %s: %s", session.State, session.Reason)
		}
		return err
	})
}

// settleRepair checks what is left of a session, and stops it.
func (w *world) settleRepair(id string, at repair) {
	w.t.Helper()
	ids := []string{id}
	switch {
	case at.becomes() == at.during.becomes():
		w.rests(at.during, ids)
	default:
		w.gone(ids)
		w.once(nil)
		if at.during == hibernate || at.during == wake {
			w.kept(ids, memo)
		}
	}
}

// startUnreconciled starts the control plane, and gives what lets its first
// look at what is stuck begin, with the agent connected.
func (w *world) startUnreconciled() (reconcile func()) {
	w.t.Helper()
	w.faults.arm("reconcile-ahead", 1, "hold")
	before := w.epochWritten()
	w.startServer()
	reconcile = w.faults.held("reconcile-ahead")
	w.onlineAfter(before)
	return reconcile
}

// epochWritten is the number of the agent's last connection, also while no
// control plane runs.
func (w *world) epochWritten() (epoch int64) {
	w.t.Helper()
	handle := w.openDatabase()
	defer func() { _ = handle.Close() }()
	if err := handle.QueryRowContext(program.Limit(w.t), "SELECT epoch FROM agents WHERE id = '"+agentName+"'").Scan(&epoch); err != nil {
		w.t.Fatal(err)
	}
	return epoch
}

func (w *world) openDatabase() *sql.DB {
	w.t.Helper()
	driver, address := "sqlite3", w.dataDir+"/streamspace.db?_busy_timeout=5000"
	if w.database != "" {
		driver, address = "pgx", w.database
	}
	handle, err := sql.Open(driver, address)
	if err != nil {
		w.t.Fatal(err)
	}
	return handle
}

// goWrong writes what time and mishaps would have done, while no control plane
// runs.
func (w *world) goWrong(id string, how wrong) {
	w.t.Helper()
	handle := w.openDatabase()
	defer func() { _ = handle.Close() }()
	ago := func(age time.Duration) string {
		return time.Now().Add(-age).UTC().Format("2006-01-02T15:04:05.000000Z")
	}
	open := "WHERE session_id = '" + id + "' AND status NOT IN ('completed', 'failed')"
	statements := []string{fmt.Sprintf("UPDATE sessions SET state_since = '%s' WHERE id = '%s'", ago(6*time.Minute), id)}
	switch how {
	case failed:
		statements = append(statements, fmt.Sprintf("UPDATE agent_commands SET status = 'failed', completed_at = '%s' %s", ago(0), open))
	case orphaned:
		statements = append(statements, fmt.Sprintf("UPDATE sessions SET agent_id = 'nobody' WHERE id = '%s'", id))
	case overdue:
		statements = append(statements, fmt.Sprintf("UPDATE agent_commands SET deadline_at = '%s' %s", ago(time.Minute), open))
	}
	for _, statement := range statements {
		if _, err := handle.ExecContext(program.Limit(w.t), statement); err != nil {
			w.t.Fatalf("%s: %v", statement, err)
		}
	}
}
