package proctable

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Handle is one certain process: a number that the system gives to another
// process later does not confuse it. It needs Linux 5.3.
type Handle struct{ fd int }

// Open takes a handle on the process that has pid now. The caller makes sure
// afterwards that it is the one meant, and closes the handle.
func Open(pid int) (*Handle, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return nil, fmt.Errorf("take hold of process %d: this kernel has no pidfd_open, which came with Linux 5.3: %w", pid, err)
	}
	if err != nil {
		return nil, fmt.Errorf("take hold of process %d: %w", pid, err)
	}
	return &Handle{fd: fd}, nil
}

// Kill ends the process at once. One that has ended already is no error.
func (h *Handle) Kill() error {
	if err := unix.PidfdSendSignal(h.fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill: %w", err)
	}
	return nil
}

// Wait returns once the process has ended, which includes that of every
// process in its PID namespace if it was the first one there. It looks at ctx
// ten times a second.
func (h *Handle) Wait(ctx context.Context) error {
	for {
		ended, err := h.poll(100 * time.Millisecond)
		if err != nil {
			return fmt.Errorf("wait for a process: %w", err)
		}
		if ended {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for a process: %w", err)
		}
	}
}

// Ended tells whether the process has ended.
func (h *Handle) Ended() bool {
	ended, err := h.poll(0)
	return ended || err != nil
}

func (h *Handle) poll(within time.Duration) (ended bool, err error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, int(within.Milliseconds()))
	if errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return n > 0, err
}

// Close gives the handle up.
func (h *Handle) Close() { _ = unix.Close(h.fd) }
