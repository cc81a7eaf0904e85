package supervisor

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// child is a process that this one has started.
type child struct {
	pid int
	// done is closed once it has ended, with status.
	done   chan struct{}
	status syscall.WaitStatus
}

// ended tells whether the child has ended. A nil child has not begun.
func (c *child) ended() bool {
	if c == nil {
		return true
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// children are the processes that this one has started and those that it
// inherits when their own parents die. Package os/exec is no help with the
// latter, and reaping both here keeps one out of the other's way.
type children struct {
	mu      sync.Mutex
	started map[int]*child
	alone   bool
	// changed tells that some child has ended since it was last looked at.
	changed chan struct{}
}

func newChildren() *children {
	c := &children{started: map[int]*child{}, alone: true, changed: make(chan struct{}, 1)}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	go func() {
		for range signals {
			c.reap()
		}
	}()
	return c
}

// start runs a program. It is called on one thread only: see Run.
func (c *children) start(path string, arguments []string, attributes *syscall.ProcAttr) (*child, error) {
	// Not to be reaped before it is known.
	c.mu.Lock()
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, arguments, attributes)
	if err != nil {
		return nil, err
	}
	started := &child{pid: pid, done: make(chan struct{})}
	c.started[pid] = started
	c.alone = false
	return started, nil
}

func (c *children) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid == 0 {
			c.alone = errors.Is(err, syscall.ECHILD)
			break
		}
		if ended := c.started[pid]; ended != nil {
			delete(c.started, pid)
			ended.status = status
			close(ended.done)
		}
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// none tells that no child is left, so that no descendant is either: those
// whose parents have died are children of this process, the first of its
// namespace or a subreaper (prctl(2)).
func (c *children) none() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alone
}

// wait returns when reached is true, which is asked whenever a child has ended
// and now and then besides, or after the time given.
func (c *children) wait(within time.Duration, reached func() bool) bool {
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !reached() {
		select {
		case <-c.changed:
		case <-again.C:
		case <-timeout.C:
			return reached()
		}
	}
	return true
}
