package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

// The files that name a session's user to its programs.
const (
	passwdFile = "/etc/passwd"
	groupFile  = "/etc/group"
)

// isolate gives this process, and so the session, a view of the file system in
// which the session's runtime directory and /tmp are its own and other homes
// are out of sight. The files stay on disk in the
// session's directory, which the session itself cannot reach: the directories
// above it let nobody else in.
//
// The agent has started this process in mount, PID and IPC namespaces of its
// own, so all of this ends with it. Names below are relative to the session's
// directory, which the new /tmp may hide.
func (s *supervisor) isolate() error {
	// What is mounted here stays here; what the machine unmounts goes here too.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	home := s.state.Home
	if home == "" {
		home = runtimedir.HomeDir
	}
	// The home may be below a directory that is about to be hidden.
	var err error
	s.home, err = unix.Open(home, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the home: %w", err)
	}
	if err := cover(isolatedHomes, "size=64k,mode=755"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(runtimedir.TmpDir, filepath.Base(isolatedRun)), 0o700); err != nil {
		return err
	}
	for _, tmp := range []string{"/var/tmp", isolatedTmp} {
		if err := bindIfThere(runtimedir.TmpDir, tmp); err != nil {
			return err
		}
	}
	if err := bind(runtimedir.RunDir, isolatedRun); err != nil {
		return err
	}
	if err := cover("/dev/shm", "mode=1777"); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	// Programs see their own processes only, and those by their own numbers.
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return nil
}

// moveIn gives the session's user, whom isolate need not know, a home and a
// name in that view.
func (s *supervisor) moveIn() error {
	defer func() { _ = unix.Close(s.home) }()
	if err := os.Mkdir(s.places.home, 0o755); err != nil {
		return err
	}
	if err := bind(fmt.Sprintf("/proc/self/fd/%d", s.home), s.places.home); err != nil {
		return err
	}
	return s.nameUser()
}

// refused tells a system on which this does not work from one on which it does
// not work at the moment.
func refused(err error) bool {
	for _, refusal := range []error{unix.EPERM, unix.EACCES, unix.ENOSYS, unix.EINVAL, unix.ENODEV, unix.ENOENT, unix.EROFS} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

// cover hides a directory behind an empty one in memory.
func cover(dir, options string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("cover %s: %w", dir, err)
	}
	return nil
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", target, err)
	}
	return nil
}

func bindIfThere(source, target string) error {
	if err := bind(source, target); !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

// nameUser lets programs find the session's user, which the machine does not
// know, where they look for users.
func (s *supervisor) nameUser() error {
	login, id := s.places.login, s.state.UID
	for path, line := range map[string]string{
		passwdFile: fmt.Sprintf("%s:x:%d:%d::%s:%s\n", login, id, id, s.places.home, s.assignment.Shell),
		groupFile:  fmt.Sprintf("%s:x:%d:\n", login, id),
	} {
		content, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // nothing to put it on
		}
		if err != nil {
			return err
		}
		if len(content) > 0 && content[len(content)-1] != '\n' {
			content = append(content, '\n')
		}
		own := filepath.Base(path)
		if err := os.WriteFile(own, append(content, line...), 0o644); err != nil {
			return err
		}
		if err := bind(own, path); err != nil {
			return err
		}
	}
	return nil
}

// freeLogin makes wanted a name that no user of this machine has, so that it
// is never taken for that user.
func freeLogin(wanted string) string {
	users, _ := os.ReadFile(passwdFile) // without it every name is free
	groups, _ := os.ReadFile(groupFile)
	login := wanted
	for taken(users, login) || taken(groups, login) {
		login += "_"
	}
	return login
}

func taken(names []byte, name string) bool {
	return strings.Contains("\n"+string(names), "\n"+name+":")
}
