//go:build linux && !race

package tunnel

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// direct gives a connection that moves bytes by system calls which Go's runtime
// is not told of. The runtime wakes a thread of its own that watches for calls
// that block, whenever the first call comes after the whole process was idle
// (entersyscall in runtime/proc.go). For a small message, which is what keys and
// the pointer are, that wake is the better part of the cost of passing it on,
// and nobody needs it: sockets of package net never block, and waiting for them
// is the runtime's own affair as ever. Connections that have no descriptor, such
// as TLS ones, are given back as they are.
func direct(conn net.Conn) net.Conn {
	if _, already := conn.(*directConn); already {
		return conn
	}
	descriptor, has := conn.(syscall.Conn)
	if !has {
		return conn
	}
	raw, err := descriptor.SyscallConn()
	if err != nil {
		return conn
	}
	d := &directConn{Conn: conn, raw: raw}
	// Made once, as each would be allocated anew for every call.
	d.reading.attempt, d.writing.attempt = d.reading.read, d.writing.write
	return d
}

// directConn is a direct connection. Safe for concurrent use.
type directConn struct {
	net.Conn
	raw syscall.RawConn

	reading, writing transfer
}

// transfer is one direction of a connection.
type transfer struct {
	// turn is held by whoever transfers.
	turn sync.Mutex
	// attempt does what can be done without waiting, and tells whether that was
	// all.
	attempt func(descriptor uintptr) bool
	// left is where to read to, or what is left to write.
	left  []byte
	moved int
	errno syscall.Errno
}

// begin takes the turn.
func (t *transfer) begin(piece []byte) {
	t.turn.Lock()
	t.left, t.moved, t.errno = piece, 0, 0
}

// end gives the turn back, and the outcome.
func (t *transfer) end(call string, err error) (int, error) {
	defer t.turn.Unlock()
	t.left = nil
	if err == nil && t.errno != 0 {
		err = os.NewSyscallError(call, t.errno)
	}
	return t.moved, err
}

// once makes one call that reads or writes all that is left.
func (t *transfer) once(call, descriptor uintptr) (n int, errno syscall.Errno) {
	for {
		moved, _, errno := syscall.RawSyscall(call, descriptor, uintptr(unsafe.Pointer(unsafe.SliceData(t.left))), uintptr(len(t.left)))
		switch errno {
		case 0:
			return int(moved), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func (t *transfer) read(descriptor uintptr) bool {
	t.moved, t.errno = t.once(syscall.SYS_READ, descriptor)
	return t.errno != syscall.EAGAIN
}

func (t *transfer) write(descriptor uintptr) bool {
	for len(t.left) > 0 {
		var n int
		n, t.errno = t.once(syscall.SYS_WRITE, descriptor)
		if t.errno != 0 {
			return t.errno != syscall.EAGAIN
		}
		t.left = t.left[n:]
		t.moved += n
	}
	return true
}

// Read implements net.Conn.
func (d *directConn) Read(into []byte) (int, error) {
	if len(into) == 0 {
		return 0, nil
	}
	d.reading.begin(into)
	n, err := d.reading.end("read", d.raw.Read(d.reading.attempt))
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// Write implements net.Conn.
func (d *directConn) Write(from []byte) (int, error) {
	d.writing.begin(from)
	return d.writing.end("write", d.raw.Write(d.writing.attempt))
}

// CloseWrite ends one direction alone, where the connection can.
func (d *directConn) CloseWrite() error { return closeWrite(d.Conn) }
