package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/test/program"
)

// withSpares is a driver that makes ready for sessions.
type withSpares struct {
	*opened
	exits <-chan driver.Exit
	stop  context.CancelFunc
}

func openWithSpares(t *testing.T, config process.Config) *withSpares {
	t.Helper()
	s := &withSpares{opened: open(t, config)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	if s.exits, err = s.Exits(ctx); err != nil {
		t.Fatal(err)
	}
	s.stop = cancel
	return s
}

// screenSpare waits until a screen without a session is up.
func (s *withSpares) screenSpare(t *testing.T) (dir string) {
	t.Helper()
	program.Eventually(t, "a screen waits for its session", 30*time.Second, func() error {
		waiting := s.waiting(t)
		if len(waiting) != 1 {
			return fmt.Errorf("there are %d", len(waiting))
		}
		dir = waiting[0]
		_, err := os.Stat(filepath.Join(dir, "run", "rfb.sock"))
		return err
	})
	return dir
}

// waiting lists the directories of screens without a session.
func (s *withSpares) waiting(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(s.dir, "sessions", "spare-*.0"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// supervisors lists those of a driver, by process id.
func (o *opened) supervisors(t *testing.T) []int {
	t.Helper()
	var all []int
	for _, pid := range program.ProcessesOf(t, o.dir) {
		if strings.Contains(program.Describe([]int{pid}), " "+process.SuperviseCommand+" ") {
			all = append(all, pid)
		}
	}
	slices.Sort(all)
	return all
}

func kill9(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A supervisor waits for the next session, and ends with the agent's interest.
func TestOwnSpareSupervisor(t *testing.T) {
	o := openWithSpares(t, process.Config{Dir: t.TempDir()})
	screens := 0
	if _, err := exec.LookPath("Xvnc"); err == nil {
		screens = 1 // one waits with a screen besides
	}
	var spare []int
	count := func(want int) {
		t.Helper()
		program.Eventually(t, fmt.Sprintf("there are %d supervisors", want), 30*time.Second, func() error {
			if spare = o.supervisors(t); len(spare) != want {
				return fmt.Errorf("there are %d", len(spare))
			}
			return nil
		})
	}
	count(1 + screens)
	started := o.start(t, terminal(one("quick"), "sh"))
	if pid, _ := started.Metadata["supervisorPid"].(int); !slices.Contains(spare, pid) {
		t.Errorf("the processes %v waited, and %v took the session", spare, pid)
	}
	count(2 + screens)
	// One that has died is no loss.
	for _, pid := range spare {
		if pid != started.Metadata["supervisorPid"] {
			kill9(t, pid)
		}
	}
	o.start(t, terminal(one("second"), "sh"))
	count(3 + screens)
	o.stop()
	for range o.exits {
		t.Error("nothing has ended")
	}
	if left := o.supervisors(t); len(left) != 2 {
		t.Errorf("of two sessions there are %d supervisors", len(left))
	}
}

// A screen that was up before its session is that session's in every respect.
func TestOwnSpareScreen(t *testing.T) {
	has(t, "Xvnc", "xterm")
	o := openWithSpares(t, process.Config{Dir: t.TempDir()})
	dir := o.screenSpare(t)
	server := serverOf(t, o, dir)
	if running, err := o.Inventory(program.Limit(t)); err != nil || len(running) != 0 {
		t.Errorf("the inventory has %+v, %v", running, err)
	}
	spec := screen(one("ready"), "xterm", "-e", "sh", "-c", "id -u > uid; echo $HOME $STREAMSPACE_SESSION > names; exec sleep 1000")
	started := o.start(t, spec)
	if o.processOf(t, "ready", "Xvnc") != server {
		t.Error("the session has another screen than the one that waited")
	}
	var uid []byte
	program.Eventually(t, "the program uses the screen", 30*time.Second, func() (err error) {
		if uid, err = os.ReadFile(o.in("ready", "home", "uid")); err != nil {
			return err
		}
		names, err := os.ReadFile(o.in("ready", "home", "names"))
		home := o.in("ready", "home")
		if os.Geteuid() == 0 {
			home = "/home/alice"
		}
		if want := home + " ready\n"; err == nil && string(names) != want {
			err = fmt.Errorf("the session's names are %q and not %q", names, want)
		}
		return err
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", server))
	if err != nil {
		t.Fatal(err)
	}
	if user := "Uid:\t" + strings.TrimSpace(string(uid)) + "\t"; !strings.Contains(string(status), user) {
		t.Errorf("the program's user is not the screen's: %q is not in\n%s", user, status)
	}
	isPrivate(t, o.opened, server, started)
	if next := o.screenSpare(t); next == dir {
		t.Error("the next screen is the same")
	}
	o.gone(t, "ready")
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", server)); err == nil {
		t.Error("the screen is still there")
	}
	o.stop()
	for range o.exits {
		t.Error("nothing has ended by itself")
	}
	o.nothingWaits(t)
}

// serverOf is the X server that was started in a directory.
func serverOf(t *testing.T, o *withSpares, dir string) (pid int) {
	t.Helper()
	for _, candidate := range program.ProcessesOf(t, dir) {
		if name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", candidate)); string(name) == "Xvnc\n" {
			return candidate
		}
	}
	t.Fatalf("no X server runs in %s; there is\n%s", dir, program.Describe(program.ProcessesOf(t, o.dir)))
	return 0
}

func (s *withSpares) nothingWaits(t *testing.T) {
	t.Helper()
	program.Eventually(t, "nothing is left of what waited", 30*time.Second, func() error {
		if left := append(s.waiting(t), program.Describe(program.ProcessesOf(t, filepath.Join(s.dir, "sessions", "spare-")))); left[0] != "" {
			return fmt.Errorf("there is %s", strings.Join(left, "\n"))
		}
		return nil
	})
}

// Screens that waited in vain, or have died, delay nothing and leave nothing.
func TestOwnSpareScreenDoesNotFit(t *testing.T) {
	has(t, "Xvnc")
	o := openWithSpares(t, process.Config{Dir: t.TempDir()})
	for _, test := range []struct {
		id, geometry string
		keepsHome    bool
		disturb      func(dir string)
	}{
		{id: "persistent-home", keepsHome: true},
		{id: "other-size", geometry: "640x480"},
		{id: "dead-screen", geometry: "640x480", disturb: func(dir string) { kill9(t, serverOf(t, o, dir)) }},
		{id: "dead-supervisor", geometry: "640x480", disturb: func(dir string) { kill9(t, parent(t, serverOf(t, o, dir))) }},
	} {
		dir := o.screenSpare(t)
		spec := screen(one(test.id), "sleep", "1000")
		spec.PersistentHome, spec.Template.Spec.Process.Geometry = test.keepsHome, test.geometry
		if test.disturb != nil {
			test.disturb(dir)
		}
		o.start(t, spec)
		if !test.keepsHome { // else it fits the next session as well as before
			program.Eventually(t, test.id+": what did not fit is replaced", 30*time.Second, func() error {
				if _, err := os.Stat(dir); err == nil {
					return fmt.Errorf("%s is still there", dir)
				}
				return nil
			})
		}
		o.gone(t, spec.SessionID)
	}
	o.screenSpare(t)
	o.stop()
	for range o.exits {
		t.Error("no session has ended by itself")
	}
	o.nothingWaits(t)
}

// parent is the process that has started pid.
func parent(t *testing.T, pid int) int {
	t.Helper()
	var above int
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil {
		_, err = fmt.Sscanf(string(status[strings.Index(string(status), "PPid:"):]), "PPid: %d", &above)
	}
	if err != nil {
		t.Fatal(err)
	}
	return above
}

// What waited for sessions of an agent that was killed ends, and the next agent
// removes what it left.
func TestOwnSparesOfADeadAgent(t *testing.T) {
	has(t, "Xvnc")
	o := &withSpares{opened: open(t, process.Config{Dir: t.TempDir()})}
	running, lines := agent(t, o.dir)
	says(t, lines, "starting")
	says(t, lines, "started")
	waited := o.screenSpare(t)
	kill(t, running)
	program.Eventually(t, "the screen has ended", 30*time.Second, func() error {
		if left := program.ProcessesOf(t, waited); len(left) > 0 {
			return fmt.Errorf("there is %s", program.Describe(left))
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	exits, err := o.Exits(ctx)
	if err != nil {
		t.Fatal(err)
	}
	program.Eventually(t, "the directory is removed", 30*time.Second, func() error {
		if _, err := os.Stat(waited); err == nil {
			return fmt.Errorf("%s is still there", waited)
		}
		return nil
	})
	cancel()
	for exit := range exits {
		t.Errorf("%+v has ended", exit)
	}
	o.nothingWaits(t)
}
