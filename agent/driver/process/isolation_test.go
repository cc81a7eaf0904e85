package process_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process"
	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// report runs a script in a session and gives what it writes to the file out
// in its home.
func (o *opened) report(t *testing.T, sessionID, script string) string {
	t.Helper()
	o.start(t, terminal(one(sessionID), "sh", "-c", "{ "+script+"\n} > out.part 2>&1; mv out.part out; sleep 1000"))
	var content []byte
	program.Eventually(t, sessionID+" reports", 30*time.Second, func() (err error) {
		content, err = os.ReadFile(o.in(sessionID, "home", "out"))
		return err
	})
	return string(content)
}

func contains(t *testing.T, report string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(report, want) {
			t.Errorf("%q is missing in:\n%s", want, report)
		}
	}
}

func TestRootSessionsAreApart(t *testing.T) {
	needRoot(t)
	o := open(t, process.Config{Dir: t.TempDir()})
	o.start(t, terminal(one("neighbour"), "sh", "-c", "touch /tmp/of-the-neighbour /dev/shm/of-the-neighbour; sleep 1000"))
	report := o.report(t, "curious", `
		id -un; whoami; pwd; ls -A /home /tmp /dev/shm
		ls -d /root/* 2>&1 || true
		echo "processes: $(ls -d /proc/[0-9]* | wc -l)"
		kill -0 -1 2>&1; echo "kill: $?"
		cat /proc/1/environ 2>&1 | head -c 100; echo
		touch /etc/passwd 2>&1 || echo no etc
		su -c true 2>&1 </dev/null || echo no su
		grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -c
		touch here; ls here`)
	contains(t, report, "alice\nalice\n/home/alice\n", "no etc\n", "no su\n", "NoNewPrivs:\t1\n", "8192\n0\n", "here\n",
		"/proc/1/environ: Permission denied")
	for _, leak := range []string{"of-the-neighbour", "neighbour"} {
		if strings.Contains(report, leak) {
			t.Errorf("the session sees %s:\n%s", leak, report)
		}
	}
	if _, after, _ := strings.Cut(report, "processes: "); len(after) < 2 || after[1] != '\n' {
		t.Errorf("the session sees more than a handful of processes:\n%s", report)
	}
	owner, err := os.Stat(o.in("curious", "home", "here"))
	if err != nil {
		t.Fatal(err)
	}
	neighbour, err := os.Stat(o.in("neighbour", "home"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := owner.Sys().(*syscall.Stat_t).Uid, neighbour.Sys().(*syscall.Stat_t).Uid; a == b || a < process.DefaultFirstUID || b < process.DefaultFirstUID {
		t.Errorf("the sessions run as the users %d and %d", a, b)
	}
	o.gone(t, "curious")
	o.gone(t, "neighbour")
}

// Machines that run systemd share the mounts of one namespace with others. What
// a session's namespace has must stay there all the same.
func TestRootMountsDoNotSpread(t *testing.T) {
	needRoot(t)
	has(t, "Xvnc")
	o := open(t, process.Config{Dir: t.TempDir()})
	sharing, output := agent(t, o.dir, sharedMounts+"=yes")
	says(t, output, "starting")
	says(t, output, "started")
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", sharing.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(mounts), " shared:") {
		t.Error("the agent of this test should share its mounts")
	}
	if strings.Contains(string(mounts), o.dir) {
		t.Errorf("the agent sees the mounts of sessions:\n%s", mounts)
	}
}

// Even what has cleared its environment and left everything behind.
func TestRootNothingHidesFromAStop(t *testing.T) {
	needRoot(t)
	for name, config := range map[string]process.Config{
		"namespaces": {Dir: t.TempDir()}, "users": {Dir: passableDir(t), NoNamespaces: true},
	} {
		t.Run(name, func(t *testing.T) {
			o := open(t, config)
			started := o.start(t, terminal(one("hider"), "sh", "-c", "(cd /; setsid env -i sleep 4711 </dev/null >/dev/null 2>&1 &); touch hidden; sleep 1000"))
			program.Eventually(t, "it hides", 30*time.Second, func() error {
				_, err := os.Stat(o.in("hider", "home", "hidden"))
				return errors.Join(err, sleeping("4711"))
			})
			// Nobody is left who knows of it, and no control group holds it.
			o.Kill(t, started)
			state, err := runtimedir.Read(o.in("hider"))
			if err != nil {
				t.Fatal(err)
			}
			group := state.Group
			state.Group = cgroup.Group{}
			if err := runtimedir.Write(o.in("hider"), state, false); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := group.Remove(program.Limit(t)); err != nil {
					t.Error(err)
				}
			})
			if err := o.Stop(program.Limit(t), one("hider")); err != nil {
				t.Fatal(err)
			}
			if sleeping("4711") == nil {
				t.Error("it still sleeps")
			}
		})
	}
}

// sleeping gives nil if a process "sleep SECONDS" runs.
func sleeping(seconds string) error {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range all {
		if arguments, err := os.ReadFile(path); err == nil && string(arguments) == "sleep\x00"+seconds+"\x00" {
			return nil
		}
	}
	return fmt.Errorf("nobody sleeps for %s s", seconds)
}

// Without namespaces sessions need a way to their files.
func TestRootDirectoryOutOfReach(t *testing.T) {
	needRoot(t)
	dir := t.TempDir() // its parent is for its owner only
	o := open(t, process.Config{Dir: dir, NoNamespaces: true})
	_, err := o.Start(t.Context(), terminal(one("lost"), "sh"))
	var told *models.Error
	if !errors.As(err, &told) || told.Code != models.CodeUnavailable ||
		!strings.Contains(told.Message, filepath.Dir(dir)) || !strings.Contains(told.Message, "--data-dir") {
		t.Errorf("the error must name the directory and what to do: %v", err)
	}
	if left := o.Left(t, "lost"); len(left) > 0 {
		t.Errorf("there is left:\n%s", strings.Join(left, "\n"))
	}
}

// A persistent home keeps its user, and takes the session's if an agent with
// other rights made it.
func TestRootHomeKeepsItsUser(t *testing.T) {
	needRoot(t)
	o := open(t, process.Config{Dir: t.TempDir()})
	home := filepath.Join(o.dir, "homes", "alice", "shell")
	if err := os.MkdirAll(filepath.Join(home, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	var owners []uint32
	for i := range 2 {
		spec := terminal(driver.Ref{SessionID: "keeper", Generation: int64(i + 1)}, "sh", "-c", "touch old/new; sleep 1000")
		spec.PersistentHome = true
		o.start(t, spec)
		program.Eventually(t, "the session writes where it did not own anything", 30*time.Second, func() error {
			info, err := os.Stat(filepath.Join(home, "old", "new"))
			if err == nil {
				owners = append(owners, info.Sys().(*syscall.Stat_t).Uid)
			}
			return err
		})
	}
	if owners[0] != owners[1] || owners[0] < process.DefaultFirstUID {
		t.Errorf("the home's users were %v", owners)
	}
}

func TestOwnLimitsAreTold(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir()})
	spec := terminal(one("bounded"), "sh")
	spec.Resources = models.Resources{Memory: "200Mi", CPU: "1500m"}
	limits, _ := o.start(t, spec).Metadata["limits"].(map[string]string)
	if len(limits) != 3 {
		t.Errorf("the limits are %v", limits)
	}
	for name, limit := range map[string]string{"memory": "200Mi", "cpu": "1500m", "processes": "4096"} {
		by := limits[name]
		if !strings.HasPrefix(by, limit+" by ") && (!strings.HasPrefix(by, "none: ") || len(by) < 12) {
			t.Errorf("the limit of %s is told as %q", name, by)
		}
	}
	inventory, err := o.Inventory(t.Context())
	if err != nil || len(inventory) != 1 || fmt.Sprint(inventory[0].Metadata["limits"]) != fmt.Sprint(limits) {
		t.Errorf("later they are %v, %v", inventory, err)
	}
}

func TestOwnSpecsThatCannotBe(t *testing.T) {
	o := open(t, process.Config{Dir: t.TempDir(), Path: t.TempDir()})
	for name, test := range map[string]struct {
		change func(*driver.Spec)
		code   models.ErrorCode
		says   []string
	}{
		"geometry": {func(s *driver.Spec) { s.Template.Spec.Process.Geometry = "large" }, models.CodeInvalidRequest, []string{"large", "1280x800"}},
		"a screen too large for X": {func(s *driver.Spec) { s.Template.Spec.Process.Geometry = "40000x10" }, models.CodeInvalidRequest,
			[]string{"40000x10"}},
		"no program":       {func(s *driver.Spec) { s.Template.Spec.Process = nil }, models.CodeInvalidRequest, []string{"process.command"}},
		"unknown protocol": {func(s *driver.Spec) { s.Template.Spec.Protocol = "carrier-pigeon" }, models.CodeInvalidRequest, []string{"carrier-pigeon"}},
		"memory":           {func(s *driver.Spec) { s.Resources.Memory = "much" }, models.CodeInvalidRequest, []string{"much"}},
		"environment": {func(s *driver.Spec) { s.Template.Spec.Env = []models.EnvVar{{Name: "A=B"}} }, models.CodeInvalidRequest,
			[]string{"A=B"}},
		"nothing installed": {func(s *driver.Spec) {
			s.Template.Spec.Process.Needs = []models.Need{{Command: "icewm", Install: "apt-get install icewm"}}
		}, models.CodeNeedsMissing, []string{"Xvnc", "icewm", "apt-get install icewm", "tigervnc"}},
	} {
		t.Run(name, func(t *testing.T) {
			spec := screen(one("never"), "sleep", "1000")
			test.change(&spec)
			_, err := o.Start(t.Context(), spec)
			var told *models.Error
			if !errors.As(err, &told) || told.Code != test.code {
				t.Fatalf("the error is %v", err)
			}
			contains(t, told.Message, test.says...)
			if left := o.Left(t, "never"); len(left) > 0 {
				t.Errorf("there is left:\n%s", strings.Join(left, "\n"))
			}
		})
	}
}

func TestOwnConfigurationsThatCannotBe(t *testing.T) {
	for name, config := range map[string]process.Config{
		"relative directory": {Dir: "somewhere"},
		"users upside down":  {Dir: t.TempDir(), FirstUID: 7, LastUID: 6},
		"root among users":   {Dir: t.TempDir(), LastUID: 6},
	} {
		if _, err := process.New(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
