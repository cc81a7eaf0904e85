package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFile lies in a directory that one process at a time may use.
const lockFile = "lock"

// lock is the right to use a directory. The system ends it with the process,
// however that ends.
type lock struct {
	file *os.File
}

// lockDir makes the directory, for its owner only, and takes it. flag names
// the flag to change when another process has it.
func lockDir(dir, flag string) (*lock, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, lockFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by another streamspace%s; stop that one, or choose another directory with --%s",
				dir, holder(path), flag)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	// For people only; the lock is what counts.
	if err := file.Truncate(0); err == nil {
		_, _ = fmt.Fprintf(file, "%d\n", os.Getpid())
	}
	return &lock{file: file}, nil
}

// release gives the directory up.
func (l *lock) release() error { return l.file.Close() }

// holder names the process that holds the lock, if it said.
func holder(path string) string {
	content, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(content)); err == nil && pid != "" {
		return " (process " + pid + ")"
	}
	return ""
}

// makeDir makes a directory for its owner only. One that is there keeps its
// mode.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory %s: %w", dir, err)
	}
	return nil
}
