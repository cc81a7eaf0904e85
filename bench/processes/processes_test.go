package processes_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/bench/processes"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tick is what processor time is counted in.
const tick = 10 * time.Millisecond

func start(t *testing.T, script string) *processes.Process {
	t.Helper()
	var owner processes.Owner
	p, err := owner.Start(processes.Command{Path: "sh", Arguments: []string{"-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := owner.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func line(t *testing.T, p *processes.Process, text string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	found, err := p.Line(ctx, text)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// running tells whether the process is there and no zombie.
func running(pid string) bool {
	state, err := exec.Command("ps", "-o", "stat=", "-p", pid).Output()
	return err == nil && !strings.HasPrefix(string(state), "Z")
}

func TestLine(t *testing.T) {
	p := start(t, "echo one; echo the second; cat")
	if got := line(t, p, "second"); got != "the second" {
		t.Errorf("got %q", got)
	}
}

func TestLineOfAnEndedProgramSaysWhy(t *testing.T) {
	p := start(t, "echo it broke >&2; exit 3")
	_, err := p.Line(t.Context(), "ready")
	if err == nil || !strings.Contains(err.Error(), "it broke") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("the error is %v", err)
	}
}

func TestLineEndsWithItsContext(t *testing.T) {
	p := start(t, "exec sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Line(ctx, "ready"); err == nil {
		t.Error("a line came from nowhere")
	}
}

func TestStopEndsTheWholeGroup(t *testing.T) {
	// The child ignores the request to end, so only the group's kill ends it.
	p := start(t, `sh -c 'trap "" TERM; echo child $$; while :; do sleep 60; done' & wait`)
	_, child, _ := strings.Cut(line(t, p, "child"), " ")
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if running(child) {
		t.Error("the child is left")
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopping again: %v", err)
	}
}

// Busy children count, also those that ended.
func TestCPUCountsTheGroup(t *testing.T) {
	p := start(t, `sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'; echo burned; exec sleep 60`)
	line(t, p, "burned")
	taken, err := p.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if taken < 2*tick || taken > 20*time.Second {
		t.Errorf("a loop of 300,000 took %v", taken)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.CPU(); err == nil {
		t.Error("an ended process takes no time that could be told")
	}
}

func TestReap(t *testing.T) {
	dir := t.TempDir()
	var owner processes.Owner
	// No end of the group reaches a session of its own.
	p, err := owner.Start(processes.Command{Path: "sh", Dir: dir,
		Arguments: []string{"-c", "setsid sh -c 'echo session $$; exec sleep 60' & exec sleep 60"}})
	if err != nil {
		t.Fatal(err)
	}
	_, apart, _ := strings.Cut(line(t, p, "session"), " ")
	if err := processes.Reap(dir); err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if running(apart) {
		t.Error("the session is left")
	}
}
