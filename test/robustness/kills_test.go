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

// moment is one case: where, and while what is going on.
type moment struct {
	point string
	of    part
	// hit is the how manieth time the point is come by.
	hit int
	// stopping is during a stop rather than a launch.
	stopping bool
	// sessions are so many at once.
	sessions int
	news     news
}

// news is what is written of commands at a moment.
type news int

const (
	// The zero value is anything: what takes little time is one write.
	_ news = iota
	// sent: the session is not ready before the program has died.
	sent
	// completed: that it was sent and acknowledged is written before.
	completed
)

// cases are the moments at which programs are killed. What is written for
// several sessions at once may be one write, so no more hits than certain are
// waited for.
func cases() []moment {
	return []moment{
		{point: "launch-uncommitted", of: controlPlane, hit: 1, sessions: 3},
		{point: "launch-committed", of: controlPlane, hit: 2, sessions: 3},
		{point: "command-unsent", of: controlPlane, hit: 2, sessions: 3},
		{point: "status-unwritten", of: controlPlane, hit: 1, sessions: 3},
		{point: "status-written", of: controlPlane, hit: 1, sessions: 3},
		{point: "status-unwritten", of: controlPlane, hit: 1, sessions: 1, news: sent},
		{point: "status-written", of: controlPlane, hit: 1, sessions: 1, news: sent},
		{point: "status-unwritten", of: controlPlane, hit: 1, sessions: 1, news: completed},
		{point: "status-written", of: controlPlane, hit: 1, sessions: 1, news: completed},
		{point: "stop-uncommitted", of: controlPlane, hit: 2, sessions: 3, stopping: true},
		{point: "stop-committed", of: controlPlane, hit: 2, sessions: 3, stopping: true},
		{point: "command-unsent", of: controlPlane, hit: 1, sessions: 3, stopping: true},
		{point: "status-unwritten", of: controlPlane, hit: 1, sessions: 3, stopping: true},
		{point: "status-written", of: controlPlane, hit: 1, sessions: 3, stopping: true},

		{point: "journal-unsynced", of: agentPart, hit: 1, sessions: 3}, // an intent
		{point: "journal-unsynced", of: agentPart, hit: 2, sessions: 1}, // an outcome
		{point: "intent-synced", of: agentPart, hit: 2, sessions: 3},
		{point: "effect-ahead", of: agentPart, hit: 2, sessions: 3},
		{point: "effect-done", of: agentPart, hit: 2, sessions: 3},
		{point: "outcome-synced", of: agentPart, hit: 2, sessions: 3},
		{point: "journal-unsynced", of: agentPart, hit: 1, sessions: 3, stopping: true},
		{point: "journal-unsynced", of: agentPart, hit: 2, sessions: 1, stopping: true},
		{point: "intent-synced", of: agentPart, hit: 2, sessions: 3, stopping: true},
		{point: "effect-ahead", of: agentPart, hit: 2, sessions: 3, stopping: true},
		{point: "effect-done", of: agentPart, hit: 2, sessions: 3, stopping: true},
		{point: "outcome-synced", of: agentPart, hit: 2, sessions: 3, stopping: true},

		{point: "supervisor-recorded", of: supervisorPart, hit: 2, sessions: 3},
		{point: "supervisor-ready", of: supervisorPart, hit: 2, sessions: 3},
	}
}

func (m moment) String() string {
	during := "launch"
	if m.stopping {
		during = "stop"
	}
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
	if !at.stopping {
		w.noteReady(request.ids)
	}
	restart()
	if at.news == sent {
		w.faults.held("supervisor-ready")() // by the first start, or by that of a new agent
	}
	w.conclude(one, at, request)
}

// outlive kills the agent while a supervisor is held at the moment.
func (w *world) outlive(one *row, at moment, victim func() *program.Program, restart func()) {
	w.t.Helper()
	w.t.Logf("%s: %s", one.engine, one.fault)
	request := w.ids(at.sessions)
	w.faults.arm(at.point, at.hit, "hold")
	asked := w.launching(request)
	release := w.faults.held(at.point)
	victim().Kill()
	one.over()
	w.noteReady(request)
	release()
	restart()
	w.conclude(one, at, requested{request, asked})
}

// killSupervisor has a supervisor killed at the moment: its session fails with
// a reason, and leaves nothing.
func (w *world) killSupervisor(one *row, at moment) {
	w.t.Helper()
	w.t.Logf("%s: %s", one.engine, one.fault)
	ids := w.ids(at.sessions)
	w.faults.arm(at.point, at.hit, "kill")
	w.launching(ids).accepted()
	w.faults.reached(at.point)
	one.over()
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

// begin arms the moment, then asks for what leads to it.
func (w *world) begin(at moment) requested {
	w.t.Helper()
	if !at.stopping {
		ids := w.ids(at.sessions)
		if at.news == completed {
			return requested{ids, w.launchUntilCompleted(at, ids)}
		}
		if at.news == sent {
			w.faults.arm("supervisor-ready", 1, "hold")
		}
		w.faults.arm(at.point, at.hit, "kill")
		return requested{ids, w.launching(ids)}
	}
	ids := w.launch(at.sessions)
	w.settled() // what was said of the launches is not taken for the stops
	w.faults.arm(at.point, at.hit, "kill")
	return requested{ids, w.stopping(ids)}
}

// launchUntilCompleted launches sessions, and arms the moment when all is
// written but their completion.
func (w *world) launchUntilCompleted(at moment, ids []string) *asked {
	w.t.Helper()
	w.faults.arm("supervisor-ready", 1, "hold")
	asked := w.launching(ids)
	release := w.faults.held("supervisor-ready")
	api := w.api()
	for _, id := range ids {
		program.Eventually(w.t, "the start of "+id+" is acknowledged", 30*time.Second, func() error {
			commands, err := api.SessionCommands(program.Limit(w.t), id, client.Page{})
			if err == nil && (len(commands.Items) != 1 || commands.Items[0].Status != models.CommandAck) {
				err = fmt.Errorf("the commands are %+v", commands.Items)
			}
			return err
		})
	}
	w.faults.arm(at.point, at.hit, "kill")
	release()
	return asked
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
// once, then stops what runs.
func (w *world) conclude(one *row, at moment, request requested) {
	w.t.Helper()
	request.asked.accepted()
	if at.stopping {
		w.ended(request.ids)
		one.recovered()
		w.gone(request.ids)
		w.once(nil)
	} else {
		w.running(request.ids)
		one.recovered()
		w.once(request.ids)
		w.stop(request.ids)
	}
	one.held()
}
