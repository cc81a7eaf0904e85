package server_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/internal/server"
)

// hold takes a data directory's lock as the process with this number.
func hold(t *testing.T, dataDir string, pid int) *os.File {
	t.Helper()
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dataDir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if _, err := fmt.Fprintln(file, pid); err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return file
}

// A process that is killed while it starts a child leaves its lock to that
// child for some milliseconds. Starting again at once must not fail.
func TestTheLockOfTheDeadIsWaitedFor(t *testing.T) {
	dead := exec.Command("true")
	if err := dead.Run(); err != nil {
		t.Fatal(err)
	}
	c := configuration(t)
	left := hold(t, c.DataDir, dead.Process.Pid)
	time.AfterFunc(100*time.Millisecond, func() { _ = left.Close() })
	begin(t, c)
}

func TestTheLockOfTheLivingIsNotWaitedFor(t *testing.T) {
	c := configuration(t)
	hold(t, c.DataDir, os.Getpid())
	began := time.Now()
	_, err := server.New(t.Context(), c, "test", discard())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by another streamspace (process %d)", os.Getpid())) {
		t.Errorf("the error must name the process: %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("the error came after %v", took)
	}
}
