package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

// children are the supervisors that this process has started and that nobody
// has waited for yet: without that they stay in the process table.
type children struct {
	mu      sync.Mutex
	started map[string]*child
}

// child is a supervisor of this process's own making.
type child struct {
	process *os.Process
	handle  *proctable.Handle
	// starter carries the assignment and the answer.
	starter net.Conn
	// isolated tells that it has namespaces of its own.
	isolated bool
	// begun is what it has been told to make ready, if anything.
	begun *runtimedir.Assignment
}

// put notes whose supervisor a child is.
func (c *children) put(name string, started *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started[name] = started
}

// reap takes the supervisor, which has ended, out of the process table.
func (c *children) reap(name string) {
	c.mu.Lock()
	ended := c.started[name]
	delete(c.started, name)
	c.mu.Unlock()
	if ended != nil {
		ended.reap()
	}
}

func (c *child) reap() {
	_ = c.starter.Close()
	c.handle.Close()
	_, _ = c.process.Wait() // how it ended is in the runtime's state
}

// errNoNamespaces is a system that refuses namespaces.
var errNoNamespaces = errors.New("the system gives no namespaces")

// spawn starts a supervisor that waits for its assignment.
func (d *Driver) spawn(isolated bool) (*child, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("connect with a supervisor: %w", err)
	}
	own, theirs := os.NewFile(uintptr(pair[0]), "supervisor"), os.NewFile(uintptr(pair[1]), "agent")
	defer func() { _ = own.Close() }()
	defer func() { _ = theirs.Close() }()
	starter, err := net.FileConn(own)
	if err != nil {
		return nil, fmt.Errorf("connect with a supervisor: %w", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a supervisor: %w", err), starter.Close())
	}
	defer func() { _ = null.Close() }()
	// A session and process group of its own: what ends the agent, or is typed
	// at it, does not reach sessions.
	attributes := &syscall.SysProcAttr{Setsid: true}
	if isolated {
		attributes.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC
	}
	process, err := os.StartProcess(d.config.Executable, []string{"streamspace", SuperviseCommand, d.sessions}, &os.ProcAttr{
		Dir: "/",
		// Nothing of the agent's: its environment may hold its key.
		Env:   []string{"GOTRACEBACK=single"},
		Files: []*os.File{null, null, null, theirs},
		Sys:   attributes,
	})
	if err != nil {
		if isolated && refusal(err) {
			err = fmt.Errorf("%w: %w", errNoNamespaces, err)
		}
		return nil, errors.Join(fmt.Errorf("start a supervisor: %w", err), starter.Close())
	}
	started := &child{process: process, starter: starter, isolated: isolated}
	// It cannot be another process: nobody has waited for this one.
	if started.handle, err = proctable.Open(process.Pid); err != nil {
		err = errors.Join(err, process.Kill(), starter.Close())
		_, _ = process.Wait()
		return nil, err
	}
	return started, nil
}

// refusal tells a system that gives no namespaces from one that lacks something
// at the moment. ENOSPC is what a limit of none is called (namespaces(7)).
func refusal(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOSPC)
}

// assign has the supervisor run a session, and waits for its answer.
func (c *child) assign(ctx context.Context, assignment runtimedir.Assignment) (*runtimedir.Problem, error) {
	// Closing the connection tells the supervisor that nobody wants the
	// session any more.
	defer context.AfterFunc(ctx, func() { _ = c.starter.Close() })()
	if err := json.NewEncoder(c.starter).Encode(assignment); err != nil {
		return nil, fmt.Errorf("tell the supervisor what to do: %w", err)
	}
	var answer runtimedir.Answer
	if err := json.NewDecoder(c.starter).Decode(&answer); err != nil {
		return nil, fmt.Errorf("hear from the supervisor: %w", err)
	}
	return answer.Problem, nil
}

func (d *Driver) dir(name string) string { return filepath.Join(d.sessions, name) }
