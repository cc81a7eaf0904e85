package tunnel

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// The broker's defaults.
const (
	// DefaultOpenWithin is how long an agent may take to bring a stream: the
	// way through a slow network and a busy machine, but less than a person
	// waits before trying again.
	DefaultOpenWithin = 10 * time.Second
	// DefaultMaxTunnels bounds the tunnels of one replica. Each takes two of
	// the process's descriptors, of which systems give 20,000 and more.
	DefaultMaxTunnels = 8000
)

// Hub reaches agents; websocket.AgentHub is one.
type Hub interface {
	// Epoch gives the number of the agent's current connection to this replica.
	Epoch(agentID string) (epoch int64, connected bool)
	// Send queues a frame for the agent.
	Send(agentID string, kind wire.Type, payload any) error
}

// Target is what a tunnel leads to. The tunnel ends with any of them: the
// agent's connection (its epoch), and the session in its generation.
type Target struct {
	AgentID    string
	Epoch      int64
	SessionID  string
	Generation int64
}

// BrokerOptions configure a Broker. The zero value of a field means its
// default.
type BrokerOptions struct {
	// Logger discards by default.
	Logger *slog.Logger
	// OpenWithin is DefaultOpenWithin.
	OpenWithin time.Duration
	// MaxTunnels is DefaultMaxTunnels, those that are being opened included.
	MaxTunnels int
}

// Broker brings viewers and agents together: Open asks an agent for a stream
// and ServeAgent takes the connection that the agent then dials. It also knows
// every tunnel, so that tunnels end with what they belong to. Safe for
// concurrent use.
type Broker struct {
	hub     Hub
	options BrokerOptions

	mu       sync.Mutex
	stopping bool
	count    int
	// sessions are all tunnels, by their session.
	sessions map[string]map[*tunnel]struct{}
	// waiting are those that nobody has brought yet, by their id. Whoever takes
	// one out of here sends its only result.
	waiting map[string]*tunnel
}

// NewBroker makes a broker.
func NewBroker(hub Hub, options BrokerOptions) *Broker {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.OpenWithin <= 0 {
		options.OpenWithin = DefaultOpenWithin
	}
	if options.MaxTunnels <= 0 {
		options.MaxTunnels = DefaultMaxTunnels
	}
	return &Broker{hub: hub, options: options,
		sessions: map[string]map[*tunnel]struct{}{}, waiting: map[string]*tunnel{}}
}

// tunnel is one tunnel from the moment that it is wanted until it is closed.
type tunnel struct {
	id     string
	target Target
	result chan result
	// conn is nil until the agent has brought it; guarded by the broker's lock.
	conn net.Conn
}

// result is what became of the wish for a tunnel.
type result struct {
	conn net.Conn
	err  error
}

// Open asks the agent for a stream of the session and waits for it. The caller
// closes the connection; until then the broker may, when its target ends.
//
// Errors: models.CodeAgentUnavailable when the agent's connection is not the
// target's any more, models.CodeTunnelFailed when the agent cannot or does not
// bring it, models.CodeSessionNotRunning when the session ended meanwhile,
// models.CodeUnavailable when there are too many tunnels or the broker stops.
func (b *Broker) Open(ctx context.Context, target Target) (net.Conn, error) {
	wanted := &tunnel{id: rand.Text(), target: target, result: make(chan result, 1)}
	if err := b.expect(wanted); err != nil {
		return nil, err
	}
	if err := b.ask(wanted); err != nil {
		b.settle(wanted, err)
	}
	late := time.NewTimer(b.options.OpenWithin)
	defer late.Stop()
	select {
	case got := <-wanted.result:
		return got.conn, got.err
	case <-late.C:
		b.settle(wanted, &models.Error{Code: models.CodeTunnelFailed, Retryable: true,
			Message: "the session's agent did not bring its stream in time; try again"})
	case <-ctx.Done():
		b.settle(wanted, ctx.Err())
	}
	// Who took the tunnel out of waiting before sends a result within the
	// handshake's deadline.
	got := <-wanted.result
	if got.conn != nil && ctx.Err() != nil {
		_ = got.conn.Close()
		return nil, ctx.Err()
	}
	return got.conn, got.err
}

// expect makes the tunnel known.
func (b *Broker) expect(wanted *tunnel) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopping:
		return errStopping()
	case b.count >= b.options.MaxTunnels:
		return &models.Error{Code: models.CodeUnavailable, Retryable: true,
			Message: "this server carries as many streams as it can; close one, or try again later"}
	}
	b.count++
	of := b.sessions[wanted.target.SessionID]
	if of == nil {
		of = map[*tunnel]struct{}{}
		b.sessions[wanted.target.SessionID] = of
	}
	of[wanted] = struct{}{}
	b.waiting[wanted.id] = wanted
	return nil
}

// ask sends the wish. It looks at the epoch after the tunnel is known: from
// then on, CloseAgent finds it.
func (b *Broker) ask(wanted *tunnel) error {
	if epoch, connected := b.hub.Epoch(wanted.target.AgentID); !connected || epoch != wanted.target.Epoch {
		return errDisconnected()
	}
	return b.hub.Send(wanted.target.AgentID, wire.TypeOpenTunnel, wire.OpenTunnel{
		TunnelID: wanted.id, SessionID: wanted.target.SessionID, Generation: wanted.target.Generation,
	})
}

// claim takes a tunnel that is waited for, if it is the agent's; the caller
// then owes its result. nil when there is none.
func (b *Broker) claim(agentID, tunnelID string) *tunnel {
	b.mu.Lock()
	defer b.mu.Unlock()
	wanted := b.waiting[tunnelID]
	if wanted == nil || wanted.target.AgentID != agentID {
		return nil
	}
	delete(b.waiting, tunnelID)
	return wanted
}

// settle ends the wait for a tunnel with an error, unless it is over.
func (b *Broker) settle(wanted *tunnel, cause error) {
	if b.claim(wanted.target.AgentID, wanted.id) == nil {
		return
	}
	b.forget(wanted)
	wanted.result <- result{err: cause}
}

// deliver gives a claimed tunnel its connection, unless its target ended since.
func (b *Broker) deliver(wanted *tunnel, conn net.Conn) {
	b.mu.Lock()
	_, known := b.sessions[wanted.target.SessionID][wanted]
	if known {
		wanted.conn = conn
	}
	b.mu.Unlock()
	if !known {
		_ = conn.Close()
		wanted.result <- result{err: errEnded()}
		return
	}
	wanted.result <- result{conn: &tracked{Conn: conn, close: func() error {
		b.forget(wanted)
		return conn.Close()
	}}}
}

// forget drops the tunnel; doing so twice is safe.
func (b *Broker) forget(gone *tunnel) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(gone)
}

// drop is forget under the lock.
func (b *Broker) drop(gone *tunnel) {
	of := b.sessions[gone.target.SessionID]
	if _, known := of[gone]; !known {
		return
	}
	delete(of, gone)
	if len(of) == 0 {
		delete(b.sessions, gone.target.SessionID)
	}
	b.count--
}

// Failed tells that the agent cannot bring a tunnel. Tunnels that are not
// waited for, and other agents', are left alone.
func (b *Broker) Failed(agentID string, failed wire.TunnelFailed) {
	wanted := b.claim(agentID, failed.TunnelID)
	if wanted == nil {
		return
	}
	b.forget(wanted)
	b.options.Logger.Warn("agent cannot bring a stream", "agent", agentID,
		"session", wanted.target.SessionID, "error", failed.Error)
	wanted.result <- result{err: &models.Error{Code: models.CodeTunnelFailed, Retryable: true,
		Message: "the session's agent could not open its stream: " + failed.Error}}
}

// CloseSession ends the session's tunnels of generations below the given one.
func (b *Broker) CloseSession(sessionID string, below int64) {
	b.mu.Lock()
	var ended []*tunnel
	for one := range b.sessions[sessionID] {
		if one.target.Generation < below {
			ended = append(ended, one)
		}
	}
	b.end(ended, errEnded())
}

// CloseAgent ends the agent's tunnels of its connection with this epoch and
// of those before.
func (b *Broker) CloseAgent(agentID string, epoch int64) {
	b.mu.Lock()
	b.end(b.matching(func(target Target) bool {
		return target.AgentID == agentID && target.Epoch <= epoch
	}), errDisconnected())
}

// Stop ends every tunnel, and lets none be opened any more.
func (b *Broker) Stop() {
	b.mu.Lock()
	b.stopping = true
	b.end(b.matching(func(Target) bool { return true }), errStopping())
}

// Tunnels counts the tunnels, those that are being opened included.
func (b *Broker) Tunnels() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count
}

// matching finds tunnels, under the lock.
func (b *Broker) matching(wanted func(Target) bool) []*tunnel {
	var found []*tunnel
	for _, of := range b.sessions {
		for one := range of {
			if wanted(one.target) {
				found = append(found, one)
			}
		}
	}
	return found
}

// end drops tunnels and gives up the lock that it was called under; then it
// closes them, which a slow socket may take a moment for.
func (b *Broker) end(ended []*tunnel, cause error) {
	var waited []*tunnel
	var conns []net.Conn
	for _, one := range ended {
		b.drop(one)
		if _, waits := b.waiting[one.id]; waits {
			delete(b.waiting, one.id)
			waited = append(waited, one)
		}
		if one.conn != nil {
			conns = append(conns, one.conn)
		}
	}
	b.mu.Unlock()
	for _, one := range waited {
		one.result <- result{err: cause}
	}
	for _, conn := range conns {
		_ = conn.Close()
	}
}

// tracked is a connection that the broker hears the end of.
type tracked struct {
	net.Conn
	close func() error
}

// Close implements net.Conn.
func (t *tracked) Close() error { return t.close() }

func errStopping() error {
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: "the control plane is stopping; connect again shortly"}
}

func errDisconnected() error {
	return &models.Error{Code: models.CodeAgentUnavailable, Retryable: true,
		Message: "the session's agent has just disconnected; the session keeps running, try again shortly"}
}

func errEnded() error {
	return models.Errorf(models.CodeSessionNotRunning, "the session ended while its stream was being opened")
}
