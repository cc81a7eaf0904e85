package wire

import (
	"net"
	"sync"
	"time"
)

// BurstSize is what a burst gathers before it is sent at the latest, in bytes.
const BurstSize = 64 << 10

// BurstFrames bounds the frames of one burst: beyond it there is little left to
// save, and the first of them has waited for long enough.
const BurstFrames = 64

// BurstConn lets frames that are written in quick succession leave together:
// each would cost both ends a system call, and small ones cost little else.
// Between Hold and Release what is written is gathered; at other times it is
// sent at once. Safe for concurrent use, as net.Conn is.
type BurstConn struct {
	net.Conn

	mu   sync.Mutex
	held bool
	// deadline is by when a burst is to be sent.
	deadline time.Time
	buffer   []byte
}

// NewBurstConn wraps a connection.
func NewBurstConn(conn net.Conn) *BurstConn { return &BurstConn{Conn: conn} }

// Hold begins to gather. What is gathered is sent by the deadline or not at all,
// so the frames need none of their own.
func (c *BurstConn) Hold(deadline time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held, c.deadline = true, deadline
}

// Release sends what was gathered, and gathers no more.
func (c *BurstConn) Release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	if len(c.buffer) == 0 {
		return nil
	}
	return c.send()
}

// Write implements net.Conn.
func (c *BurstConn) Write(part []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.held && len(c.buffer) == 0 {
		return c.Conn.Write(part)
	}
	c.buffer = append(c.buffer, part...)
	if c.held && len(c.buffer) < BurstSize {
		return len(part), nil
	}
	return len(part), c.send()
}

// send empties the buffer into the connection.
func (c *BurstConn) send() error {
	if err := c.SetWriteDeadline(c.deadline); err != nil {
		return err
	}
	_, err := c.Conn.Write(c.buffer)
	c.buffer = c.buffer[:0]
	if cap(c.buffer) > 2*BurstSize {
		c.buffer = nil // one large frame is no reason to keep so much
	}
	if err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}
