package services

import (
	"context"
	"sync/atomic"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
)

// missing carries out what is planned about a session that should have a
// runtime on the peer's agent and has none, unless a command is about to say
// what became of it. Whatever it writes is guarded by the peer's connection and
// the session's generation.
func (d *CommandDispatcher) missing(ctx context.Context, peer websocket.Peer, session models.Session, limits absence) error {
	now := d.options.Now()
	decided := planMissing(session, limits, now)
	if decided.step == leave {
		return nil
	}
	if open, err := d.database.HasUnfinishedCommand(ctx, session.ID); err != nil || open {
		return err
	}
	var moved bool
	var err error
	if decided.step == forceEnd {
		session, moved, err = d.database.Observe(ctx, db.Observation{AgentID: peer.AgentID, Epoch: peer.Epoch, SessionID: session.ID,
			State: decided.to, Reason: decided.reason, ReasonCode: decided.code, Retryable: decided.retryable}, now)
	} else {
		session, moved, err = d.beginAgain(ctx, peer, session, decided)
	}
	if err == nil && moved {
		map[step]*atomic.Uint64{forceEnd: &d.counters.ended, restart: &d.counters.restarted, recreate: &d.counters.recreated}[decided.step].Add(1)
		d.options.Logger.Warn("a session's runtime is gone", "session", session.ID, "agent", peer.AgentID, "state", session.State, "reason", session.Reason)
	}
	return err
}

// beginAgain has the session started on its agent, or wait for any.
func (d *CommandDispatcher) beginAgain(ctx context.Context, peer websocket.Peer, session models.Session, decided decision) (models.Session, bool, error) {
	now := d.options.Now()
	asked := db.Recovery{AgentID: peer.AgentID, Epoch: peer.Epoch, SessionID: session.ID, Generation: session.Generation, Actor: "reconciler",
		Losses: decided.losses, Reason: decided.reason, WaitUntil: now.Add(d.options.WaitFor)}
	if decided.step == restart {
		next := session
		next.Generation++
		command, err := startCommand(next, newCommandID(now), now, d.options.CommandDeadline)
		if err != nil {
			return models.Session{}, false, err
		}
		asked.Command = &command
	}
	session, done, err := d.database.Recover(ctx, asked, now)
	if err == nil && done && asked.Command != nil {
		d.expect(*asked.Command)
	}
	return session, done, err
}
