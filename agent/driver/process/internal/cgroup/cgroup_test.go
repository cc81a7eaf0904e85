package cgroup_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
)

// put writes files below a directory. The control files of real groups are
// there from the beginning, and keep what is written; plain ones do the latter.
func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, elements ...string) string {
	t.Helper()
	read, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(read)
}

// find looks for places in a made-up system.
func find(root, mounts, membership string) cgroup.Places {
	mountinfo, member := filepath.Join(root, "mountinfo"), filepath.Join(root, "membership")
	mounts = strings.ReplaceAll(mounts, "ROOT", root)
	if os.WriteFile(mountinfo, []byte(mounts), 0o644) != nil || os.WriteFile(member, []byte(membership), 0o644) != nil {
		panic("the test cannot write its files")
	}
	return cgroup.FindIn(mountinfo, member)
}

const second = "30 23 0:26 / ROOT/cg rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

func TestPlacesOfVersion2(t *testing.T) {
	all := map[string]string{"controllers": "cpuset cpu io memory pids\n", "none": "\n", "some": "memory pids\n"}
	for name, test := range map[string]struct {
		files map[string]string
		own   string
		// asRoot and otherwise are the places, below the mount.
		asRoot, otherwise string
		// changed is the group whose children get a controller that they lacked.
		changed string
	}{
		"service of the system": {map[string]string{"/": "controllers", "/streamspace": "controllers", "/system.slice": "none", "/system.slice/unit": "none"},
			"/system.slice/unit", "/streamspace", "", ""},
		"first run of root": {map[string]string{"/": "controllers", "/streamspace": "some", "/system.slice/unit": "none", "/system.slice": "none"},
			"/system.slice/unit", "/streamspace", "", "/streamspace"},
		"application of a user": {map[string]string{"/": "none", "/user/app.slice": "controllers", "/user/app.slice/scope": "none"},
			"/user/app.slice/scope", "/user/app.slice", "/user/app.slice", ""},
		"container": {map[string]string{"/": "some"}, "/", "/", "/", "/"},
		"leaf": {map[string]string{"/": "none", "/unit": "some", "/unit/streamspace-agent": "none"},
			"/unit/streamspace-agent", "/unit", "/unit", "/unit"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for group, enabled := range test.files {
				put(t, root, map[string]string{
					"cg" + group + "/cgroup.controllers": all["controllers"], "cg" + group + "/cgroup.subtree_control": all[enabled],
				})
			}
			want := test.otherwise
			if os.Geteuid() == 0 {
				want = test.asRoot
			}
			if want == "" {
				t.Skip("only root has a place there")
			}
			places := find(root, second, "0::"+test.own+"\n")
			for _, controller := range []string{cgroup.Memory, cgroup.CPU, cgroup.Processes} {
				if got := places.For[controller]; got != (cgroup.Place{Dir: filepath.Join(root, "cg", want), Version: 2}) {
					t.Errorf("the place for %s is %+v (%s)", controller, got, places.Why)
				}
			}
			for group, enabled := range test.files {
				// Plain files keep what is written over their beginning.
				changed := content(t, root, "cg", group, "cgroup.subtree_control") != all[enabled]
				if changed != (group == test.changed) {
					t.Errorf("what limits the children of %s was changed: %v", group, changed)
				}
			}
		})
	}
}

func TestPlacesOfVersion1(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{"mem/inner/tasks": "", "cpu/tasks": "", "pids/tasks": ""})
	places := find(root,
		"31 25 0:27 /outer ROOT/mem rw - cgroup cgroup rw,memory\n"+
			"32 25 0:28 / ROOT/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"+
			"33 25 0:29 /elsewhere ROOT/pids rw - cgroup cgroup rw,pids\n",
		"9:memory:/outer/inner\n8:cpu,cpuacct:/\n7:pids:/outer\n")
	if got := places.For[cgroup.Memory]; got != (cgroup.Place{Dir: filepath.Join(root, "mem/inner"), Version: 1}) {
		t.Errorf("the place for memory is %+v", got)
	}
	if got := places.For[cgroup.CPU]; got != (cgroup.Place{Dir: filepath.Join(root, "cpu"), Version: 1}) {
		t.Errorf("the place for the CPU is %+v", got)
	}
	// This process's group is not below what is mounted.
	if got, found := places.For[cgroup.Processes]; found || !strings.Contains(places.Why, "pids") {
		t.Errorf("the place for processes is %+v, because %q", got, places.Why)
	}
}

func TestNoPlaces(t *testing.T) {
	root := t.TempDir()
	for name, mounts := range map[string]string{"nothing": "", "no controllers": second} {
		put(t, root, map[string]string{"cg/unit/cgroup.controllers": "io\n"})
		if places := find(root, mounts, "0::/unit\n"); len(places.For) != 0 || !strings.Contains(places.Why, "memory") {
			t.Errorf("%s: %+v", name, places)
		}
	}
	if places := cgroup.FindIn(filepath.Join(root, "absent"), filepath.Join(root, "absent")); len(places.For) != 0 || places.Why == "" {
		t.Errorf("without /proc: %+v", places)
	}
}

func TestLimitsOfVersion2(t *testing.T) {
	root := t.TempDir()
	places := cgroup.Places{For: map[string]cgroup.Place{}}
	for _, controller := range []string{cgroup.Memory, cgroup.CPU, cgroup.Processes} {
		places.For[controller] = cgroup.Place{Dir: root, Version: 2}
	}
	put(t, root, map[string]string{
		"one/memory.max": "", "one/memory.swap.max": "", "one/cpu.max": "", "one/pids.max": "", "one/cgroup.procs": "",
		"one/memory.events": "low 0\nhigh 0\nmax 17\noom 2\noom_kill 3\noom_group_kill 0\n",
	})
	group, why := places.Plan("one").Make(cgroup.Limits{Memory: 64 << 20, CPU: 1500, Processes: 77})
	if why != nil || len(group.Of) != 3 {
		t.Fatalf("made %+v, %v", group, why)
	}
	if err := group.LimitCPU(1500); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "77"} {
		if got := content(t, root, "one", file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if kills := group.MemoryKills(); kills != 3 {
		t.Errorf("%d were killed for memory", kills)
	}
}

// What cannot be limited is left out and said, and does not take the rest
// with it.
func TestPartOfAGroup(t *testing.T) {
	root := t.TempDir()
	put(t, root, map[string]string{"mem/one/memory.max": "", "pids/one/nothing": ""})
	places := cgroup.Places{For: map[string]cgroup.Place{
		cgroup.Memory:    {Dir: filepath.Join(root, "mem"), Version: 2},
		cgroup.Processes: {Dir: filepath.Join(root, "pids"), Version: 1},
	}}
	group, why := places.Plan("one").Make(cgroup.Limits{Memory: 1 << 20, Processes: 5})
	if _, limited := group.Of[cgroup.Memory]; !limited || len(group.Of) != 1 {
		t.Errorf("made %+v", group)
	}
	if why == nil || !strings.Contains(why.Error(), "pids") {
		t.Errorf("the reason is %v", why)
	}
}

// ownGroup makes a group in this system's own hierarchies, or skips.
func ownGroup(t *testing.T) (cgroup.Group, cgroup.Group) {
	t.Helper()
	places := cgroup.Find()
	if len(places.For) < 3 {
		missing(t, "control groups cannot be used here: "+places.Why)
	}
	plan := places.Plan("streamspace-test-" + strconv.Itoa(os.Getpid()))
	t.Cleanup(func() { remove(t, plan) })
	group, why := plan.Make(cgroup.Limits{Memory: 64 << 20, CPU: 500, Processes: 20})
	if why != nil {
		t.Fatal(why)
	}
	return plan, group
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" && os.Geteuid() == 0 {
		t.Fatal(what)
	}
	t.Skip("SKIPPED: " + what)
}

func remove(t *testing.T, group cgroup.Group) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := group.Remove(ctx); err != nil {
		t.Error(err)
	}
}

// startIn starts a program in a group and gives its process id and its output.
func startIn(t *testing.T, group cgroup.Group, arguments ...string) (pid int, output *bufio.Reader) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	t.Cleanup(func() { _ = reader.Close() })
	path, err := exec.LookPath(arguments[0])
	if err != nil {
		t.Fatal(err)
	}
	attributes := &syscall.ProcAttr{Files: []uintptr{0, writer.Fd(), writer.Fd()}, Env: os.Environ(), Sys: &syscall.SysProcAttr{}}
	err = group.Start(attributes.Sys, func() (err error) {
		pid, err = syscall.ForkExec(path, arguments, attributes)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	})
	return pid, bufio.NewReader(reader)
}

func TestStartInRealGroups(t *testing.T) {
	plan, group := ownGroup(t)
	before := content(t, "/proc/self/cgroup")
	pid, output := startIn(t, group, "sh", "-c", "cat /proc/self/cgroup; echo over; sleep 1000")
	var where strings.Builder
	for !strings.HasSuffix(where.String(), "over\n") {
		line, err := output.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		where.WriteString(line)
	}
	for controller, place := range group.Of {
		name := filepath.Base(place.Dir)
		if !strings.Contains(where.String(), name) {
			t.Errorf("the program is not in the group for %s:\n%s", controller, where.String())
		}
	}
	if after := content(t, "/proc/self/cgroup"); after != before {
		t.Errorf("this process was in\n%s\nand is in\n%s", before, after)
	}
	for _, task := range []string{strconv.Itoa(os.Getpid()), strconv.Itoa(syscall.Gettid())} {
		if in := content(t, "/proc/self/task", task, "cgroup"); strings.Contains(in, "streamspace-test-") {
			t.Errorf("thread %s has stayed in the group:\n%s", task, in)
		}
	}
	remove(t, plan)
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("removing the group has not ended its member: %v %v", status, err)
	}
	remove(t, plan) // nothing there is no error
}

// CLONE_INTO_CGROUP needs no controllers, so it can be tried wherever version 2
// is mounted.
func TestStartInAGroupOfVersion2(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can make a group here")
	}
	dir := ""
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
			dir = filepath.Join(mount, "streamspace-test-"+strconv.Itoa(os.Getpid()))
		}
	}
	if dir == "" || os.Mkdir(dir, 0o755) != nil {
		missing(t, "no group of version 2 can be made here")
	}
	group := cgroup.Group{Of: map[string]cgroup.Place{cgroup.Memory: {Dir: dir, Version: 2}, cgroup.CPU: {Dir: dir, Version: 2}}}
	t.Cleanup(func() { remove(t, group) })
	_, output := startIn(t, group, "grep", "^0::", "/proc/self/cgroup")
	if line, err := output.ReadString('\n'); err != nil || !strings.HasSuffix(line, "/"+filepath.Base(dir)+"\n") {
		t.Errorf("the program is in %q, %v", line, err)
	}
}

func TestMemoryKills(t *testing.T) {
	_, group := ownGroup(t)
	if kills := group.MemoryKills(); kills != 0 {
		t.Errorf("%d were killed before anything ran", kills)
	}
	pid, _ := startIn(t, group, "tail", "-n", "1", "/dev/zero")
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status.Signal() != syscall.SIGKILL {
		t.Errorf("the greedy program ended with %v, %v", status, err)
	}
	if group.MemoryKills() == 0 {
		t.Error("nothing was counted")
	}
}
