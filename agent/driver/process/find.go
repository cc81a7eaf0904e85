package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/proctable"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

// found is a runtime's directory.
type found struct {
	driver.Ref
	name string
}

// list finds every runtime's directory.
func (d *Driver) list() ([]found, error) {
	entries, err := os.ReadDir(d.sessions)
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	var all []found
	for _, entry := range entries {
		if ref, ok := runtimedir.Parse(entry.Name()); ok {
			all = append(all, found{Ref: ref, name: entry.Name()})
		}
	}
	return all, nil
}

// Inventory implements driver.Driver. A runtime that is being started or ended
// is not there yet or any more.
func (d *Driver) Inventory(ctx context.Context) ([]driver.Runtime, error) {
	all, err := d.list()
	if err != nil {
		return nil, err
	}
	running := []driver.Runtime{}
	for _, candidate := range all {
		alive, err := d.connect(ctx, candidate.name)
		if err != nil {
			return nil, err
		}
		if alive == nil {
			continue
		}
		state, err := runtimedir.Read(d.dir(candidate.name))
		pid := alive.pid
		alive.close()
		if err != nil {
			return nil, err
		}
		if state.Ready && state.End == nil {
			running = append(running, runtime(state, pid))
		}
	}
	return running, nil
}

// runtime describes a runtime to people.
func runtime(state runtimedir.State, pid int) driver.Runtime {
	metadata := map[string]any{"supervisorPid": pid, "limits": state.Limits, "isolation": isolation(state)}
	if state.Display != 0 {
		metadata["display"] = fmt.Sprintf(":%d", state.Display)
	}
	if state.Home != "" {
		metadata["home"] = state.Home
	}
	return driver.Runtime{Ref: state.Ref(), Protocol: state.Protocol, StartedAt: state.StartedAt, TimeLimits: state.TimeLimits, Metadata: metadata}
}

func isolation(state runtimedir.State) string {
	switch {
	case state.Isolated:
		return fmt.Sprintf("user %d, with a file system view and process numbers of its own", state.UID)
	case state.UID != 0:
		return fmt.Sprintf("user %d", state.UID)
	}
	return "none: sessions run as the agent's own user"
}

// link is a connection to a supervisor, which lasts as long as that lives.
type link struct {
	conn   *net.UnixConn
	pid    int
	handle *proctable.Handle
}

// connect gives a link to the supervisor of a runtime, or nil if it has none
// any more.
func (d *Driver) connect(ctx context.Context, name string) (*link, error) {
	conn, err := dialSocket(ctx, d.dir(name), runtimedir.ControlSocket)
	if nobody(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reach the supervisor of %s: %w", name, err)
	}
	l := &link{conn: conn}
	if err := l.identify(); err != nil {
		_ = conn.Close()
		if errors.Is(err, unix.ESRCH) {
			return nil, nil
		}
		return nil, fmt.Errorf("reach the supervisor of %s: %w", name, err)
	}
	return l, nil
}

// identify takes hold of the process at the other end.
func (l *link) identify() error {
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if peerErr != nil {
		return peerErr
	}
	l.pid = int(peer.Pid)
	if l.handle, err = proctable.Open(l.pid); err != nil {
		return err
	}
	// The number may have changed hands before there was a handle, but not if
	// the supervisor still is at the other end.
	if err := l.conn.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return err
	}
	if _, err := l.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		l.handle.Close()
		return unix.ESRCH
	}
	return l.conn.SetReadDeadline(time.Time{})
}

// ended waits until the supervisor has hung up. The process itself, and what
// its end takes along, may last a moment longer: see Handle.Wait.
func (l *link) ended(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })()
	_, _ = io.Copy(io.Discard, l.conn) // every error but ctx's is the end
	return ctx.Err()
}

func (l *link) close() {
	l.handle.Close()
	_ = l.conn.Close()
}
