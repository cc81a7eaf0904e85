package services

import (
	"context"
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
	// Needs lists what templates need, for the verdicts; none by default.
	Needs func(context.Context) []string
}

// Inventory compares what agents say they run with what they should run. Each
// inventory is answered with a verdict on every item, so that orphans are gone
// within one inventory period; a session that runs although nobody heard that
// its start succeeded is adopted, and what becomes of one whose runtime is gone
// is its template's policy.
type Inventory struct {
	database   *db.Database
	hub        *websocket.AgentHub
	dispatcher *CommandDispatcher
	options    InventoryOptions
}

// NewInventory makes an Inventory and attaches it to the hub, so call it
// before the first agent connects. What agents said of commands before is in
// the database, by the dispatcher, before their inventories are looked at.
func NewInventory(database *db.Database, hub *websocket.AgentHub, dispatcher *CommandDispatcher, options InventoryOptions) *Inventory {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Grace <= 0 {
		options.Grace = DefaultInventoryGrace
	}
	if options.Needs == nil {
		options.Needs = func(context.Context) []string { return nil }
	}
	i := &Inventory{database: database, hub: hub, dispatcher: dispatcher, options: options}
	hub.Attach(i, wire.TypeInventory)
	return i
}

// AgentConnected implements websocket.Handler. An agent that does not tell what it
// runs is told to stop what may be left there of sessions that were given up while
// it was away; the others' inventories tell.
func (i *Inventory) AgentConnected(ctx context.Context, peer websocket.Peer) {
	if err := i.clearAway(ctx, peer); err != nil && models.CodeOf(err) != models.CodeEpochStale {
		i.options.Logger.Error("stop what is left on an agent that has returned", "agent", peer.AgentID, "error", err)
	}
}

func (i *Inventory) clearAway(ctx context.Context, peer websocket.Peer) error {
	if has, err := i.database.HasLeftovers(ctx, peer.AgentID); err != nil || !has {
		return err
	}
	if peer.Negotiated {
		return i.database.ForgetLeftovers(ctx, peer.AgentID, peer.Epoch)
	}
	now := i.options.Now()
	stops, err := i.database.StopLeftovers(ctx, peer.AgentID, peer.Epoch, func() string { return newCommandID(now) }, now.Add(DefaultCommandDeadline), now)
	for _, stop := range stops {
		i.dispatcher.expect(stop)
		i.options.Logger.Warn("an agent has returned, and is told to stop what may be left of a session", "agent", peer.AgentID,
			"session", stop.SessionID, "generation", stop.Generation)
	}
	return err
}

// AgentDisconnected implements websocket.Handler. Sessions keep running while
// their agent is away.
func (i *Inventory) AgentDisconnected(websocket.Peer) {}

// AgentMessage implements websocket.Handler.
func (i *Inventory) AgentMessage(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var inventory wire.Inventory
	if err := message.Into(&inventory); err != nil {
		return err
	}
	if err := i.dispatcher.Settle(ctx, peer.AgentID); err != nil {
		return err
	}
	sessions, err := i.database.AgentSessions(ctx, peer.AgentID)
	if err != nil {
		return err
	}
	verdicts, absent := compare(sessions, inventory.Items)
	for _, verdict := range verdicts {
		if verdict.Verdict == wire.VerdictStop {
			i.dispatcher.counters.orphans.Add(1)
			i.options.Logger.Warn("an agent runs what it should not, and is told to stop it",
				"agent", peer.AgentID, "session", verdict.SessionID, "generation", verdict.Generation)
		}
	}
	if peer.Negotiated {
		if err := i.hub.Send(peer.AgentID, wire.TypeVerdict, wire.Verdict{Items: verdicts, Needs: i.options.Needs(ctx)}); err != nil {
			i.options.Logger.Warn("verdict not sent, the next inventory gets one", "agent", peer.AgentID, "error", err)
		}
	}
	for _, verdict := range verdicts {
		if verdict.Verdict == wire.VerdictAdopt {
			if err := i.adopt(ctx, peer, verdict); err != nil {
				return err
			}
		}
	}
	for _, session := range absent {
		if err := i.dispatcher.missing(ctx, peer, session, absence(i.options.Grace)); err != nil {
			return err
		}
	}
	return nil
}

// adopt has a session be where its agent has brought it.
func (i *Inventory) adopt(ctx context.Context, peer websocket.Peer, found wire.VerdictItem) error {
	session, moved, err := i.database.Observe(ctx, db.Observation{AgentID: peer.AgentID, Epoch: peer.Epoch,
		SessionID: found.SessionID, Generation: found.Generation, State: models.SessionRunning}, i.options.Now())
	if err == nil && moved {
		i.options.Logger.Info("a session that runs already is adopted", "session", session.ID, "agent", peer.AgentID, "generation", found.Generation)
	}
	return err
}
