package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Start calls fork, which starts a process with the given attributes, so that
// the process is in the group from its first moment and this one is not. The
// caller has locked its goroutine to a thread that nothing else forks on.
//
// Moving a process there afterwards would be too late for what it starts, and
// moving this whole process first would wait for all others: that takes the
// kernel some 10 ms, while a thread may move itself at once (version 1), and a
// process may be born in another group (version 2, CLONE_INTO_CGROUP, Linux
// 5.7).
func (g Group) Start(attributes *syscall.SysProcAttr, fork func() error) error {
	entered := map[string]bool{}
	defer func() {
		for dir := range entered {
			// Staying would only mean that the agent removes the group, and not
			// this process.
			_ = write(filepath.Dir(dir), "tasks", "0")
		}
	}()
	for _, place := range g.Of {
		if entered[place.Dir] || place.Version == 2 && attributes.UseCgroupFD {
			continue
		}
		if place.Version == 1 {
			if err := write(place.Dir, "tasks", "0"); err != nil {
				return fmt.Errorf("enter a control group: %w", err)
			}
			entered[place.Dir] = true
			continue
		}
		// Of version 2 there is one hierarchy, and so one directory.
		dir, err := os.Open(place.Dir)
		if err != nil {
			return fmt.Errorf("enter a control group: %w", err)
		}
		defer func() { _ = dir.Close() }()
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(dir.Fd())
	}
	return fork()
}

// Unable tells whether an error of Start means that this system cannot start
// processes in groups, rather than that the program cannot be run.
func Unable(err error) bool { return errors.Is(err, syscall.ENOSYS) }
