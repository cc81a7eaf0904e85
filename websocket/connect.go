package websocket

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// ServeConnect upgrades the request to the command connection of an agent that
// the caller has authenticated, and returns while that connection lasts: what
// the request took is free again then, which is as much as a connection takes.
// Stop ends the connection and waits for it. An agent that never registered
// gets 404, a stopping hub answers 503.
func (h *AgentHub) ServeConnect(w http.ResponseWriter, r *http.Request, agentID string) {
	if !h.enter() {
		refuse(w, http.StatusServiceUnavailable, models.CodeUnavailable,
			"the control plane is stopping; connect again shortly")
		return
	}
	c := h.accept(w, r, agentID)
	if c == nil {
		h.serving.Done()
		return
	}
	go func() {
		defer h.serving.Done()
		h.serve(context.Background(), c)
	}()
}

// accept gives the connection, or nil after an answer that says why there is
// none.
func (h *AgentHub) accept(w http.ResponseWriter, r *http.Request, agentID string) *connection {
	// What is recorded of a connection does not depend on the request, which is
	// cancelled by things that say nothing about the agent.
	ctx := context.WithoutCancel(r.Context())
	if _, err := h.database.Agent(ctx, agentID); err != nil {
		if models.CodeOf(err) == models.CodeAgentUnknown {
			refuse(w, http.StatusNotFound, models.CodeAgentUnknown,
				"this agent has not registered; POST "+wire.RegisterPath+" first")
			return nil
		}
		h.options.Logger.Error("look up connecting agent", "agent", agentID, "error", err)
		refuse(w, http.StatusServiceUnavailable, models.CodeUnavailable,
			"the agent could not be looked up; try again shortly")
		return nil
	}

	negotiated := false
	if offered, err := strconv.Atoi(r.Header.Get(wire.HeaderProtocol)); err == nil && offered >= 1 {
		negotiated = true
		w.Header().Set(wire.HeaderProtocol, strconv.Itoa(min(offered, wire.ProtocolVersion)))
	}
	taken := &burstWriter{ResponseWriter: w}
	socket, err := ws.Accept(taken, r, &ws.AcceptOptions{CompressionMode: ws.CompressionDisabled})
	if err != nil {
		h.options.Logger.Warn("agent's upgrade failed", "agent", agentID, "error", err)
		return nil
	}
	socket.SetReadLimit(wire.MaxFrame)

	epoch, err := h.database.ConnectAgent(ctx, agentID, h.options.Now())
	if err != nil {
		h.options.Logger.Error("record connect", "agent", agentID, "error", err)
		_ = socket.Close(ws.StatusTryAgainLater, "the connection could not be recorded, reconnect")
		return nil
	}
	peer := Peer{AgentID: agentID, Epoch: epoch, Negotiated: negotiated}
	c := newConnection(context.Background(), socket, taken.conn, peer, h.options.QueueSize)
	if negotiated {
		if err := h.welcome(ctx, c); err != nil {
			h.options.Logger.Error("welcome", "agent", agentID, "error", err)
		}
	}
	return c
}

// welcome is queued before anybody else can queue a frame, so it comes first.
func (h *AgentHub) welcome(ctx context.Context, c *connection) error {
	frame, err := wire.Encode(wire.TypeWelcome, wire.Welcome{
		Protocol:         wire.ProtocolVersion,
		Epoch:            c.peer.Epoch,
		HeartbeatSeconds: int(h.options.HeartbeatEvery.Seconds()),
		PingSeconds:      int(h.options.PingEvery.Seconds()),
		Needs:            h.options.Needs(ctx),
	})
	if err != nil {
		return err
	}
	return c.enqueue(frame)
}

// serve is the whole life of a connection.
func (h *AgentHub) serve(ctx context.Context, c *connection) {
	defer func() { _ = c.socket.CloseNow() }()
	log := h.options.Logger.With("agent", c.peer.AgentID, "epoch", c.peer.Epoch)
	adopted := h.adopt(c)
	if !adopted {
		c.end(endReplaced)
	}
	c.start(h.options.PingEvery)
	if adopted {
		log.Info("agent connected", "negotiated", c.peer.Negotiated)
		for _, handler := range h.handlers {
			handler.AgentConnected(ctx, c.peer)
		}
		cause := h.read(ctx, c)
		h.release(c)
		c.end(ending{code: ws.StatusNormalClosure})
		log.Info("agent disconnected", "cause", cause, "ended", c.why.reason)
	}
	c.writer.Wait()
	if !adopted {
		return
	}
	if _, err := h.database.DisconnectAgent(ctx, c.peer.AgentID, c.peer.Epoch, h.options.Now()); err != nil {
		log.Error("record disconnect", "error", err)
	}
	for _, handler := range h.handlers {
		handler.AgentDisconnected(c.peer)
	}
}

// read handles frames until the socket is closed from either side and gives
// the cause. It ends after the writer has closed the socket, so an ending that
// the hub wants needs nothing from here.
func (h *AgentHub) read(ctx context.Context, c *connection) error {
	for {
		kind, message, err := c.socket.Reader(ctx)
		if err != nil {
			return err
		}
		frame := h.buffers.take()
		_, err = frame.ReadFrom(message)
		if err == nil {
			h.frame(ctx, c, kind, frame.Bytes())
		}
		h.buffers.put(frame)
		if err != nil {
			return err
		}
	}
}

// frame handles one frame, which belongs to the caller again afterwards.
func (h *AgentHub) frame(ctx context.Context, c *connection, kind ws.MessageType, frame []byte) {
	defer func() {
		// One agent's frame must not end all the others' connections.
		if cause := recover(); cause != nil {
			h.options.Logger.Error("a frame could not be handled", "agent", c.peer.AgentID, "epoch", c.peer.Epoch,
				"panic", cause, "stack", string(debug.Stack()))
			c.end(endFailed)
		}
	}()
	switch {
	case !h.isCurrent(c):
		c.end(endReplaced)
		return
	case kind != ws.MessageText:
		c.end(ending{code: ws.StatusUnsupportedData, reason: "frames are JSON text, this one is binary"})
		return
	}
	message, err := wire.Decode(frame)
	if err != nil {
		// A peer that does not frame messages as agreed cannot be trusted with
		// the next one either.
		h.options.Logger.Warn("a frame is malformed, ending the connection",
			"agent", c.peer.AgentID, "epoch", c.peer.Epoch, "error", err)
		c.end(ending{code: ws.StatusInvalidFramePayloadData, reason: publicMessage(err), farewell: wire.TypeError})
		return
	}
	c.handling.Store(true)
	begun := time.Now()
	err = h.receive(ctx, c, message)
	if took := time.Since(begun); took > time.Millisecond {
		c.deaf(took)
	}
	c.handling.Store(false)
	if err != nil {
		h.reject(c, err)
	}
}

// reject answers a frame that could not be handled. What the agent did wrong
// is told to it; what went wrong here ends the connection, and the agent's
// next one brings the message again.
func (h *AgentHub) reject(c *connection, cause error) {
	log := h.options.Logger.With("agent", c.peer.AgentID, "epoch", c.peer.Epoch)
	var told *models.Error
	switch code := models.CodeOf(cause); {
	case code == models.CodeEpochStale:
		c.end(endReplaced)
		return
	case code == models.CodeInternal || code == models.CodeUnavailable || !errors.As(cause, &told):
		log.Error("a frame could not be handled", "error", cause)
		c.end(endFailed)
		return
	}
	log.Warn("a frame was refused", "code", told.Code, "error", cause)
	if c.peer.Negotiated {
		frame, err := wire.Encode(wire.TypeError, wire.ErrorFrame{Code: told.Code, Message: told.Message})
		if err == nil {
			err = c.enqueue(frame)
		}
		if err != nil {
			log.Warn("the refusal could not be told", "error", err)
		}
	}
}

// publicMessage is the part of an error that may leave this process.
func publicMessage(err error) string {
	var told *models.Error
	if errors.As(err, &told) {
		return told.Message
	}
	return "internal error"
}

func refuse(w http.ResponseWriter, status int, code models.ErrorCode, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(problem{
		Type: "urn:streamspace:error:" + string(code), Title: http.StatusText(status), Status: status, Detail: detail, Code: code,
		Retryable: status == http.StatusServiceUnavailable,
	}.encode())
}
