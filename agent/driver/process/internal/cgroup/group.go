package cgroup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuPeriod is the kernel's own default, in microseconds.
const cpuPeriod = 100_000

// Limits are what a session may use. Zero is no limit.
type Limits struct {
	// Memory in bytes, swap included.
	Memory int64 `json:"memory,omitempty"`
	// CPU in thousandths of a core.
	CPU int64 `json:"cpu,omitempty"`
	// Processes and threads.
	Processes int64 `json:"processes,omitempty"`
}

// Group is one session's group in each place. Where two controllers share a
// directory it is the same group.
type Group struct {
	Of map[string]Place `json:"of,omitempty"`
}

// Plan names the group that Make will make, for those that must know it before
// it is there.
func (p Places) Plan(name string) Group {
	group := Group{Of: map[string]Place{}}
	for controller, place := range p.For {
		group.Of[controller] = Place{Dir: filepath.Join(place.Dir, name), Version: place.Version}
	}
	return group
}

// Make makes the group and limits its memory and processes. It gives the part
// of the group that works, and why the rest does not.
func (g Group) Make(limits Limits) (made Group, why error) {
	made.Of = map[string]Place{}
	for controller, place := range g.Of {
		if err := makeOne(controller, place, limits); err != nil {
			why = errors.Join(why, fmt.Errorf("the control group for %s: %w", controller, err))
			continue
		}
		made.Of[controller] = place
	}
	return made, why
}

func makeOne(controller string, place Place, limits Limits) error {
	if err := os.Mkdir(place.Dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	switch {
	case controller == Memory && limits.Memory > 0:
		return limitMemory(place, limits.Memory)
	case controller == Processes && limits.Processes > 0:
		return write(place.Dir, "pids.max", strconv.FormatInt(limits.Processes, 10))
	}
	return nil
}

func limitMemory(place Place, bytes int64) error {
	limit := strconv.FormatInt(bytes, 10)
	if place.Version == 2 {
		if err := write(place.Dir, "memory.max", limit); err != nil {
			return err
		}
		return optional(write(place.Dir, "memory.swap.max", "0"))
	}
	if err := write(place.Dir, "memory.limit_in_bytes", limit); err != nil {
		return err
	}
	return optional(write(place.Dir, "memory.memsw.limit_in_bytes", limit))
}

// optional forgives a control file that this kernel does not have, as that of
// swap on a kernel without swap accounting.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// LimitCPU limits the share of the CPU. It is not part of Make because programs need far more of the CPU
// while they start than afterwards.
func (g Group) LimitCPU(milli int64) error {
	place, found := g.Of[CPU]
	if !found || milli <= 0 {
		return nil
	}
	// The kernel takes no quota below 1 ms.
	quota := max(milli*cpuPeriod/1000, 1000)
	if place.Version == 2 {
		return write(place.Dir, "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod))
	}
	if err := write(place.Dir, "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)); err != nil {
		return err
	}
	return write(place.Dir, "cpu.cfs_quota_us", strconv.FormatInt(quota, 10))
}

// MemoryKills counts the processes that the kernel has killed because the
// group had used up its memory.
func (g Group) MemoryKills() int64 {
	place, found := g.Of[Memory]
	if !found {
		return 0
	}
	file := "memory.events"
	if place.Version == 1 {
		file = "memory.oom_control"
	}
	content, err := os.ReadFile(filepath.Join(place.Dir, file))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(content)) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "oom_kill" {
			kills, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel writes numbers
			return kills
		}
	}
	return 0
}

// Remove kills whoever is in the group, except this process, and removes it.
// No group is success. It gives up when ctx ends.
func (g Group) Remove(ctx context.Context) error {
	var all error
	for _, dir := range g.dirs() {
		all = errors.Join(all, remove(ctx, dir))
	}
	return all
}

// dirs lists the group's directories, each once.
func (g Group) dirs() []string {
	var dirs []string
	for _, place := range g.Of {
		dirs = append(dirs, place.Dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

func remove(ctx context.Context, dir string) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := removeOnce(dir)
		if err == nil {
			return nil
		}
		// Members that were killed leave a moment later.
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove the control group %s: %w", dir, err)
		case <-time.After(wait):
		}
	}
}

// removeOnce tries the groups below first, which a session may have made.
func removeOnce(dir string) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			groups = append(groups, path)
		}
		return optional(err)
	})
	for _, group := range slices.Backward(groups) {
		if killErr := killMembers(group); killErr != nil {
			err = errors.Join(err, killErr)
		}
		if removeErr := optional(os.Remove(group)); removeErr != nil {
			err = errors.Join(err, removeErr)
		}
	}
	return err
}

func killMembers(dir string) error {
	content, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return optional(err)
	}
	for _, field := range bytes.Fields(content) {
		pid, err := strconv.Atoi(string(field))
		// 0 is a process that this one cannot see.
		if err != nil || pid == 0 || pid == os.Getpid() {
			continue
		}
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("kill process %d: %w", pid, err)
		}
	}
	return nil
}
