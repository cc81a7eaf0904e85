package services

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// DefaultInventoryGrace is for how long a session that has just changed its
// state may be absent from an inventory: the agent may have listed it before.
const DefaultInventoryGrace = 10 * time.Second

// InventoryOptions configure an Inventory. The zero value of a field means its
// default.
type InventoryOptions struct {
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written; time.Now.
	Now func() time.Time
	// Grace is DefaultInventoryGrace.
	Grace time.Duration
	// Settle waits until what the agent said of commands before is in the
	// database; by default nothing is waited for.
	Settle func(ctx context.Context, agentID string) error
}

// Inventory compares what agents say they run with what they should run. Each
// inventory is answered with a verdict on every item, so that orphans are gone
// within one inventory period, and sessions whose runtime is gone are ended.
type Inventory struct {
	database *db.Database
	hub      *websocket.AgentHub
	options  InventoryOptions
}

// NewInventory makes an Inventory and attaches it to the hub, so call it
// before the first agent connects.
func NewInventory(database *db.Database, hub *websocket.AgentHub, options InventoryOptions) *Inventory {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Grace <= 0 {
		options.Grace = DefaultInventoryGrace
	}
	if options.Settle == nil {
		options.Settle = func(context.Context, string) error { return nil }
	}
	i := &Inventory{database: database, hub: hub, options: options}
	hub.Attach(i, wire.TypeInventory)
	return i
}

// AgentConnected implements websocket.Handler.
func (i *Inventory) AgentConnected(context.Context, websocket.Peer) {}

// AgentDisconnected implements websocket.Handler. Sessions keep running while
// their agent is away.
func (i *Inventory) AgentDisconnected(websocket.Peer) {}

// AgentMessage implements websocket.Handler.
func (i *Inventory) AgentMessage(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var inventory wire.Inventory
	if err := message.Into(&inventory); err != nil {
		return err
	}
	if err := i.options.Settle(ctx, peer.AgentID); err != nil {
		return err
	}
	sessions, err := i.database.AgentSessions(ctx, peer.AgentID)
	if err != nil {
		return err
	}
	verdicts, absent := compare(sessions, inventory.Items)
	for _, verdict := range verdicts {
		if verdict.Verdict == wire.VerdictStop {
			i.options.Logger.Warn("an agent runs what it should not, and is told to stop it",
				"agent", peer.AgentID, "session", verdict.SessionID, "generation", verdict.Generation)
		}
	}
	if peer.Negotiated {
		if err := i.hub.Send(peer.AgentID, wire.TypeVerdict, wire.Verdict{Items: verdicts}); err != nil {
			i.options.Logger.Warn("verdict not sent, the next inventory gets one", "agent", peer.AgentID, "error", err)
		}
	}
	for _, session := range absent {
		if err := i.lost(ctx, peer, session); err != nil {
			return err
		}
	}
	return nil
}

// lost ends a session whose runtime is gone, unless a command is about to say
// what became of it.
func (i *Inventory) lost(ctx context.Context, peer websocket.Peer, session models.Session) error {
	now := i.options.Now()
	if now.Sub(session.StateSince) < i.options.Grace {
		return nil
	}
	open, err := i.database.HasUnfinishedCommand(ctx, session.ID)
	if err != nil || open {
		return err
	}
	seen := db.Observation{AgentID: peer.AgentID, Epoch: peer.Epoch, SessionID: session.ID, State: models.SessionTerminated}
	if session.State != models.SessionTerminating {
		seen.State, seen.Retryable, seen.ReasonCode = models.SessionFailed, true, models.CodeRuntimeLost
		seen.Reason = fmt.Sprintf("agent %q no longer runs this session; its machine may have restarted. Launch it again", peer.AgentID)
	}
	_, moved, err := i.database.Observe(ctx, seen, now)
	if err == nil && moved {
		i.options.Logger.Warn("a session's runtime is gone", "session", session.ID, "agent", peer.AgentID, "state", seen.State)
	}
	return err
}
