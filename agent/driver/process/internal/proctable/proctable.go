// Package proctable reads the system's table of processes (proc(5)) and ends
// those that match.
package proctable

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one living process, as it was when it was read.
type Process struct {
	PID, Parent int
	// OnTerminal tells whether it has a controlling terminal, so that it
	// understands a hangup.
	OnTerminal bool
}

// List reads every process that is not a zombie.
func List() ([]Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var all []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		// What cannot be read has ended meanwhile.
		if process, alive := read(pid); alive {
			all = append(all, process)
		}
	}
	return all, nil
}

// Lives tells whether there is a process pid that is more than a zombie.
func Lives(pid int) bool {
	_, alive := read(pid)
	return alive
}

// read parses /proc/PID/stat: pid (comm) state ppid pgrp session tty_nr …
func read(pid int) (process Process, alive bool) {
	content, err := os.ReadFile(path(pid, "stat"))
	if err != nil {
		return process, false
	}
	// The name may hold anything, also parentheses and spaces.
	fields := bytes.Fields(content[bytes.LastIndexByte(content, ')')+1:])
	if len(fields) < 5 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return process, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return Process{PID: pid, Parent: parent, OnTerminal: string(fields[4]) != "0"}, err == nil
}

func path(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// Descendants picks the children of root, their children and so on.
func Descendants(all []Process, root int) []Process {
	children := map[int][]Process{}
	for _, process := range all {
		children[process.Parent] = append(children[process.Parent], process)
	}
	found := append([]Process(nil), children[root]...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found
}

// HasEnvironment tells whether the process was started with every one of the
// given NAME=VALUE settings. It is false for a process that may not be looked
// at.
func HasEnvironment(pid int, settings ...string) bool {
	content, err := os.ReadFile(path(pid, "environ"))
	if err != nil {
		return false
	}
	content = append([]byte{0}, content...)
	for _, setting := range settings {
		if !bytes.Contains(content, []byte("\x00"+setting+"\x00")) {
			return false
		}
	}
	return true
}

// HasUser tells whether the process runs as uid, really or effectively.
func HasUser(pid int, uid uint32) bool {
	content, err := os.ReadFile(path(pid, "status"))
	if err != nil {
		return false
	}
	_, line, found := bytes.Cut(content, []byte("\nUid:\t"))
	if !found {
		return false
	}
	fields := bytes.Fields(line)
	want := []byte(strconv.FormatUint(uint64(uid), 10))
	return len(fields) >= 2 && (bytes.Equal(fields[0], want) || bytes.Equal(fields[1], want))
}

// End kills every process that matches, again and again until there is none,
// since a dying one may have made another. It gives up when ctx ends.
func End(ctx context.Context, matches func(Process) bool) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		all, err := List()
		if err != nil {
			return err
		}
		left := 0
		var refused error
		for _, process := range all {
			if !matches(process) {
				continue
			}
			left++
			if err := unix.Kill(process.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				refused = fmt.Errorf("kill process %d: %w", process.PID, err)
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d processes do not end: %w", left, ctx.Err()), refused)
		case <-time.After(wait):
		}
	}
}
