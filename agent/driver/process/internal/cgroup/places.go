// Package cgroup limits and counts a session's processes with Linux's control
// groups, of version 2 (kernel Documentation/admin-guide/cgroup-v2.rst) or 1
// (Documentation/admin-guide/cgroup-v1), as far as the system lets this user
// make them.
package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The controllers that limit sessions.
const (
	Memory    = "memory"
	CPU       = "cpu"
	Processes = "pids"
)

const (
	// leaf is the group that an agent moves itself to where groups with members
	// may not have children that are limited (the "no internal process" rule of
	// version 2).
	leaf = "streamspace-agent"
	// shared is the group below the root of version 2 in which agents of root
	// make groups when they share their own with others.
	shared = "streamspace"
)

// Place is a group in which others can be made for one controller.
type Place struct {
	Dir     string `json:"dir"`
	Version int    `json:"version"`
}

// Places are the usable places by controller.
type Places struct {
	For map[string]Place `json:"for,omitempty"`
	// Why says what keeps the controllers that are not in For from being used.
	Why string `json:"why,omitempty"`
}

// Find looks for the places of this process. They are its own groups, so that
// limits that bound the agent bound its sessions too. On version 2 it may move
// this process to a group of its own there; where that cannot be done because
// others are in the group too, as in one that a person has logged into, root
// takes a group of its own below the hierarchy's root.
func Find() Places { return FindIn("/proc/self/mountinfo", "/proc/self/cgroup") }

// FindIn is Find with the files to read.
func FindIn(mountinfo, membership string) Places {
	places := Places{For: map[string]Place{}}
	hierarchies, err := mounted(mountinfo)
	if err == nil {
		err = locate(hierarchies, membership)
	}
	if err != nil {
		places.Why = "the system does not say where its control groups are: " + err.Error()
		return places
	}
	var whys []string
	for _, controller := range []string{Memory, CPU, Processes} {
		place, why := find(hierarchies, controller)
		if why == "" {
			places.For[controller] = place
		} else if !slices.Contains(whys, why) {
			whys = append(whys, why)
		}
	}
	places.Why = strings.Join(whys, "; ")
	return places
}

// hierarchy is one mounted tree of groups.
type hierarchy struct {
	version int
	// controllers of version 1; those of version 2 are listed in its groups.
	controllers []string
	// mount shows the group root and what is below it.
	mount, root string
	// own is the directory of this process's group, or empty if the mount does
	// not show it.
	own string
}

// mounted reads the hierarchies: see proc_pid_mountinfo(5). Its fields are
// … root mount-point options … - type source super-options.
func mounted(mountinfo string) ([]*hierarchy, error) {
	content, err := os.ReadFile(mountinfo)
	if err != nil {
		return nil, err
	}
	var all []*hierarchy
	for line := range strings.Lines(string(content)) {
		before, after, _ := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup2":
			all = append(all, &hierarchy{version: 2, root: fields[3], mount: fields[4]})
		case "cgroup":
			all = append(all, &hierarchy{version: 1, root: fields[3], mount: fields[4], controllers: strings.Split(kind[2], ",")})
		}
	}
	return all, nil
}

// locate fills in own: see cgroups(7). Its lines are ID:controllers:path, and
// version 2 has the ID 0.
func locate(hierarchies []*hierarchy, membership string) error {
	content, err := os.ReadFile(membership)
	if err != nil {
		return err
	}
	for line := range strings.Lines(strings.TrimSpace(string(content))) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		for _, h := range hierarchies {
			second := h.version == 2 && fields[0] == "0" && fields[1] == ""
			if !second && !(h.version == 1 && fields[1] != "" && contains(h.controllers, strings.Split(fields[1], ","))) {
				continue
			}
			if below, err := filepath.Rel(h.root, fields[2]); err == nil && !strings.HasPrefix(below, "..") {
				h.own = filepath.Join(h.mount, below)
			}
		}
	}
	return nil
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(all, one) })
}

// find gives the place for one controller, or why there is none.
func find(hierarchies []*hierarchy, controller string) (place Place, why string) {
	why = "this system has no control groups for " + controller
	for _, h := range hierarchies {
		switch {
		case h.own == "":
		case h.version == 1 && slices.Contains(h.controllers, controller):
			if err := unix.Access(h.own, unix.W_OK); err != nil {
				why = fmt.Sprintf("this user may not make control groups in %s (%v)", h.own, err)
				continue
			}
			return Place{Dir: h.own, Version: 1}, ""
		case h.version == 2:
			if listed, err := lists(h.parent(), "cgroup.controllers", controller); err != nil || !listed {
				continue
			}
			dir, err := h.delegated(controller)
			if err != nil {
				why = fmt.Sprintf("this user may not limit control groups in %s (%v)", dir, err)
				continue
			}
			return Place{Dir: dir, Version: 2}, ""
		}
	}
	return Place{}, why
}

// parent is the group that groups are made in: this process's own, or the one
// above if it has moved into its leaf.
func (h *hierarchy) parent() string {
	if filepath.Base(h.own) == leaf {
		return filepath.Dir(h.own)
	}
	return h.own
}

// delegated gives a group of version 2 whose children can be limited.
func (h *hierarchy) delegated(controller string) (dir string, err error) {
	dir = h.parent()
	if err = delegate(dir, controller); err == nil || os.Geteuid() != 0 {
		return dir, err
	}
	// Only if the system limits groups there already: that is not ours to say.
	if enabled, listErr := lists(h.mount, "cgroup.subtree_control", controller); listErr != nil || !enabled {
		return dir, err
	}
	below := filepath.Join(h.mount, shared)
	if err := os.Mkdir(below, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return below, err
	}
	return below, delegate(below, controller)
}

// delegate lets the children of a group of version 2 be limited.
func delegate(dir, controller string) error {
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return err
	}
	enabled, err := lists(dir, "cgroup.subtree_control", controller)
	if err != nil || enabled {
		return err
	}
	enable := func() error { return write(dir, "cgroup.subtree_control", "+"+controller) }
	if err := enable(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	own := filepath.Join(dir, leaf)
	if err := os.Mkdir(own, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := write(own, "cgroup.procs", "0"); err != nil {
		return err
	}
	if err := enable(); err != nil {
		// Others are in the group too, and they are not ours to move.
		_ = write(dir, "cgroup.procs", "0")
		_ = os.Remove(own)
		return fmt.Errorf("other processes are in it: %w", err)
	}
	return nil
}

func lists(dir, file, word string) (bool, error) {
	content, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(bytes.Fields(content), func(field []byte) bool { return string(field) == word }), nil
}

// write sets a control file. It never makes one: a group has its files from
// its beginning.
func write(dir, file, value string) error {
	opened, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = opened.WriteString(value)
	return errors.Join(err, opened.Close())
}
