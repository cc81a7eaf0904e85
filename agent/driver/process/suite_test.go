package process_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/drivertest"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// asOther makes a run of this test binary as a user without rights the one
// that TestAsAnyUser has asked for.
const asOther = "STREAMSPACE_TEST_AS_OTHER"

// grace is short: the suite's deaf programs use all of it.
const grace = time.Second

func TestDriver(t *testing.T) {
	drivertest.Run(t, harness(t, func(t *testing.T) process.Config { return process.Config{Dir: t.TempDir(), StopGrace: grace} }))
}

// A root agent that may not make namespaces runs sessions as users of their
// own all the same.
func TestDriverWithoutNamespaces(t *testing.T) {
	needRoot(t)
	drivertest.Run(t, harness(t, func(t *testing.T) process.Config {
		return process.Config{Dir: passableDir(t), StopGrace: grace, NoNamespaces: true}
	}))
}

// The whole suite again as a user without any rights.
func TestAsAnyUser(t *testing.T) {
	needRoot(t)
	dir := passableDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"-test.run", "^Test(Driver|Own)", "-test.v"}
	if testing.Short() {
		arguments = append(arguments, "-test.short")
	}
	again := exec.Command("/proc/self/exe", arguments...)
	again.Env = []string{asOther + "=yes", "TMPDIR=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "CI=" + os.Getenv("CI")}
	again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	output, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: TestDriver/") {
		t.Fatalf("as another user: %v\n%s", err, output)
	}
	t.Logf("%s", output)
}

// People who try the supervisor are told that it is not for them.
func TestOwnSuperviseByHand(t *testing.T) {
	output, err := exec.Command("/proc/self/exe", process.SuperviseCommand, "something").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(output), "an agent runs it") {
		t.Errorf("it says %q, %v", output, err)
	}
}

// nobody has no rights on any system.
const nobody = 65534

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" && os.Getenv(asOther) == "" {
		t.Fatal("these tests must run as root in CI")
	}
	t.Skip("SKIPPED: only root can test this")
}

// passableDir is a directory that every user can pass.
func passableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ss-") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func harness(t *testing.T, configure func(*testing.T) process.Config) drivertest.Harness {
	return drivertest.Harness{
		World: func(t *testing.T) drivertest.World { return world(t, configure(t)) },
		Terminal: func(ref driver.Ref, script string) driver.Spec {
			return terminal(ref, "sh", "-c", script)
		},
		Screen: func(ref driver.Ref) driver.Spec {
			return screen(ref, "sleep", "1000")
		},
		Pages: pages,
		Broken: func(ref driver.Ref) (driver.Spec, models.ErrorCode) {
			return terminal(ref, "streamspace-no-such-program"), models.CodeNeedsMissing
		},
		LimitsMemory: limitsMemory(t),
	}
}

// limitsMemory asks a driver what is in force.
func limitsMemory(t *testing.T) bool {
	t.Helper()
	w := world(t, process.Config{Dir: t.TempDir()})
	spec := terminal(driver.Ref{SessionID: "probe", Generation: 1}, "sleep", "1000")
	spec.Resources = models.Resources{Memory: "64Mi"}
	started, err := w.Open(t).Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	limits, _ := started.Metadata["limits"].(map[string]string)
	limited := !strings.HasPrefix(limits["memory"], "none: ")
	if !limited && os.Geteuid() == 0 && os.Getenv("CI") == "true" {
		t.Fatalf("in CI root must be able to limit memory: %s", limits["memory"])
	}
	return limited
}

func terminal(ref driver.Ref, command ...string) driver.Spec {
	spec := driver.Spec{Ref: ref, User: "alice"}
	spec.Template.Metadata.Name = "shell"
	spec.Template.Spec.Protocol = models.ProtocolTerminal
	spec.Template.Spec.Process = &models.ProcessSpec{Command: command}
	return spec
}

// pages serves as Harness.Pages asks for with what every Debian has: a session
// that is isolated sees no program that a test builds.
func pages(ref driver.Ref) driver.Spec {
	spec := terminal(ref, "perl", "-MIO::Socket::UNIX", "-e", `
		my $s = IO::Socket::UNIX->new(Local => $ENV{STREAMSPACE_HTTP_SOCKET}, Listen => 50) or die $!;
		my $asked = 0;
		while (my $c = $s->accept) {
			my $request = <$c>;
			while (my $line = <$c>) { last if $line eq "\r\n" }
			my $text = "pages of $ENV{STREAMSPACE_SESSION} after $asked";
			my $status = "200 OK";
			if ($request =~ m{ ([^ ]*)/health } && ($ENV{PREFIX} // "/") eq "$1/") { $status = ++$asked <= 3 ? "503 No" : "200 OK" }
			print $c "HTTP/1.1 $status\r\nConnection: close\r\nContent-Length: ", length $text, "\r\n\r\n$text";
			close $c;
		}`)
	spec.Template.Metadata.Name = "pages"
	spec.Template.Spec.Protocol, spec.Template.Spec.HTTP = models.ProtocolHTTP, &models.HTTP{HealthPath: "/health"}
	return spec
}

func screen(ref driver.Ref, command ...string) driver.Spec {
	spec := terminal(ref, command...)
	spec.Template.Metadata.Name = "desk"
	spec.Template.Spec.Protocol = models.ProtocolVNC
	return spec
}

// world is a directory for an agent. Whatever runs in it ends with the test.
func world(t *testing.T, config process.Config) drivertest.World {
	t.Helper()
	program.Reap(t, config.Dir)
	config.Logger = slog.New(slog.NewTextHandler(&toTest{t}, nil))
	open := func(t *testing.T) *process.Driver {
		t.Helper()
		opened, err := process.New(config)
		if err != nil {
			t.Fatal(err)
		}
		return opened
	}
	t.Cleanup(func() {
		d := open(t)
		inventory, err := d.Inventory(program.Limit(t))
		for _, runtime := range inventory {
			err = errors.Join(err, d.Stop(program.Limit(t), runtime.Ref))
		}
		if err != nil {
			t.Error(err)
		}
	})
	return drivertest.World{
		Open: func(t *testing.T) driver.Driver { return open(t) },
		Left: func(t *testing.T, sessionID string) []string { return left(t, config.Dir, sessionID) },
		Kill: func(t *testing.T, runtime driver.Runtime) {
			pid, _ := runtime.Metadata["supervisorPid"].(int)
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// left describes what is there of a session.
func left(t *testing.T, dir, sessionID string) []string {
	t.Helper()
	name := runtimedir.Escape(sessionID) + "."
	var all []string
	for _, pid := range program.ProcessesOf(t, filepath.Join(dir, "sessions", name)) {
		all = append(all, program.Describe([]int{pid}))
	}
	all = append(all, program.Paths(t, dir, "/"+name)...)
	for generation := range int64(10) {
		group := runtimedir.GroupName(filepath.Join(dir, "sessions", runtimedir.Name(driver.Ref{SessionID: sessionID, Generation: generation})))
		for _, above := range []string{"*", "*/*", "*/*/*"} {
			groups, err := filepath.Glob(filepath.Join("/sys/fs/cgroup", above, group))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, groups...)
		}
	}
	return all
}

// toTest is where a driver's log goes.
type toTest struct{ t *testing.T }

func (w *toTest) Write(line []byte) (int, error) {
	_, err := fmt.Fprintf(w.t.Output(), "%s", line)
	return len(line), err
}
