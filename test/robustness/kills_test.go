package robustness

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// part is what of the program comes by a failpoint.
type part int

const (
	controlPlane part = iota
	agentPart
	supervisorPart
)

// operation is what is going on when a program is killed.
type operation string

const (
	launch    operation = "launch"
	stop      operation = "stop"
	hibernate operation = "hibernate"
	wake      operation = "wake"
)

func operations() []operation { return []operation{launch, stop, hibernate, wake} }

// begins tells whether something runs once the operation is done.
func (o operation) begins() bool { return o == launch || o == wake }

// becomes is where the operation takes a session.
func (o operation) becomes() models.SessionState {
	return map[operation]models.SessionState{launch: models.SessionRunning, stop: models.SessionTerminated,
		hibernate: models.SessionHibernated, wake: models.SessionRunning}[o]
}

// last is the failpoint in a supervisor before it has done its part, where the
// operation can be held.
func (o operation) last() string {
	if o.begins() {
		return "supervisor-ready"
	}
	return "supervisor-ending"
}

// moment is one case: where, and while what is going on.
type moment struct {
	point string
	of    part
	// hit is the how manieth time the point is come by.
	hit    int
	during operation
	// sessions are so many at once.
	sessions int
	news     news
}

// news is what is written of commands at a moment.
type news int

const (
	// The zero value is anything: what takes little time is one write.
	_ news = iota
	// sent: the supervisor has not done its part before the program has died.
	sent
	// completed: that it was sent and acknowledged is written before.
	completed
)

// cases are the moments at which programs are killed: at each write and at each
// edge of a command, in each operation. What is written for several sessions at
// once may be one write, so no more hits than certain are waited for.
func cases() []moment {
	var all []moment
	for _, during := range operations() {
		at := func(of part, point string, hit, sessions int, what ...news) {
			one := moment{point: point, of: of, hit: hit, during: during, sessions: sessions}
			if len(what) > 0 {
				one.news = what[0]
			}
			all = append(all, one)
		}
		first, sending := 2, 1
		if during == launch {
			first = 1 // one transaction may launch all
		}
		if during.begins() {
			sending = 2
		}
		at(controlPlane, string(during)+"-uncommitted", first, 3)
		at(controlPlane, string(during)+"-committed", 2, 3)
		at(controlPlane, "command-unsent", sending, 3)
		for _, point := range []string{"status-unwritten", "status-written"} {
			at(controlPlane, point, 1, 3)
			at(controlPlane, point, 1, 1, sent)
			at(controlPlane, point, 1, 1, completed)
		}
		at(agentPart, "journal-unsynced", 1, 3) // an intent
		at(agentPart, "journal-unsynced", 2, 1) // an outcome
		for _, point := range []string{"intent-synced", "effect-ahead", "effect-done", "outcome-synced"} {
			at(agentPart, point, 2, 3)
		}
		if during.begins() {
			at(supervisorPart, "supervisor-recorded", 2, 3)
		}
		at(supervisorPart, during.last(), 2, 3)
	}
	return all
}

func (m moment) String() string {
	during := string(m.during)
	switch m.news {
	case sent:
		during += " was sent"
	case completed:
		during += " has completed"
	}
	return fmt.Sprintf("%s, %s, hit %d of %d sessions", during, m.point, m.hit, m.sessions)
}

// killUp kills control plane and agent, in one process, at every moment.
func killUp(t *testing.T, r *report) {
	w := newWorld(t, failpointBinary(t), "")
	w.startUp()
	w.launch(1)
	for _, at := range cases() {
		switch one := r.begin(t, "kill -9 of up: "+at.String(), w.engine()); at.of {
		case supervisorPart:
			w.outlive(one, at, func() *program.Program { return w.server }, w.startUp)
		default:
			w.kill(one, at, func() *program.Program { return w.server }, w.startUp)
		}
	}
	w.finish()
}

// killServer kills a control plane without an agent of its own.
func killServer(t *testing.T, r *report, database string) {
	w := newWorld(t, failpointBinary(t), database)
	w.startServer()
	w.startAgent()
	w.launch(1)
	for _, at := range cases() {
		if at.of != controlPlane {
			continue
		}
		w.kill(r.begin(t, "kill -9 of server: "+at.String(), w.engine()), at, func() *program.Program { return w.server }, w.startServer)
		// One that has lost its control plane again and again waits for longer
		// than one that has not.
		w.agent.Stop()
		w.startAgent()
	}
	w.finish()
}

// killAgent kills an agent that runs apart, and supervisors.
func killAgent(t *testing.T, r *report) {
	w := newWorld(t, failpointBinary(t), "")
	w.startServer()
	w.startAgent()
	w.launch(1)
	for _, at := range cases() {
		agent := func() *program.Program { return w.agent }
		switch at.of {
		case agentPart:
			w.kill(r.begin(t, "kill -9 of agent: "+at.String(), w.engine()), at, agent, w.startAgent)
		case supervisorPart:
			w.outlive(r.begin(t, "kill -9 of agent: "+at.String(), w.engine()), at, agent, w.startAgent)
			w.killSupervisor(r.begin(t, "kill -9 of supervisor: "+at.String(), w.engine()), at)
		}
	}
	w.finish()
}

// kill has a program killed at the moment, starts it again, and checks that
// all that was accepted is done, once.
func (w *world) kill(one *row, at moment, victim func() *program.Program, restart func()) {
	w.t.Helper()
	w.t.Logf("%s: %s", one.engine, one.fault)
	request := w.begin(at)
	w.await(victim())
	one.over()
	if at.during.begins() {
		w.noteReady(request.ids)
	}
	restart()
	if at.news == sent {
		w.faults.held(at.during.last())() // for the first time, or for a new agent
	}
	w.conclude(one, at, request)
}

// outlive kills the agent while a supervisor is held at the moment.
func (w *world) outlive(one *row, at moment, victim func() *program.Program, restart func()) {
	w.t.Helper()
	w.t.Logf("%s: %s", one.engine, one.fault)
	request := w.prepare(at.during, at.sessions)
	w.faults.arm(at.point, at.hit, "hold")
	asked := w.request(at.during, request)
	release := w.faults.held(at.point)
	victim().Kill()
	one.over()
	if at.during.begins() {
		w.noteReady(request)
	}
	release()
	restart()
	w.conclude(one, at, requested{request, asked})
}

// killSupervisor has a supervisor killed at the moment. The session that it
// begins with fails with a reason, and leaves nothing; one that it ends has ended.
func (w *world) killSupervisor(one *row, at moment) {
	w.t.Helper()
	w.t.Logf("%s: %s", one.engine, one.fault)
	ids := w.prepare(at.during, at.sessions)
	w.faults.arm(at.point, at.hit, "kill")
	asked := w.request(at.during, ids)
	asked.accepted()
	w.faults.reached(at.point)
	one.over()
	if !at.during.begins() {
		w.conclude(one, at, requested{ids, asked})
		return
	}
	var failed []string
	api := w.api()
	for _, id := range ids {
		program.Eventually(w.t, "session "+id+" runs or has failed", recoverWithin, func() error {
			session, err := api.Session(program.Limit(w.t), id)
			switch {
			case err != nil:
				return err
			case session.State == models.SessionFailed && session.Reason != "":
				failed = append(failed, id)
			case session.State != models.SessionRunning:
				return fmt.Errorf("it is %s: %s", session.State, session.Reason)
			}
			return nil
		})
	}
	if len(failed) != 1 {
		w.t.Fatalf("one supervisor was killed, and %v have failed", failed)
	}
	one.recovered()
	w.failures = append(w.failures, failed...)
	w.gone(failed)
	ids = slices.DeleteFunc(ids, func(id string) bool { return id == failed[0] })
	w.once(ids)
	w.stop(ids)
	one.held()
}

// requested is what a fault comes in between.
type requested struct {
	ids   []string
	asked *asked
}

// prepare has sessions where an operation can begin, all of it written.
func (w *world) prepare(during operation, count int) (ids []string) {
	w.t.Helper()
	switch during {
	case launch:
		return w.ids(count)
	case stop:
		ids = w.launch(count)
	default:
		ids = w.launchHomes(count)
	}
	if during == wake {
		w.hibernating(ids).accepted()
		w.reach(ids, models.SessionHibernated)
		w.gone(ids)
	}
	w.settled() // what was said of this is not taken for the operation
	return ids
}

// request asks for the operation.
func (w *world) request(during operation, ids []string) *asked {
	return map[operation]func([]string) *asked{launch: w.launching, stop: w.stopping, hibernate: w.hibernating, wake: w.waking}[during](ids)
}

// begin arms the moment, then asks for what leads to it.
func (w *world) begin(at moment) requested {
	w.t.Helper()
	ids := w.prepare(at.during, at.sessions)
	switch at.news {
	case completed:
		return requested{ids, w.requestUntilCompleted(at, ids)}
	case sent:
		w.faults.arm(at.during.last(), 1, "hold")
	}
	w.faults.arm(at.point, at.hit, "kill")
	return requested{ids, w.request(at.during, ids)}
}

// requestUntilCompleted asks for the operation, and arms the moment when all is
// written but that it has completed.
func (w *world) requestUntilCompleted(at moment, ids []string) *asked {
	w.t.Helper()
	asked, release := w.requestUntilHeld(at.during, at.during.last(), ids)
	w.faults.arm(at.point, at.hit, "kill")
	release()
	return asked
}

// requestUntilHeld asks for the operation, and gives what lets it go on from a
// point in a supervisor, when all is written but that it has completed.
func (w *world) requestUntilHeld(during operation, point string, ids []string) (asked *asked, release func()) {
	w.t.Helper()
	w.faults.arm(point, 1, "hold")
	asked = w.request(during, ids)
	release = w.faults.held(point)
	api := w.api()
	for _, id := range ids {
		program.Eventually(w.t, "the command to "+string(during)+" "+id+" is acknowledged", 30*time.Second, func() error {
			commands, err := api.SessionCommands(program.Limit(w.t), id, client.Page{})
			if err == nil && (len(commands.Items) == 0 || commands.Items[0].Status != models.CommandAck) {
				err = fmt.Errorf("the commands are %+v", commands.Items)
			}
			return err
		})
	}
	return asked, release
}

// await waits until a program has killed itself.
func (w *world) await(victim *program.Program) {
	w.t.Helper()
	select {
	case <-victim.Exited():
	case <-time.After(30 * time.Second):
		w.t.Fatal("nothing has come by the failpoint")
	}
}

// conclude checks that what was asked for is accepted after all, and done
// once, then stops what there is.
func (w *world) conclude(one *row, at moment, request requested) {
	w.t.Helper()
	request.asked.accepted()
	w.reach(request.ids, at.during.becomes())
	one.recovered()
	w.rests(at.during, request.ids)
	one.held()
}

// rests checks sessions that an operation has brought where they were to be,
// with what was in their homes, and stops them.
func (w *world) rests(during operation, ids []string) {
	w.t.Helper()
	if during.begins() {
		w.once(ids)
	} else {
		w.gone(ids)
		w.once(nil)
	}
	switch during {
	case hibernate:
		w.kept(ids, memo)
	case wake:
		w.kept(ids, seen)
	}
	if during != stop {
		w.stop(ids)
	}
}
