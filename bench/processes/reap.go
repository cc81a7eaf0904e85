package processes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	reapWithin = 10 * time.Second
	reapEvery  = 20 * time.Millisecond
)

// Reap kills every process that has dir in its arguments, its environment or
// its working directory, and waits until there is none. Sessions outlive the
// program that runs them on purpose; dir must be a directory that nobody else
// uses.
func Reap(dir string) error {
	deadline := time.Now().Add(reapWithin)
	for {
		left := using(dir)
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		<-time.After(reapEvery)
	}
}

// using lists the processes that use dir, but for this one. What cannot be read
// of a process has ended, or is another user's.
func using(dir string) []int {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(filepath.Base(entry))
		if err != nil || pid == os.Getpid() {
			continue
		}
		arguments, _ := os.ReadFile(filepath.Join(entry, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(entry, "environ"))
		cwd, _ := os.Readlink(filepath.Join(entry, "cwd"))
		if bytes.Contains(arguments, []byte(dir)) || bytes.Contains(environment, []byte(dir)) || strings.HasPrefix(cwd, dir) {
			found = append(found, pid)
		}
	}
	return found
}
