package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// maxFiles is how many files each of the session's processes may open. It is
// what Chromium raises its own limit to, and it is low enough for programs that
// close every possible descriptor one by one.
const maxFiles = 8192

// The names of limits as people read them.
const (
	limitMemory    = "memory"
	limitCPU       = "cpu"
	limitProcesses = "processes"

	byGroup = " by control group"
)

// prepare makes what the session's programs find when they start.
func (s *supervisor) prepare() *runtimedir.Problem {
	s.limit()
	if err := s.makeDirs(); err != nil {
		return unavailable("make the session's directories", err)
	}
	if s.state.Isolated {
		err := s.isolate()
		if err == nil && !s.assignment.Spare {
			err = s.moveIn()
		}
		if err != nil {
			problem := unavailable("give the session a file system of its own", err)
			problem.NoNamespaces = refused(err)
			return problem
		}
	}
	// Programs whose parents die become this process's children.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return unavailable("look after the session's programs", err)
	}
	if s.state.UID != 0 {
		// No program gets more rights than its user has. Sessions of the
		// agent's own user are left the rights that this person has anyway.
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return unavailable("limit the session's rights", err)
		}
	}
	return nil
}

// lockHome makes this the only runtime that uses the persistent home, which the
// agent has made sure of among its own: the lock is for agents that have the
// same directory, on whatever machine. It ends with this process.
func (s *supervisor) lockHome() *runtimedir.Problem {
	if s.state.Home == "" {
		return nil
	}
	lock, err := unix.Open(runtimedir.HomeLock(s.state.Home), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err == nil {
		err = unix.Flock(lock, unix.LOCK_EX|unix.LOCK_NB)
	}
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return &runtimedir.Problem{Code: models.CodeUnavailable, Retryable: true, Message: fmt.Sprintf(
			"the persistent home of %s for the template %s is in use by a session of another agent that shares it; "+
				"stop that session first, or launch this one without a persistent home", s.state.User, s.state.Template)}
	case err != nil:
		return unavailable("lock the persistent home", err)
	}
	return nil
}

// limit applies what the system lets us limit, and says what is in force.
func (s *supervisor) limit() {
	asked, limits := s.state.Limits, s.assignment.Limits
	group, err := s.state.Group.Make(limits)
	s.group = group
	why := s.assignment.Cgroups.Why
	if err != nil {
		why = err.Error()
	}
	// Not lower than the agent's own limits, which this process may not exceed.
	ceilings := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFiles}
	if s.state.UID != 0 {
		ceilings[unix.RLIMIT_NPROC] = uint64(limits.Processes)
	}
	for resource, ceiling := range ceilings {
		var current syscall.Rlimit
		if err := syscall.Getrlimit(resource, &current); err != nil {
			continue
		}
		ceiling = min(ceiling, current.Max)
		_ = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: ceiling, Max: ceiling}) // lowering is always allowed
	}

	s.state.Limits = map[string]string{}
	for name, controller := range controllers {
		_, grouped := group.Of[controller]
		switch {
		case asked[name] == "":
		case grouped:
			s.state.Limits[name] = asked[name] + byGroup
		default:
			s.state.Limits[name] = s.ungrouped(name, asked[name], why)
		}
	}
}

// controllers are what enforces the limits.
var controllers = map[string]string{limitMemory: cgroup.Memory, limitCPU: cgroup.CPU, limitProcesses: cgroup.Processes}

// ungrouped says what limits something without a control group.
func (s *supervisor) ungrouped(name, asked, why string) string {
	if name == limitProcesses && s.state.UID != 0 {
		return asked + " by rlimit"
	}
	return "none: " + why
}

// ungroup does without a control group that processes cannot be started in.
func (s *supervisor) ungroup(why error) {
	s.group = cgroup.Group{}
	for name, limit := range s.state.Limits {
		if asked, grouped := strings.CutSuffix(limit, byGroup); grouped {
			s.state.Limits[name] = s.ungrouped(name, asked, why.Error())
		}
	}
}

// makeDirs makes the directories that belong to the session's user.
func (s *supervisor) makeDirs() error {
	if err := s.makeDir(runtimedir.RunDir); err != nil {
		return err
	}
	if s.state.Isolated {
		// It will be the session's /tmp, as such directories are.
		if err := os.Mkdir(runtimedir.TmpDir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(runtimedir.TmpDir, fs.ModeSticky|0o777); err != nil {
			return err
		}
	} else if err := s.makeDir(runtimedir.TmpDir); err != nil {
		return err
	}
	if s.state.Home == "" {
		return s.makeDir(runtimedir.HomeDir)
	}
	err := s.makeDir(s.state.Home)
	if errors.Is(err, fs.ErrExist) {
		return s.adoptHome()
	}
	return err
}

func (s *supervisor) makeDir(name string) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		return err
	}
	return s.own(name)
}

// own gives a file to the session's user.
func (s *supervisor) own(name string) error {
	if s.state.UID == 0 {
		return nil
	}
	return os.Lchown(name, int(s.state.UID), int(s.state.UID))
}

// adoptHome gives a persistent home that an agent with other rights has made
// to the session's user. Nothing runs in it: it is locked.
func (s *supervisor) adoptHome() error {
	info, err := os.Stat(s.state.Home)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if s.state.UID == 0 || known && owner.Uid == s.state.UID {
		return nil
	}
	return filepath.WalkDir(s.state.Home, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return s.own(path)
	})
}
