package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/wire"
)

const (
	// writeWithin bounds one frame's write, as on the control plane's side.
	writeWithin = 10 * time.Second
	// flushWithin bounds the last frames of a connection that ends in order.
	flushWithin = 2 * time.Second
	// queueSize bounds the frames that wait for the socket. A sender waits for
	// room, which bounds what is waiting elsewhere.
	queueSize = 256
)

var (
	errLeaving  = errors.New("the agent is stopping")
	errShutdown = errors.New("the control plane is stopping")
)

// connection is one command connection: a bounded queue and the one goroutine
// that writes it.
type connection struct {
	socket *ws.Conn
	// burst is nil when another transport than the agent's own is in use.
	burst      *wire.BurstConn
	negotiated bool
	logger     *slog.Logger
	queue      chan []byte

	// over ends with the connection; its cause is why.
	over context.Context
	end  context.CancelCauseFunc

	// parts are what runs for this connection besides its reader.
	parts sync.WaitGroup
	// welcomed, shutdown and pingEvery belong to the reader. pingEvery is 0 while
	// it is not known.
	welcomed, shutdown bool
	pingEvery          time.Duration
	// needs are what the control plane asked for last. They belong to the reader;
	// changed has the newest that the reporter has not seen.
	needs   []string
	changed chan []string
}

// look has the reporter look for what templates need now, soon.
func (c *connection) look(needs []string) {
	select {
	case <-c.changed: // older ones that it has not seen
	default:
	}
	c.changed <- needs // there is room: nobody else sends
}

func newConnection(socket *ws.Conn, burst *wire.BurstConn, negotiated bool, logger *slog.Logger) *connection {
	c := &connection{socket: socket, burst: burst, negotiated: negotiated, logger: logger, queue: make(chan []byte, queueSize), changed: make(chan []string, 1)}
	c.over, c.end = context.WithCancelCause(context.Background())
	return c
}

// send queues a frame, and waits for room. It reports false when the
// connection is over: then the frame is not sent.
func (c *connection) send(kind wire.Type, payload any) bool {
	frame, err := wire.Encode(kind, payload)
	if err != nil {
		c.logger.Error("a frame cannot be sent", "type", kind, "error", err)
		return true // nor on the next connection
	}
	select {
	case <-c.over.Done():
		return false
	case c.queue <- frame:
		return true
	}
}

// write is the only writer of the socket. It returns when the connection is
// over and the socket is closed.
func (c *connection) write() {
	for {
		select {
		case <-c.over.Done():
			c.close()
			return
		case frame := <-c.queue:
			if err := c.putAll(frame); err != nil {
				c.end(fmt.Errorf("write: %w", err))
			}
		}
	}
}

// putAll writes a frame together with those that wait behind it.
func (c *connection) putAll(frame []byte) error {
	if c.burst == nil || len(c.queue) == 0 {
		return c.put(frame, writeWithin)
	}
	c.burst.Hold(time.Now().Add(writeWithin))
	err := c.socket.Write(context.Background(), ws.MessageText, frame)
	for range wire.BurstFrames {
		if err != nil || len(c.queue) == 0 {
			break
		}
		err = c.socket.Write(context.Background(), ws.MessageText, <-c.queue)
	}
	return errors.Join(err, c.burst.Release())
}

func (c *connection) put(frame []byte, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return c.socket.Write(ctx, ws.MessageText, frame)
}

// close writes what is queued if the agent leaves in order. A socket that
// failed, or that the control plane has closed, takes nothing more.
func (c *connection) close() {
	if !errors.Is(context.Cause(c.over), errLeaving) {
		_ = c.socket.CloseNow()
		return
	}
	deadline := time.Now().Add(flushWithin)
	for {
		select {
		case frame := <-c.queue:
			if c.put(frame, time.Until(deadline)) == nil {
				continue
			}
		default:
		}
		_ = c.socket.Close(ws.StatusGoingAway, errLeaving.Error())
		return
	}
}

// serve works on the connection until it is over, and gives the cause. It
// ends it in order when talking ends.
func (a *Agent) serve(talking context.Context, c *connection) error {
	c.parts.Go(c.write)
	defer context.AfterFunc(talking, func() { c.end(errLeaving) })()
	a.current.Store(c)
	if !c.negotiated {
		a.config.Logger.Info("connected to the control plane, with the basic protocol")
		a.report(c, wire.HeartbeatEvery, nil)
		a.becomeReady()
	}
	c.end(a.read(c))
	a.current.CompareAndSwap(c, nil)
	c.parts.Wait()
	if c.shutdown {
		return errShutdown
	}
	return context.Cause(c.over)
}

// read handles frames until the socket is closed from either side, and gives
// the cause. Its context is its own, for ending it would cut the socket before
// the writer has said the last words.
func (a *Agent) read(c *connection) error {
	for {
		patience := a.config.StaleAfter
		if c.pingEvery > 0 {
			patience = min(patience, wire.SilentPings*c.pingEvery)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		kind, frame, err := c.socket.Read(ctx)
		silent := ctx.Err() != nil
		cancel()
		if err != nil && silent {
			return fmt.Errorf("heard nothing for %v", patience)
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if kind != ws.MessageText {
			a.config.Logger.Warn("a frame is dropped: it is binary, not JSON text")
			continue
		}
		message, err := wire.Decode(frame)
		if err == nil {
			err = a.receive(c, message)
		}
		if err != nil {
			a.config.Logger.Warn("a frame is dropped", "type", message.Type, "error", err)
		}
	}
}
