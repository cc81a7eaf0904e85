package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/streamspace/streamspace/agent/driver/process/internal/cgroup"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// launch runs a program of the session with its output going to a log.
func (s *supervisor) launch(path string, arguments []string, dir string, output *source) (*child, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer func() { _ = null.Close() }()
	writer, err := output.open()
	if err != nil {
		return nil, err
	}
	defer func() { _ = writer.Close() }()
	return s.run(path, arguments, &syscall.ProcAttr{
		Dir:   dir,
		Files: []uintptr{null.Fd(), writer.Fd(), writer.Fd()},
		Sys:   s.attributes(),
	})
}

// run starts a process in the session's control group.
func (s *supervisor) run(path string, arguments []string, attributes *syscall.ProcAttr) (started *child, err error) {
	attributes.Env = s.environment()
	fork := func() error {
		started, err = s.children.start(path, arguments, attributes)
		return err
	}
	err = s.group.Start(attributes.Sys, fork)
	if cgroup.Unable(err) {
		s.ungroup(err)
		attributes.Sys.UseCgroupFD = false
		err = fork()
	}
	return started, err
}

// attributes are what every program of the session starts with: a process
// group of its own, the session's user, and death when this process dies.
func (s *supervisor) attributes() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if s.state.UID != 0 {
		attributes.Credential = &syscall.Credential{Uid: s.state.UID, Gid: s.state.UID}
	}
	return attributes
}

// startProgram starts the template's program on the screen.
func (s *supervisor) startProgram() *runtimedir.Problem {
	name := s.assignment.Command[0]
	path, err := s.find(name)
	if err != nil {
		return cannotRun(name, err)
	}
	s.programOutput = s.output.source()
	s.program, err = s.launch(path, s.assignment.Command, s.places.home, s.programOutput)
	if err != nil {
		return cannotRun(name, err)
	}
	return nil
}

// find looks a program up as a shell in the session would.
func (s *supervisor) find(name string) (path string, err error) {
	if strings.Contains(name, "/") {
		return name, nil // relative to the home, where it will be run
	}
	for _, dir := range filepath.SplitList(s.environment().get("PATH")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", fs.ErrNotExist
}

func cannotRun(name string, err error) *runtimedir.Problem {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &runtimedir.Problem{Code: models.CodeNeedsMissing, Message: fmt.Sprintf(
			"the program %q is not installed on the agent's machine; install it, or correct the template's command", name)}
	case errors.Is(err, fs.ErrPermission):
		return &runtimedir.Problem{Code: models.CodeInvalidRequest, Message: fmt.Sprintf(
			"the program %q may not be executed by the session's user; correct its permissions or the template's command", name)}
	}
	return &runtimedir.Problem{Code: models.CodeRuntimeExited, Message: fmt.Sprintf(
		"the program %q cannot be run on the agent's machine: %v", name, err)}
}
