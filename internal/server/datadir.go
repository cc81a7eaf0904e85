package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockFile lies in a directory that one process at a time may use.
const lockFile = "lock"

// orphanedWithin bounds the wait for a lock whose process is dead. Running a
// program takes milliseconds; a machine that swaps may need longer.
const orphanedWithin = 5 * time.Second

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
	if err := take(file); err != nil {
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

// take takes the lock, and gives unix.EWOULDBLOCK when another process has it.
// One that was killed may have been starting a child just then, which has its
// files until it runs its own program, so the lock of the dead is waited for.
func take(file *os.File) error {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for deadline := time.Now().Add(orphanedWithin); ; <-retry.C {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) || holderLives(file.Name()) || time.Now().After(deadline) {
			return err
		}
	}
}

// release gives the directory up.
func (l *lock) release() error { return l.file.Close() }

// holder names the process that holds the lock, if it said.
func holder(path string) string {
	if pid := holderID(path); pid > 0 {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return ""
}

// holderLives tells whether the process that holds the lock lives, as far as is
// known.
func holderLives(path string) bool {
	pid := holderID(path)
	return pid == 0 || !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// holderID gives the process that wrote its number into the lock, or 0.
func holderID(path string) int {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(content)))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// makeDir makes a directory for its owner only. One that is there keeps its
// mode.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory %s: %w", dir, err)
	}
	return nil
}
