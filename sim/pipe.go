package sim

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// end is one end of a connection: a net.Conn whose writes go through a lane,
// and whose reads take what the other end's lane delivers. A write never waits:
// what a peer does not read yet would lie in the buffers of the two systems.
type end struct {
	name string
	out  *lane

	mu       sync.Mutex
	inbox    []byte
	failure  error // what a read gives once the inbox is empty
	closed   bool
	changed  chan struct{}
	deadline time.Time
	alarm    *time.Timer
}

func newEnd(name string) *end { return &end{name: name, changed: make(chan struct{})} }

// wake lets readers look again. The caller has the lock.
func (e *end) wake() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// Read implements net.Conn.
func (e *end) Read(into []byte) (int, error) {
	for {
		e.mu.Lock()
		n, changed, err := e.take(into)
		e.mu.Unlock()
		if n > 0 || err != nil || len(into) == 0 {
			return n, err
		}
		<-changed
	}
}

func (e *end) take(into []byte) (n int, changed <-chan struct{}, err error) {
	switch {
	case e.closed:
		return 0, nil, net.ErrClosed
	case !e.deadline.IsZero() && !time.Now().Before(e.deadline):
		return 0, nil, os.ErrDeadlineExceeded
	case len(e.inbox) > 0:
		n := copy(into, e.inbox)
		e.inbox = e.inbox[n:]
		return n, nil, nil
	}
	return 0, e.changed, e.failure
}

// Write implements net.Conn.
func (e *end) Write(content []byte) (int, error) {
	e.mu.Lock()
	closed, failure := e.closed, e.failure
	e.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case failure != nil && !errors.Is(failure, io.EOF):
		return 0, failure
	}
	e.out.feed(content)
	return len(content), nil
}

// deliver puts bytes into the inbox.
func (e *end) deliver(content []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.closed && e.failure == nil {
		e.inbox = append(e.inbox, content...)
		e.wake()
	}
}

// fail ends what can be read. A broken connection takes what was not read yet
// along, as a reset does.
func (e *end) fail(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed || e.failure != nil {
		return
	}
	if e.failure = cause; !errors.Is(cause, io.EOF) {
		e.inbox = nil
	}
	e.wake()
}

// Close implements net.Conn.
func (e *end) Close() error {
	e.mu.Lock()
	already := e.closed
	e.closed = true
	if e.alarm != nil {
		e.alarm.Stop()
	}
	e.wake()
	e.mu.Unlock()
	if !already {
		e.out.close()
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(deadline time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.alarm != nil {
		e.alarm.Stop()
		e.alarm = nil
	}
	e.deadline = deadline
	if wait := time.Until(deadline); !deadline.IsZero() && wait > 0 && !e.closed {
		e.alarm = time.AfterFunc(wait, func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.wake()
		})
	}
	e.wake()
	return nil
}

// SetWriteDeadline implements net.Conn. Writes do not wait.
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(deadline time.Time) error { return e.SetReadDeadline(deadline) }

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return address(e.name) }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return address("peer of " + e.name) }

// address is a net.Addr of a world.
type address string

// Network implements net.Addr.
func (address) Network() string { return "sim" }

// String implements net.Addr.
func (a address) String() string { return string(a) }

// listener gives a replica the connections that agents open.
type listener struct {
	name     string
	accepted chan net.Conn
	life     *life
}

func newListener(name string, life *life) *listener {
	return &listener{name: name, accepted: make(chan net.Conn, 64), life: life}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.life.ended:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *listener) Close() error { l.life.end(); return nil }

// Addr implements net.Listener.
func (l *listener) Addr() net.Addr { return address(l.name) }
