package slowlink

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces is where ip-netns(8) keeps those that have a name.
const namespaces = "/run/netns"

// DialContext connects from inside the place. address must have an IP address:
// a name would be looked up elsewhere.
func (p Place) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	dialled := make(chan result, 1)
	go func() {
		// A socket belongs to the place that its thread was in when it was made.
		// The thread stays locked, and so ends with this goroutine.
		runtime.LockOSThread()
		if err := p.enter(); err != nil {
			dialled <- result{err: err}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		dialled <- result{conn, err}
	}()
	got := <-dialled
	return got.conn, got.err
}

// enter moves this thread into the place.
func (p Place) enter() error {
	namespace, err := os.Open(filepath.Join(namespaces, p.name))
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	defer func() { _ = namespace.Close() }()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the network namespace %s: %w", p.name, err)
	}
	return nil
}
