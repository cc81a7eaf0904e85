package server

import (
	"context"
	"log/slog"
	"sync"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// tunnelKeeper ends tunnels with what they belong to: the agent's connection,
// and the session in its generation. It also brings the agents' refusals to
// the broker.
type tunnelKeeper struct {
	database *db.Database
	broker   *tunnel.Broker
	logger   *slog.Logger

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// keepTunnels attaches to the hub and follows the feed until stop.
func keepTunnels(database *db.Database, hub *websocket.AgentHub, feed *services.Feed, broker *tunnel.Broker, logger *slog.Logger) *tunnelKeeper {
	ctx, cancel := context.WithCancel(context.Background())
	keeper := &tunnelKeeper{database: database, broker: broker, logger: logger, cancel: cancel}
	hub.Attach(keeper, wire.TypeTunnelFailed)
	hints := feed.Subscribe(ctx)
	keeper.done.Go(func() { keeper.follow(ctx, hints) })
	return keeper
}

// stop ends what keepTunnels began, and waits.
func (k *tunnelKeeper) stop() {
	k.cancel()
	k.done.Wait()
}

// follow cuts the tunnels of sessions that no longer run. Hints may be lost:
// the agent ends the stream with the runtime as well, this is only sooner.
func (k *tunnelKeeper) follow(ctx context.Context, hints <-chan string) {
	for sessionID := range hints {
		if sessionID == "" {
			continue
		}
		session, err := k.database.Session(ctx, sessionID)
		if err != nil {
			if ctx.Err() == nil {
				k.logger.Warn("look up a session to end its tunnels", "session", sessionID, "error", err)
			}
			continue
		}
		k.broker.CloseSession(session.ID, endedBelow(session))
	}
}

// endedBelow is the first generation whose tunnels may live: a session that
// runs has those of its own, any other has none.
func endedBelow(session models.Session) int64 {
	if session.State == models.SessionRunning {
		return session.Generation
	}
	return session.Generation + 1
}

// AgentConnected implements websocket.Handler.
func (k *tunnelKeeper) AgentConnected(context.Context, websocket.Peer) {}

// AgentMessage implements websocket.Handler.
func (k *tunnelKeeper) AgentMessage(_ context.Context, peer websocket.Peer, message wire.Envelope) error {
	var failed wire.TunnelFailed
	if err := message.Into(&failed); err != nil {
		return err
	}
	k.broker.Failed(peer.AgentID, failed)
	return nil
}

// AgentDisconnected implements websocket.Handler.
func (k *tunnelKeeper) AgentDisconnected(peer websocket.Peer) {
	k.broker.CloseAgent(peer.AgentID, peer.Epoch)
}
