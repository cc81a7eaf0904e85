// Package failpoint ends or holds a process at a named place. Only binaries
// that tests build have it: README.md of test/robustness says how.
package failpoint

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// variable names the directory in which tests ask for faults: by a file of the
// place's name, which says the how manieth hit is meant, and what is to happen.
const variable = "STREAMSPACE_FAILPOINTS"

// heldSuffix ends the name of the file that is there while an action hold lasts.
const heldSuffix = ".held"

// faults is opened before main: a supervisor of a session later sees another
// file system.
var faults = sync.OnceValue(open)

var _ = faults()

// turn is held by the goroutine that looks whether it is meant.
var turn sync.Mutex

// open gives the directory of this process's faults, or nil without one. A
// supervisor gets no environment, and finds it beside its sessions.
func open() *os.Root {
	dir := os.Getenv(variable)
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		dir = filepath.Join(filepath.Dir(os.Args[2]), "failpoints")
	}
	if dir == "" {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil
	}
	return root
}

// Hit does what a test has asked for at this place, once.
func Hit(place string) {
	root := faults()
	if root == nil {
		return
	}
	switch action(root, place) {
	case "kill":
		die()
	case "pause":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "hold":
		hold(root, place+heldSuffix)
	}
}

// action gives what is to happen at this hit, and takes it back so that it
// happens once, whichever processes come by here later.
func action(root *os.Root, place string) string {
	turn.Lock()
	defer turn.Unlock()
	content, err := root.ReadFile(place)
	if err != nil {
		return ""
	}
	var action string
	var hit int
	if _, err := fmt.Sscan(string(content), &hit, &action); err != nil {
		return ""
	}
	if hit > 1 {
		_ = root.WriteFile(place, fmt.Appendln(nil, hit-1, action), 0o600)
		return ""
	}
	if root.Remove(place) != nil {
		return ""
	}
	return action
}

// die ends this process at once. The first process of a namespace ignores its
// own signals.
func die() {
	if os.Getpid() == 1 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 137, 0, 0)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// hold stays here until the test removes the file.
func hold(root *os.Root, held string) {
	if root.WriteFile(held, nil, fs.FileMode(0o600)) != nil {
		return
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if _, err := root.Stat(held); err != nil {
			return
		}
	}
}
