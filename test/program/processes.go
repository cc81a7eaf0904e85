package program

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ProcessesOf lists the processes whose arguments, environment or working
// directory mention text: a session's whole tree carries its directory.
func ProcessesOf(t *testing.T, text string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", entry.Name())
		arguments, _ := os.ReadFile(filepath.Join(dir, "cmdline")) // it may have ended
		environment, _ := os.ReadFile(filepath.Join(dir, "environ"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		if bytes.Contains(arguments, []byte(text)) || bytes.Contains(environment, []byte(text)) || strings.Contains(cwd, text) {
			found = append(found, pid)
		}
	}
	return found
}

// Describe tells what processes are.
func Describe(pids []int) string {
	var said []string
	for _, pid := range pids {
		arguments, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		said = append(said, strconv.Itoa(pid)+" "+strings.ReplaceAll(string(arguments), "\x00", " "))
	}
	return strings.Join(said, "\n")
}

// Reap ends whatever a test leaves behind on its data directory. Sessions
// outlive the program on purpose, so nothing else would.
func Reap(t *testing.T, dataDir string) {
	t.Helper()
	t.Cleanup(func() {
		for range 20 {
			pids := ProcessesOf(t, dataDir)
			if len(pids) == 0 {
				return
			}
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
	})
}

// Paths lists the files below dir whose path mentions text.
func Paths(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(strings.TrimPrefix(path, dir), text) {
			found = append(found, path)
		}
		return nil // what vanishes meanwhile is not there
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
