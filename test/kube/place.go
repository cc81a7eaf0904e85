package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// places is how many clusters can run at once.
const places = 16

// place is where a cluster is: a number that makes its names and addresses, and
// a directory.
type place struct {
	number int
	dir    string
}

// takePlace takes the first place that no other process has.
func takePlace() (_ place, release func(), err error) {
	for number := range places {
		lock, err := os.OpenFile(fmt.Sprintf("/run/lock/streamspace-kube-%d", number), os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return place{}, nil, err
		}
		if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			_ = lock.Close()
			continue
		}
		at := place{number: number, dir: filepath.Join(os.TempDir(), fmt.Sprintf("streamspace-kube-%d", number))}
		return at, func() { _ = lock.Close() }, nil
	}
	return place{}, nil, fmt.Errorf("%d clusters are running", places)
}

func (p place) path(name string) string { return filepath.Join(p.dir, name) }

// address is the node's, Host the machine's, as the cluster sees it.
func (p place) address() string { return fmt.Sprintf("10.213.%d.2", p.number) }

// Host is the machine's address, as pods and the node see it.
func (p place) Host() string { return fmt.Sprintf("10.213.%d.1", p.number) }

// pods are the addresses of pods.
func (p place) pods() string { return fmt.Sprintf("10.244.%d.0/24", p.number) }

func (p place) namespace() string     { return fmt.Sprintf("streamspace-kube-%d", p.number) }
func (p place) namespaceFile() string { return "/run/netns/" + p.namespace() }
func (p place) link() string          { return fmt.Sprintf("sskube%d", p.number) }

// makeNetwork makes the namespace and its link to the machine.
func (p place) makeNetwork() error {
	inside := []string{"-n", p.namespace()}
	for _, arguments := range [][]string{
		{"netns", "add", p.namespace()},
		{"link", "add", p.link(), "type", "veth", "peer", "name", "eth0", "netns", p.namespace()},
		{"addr", "add", p.Host() + "/30", "dev", p.link()},
		{"link", "set", p.link(), "up"},
		append(inside, "link", "set", "lo", "up"),
		append(inside, "addr", "add", p.address()+"/30", "dev", "eth0"),
		append(inside, "link", "set", "eth0", "up"),
		// The service "kubernetes" needs no kube-proxy so.
		append(inside, "addr", "add", "10.96.0.1/32", "dev", "lo"),
		append(inside, "route", "add", "10.96.0.0/16", "dev", "lo", "src", p.address()),
		{"route", "add", p.pods(), "via", p.address()},
	} {
		if err := command("ip", arguments...); err != nil {
			return err
		}
	}
	return command("nsenter", "--net="+p.namespaceFile(), "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
}

// hierarchies are the roots of the machine's control groups.
func hierarchies() []string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return []string{"/sys/fs/cgroup"}
	}
	all, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for i := range all {
		all[i] = filepath.Dir(all[i])
	}
	return all
}

// makeControlGroups makes those that pods are in, and no other cluster's pods.
func (p place) makeControlGroups() error {
	for _, root := range hierarchies() {
		if err := os.MkdirAll(filepath.Join(root, p.namespace()), 0o755); err != nil {
			return err
		}
		if filepath.Base(root) == "cpuset" {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				content, err := os.ReadFile(filepath.Join(root, file))
				if err == nil {
					err = os.WriteFile(filepath.Join(root, p.namespace(), file), content, 0o600)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// controlGroups lists those of the cluster, the inner ones first.
func (p place) controlGroups() (all []string) {
	for _, root := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(root, p.namespace()), func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil // what is not there, or has just gone, is what is wanted
		})
	}
	slices.Reverse(all)
	return all
}

// killPods kills what runs in pods, and the processes that look after it.
func (p place) killPods() error {
	for deadline := time.Now().Add(upWithin); ; {
		left := p.shims()
		for _, group := range p.controlGroups() {
			content, _ := os.ReadFile(filepath.Join(group, "cgroup.procs"))
			for _, field := range strings.Fields(string(content)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
					left = append(left, pid)
				}
			}
		}
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes of pods do not end: %v", left)
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-time.After(lookEvery)
	}
}

// shims are containerd's processes that hold containers, which outlive it.
func (p place) shims() (all []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(content), "containerd-shim") || !strings.Contains(string(content), p.path("containerd.sock")) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && !zombie(pid) {
			all = append(all, pid)
		}
	}
	return all
}

func zombie(pid int) bool {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(content), ") Z ")
}

// clear removes everything that a cluster in this place has left.
func (p place) clear() error {
	if err := p.killPods(); err != nil {
		return err
	}
	for range 3 { // some are mounted over others
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(mounts)) {
			if at := strings.Fields(line)[1]; strings.HasPrefix(at, p.dir+"/") {
				_ = syscall.Unmount(at, syscall.MNT_DETACH)
			}
		}
	}
	var failed []error
	if _, err := os.Stat("/sys/class/net/" + p.link()); err == nil {
		failed = append(failed, command("ip", "link", "del", p.link()))
	}
	if _, err := os.Stat(p.namespaceFile()); err == nil {
		failed = append(failed, command("ip", "netns", "del", p.namespace()))
	}
	for _, group := range p.controlGroups() {
		failed = append(failed, os.Remove(group))
	}
	return errors.Join(append(failed, os.RemoveAll(p.dir))...)
}

func command(name string, arguments ...string) error {
	if said, err := exec.Command(name, arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, said)
	}
	return nil
}
