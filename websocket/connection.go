package websocket

import (
	"context"
	"errors"
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

// connection is one agent's socket, a bounded queue of frames for it, and while
// there are some the one goroutine that writes them: most agents are silent
// most of the time, and a goroutine that waits takes more than they do.
type connection struct {
	peer   Peer
	socket *ws.Conn
	burst  *wire.BurstConn
	// limit bounds waiting.
	limit int

	// over ends with the connection; why is set before.
	over   context.Context
	cancel context.CancelFunc
	once   sync.Once
	why    ending

	// said is the status that the agent last gave; its reader alone uses it.
	said string
	// handling is set while a frame of the agent is being handled.
	handling atomic.Bool
	// writer is waited for once the connection is over.
	writer sync.WaitGroup

	mu        sync.Mutex
	lastHeard time.Time
	waiting   [][]byte
	// started lets frames go, writing tells that the writer runs.
	started, writing bool
	pingAt           time.Time
}

func newConnection(ctx context.Context, socket *ws.Conn, burst *wire.BurstConn, peer Peer, limit int) *connection {
	over, cancel := context.WithCancel(ctx)
	return &connection{
		peer:      peer,
		socket:    socket,
		burst:     burst,
		limit:     limit,
		over:      over,
		cancel:    cancel,
		lastHeard: time.Now(),
	}
}

// enqueue hands a frame to the writer. It never blocks.
func (c *connection) enqueue(frame []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Err() != nil {
		return models.Errorf(models.CodeAgentUnavailable, "agent %q has just disconnected", c.peer.AgentID)
	}
	if len(c.waiting) >= c.limit {
		return models.Errorf(models.CodeQueueFull,
			"agent %q does not read its frames; %d are waiting", c.peer.AgentID, len(c.waiting))
	}
	c.waiting = append(c.waiting, frame)
	c.begin()
	return nil
}

// start lets frames go that were queued before, and all later ones.
func (c *connection) start(pingEvery time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.started, c.pingAt = true, time.Now().Add(pingEvery)
	if len(c.waiting) > 0 || c.over.Err() != nil {
		c.begin()
	}
}

// begin starts the writer unless it runs. The lock is held, and the connection
// is not over, or is just ending: so nobody waits for the writer yet.
func (c *connection) begin() {
	if c.started && !c.writing {
		c.writing = true
		c.writer.Go(c.write)
	}
}

// end asks the writer to close the socket. It never blocks, so one dead socket
// cannot hold up whoever ends many.
func (c *connection) end(why ending) {
	c.once.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.why = why
		c.cancel()
		c.begin()
	})
}

// ping queues a ping if it is time, and nothing else shows the agent that this
// replica lives.
func (c *connection) ping(frame []byte, every time.Duration, now time.Time) {
	c.mu.Lock()
	due := c.started && !now.Before(c.pingAt)
	if due {
		c.pingAt = now.Add(every)
	}
	c.mu.Unlock()
	if due {
		_ = c.enqueue(frame) // a full queue is being written, or its write will fail
	}
}

// write is the only writer of the socket. It returns when nothing waits, or
// when the connection is over and the socket is closed.
func (c *connection) write() {
	for {
		frames, over := c.take()
		if over {
			c.close()
			return
		}
		if len(frames) == 0 {
			return
		}
		if err := c.putAll(frames); err != nil {
			c.end(endWrite)
		}
	}
}

// take gives the frames of one burst. None means that the writer is to end.
func (c *connection) take() (frames [][]byte, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over.Err() != nil {
		return nil, true
	}
	size, count := 0, 0
	for count < min(len(c.waiting), wire.BurstFrames) && size < wire.BurstSize {
		size += len(c.waiting[count])
		count++
	}
	frames = c.waiting[:count:count]
	if c.waiting = c.waiting[count:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.writing = count > 0
	return frames, false
}

// putAll writes the frames of one burst.
func (c *connection) putAll(frames [][]byte) error {
	if len(frames) == 1 {
		return c.put(frames[0])
	}
	ctx := context.WithoutCancel(c.over)
	c.burst.Hold(time.Now().Add(writeWithin))
	var err error
	for _, frame := range frames {
		if err = c.socket.Write(ctx, ws.MessageText, frame); err != nil {
			break
		}
	}
	return errors.Join(err, c.burst.Release())
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

// deaf notes that nobody has listened for a while, which is not the agent's
// silence.
func (c *connection) deaf(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastHeard = c.lastHeard.Add(took)
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
