package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/websockify"
)

// asProgram makes the test's program this program, so that the benchmarks also
// find their roles in it.
const asProgram = "BENCH_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// bench makes a command of this program that keeps its files below dir.
func bench(t *testing.T, dir string, arguments ...string) (command *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command, out = exec.Command(self, arguments...), &bytes.Buffer{}
	command.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+dir)
	command.Stdout, command.Stderr = out, out
	return command, out
}

// nothingLeft checks that no process and no file of a run is left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	for _, process := range processes.List() {
		if process.PID != os.Getpid() && process.Mentions(dir) {
			t.Errorf("process %d is left: %q", process.PID, process.Arguments)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// need skips a test for the lack of a program, and fails it in CI.
func need(t *testing.T, program, install string) {
	t.Helper()
	if _, err := harness.Need(program, install); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED:", err)
	}
}

// The whole way from the command line to the result, with real programs.
func TestQuickRuns(t *testing.T) {
	for _, test := range []struct {
		arguments                      []string
		metric, goal, program, install string
	}{
		{[]string{"-quick", "-part", "echo", "stream"}, "stream_echo_ratio", "<=1", "websockify", websockify.Install},
		{[]string{"-quick", "launch"}, "launch_ratio", "<=1.15", "Xvnc", "apt-get install tigervnc-standalone-server icewm"},
	} {
		t.Run(test.metric, func(t *testing.T) {
			need(t, test.program, test.install)
			dir := t.TempDir()
			// A desktop of root's is another user's, who must get there.
			if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
				t.Fatal(err)
			}
			command, out := bench(t, dir, test.arguments...)
			err := command.Run()
			var exit *exec.ExitError
			if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != statusFail) {
				t.Fatalf("%v:\n%s", err, out)
			}
			results := 0
			for line := range strings.Lines(out.String()) {
				fields := strings.Fields(line)
				if len(fields) == 0 || fields[0] != "RESULT" {
					continue
				}
				results++
				if len(fields) != 5 || fields[1] != test.metric || fields[3] != test.goal {
					t.Fatalf("the result is %q", line)
				}
				ratio, parseErr := strconv.ParseFloat(fields[2], 64)
				if passed := fields[4] == "pass"; parseErr != nil || ratio <= 0 || passed != (err == nil) {
					t.Errorf("the result is %q, the status %v", line, err)
				}
			}
			if results != 1 {
				t.Errorf("there are %d results:\n%s", results, out)
			}
			nothingLeft(t, dir)
		})
	}
}

// Ctrl-C in the middle of it.
func TestAnInterruptionLeavesNothing(t *testing.T) {
	need(t, "websockify", websockify.Install)
	dir := t.TempDir()
	command, out := bench(t, dir, "-part", "bulk", "stream")
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	// The agent comes last, so everything runs by then.
	for begun := time.Now(); ; <-time.After(10 * time.Millisecond) {
		if found, _ := filepath.Glob(filepath.Join(dir, "ssbench-*", "agent", "journal")); len(found) > 0 {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, out)
		default:
		}
		if time.Since(begun) > 5*time.Minute { // the product is built before
			_ = command.Process.Kill()
			<-ended
			t.Fatalf("the agent did not start:\n%s", out)
		}
	}
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := <-ended
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != statusFail || !strings.Contains(out.String(), "Stopped") {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
	nothingLeft(t, dir)
}

func TestWhatIsMissingIsTold(t *testing.T) {
	dir := t.TempDir()
	command, out := bench(t, dir, "-program", "/bin/true", "-part", "echo", "stream")
	command.Env = append(command.Env, "PATH="+t.TempDir())
	err := command.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != statusMissing || !strings.Contains(out.String(), websockify.Install) {
		t.Errorf("it ended with %v:\n%s", err, out)
	}
	nothingLeft(t, dir)
}

func TestWrongArguments(t *testing.T) {
	for _, arguments := range [][]string{{}, {"nothing"}, {"stream", "launch"}, {"-part", "nothing", "stream"}} {
		command, out := bench(t, t.TempDir(), arguments...)
		err := command.Run()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != statusFail || !strings.Contains(out.String(), "bench: ") {
			t.Errorf("%q ends with %v:\n%s", arguments, err, out)
		}
	}
}
