// Package websocket holds the control plane's end of the agents' command
// connections: who is connected, with which epoch, and the frames both ways.
// It decides nothing about commands or sessions: frames that concern those go
// to the handlers that attached for them.
package websocket

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// Options configure an AgentHub. The zero value of a field means its default.
type Options struct {
	// Logger receives what happens to connections; the default discards it.
	Logger *slog.Logger
	// Now gives the time that is written to the database. Silence is measured
	// on the monotonic clock instead, which no clock step disturbs.
	Now func() time.Time
	// HeartbeatEvery is the rhythm asked of agents; wire.HeartbeatEvery.
	HeartbeatEvery time.Duration
	// PingEvery is how often agents hear that this replica lives; wire.PingEvery.
	PingEvery time.Duration
	// StaleAfter is the silence that ends a connection; wire.StaleAfter.
	StaleAfter time.Duration
	// QueueSize bounds the frames waiting for one agent's socket; 256. A frame
	// for a full queue is refused, and its command stays in the database.
	QueueSize int
	// Needs lists what templates need, for the welcome; none by default.
	Needs func(context.Context) []string
}

// Peer is one connection of one agent.
type Peer struct {
	AgentID string
	Epoch   int64
	// Negotiated tells that the agent speaks wire.ProtocolVersion, so frames
	// beyond the basic protocol may be sent.
	Negotiated bool
}

// Handler hears what agents say. Its methods are called by many connections
// at once, and in order for one connection.
type Handler interface {
	// AgentConnected tells that peer is the agent's current connection. Frames
	// of this peer come after it has returned.
	AgentConnected(ctx context.Context, peer Peer)
	// AgentMessage handles one frame. A *models.Error that is not internal is
	// told to the agent and the connection goes on; any other error ends the
	// connection, so that the agent says it again after reconnecting.
	AgentMessage(ctx context.Context, peer Peer, message wire.Envelope) error
	// AgentDisconnected tells that the connection is over, also one that a
	// newer connection replaced: compare epochs.
	AgentDisconnected(peer Peer)
}

// AgentHub knows which agents are connected to this replica and carries frames
// to them. Safe for concurrent use.
type AgentHub struct {
	database *db.Database
	options  Options

	handlers []Handler
	byType   map[wire.Type]Handler

	pulses  pulses
	buffers buffers

	mu          sync.Mutex
	connections map[string]*connection
	stopping    bool
	serving     sync.WaitGroup

	stop     chan struct{}
	stopOnce sync.Once
}

// NewAgentHub makes a hub with default options.
func NewAgentHub(database *db.Database) *AgentHub {
	return NewAgentHubWith(database, Options{})
}

// NewAgentHubWith makes a hub. It accepts connections at once and looks for
// silent ones while Run runs.
func NewAgentHubWith(database *db.Database, options Options) *AgentHub {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.HeartbeatEvery <= 0 {
		options.HeartbeatEvery = wire.HeartbeatEvery
	}
	if options.PingEvery <= 0 {
		options.PingEvery = min(wire.PingEvery, options.HeartbeatEvery)
	}
	if options.StaleAfter <= 0 {
		options.StaleAfter = wire.StaleAfter
	}
	if options.QueueSize <= 0 {
		options.QueueSize = 256
	}
	if options.Needs == nil {
		options.Needs = func(context.Context) []string { return nil }
	}
	return &AgentHub{
		database:    database,
		options:     options,
		byType:      map[wire.Type]Handler{},
		connections: map[string]*connection{},
		pulses:      pulses{waiting: map[string]db.Pulse{}, now: make(chan struct{}, 1)},
		stop:        make(chan struct{}),
	}
}

// Attach lets handler hear every connect and disconnect, and the frames of the
// given types. Call it before the first agent connects, as with a mux: it is
// part of construction and is not synchronised. A type has one handler.
func (h *AgentHub) Attach(handler Handler, types ...wire.Type) {
	h.handlers = append(h.handlers, handler)
	for _, kind := range types {
		h.byType[kind] = handler
	}
}

// Run ends connections whose agent has been silent for StaleAfter, and writes
// the heartbeats of the others. It blocks until Stop, and returns when every
// connection is over.
func (h *AgentHub) Run() {
	var writing sync.WaitGroup
	writing.Go(h.keepPulses)
	writing.Go(h.keepPinging)
	defer writing.Wait()
	every := h.options.StaleAfter / 9
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-h.stop:
			h.closeAll()
			h.serving.Wait()
			return
		case <-ticker.C:
			// A sweep that comes late means that this process was paused, and
			// that heartbeats may be waiting unread: nobody is silent then.
			paused := time.Since(last) > 2*every
			last = time.Now()
			h.sweep(paused)
		}
	}
}

// keepPinging shows agents that this replica lives, until Stop. Connections
// have their own moments, so that not all are written to at once.
func (h *AgentHub) keepPinging() {
	ticker := time.NewTicker(max(h.options.PingEvery/16, time.Millisecond))
	defer ticker.Stop()
	frame := []byte(`{"type":"` + string(wire.TypePing) + `"}`)
	for {
		select {
		case <-h.stop:
			return
		case now := <-ticker.C:
			for _, c := range h.all() {
				c.ping(frame, h.options.PingEvery, now)
			}
		}
	}
}

// Stop refuses new connections, tells every agent, ends the connections and
// waits until they are over. Further calls wait too. Without Run it returns
// after doing the same itself.
func (h *AgentHub) Stop() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	h.stopOnce.Do(func() { close(h.stop) })
	h.closeAll()
	h.serving.Wait()
}

// IsAgentConnected reports whether the agent has a connection to this replica.
func (h *AgentHub) IsAgentConnected(agentID string) bool {
	_, connected := h.Epoch(agentID)
	return connected
}

// GetConnectedAgents lists the agents connected to this replica, by id.
func (h *AgentHub) GetConnectedAgents() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	agents := make([]string, 0, len(h.connections))
	for agentID := range h.connections {
		agents = append(agents, agentID)
	}
	slices.Sort(agents)
	return agents
}

// Epoch gives the number of the agent's current connection to this replica.
func (h *AgentHub) Epoch(agentID string) (epoch int64, connected bool) {
	if current := h.current(agentID); current != nil {
		return current.peer.Epoch, true
	}
	return 0, false
}

// SendCommandToAgent queues a command for the agent's socket. It returns as
// soon as the frame is queued; whether the agent has it, only its ack tells.
// Errors: models.CodeAgentUnavailable when the agent is not connected here,
// models.CodeQueueFull when its queue is full, models.CodeFrameTooLarge.
func (h *AgentHub) SendCommandToAgent(agentID string, command *models.AgentCommand) error {
	if command == nil {
		return models.Errorf(models.CodeInvalidRequest, "there is no command to send")
	}
	return h.Send(agentID, wire.TypeCommand, wire.Command{
		CommandID: command.CommandID,
		Action:    command.Action,
		Payload:   command.Payload,
	})
}

// Send queues any frame; see SendCommandToAgent.
func (h *AgentHub) Send(agentID string, kind wire.Type, payload any) error {
	frame, err := wire.Encode(kind, payload)
	if err != nil {
		return err
	}
	current := h.current(agentID)
	if current == nil {
		return models.Errorf(models.CodeAgentUnavailable, "agent %q is not connected", agentID)
	}
	return current.enqueue(frame)
}

// SendFrame queues an encoded frame on the agent's connection with this epoch,
// and on no other; see SendCommandToAgent.
func (h *AgentHub) SendFrame(agentID string, epoch int64, frame []byte) error {
	current := h.current(agentID)
	if current == nil || current.peer.Epoch != epoch {
		return models.Errorf(models.CodeAgentUnavailable, "agent %q is not connected as %d", agentID, epoch)
	}
	return current.enqueue(frame)
}

// Refuse answers a frame of the connection with this epoch that could not be
// handled, as an error of Handler.AgentMessage does, for handlers that come to
// know of it later.
func (h *AgentHub) Refuse(agentID string, epoch int64, cause error) {
	if current := h.current(agentID); current != nil && current.peer.Epoch == epoch {
		h.reject(current, cause)
	}
}

func (h *AgentHub) current(agentID string) *connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.connections[agentID]
}

// isCurrent reports whether c still is its agent's newest connection here.
func (h *AgentHub) isCurrent(c *connection) bool {
	return h.current(c.peer.AgentID) == c
}

// adopt makes c the agent's current connection unless a newer one is, and
// ends the one that it replaces.
func (h *AgentHub) adopt(c *connection) bool {
	h.mu.Lock()
	old := h.connections[c.peer.AgentID]
	if h.stopping || (old != nil && old.peer.Epoch > c.peer.Epoch) {
		h.mu.Unlock()
		return false
	}
	h.connections[c.peer.AgentID] = c
	h.mu.Unlock()
	if old != nil {
		old.end(endReplaced)
	}
	return true
}

// release forgets c, and nothing newer.
func (h *AgentHub) release(c *connection) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.connections[c.peer.AgentID] == c {
		delete(h.connections, c.peer.AgentID)
	}
}

// enter counts a connection in, unless the hub is stopping.
func (h *AgentHub) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopping {
		return false
	}
	h.serving.Add(1)
	return true
}

func (h *AgentHub) all() []*connection {
	h.mu.Lock()
	defer h.mu.Unlock()
	connections := make([]*connection, 0, len(h.connections))
	for _, c := range h.connections {
		connections = append(connections, c)
	}
	return connections
}

func (h *AgentHub) closeAll() {
	for _, c := range h.all() {
		c.end(endStopping)
	}
}

func (h *AgentHub) sweep(paused bool) {
	for _, c := range h.all() {
		if paused {
			c.heard()
			continue
		}
		// A frame that is still being handled, as when the database is slow, says
		// nothing of the agent: what it sent since is waiting behind.
		if silence := c.silence(); silence > h.options.StaleAfter && !c.handling.Load() {
			h.options.Logger.Warn("agent is silent, ending its connection",
				"agent", c.peer.AgentID, "epoch", c.peer.Epoch, "silence", silence)
			c.end(endStale)
		}
	}
}

// problem is the RFC 9457 body of a refused connection.
type problem struct {
	Type      string           `json:"type"`
	Title     string           `json:"title"`
	Status    int              `json:"status"`
	Detail    string           `json:"detail"`
	Code      models.ErrorCode `json:"code"`
	Retryable bool             `json:"retryable"`
}

func (p problem) encode() []byte {
	body, err := json.Marshal(p)
	if err != nil {
		return []byte("{}")
	}
	return body
}
