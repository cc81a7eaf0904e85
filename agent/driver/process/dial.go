package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
	"github.com/streamspace/streamspace/models"
)

// Dial implements driver.Driver. Its errors are models.CodeSessionNotRunning
// for a runtime that is not there, and models.CodeTunnelFailed.
func (d *Driver) Dial(ctx context.Context, ref driver.Ref) (net.Conn, error) {
	dir := d.dir(runtimedir.Name(ref))
	state, err := runtimedir.Read(dir)
	if err != nil {
		return nil, &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err,
			Message: "the agent cannot read the session's state; its administrator finds the cause in the agent's log"}
	}
	where := []string{runtimedir.RunDir, runtimedir.ScreenSocket}
	switch state.Protocol {
	case models.ProtocolTerminal:
		where = []string{runtimedir.TerminalSocket}
	case models.ProtocolHTTP:
		where = []string{runtimedir.RunDir, runtimedir.PagesSocket}
	}
	conn, err := dialSocket(ctx, dir, where...)
	switch {
	case nobody(err):
		return nil, models.Errorf(models.CodeSessionNotRunning, "the session %s does not run here any more; launch it again", ref.SessionID)
	case err != nil:
		return nil, &models.Error{Code: models.CodeTunnelFailed, Retryable: true, Err: err, Message: "the session's stream cannot be reached; try again"}
	}
	return conn, nil
}

// nobody tells whether err means that no process listens there.
func nobody(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}

// dialSocket connects to a socket below dir. It follows no symbolic links below
// dir: a session may put them there, and the agent may have rights that the
// session has not. A path of any length will do.
func dialSocket(ctx context.Context, dir string, names ...string) (*net.UnixConn, error) {
	at, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(at)
		if err != nil {
			return nil, err
		}
		at = next
	}
	defer func() { _ = unix.Close(at) }()
	var info unix.Stat_t
	if err := unix.Fstat(at, &info); err != nil {
		return nil, err
	}
	if info.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return nil, fmt.Errorf("%s is no socket", filepath.Join(names...))
	}
	for {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", at))
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		// A server that is busy lets few wait: Xvnc five.
		if !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}
