package websocket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// writeWithin bounds one frame's write. A socket that takes longer is dead or
// so slow that redelivery over a new connection is better.
const writeWithin = 10 * time.Second

// ending is why the hub ends a connection: the WebSocket close it sends.
type ending struct {
	code   ws.StatusCode
	reason string
	// abrupt skips the close handshake, for sockets on which nobody answers.
	abrupt bool
	// farewell is a last frame, of one of these types, with the reason.
	farewell wire.Type
}

var (
	endReplaced = ending{code: ws.StatusPolicyViolation, reason: "a newer connection of this agent took over"}
	endStopping = ending{code: ws.StatusGoingAway, reason: "the control plane is stopping, reconnect", farewell: wire.TypeShutdown}
	endStale    = ending{code: ws.StatusPolicyViolation, reason: "no heartbeat for too long", abrupt: true}
	endFailed   = ending{code: ws.StatusInternalError, reason: "a message could not be stored, reconnect"}
	endWrite    = ending{code: ws.StatusGoingAway, reason: "the socket takes no more frames", abrupt: true}
)

// connection is one agent's socket: a bounded queue and the one goroutine that
// writes it.
type connection struct {
	peer   Peer
	socket *ws.Conn
	burst  *wire.BurstConn
	queue  chan []byte

	// over ends with the connection; why is set before.
	over   context.Context
	cancel context.CancelFunc
	once   sync.Once
	why    ending

	// said is the status that the agent last gave; its reader alone uses it.
	said string
	// handling is set while a frame of the agent is being handled.
	handling atomic.Bool

	mu        sync.Mutex
	lastHeard time.Time
}

func newConnection(ctx context.Context, socket *ws.Conn, burst *wire.BurstConn, peer Peer, queueSize int) *connection {
	over, cancel := context.WithCancel(ctx)
	return &connection{
		peer:      peer,
		socket:    socket,
		burst:     burst,
		queue:     make(chan []byte, queueSize),
		over:      over,
		cancel:    cancel,
		lastHeard: time.Now(),
	}
}

// enqueue hands a frame to the writer. It never blocks.
func (c *connection) enqueue(frame []byte) error {
	if c.over.Err() != nil {
		return models.Errorf(models.CodeAgentUnavailable, "agent %q has just disconnected", c.peer.AgentID)
	}
	select {
	case c.queue <- frame:
		return nil
	default:
		return models.Errorf(models.CodeQueueFull,
			"agent %q does not read its frames; %d are waiting", c.peer.AgentID, cap(c.queue))
	}
}

// end asks the writer to close the socket. It never blocks, so one dead socket
// cannot hold up whoever ends many.
func (c *connection) end(why ending) {
	c.once.Do(func() {
		c.why = why
		c.cancel()
	})
}

// write is the only writer of the socket. It returns when the connection is
// over and the socket is closed.
func (c *connection) write(pingEvery time.Duration) {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	pingFrame := []byte(fmt.Sprintf(`{"type":%q}`, wire.TypePing))
	for {
		var frame []byte
		select {
		case <-c.over.Done():
			c.close()
			return
		case frame = <-c.queue:
		case <-ping.C:
			frame = pingFrame
		}
		if err := c.putAll(frame); err != nil {
			c.end(endWrite)
		}
	}
}

// putAll writes a frame together with those that wait behind it.
func (c *connection) putAll(frame []byte) error {
	if len(c.queue) == 0 {
		return c.put(frame)
	}
	deadline := time.Now().Add(writeWithin)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(c.over), deadline)
	defer cancel()
	c.burst.Hold()
	err := c.socket.Write(ctx, ws.MessageText, frame)
	for range wire.BurstFrames {
		if err != nil || len(c.queue) == 0 {
			break
		}
		err = c.socket.Write(ctx, ws.MessageText, <-c.queue)
	}
	return errors.Join(err, c.burst.Release(deadline))
}

func (c *connection) put(frame []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.over), writeWithin)
	defer cancel()
	return c.socket.Write(ctx, ws.MessageText, frame)
}

func (c *connection) close() {
	if c.why.abrupt {
		_ = c.socket.CloseNow()
		return
	}
	c.sayFarewell()
	_ = c.socket.Close(c.why.code, c.why.reason)
}

// sayFarewell tells the reason in the protocol's own terms. The close frame
// that follows says the same, so a failure is of no consequence.
func (c *connection) sayFarewell() {
	var payload any
	switch c.why.farewell {
	case wire.TypeShutdown:
		payload = wire.Shutdown{Reason: c.why.reason}
	case wire.TypeError:
		if !c.peer.Negotiated {
			return
		}
		payload = wire.ErrorFrame{Code: models.CodeFrameInvalid, Message: c.why.reason}
	default:
		return
	}
	if frame, err := wire.Encode(c.why.farewell, payload); err == nil {
		_ = c.put(frame)
	}
}

// heard notes a sign of life.
func (c *connection) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastHeard = time.Now()
}

func (c *connection) silence() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.lastHeard)
}
