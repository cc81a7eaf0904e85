package containers

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/streamspace/streamspace/agent/driver/docker/enginetest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// containersOf gives the ids of the containers that run.
func containersOf(t *testing.T, e *enginetest.Engine) string {
	t.Helper()
	ids, err := e.Docker("ps", "--quiet", "--no-trunc")
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestUpFindsAnEngineAndItsSessionsOutliveIt(t *testing.T) {
	e := newEngine(t)
	m := newMachine(t, e.Host)
	if !strings.Contains(m.found, "A Docker engine is at "+e.Host) {
		t.Errorf("it says %q", m.found)
	}
	m.launch("one", "box")
	m.launch("keeper", "kept")
	if session := m.await("one", models.SessionRunning); session.AgentID != "local-docker" || session.Platform != models.PlatformDocker {
		t.Errorf("the session is %+v", session)
	}
	m.await("keeper", models.SessionRunning)
	agent, err := m.api.Agent(program.Limit(t), "local-docker")
	if err != nil || !(models.Agent{Metadata: agent.Metadata}).HoldsImage(shellImage) {
		t.Errorf("the agent says %v, %v", agent.Metadata, err)
	}
	before := containersOf(t, e)

	// An orderly end, and kill -9, of control plane and agents.
	for _, end := range []func(){func() { m.Stop() }, func() { m.Kill() }} {
		end()
		if now := containersOf(t, e); now != before {
			t.Fatalf("after the end there are %q, not %q", now, before)
		}
		m.begin()
		m.awaitAgent()
		m.await("one", models.SessionRunning)
		m.await("keeper", models.SessionRunning)
		if now := containersOf(t, e); now != before {
			t.Fatalf("after a restart there are %q, not %q", now, before)
		}
	}
	m.stopSession("one")
	if _, err := m.api.Hibernate(program.Limit(t), "keeper"); err != nil {
		t.Fatal(err)
	}
	m.await("keeper", models.SessionHibernated)
	m.eventuallyNothing(e, "volume streamspace-home-")
	if all, err := left(e); err != nil || len(all) != 1 {
		t.Errorf("of a session that hibernates is left %v, %v", all, err)
	}
	m.stopSession("keeper")

	// Another control plane on the same engine has containers of its own.
	other := newMachine(t, e.Host)
	other.launch("one", "box")
	other.await("one", models.SessionRunning)
	theirs := containersOf(t, e)
	m.launch("again", "box")
	m.await("again", models.SessionRunning)
	m.stopSession("again")
	if now := containersOf(t, e); now != theirs {
		t.Errorf("of the other's are left %q, not %q", now, theirs)
	}
	other.stopSession("one")
	m.eventuallyNothing(e, "volume streamspace-home-")
}

func TestUpWithoutAnEngineUsesOneThatComesLater(t *testing.T) {
	e := newEngine(t)
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, "unix://"+filepath.Join(t.TempDir(), "nothing.sock"))
	if !strings.Contains(m.found, "No Docker engine was found") {
		t.Errorf("without an engine it says %q", m.found)
	}
	m.Stop()
	m.host = e.Host // whose socket is there, and nobody answers
	m.begin()
	if !strings.Contains(m.found, "does not answer") {
		t.Errorf("with a dead engine it says %q", m.found)
	}
	if err := e.Begin(); err != nil {
		t.Fatal(err)
	}
	m.awaitAgent()
	m.launch("late", "box")
	m.await("late", models.SessionRunning)
	m.stopSession("late")
	m.eventuallyNothing(e)
}

func TestAnEngineThatIsKilledLeavesNoSessionUntold(t *testing.T) {
	e := newEngine(t)
	m := newMachine(t, e.Host)
	m.launch("victim", "kept")
	m.await("victim", models.SessionRunning)
	if err := e.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := e.Begin(); err != nil {
		t.Fatal(err)
	}
	if session := m.await("victim", models.SessionFailed); session.ReasonCode != models.CodeRuntimeLost || session.Reason == "" {
		t.Errorf("it failed with %q (%s)", session.Reason, session.ReasonCode)
	}
	m.launch("next", "kept")
	m.await("next", models.SessionRunning)
	if starts, err := e.Docker("exec", containersOf(t, e), "sh", "-c", "wc -l < $HOME/starts"); err != nil || starts != "2" {
		t.Errorf("in the home that is kept are %q starts, %v", starts, err)
	}
	m.stopSession("next")
	m.eventuallyNothing(e, "volume streamspace-home-")

	// One that hangs holds nothing up for good.
	if err := e.Pause(); err != nil {
		t.Fatal(err)
	}
	m.launch("patient", "box")
	if err := e.Resume(); err != nil {
		t.Fatal(err)
	}
	m.await("patient", models.SessionRunning)
	m.stopSession("patient")
	m.eventuallyNothing(e, "volume streamspace-home-")
	m.Signal(syscall.SIGTERM)
}

func TestHowSessionsEnd(t *testing.T) {
	e := newEngine(t)
	m := newMachine(t, e.Host)
	m.launch("brief", "brief")
	session := m.await("brief", models.SessionFailed)
	if session.ReasonCode != models.CodeRuntimeExited || !strings.Contains(session.Reason, "exit status 3") || !strings.Contains(session.Reason, "this is the end") {
		t.Errorf("one that ends at once: %q (%s)", session.Reason, session.ReasonCode)
	}
	m.launch("stubborn", "stubborn")
	m.await("stubborn", models.SessionRunning)
	m.stopSession("stubborn")
	m.eventuallyNothing(e)
}
