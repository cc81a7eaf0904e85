package proctable_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
)

// family starts a shell with a child, and tells both when they run.
func family(t *testing.T, environment ...string) (parent *exec.Cmd, child int) {
	t.Helper()
	parent = exec.Command("sh", "-c", "sleep 1000 & echo $!; wait")
	parent.Env = append(os.Environ(), environment...)
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 20)
	n, err := output.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	if child, err = strconv.Atoi(string(buffer[:n-1])); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, pid := range []int{child, parent.Process.Pid} {
			if process, err := os.FindProcess(pid); err == nil {
				_ = process.Kill()
			}
		}
		_ = parent.Wait()
	})
	return parent, child
}

func list(t *testing.T) []proctable.Process {
	t.Helper()
	all, err := proctable.List()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func pids(processes []proctable.Process) []int {
	var all []int
	for _, process := range processes {
		all = append(all, process.PID)
	}
	return all
}

func TestDescendants(t *testing.T) {
	parent, child := family(t)
	found := pids(proctable.Descendants(list(t), os.Getpid()))
	if !slices.Contains(found, parent.Process.Pid) || !slices.Contains(found, child) || slices.Contains(found, os.Getpid()) {
		t.Errorf("of %d and its child %d were found %v", parent.Process.Pid, child, found)
	}
	if found = pids(proctable.Descendants(list(t), child)); len(found) != 0 {
		t.Errorf("a childless process has %v", found)
	}
}

func TestMarks(t *testing.T) {
	parent, child := family(t, "ONE=1", "TWO=2")
	for _, pid := range []int{parent.Process.Pid, child} {
		for _, test := range []struct {
			settings []string
			want     bool
		}{{[]string{"ONE=1", "TWO=2"}, true}, {[]string{"ONE=1", "TWO=3"}, false}, {[]string{"NE=1"}, false}, {[]string{"ONE="}, false}} {
			if got := proctable.HasEnvironment(pid, test.settings...); got != test.want {
				t.Errorf("process %d has %v: %v", pid, test.settings, got)
			}
		}
		if uid := uint32(os.Getuid()); !proctable.HasUser(pid, uid) || proctable.HasUser(pid, uid+1) {
			t.Errorf("process %d's user is not known", pid)
		}
	}
}

func TestZombiesDoNotCount(t *testing.T) {
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	pid := zombie.Process.Pid
	handle, err := proctable.Open(pid)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := handle.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if !handle.Ended() || proctable.Lives(pid) || slices.Contains(pids(list(t)), pid) {
		t.Error("a zombie is taken for a process")
	}
	if err := zombie.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := handle.Kill(); err != nil {
		t.Errorf("killing what has ended: %v", err)
	}
}

func TestHandle(t *testing.T) {
	parent, child := family(t)
	handle, err := proctable.Open(child)
	if err != nil {
		t.Fatal(err)
	}
	defer handle.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := handle.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) || handle.Ended() {
		t.Errorf("waiting for what lives: %v", err)
	}
	if err := handle.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := handle.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // its only child was killed
}

func TestEnd(t *testing.T) {
	parent, child := family(t, "TO_BE_ENDED=yes")
	other, _ := family(t)
	matches := func(process proctable.Process) bool { return proctable.HasEnvironment(process.PID, "TO_BE_ENDED=yes") }
	if err := proctable.End(t.Context(), matches); err != nil {
		t.Fatal(err)
	}
	if proctable.Lives(parent.Process.Pid) || proctable.Lives(child) {
		t.Error("a process that matches lives")
	}
	if !proctable.Lives(other.Process.Pid) {
		t.Error("a process that does not match was ended")
	}
	// Those that are not gone in time are told of.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	last, _ := family(t, "TO_BE_ENDED=yes")
	if err := proctable.End(ctx, matches); !errors.Is(err, context.Canceled) {
		t.Errorf("of what was not waited for is said: %v", err)
	}
	_ = last.Wait() // it was killed
}
