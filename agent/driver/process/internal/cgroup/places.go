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
	// make groups.
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

// Find looks for the places of this process. On version 1 they are its own
// groups. On version 2, where a group that has members may not have children
// that are limited, they are, whatever can be had first: a group below the
// hierarchy's root for root, as container engines have one; the group that this
// process's own is in, as the application slice of systemd's user manager; or
// its own, which it then leaves for one below. The last is for containers: a
// service manager could not start the agent again in a group that was changed
// so while sessions last.
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
				why = fmt.Sprintf("no control group for %s can be made in %s (%v)", controller, h.own, err)
				continue
			}
			return Place{Dir: h.own, Version: 1}, ""
		case h.version == 2:
			dir, err := h.second(controller)
			if err == nil {
				return Place{Dir: dir, Version: 2}, ""
			}
			why = fmt.Sprintf("no control group for %s can be made in %s (%v)", controller, dir, err)
		}
	}
	return Place{}, why
}

// second gives a group of version 2 whose children can be limited.
func (h *hierarchy) second(controller string) (dir string, err error) {
	if os.Geteuid() == 0 {
		if dir, err = h.belowRoot(controller); err == nil {
			return dir, nil
		}
	}
	dir = filepath.Dir(h.own)
	switch {
	case h.own == h.mount:
	case filepath.Base(h.own) == leaf:
		// Ours to change: an earlier run, or the service manager, made it so.
		return dir, delegate(dir, controller)
	default:
		if enabled, listErr := lists(dir, "cgroup.subtree_control", controller); listErr == nil && enabled && unix.Access(dir, unix.W_OK) == nil {
			return dir, nil
		}
	}
	return h.own, delegate(h.own, controller)
}

// belowRoot gives the group that agents of root share. What the system limits
// at its root is not ours to say.
func (h *hierarchy) belowRoot(controller string) (dir string, err error) {
	dir = filepath.Join(h.mount, shared)
	if enabled, err := lists(h.mount, "cgroup.subtree_control", controller); err != nil || !enabled {
		return dir, errNotLimited
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return dir, err
	}
	return dir, delegate(dir, controller)
}

// errNotLimited is a controller that a group does not give to its children.
var errNotLimited = errors.New("the system does not limit groups there")

// delegate lets the children of a group of version 2 be limited.
func delegate(dir, controller string) error {
	if err := unix.Access(dir, unix.W_OK); err != nil {
		return err
	}
	enabled, err := lists(dir, "cgroup.subtree_control", controller)
	if err != nil || enabled {
		return err
	}
	if known, err := lists(dir, "cgroup.controllers", controller); err != nil || !known {
		return errNotLimited
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
