package robustness

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// newDisturbed makes a world with sessions that run, which no disturbance of
// the control plane may touch.
func newDisturbed(t *testing.T, database string) (w *world, veterans []string) {
	t.Helper()
	w = newWorld(t, failpointBinary(t), database)
	w.startServer()
	w.startAgent()
	return w, w.launch(2)
}

// untouched checks that sessions run as they did: no state was changed since.
func (w *world) untouched(ids []string, before map[string]models.Session) {
	w.t.Helper()
	for id, now := range w.sessions(ids) {
		if now.State != models.SessionRunning || !now.StateSince.Equal(before[id].StateSince) {
			w.t.Errorf("session %s is %s since %v: %s", id, now.State, now.StateSince, now.Reason)
		}
	}
}

func (w *world) sessions(ids []string) map[string]models.Session {
	w.t.Helper()
	api := w.api()
	sessions := map[string]models.Session{}
	for _, id := range ids {
		session, err := api.Session(program.Limit(w.t), id)
		if err != nil {
			w.t.Fatal(err)
		}
		sessions[id] = session
	}
	return sessions
}

// epoch is the number of the agent's connection.
func (w *world) epoch() int64 {
	w.t.Helper()
	agent, err := w.api().Agent(program.Limit(w.t), agentName)
	if err != nil {
		w.t.Fatal(err)
	}
	return agent.Epoch
}

// lasts is a fault's own duration.
func lasts(duration time.Duration) { <-time.After(duration) }

// stopPostgres kills PostgreSQL while sessions are launched and stopped, and
// starts it again.
func stopPostgres(t *testing.T, r *report) {
	postgres := startPostgres(t)
	w, veterans := newDisturbed(t, postgres.database("streamspace"))
	one := r.begin(t, "kill -9 of PostgreSQL: 8 launches and 3 stops under way", w.engine())
	before := w.sessions(veterans)
	ending, accepted, beginning := w.launch(3), w.ids(3), w.ids(5)
	w.launching(accepted).accepted()
	// How many launches one transaction carries depends on when they come.
	w.faults.arm("launch-uncommitted", 1, "hold")
	launches := w.launching(beginning)
	release := w.faults.held("launch-uncommitted")
	stops := w.stopping(ending)
	postgres.kill()
	release()
	lasts(2 * time.Second)
	postgres.start()
	one.over()
	launches.accepted()
	stops.accepted()
	beginning = append(accepted, beginning...)
	w.running(beginning)
	w.ended(ending)
	one.recovered()
	w.gone(ending)
	w.once(beginning)
	w.untouched(veterans, before)
	w.finish()
	one.held()
}

// pause stops the control plane in the middle of a launch, as a machine that is
// suspended does.
func pause(t *testing.T, r *report, database string, duration time.Duration) {
	w, veterans := newDisturbed(t, database)
	one := r.begin(t, fmt.Sprintf("SIGSTOP of server for %v: 3 launches and 1 stop under way", duration), w.engine())
	before, epoch := w.sessions(veterans), w.epoch()
	ending, beginning := w.launch(1), w.ids(3)
	w.faults.arm("status-unwritten", 1, "pause")
	launches, stops := w.launching(beginning), w.stopping(ending)
	w.faults.reached("status-unwritten")
	lasts(duration)
	w.server.Signal(syscall.SIGCONT)
	one.over()
	launches.accepted()
	stops.accepted()
	w.running(beginning)
	w.ended(ending)
	w.online()
	again := w.ids(1) // on whatever connection there is now
	w.launching(again).accepted()
	w.running(again)
	one.recovered()
	w.gone(ending)
	w.once(append(beginning, again...))
	w.untouched(veterans, before)
	if now := w.epoch(); duration < 8*time.Second && now != epoch {
		// Two pings may be missing: see wire.SilentPings.
		t.Errorf("the agent has connected again: connection %d, before %d", now, epoch)
	}
	w.finish()
	one.held()
}

// stallFor is longer than any call of the database may take.
const stallFor = 12 * time.Second

// stall keeps everything from being written for a while. hold takes the locks
// and gives what lets them go.
func stall(t *testing.T, r *report, database string, hold func(*world) (release func())) {
	w, veterans := newDisturbed(t, database)
	one := r.begin(t, fmt.Sprintf("locks held for %v: 3 launches, 1 stop and 1 end under way", stallFor), w.engine())
	before := w.sessions(veterans)
	ending, beginning, starting := w.launch(1), w.ids(3), w.ids(1)
	// One is about to be ready, and the news of that finds the locks taken.
	w.faults.arm("supervisor-ready", 1, "hold")
	w.launching(starting).accepted()
	ready := w.faults.held("supervisor-ready")
	release := hold(w)
	ready()
	launches, stops := w.launching(beginning), w.stopping(ending)
	lasts(stallFor)
	if accepted := launches.count() + stops.count(); accepted > 0 {
		t.Errorf("%d requests were accepted that cannot have been written", accepted)
	}
	release()
	one.over()
	launches.accepted()
	stops.accepted()
	w.running(slices.Concat(beginning, starting))
	w.ended(ending)
	w.online()
	one.recovered()
	w.gone(ending)
	w.once(slices.Concat(beginning, starting))
	w.untouched(veterans, before)
	w.finish()
	one.held()
}

// holdPostgres takes every row that a command or a session is written with.
func holdPostgres(w *world) (release func()) {
	w.t.Helper()
	return w.holdWrites("pgx", w.database, "BEGIN", "LOCK TABLE agents, sessions, agent_commands IN EXCLUSIVE MODE")
}

// holdSQLite takes the one right to write, as another program with the file
// open can.
func holdSQLite(w *world) (release func()) {
	w.t.Helper()
	return w.holdWrites("sqlite3", w.dataDir+"/streamspace.db?_busy_timeout=5000", "BEGIN IMMEDIATE")
}

func (w *world) holdWrites(driver, address string, statements ...string) (release func()) {
	w.t.Helper()
	handle, err := sql.Open(driver, address)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = handle.Close() })
	connection, err := handle.Conn(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := connection.ExecContext(program.Limit(w.t), statement); err != nil {
			w.t.Fatalf("%s: %v", statement, err)
		}
	}
	return func() {
		w.t.Helper()
		if _, err := connection.ExecContext(program.Limit(w.t), "ROLLBACK"); err != nil {
			w.t.Fatal(err)
		}
		_ = connection.Close()
	}
}
