package cli_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/cli"
)

// lines is what a command has said so far, and tells when it says a line.
type lines struct {
	mu   sync.Mutex
	text string
	said chan struct{}
}

func newLines() *lines { return &lines{said: make(chan struct{}, 1000)} }

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	for range strings.Count(string(p), "\n") {
		l.said <- struct{}{}
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// next waits for one more line.
func (l *lines) next(t *testing.T) {
	t.Helper()
	select {
	case <-l.said:
	case <-time.After(20 * time.Second):
		t.Fatalf("no other line follows %q", l.String())
	}
}

// waiting is a command that runs while the test goes on.
type waiting struct {
	out, progress *lines
	interrupt     context.CancelFunc
	status        chan int
}

func begin(t *testing.T, env map[string]string, args ...string) *waiting {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &waiting{out: newLines(), progress: newLines(), interrupt: cancel, status: make(chan int, 1)}
	lookup := func(name string) (string, bool) { value, set := env[name]; return value, set }
	var running sync.WaitGroup
	running.Go(func() {
		w.status <- cli.Run(ctx, args, programs(nil), cli.Streams{Out: w.out, Err: w.progress, Environment: lookup})
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return w
}

// end waits for the command's end and gives its exit status.
func (w *waiting) end(t *testing.T) int {
	t.Helper()
	select {
	case status := <-w.status:
		return status
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not end, and has said %q", w.progress.String())
		return 0
	}
}

func TestAgentsAreTakenOutOfServiceFromTheCommandLine(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	for _, id := range []string{"one", "two", "three"} {
		must(t, env, "session", "launch", "terminal", "--id", id, "--wait")
	}
	golden(t, must(t, env, "agents", "cordon", "edge"), "edge: online, cordoned")
	golden(t, must(t, env, "agents", "cordon", "edge"), "edge: online, cordoned")
	golden(t, must(t, env, "agents", "list"), `
ID    STATUS            PLATFORM  REGION  SESSIONS  HEARD FROM
edge  online, cordoned  process   eu-1    3 of 4    AGE ago`)
	golden(t, must(t, env, "agents", "uncordon", "edge"), "edge: online")
	golden(t, must(t, env, "agents", "drain", "edge"), "edge: draining, 3 sessions left")
	if out := must(t, env, "agents", "drain", "edge", "--deadline", "4m"); out != "edge: draining, 3 sessions left, stops them in 4m\n" {
		t.Errorf("drained with a deadline it is %q", out)
	}
	golden(t, must(t, env, "agents", "list"), `
ID    STATUS                                       PLATFORM  REGION  SESSIONS  HEARD FROM
edge  draining, 3 sessions left, stops them in AGE  process   eu-1    3 of 4    AGE ago`)
	golden(t, must(t, env, "agents", "show", "edge"), `
Agent:        edge
Status:       draining, 3 sessions left, stops them in AGE
Platform:     process
Version:      v0.9
Region:       eu-1
Sessions:     3 of 4
Connections:  1 so far
Heard from:   AGE ago
Registered:   DATE`)
	must(t, env, "session", "stop", "one", "two", "--wait")
	golden(t, must(t, env, "agents", "drain", "edge", "--deadline", "90m"), "edge: draining, 1 session left, stops it in AGE")
	golden(t, must(t, env, "agents", "uncordon", "edge"), "edge: online")
	if status, _, said := run(t, env, "agents", "drain", "edge", "--deadline", "-1s"); status != 2 || !strings.Contains(said, "--deadline must be") {
		t.Errorf("a negative deadline: status %d, %q", status, said)
	}
	if status, _, said := run(t, env, "agents", "drain", "edge", "--deadline", "10000h"); status != 1 || !strings.Contains(said, "deadlineSeconds") {
		t.Errorf("an absurd deadline: status %d, %q", status, said)
	}
	for _, change := range []string{"cordon", "uncordon", "drain"} {
		if status, _, said := run(t, env, "agents", change, "none"); status != 1 || !strings.Contains(said, `no agent "none"`) {
			t.Errorf("%s of an unknown agent: status %d, %q", change, status, said)
		}
		if out := must(t, env, "__complete", "agents", change, ""); !strings.Contains(out, "edge\tonline\n") {
			t.Errorf("agents are not completed for %s: %q", change, out)
		}
	}
}

func TestADrainIsWaitedFor(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	if out := must(t, env, "agents", "drain", "edge", "--wait"); out != "edge: draining, no session left\n" {
		t.Errorf("without sessions it says %q", out)
	}
	must(t, env, "agents", "uncordon", "edge")
	for _, id := range []string{"one", "two"} {
		must(t, env, "session", "launch", "terminal", "--id", id, "--wait")
	}

	interrupted := begin(t, env, "agents", "drain", "edge", "--wait")
	interrupted.progress.next(t)
	interrupted.interrupt()
	if status := interrupted.end(t); status != 130 || interrupted.out.String() != "" ||
		interrupted.progress.String() != "edge: draining, 2 sessions left\nThe drain goes on. End it with: streamspace agents uncordon edge\n" {
		t.Errorf("interrupted: status %d, %q, %q", status, interrupted.out.String(), interrupted.progress.String())
	}
	if out := must(t, env, "agents", "show", "edge"); !strings.Contains(out, "draining, 2 sessions left") {
		t.Errorf("the interruption ended the drain:\n%s", out)
	}

	ended := begin(t, env, "agents", "drain", "edge", "--wait")
	ended.progress.next(t)
	must(t, env, "agents", "uncordon", "edge")
	if status := ended.end(t); status != 1 || !strings.Contains(ended.progress.String(), "somebody has uncordoned it") {
		t.Errorf("uncordoned: status %d, %q", status, ended.progress.String())
	}

	whole := begin(t, env, "agents", "drain", "edge", "--wait")
	for _, id := range []string{"one", "two"} {
		whole.progress.next(t)
		must(t, env, "session", "stop", id, "--wait")
	}
	if status := whole.end(t); status != 0 || whole.out.String() != "edge: draining, no session left\n" ||
		whole.progress.String() != "edge: draining, 2 sessions left\nedge: draining, 1 session left\n" {
		t.Errorf("waited: status %d, %q, %q", status, whole.out.String(), whole.progress.String())
	}
}

// At the deadline the control plane that serves also stops.
func TestTheServerKeepsADrainsDeadline(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	must(t, env, "session", "launch", "terminal", "--id", "one", "--wait")
	drain := begin(t, env, "agents", "drain", "edge", "--deadline", "0s", "--wait")
	if status := drain.end(t); status != 0 || drain.out.String() != "edge: draining, no session left, 1 stopped\n" ||
		drain.progress.String() != "edge: draining, 1 session left, stops it now\n" {
		t.Errorf("drained: status %d, %q, %q", status, drain.out.String(), drain.progress.String())
	}
	shown := must(t, env, "session", "show", "one")
	if !strings.Contains(shown, "drain ") || !strings.Contains(shown, `agent "edge" is being taken out of service`) {
		t.Errorf("the session's history is\n%s", shown)
	}
}
