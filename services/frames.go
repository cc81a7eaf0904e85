package services

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// maxReason bounds what an agent's words may take in the database, in bytes.
const maxReason = 1000

// AgentConnected implements websocket.Handler: what the agent has not been
// sent on this connection is sent soon, in order, under the same ids.
func (d *CommandDispatcher) AgentConnected(context.Context, websocket.Peer) { d.awake() }

// AgentDisconnected implements websocket.Handler. Commands wait for the next
// connection.
func (d *CommandDispatcher) AgentDisconnected(websocket.Peer) {}

// AgentMessage implements websocket.Handler: it moves command and session as
// the agent says, along legal transitions only.
func (d *CommandDispatcher) AgentMessage(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	switch message.Type {
	case wire.TypeAck:
		return d.acked(ctx, peer, message)
	case wire.TypeComplete:
		return d.completed(ctx, peer, message)
	case wire.TypeFailed:
		return d.failed(ctx, peer, message)
	case wire.TypeStatus:
		return d.observed(ctx, peer, message)
	}
	return models.Errorf(models.CodeMessageUnknown, "message type %q is not known", message.Type)
}

func (d *CommandDispatcher) acked(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var ack wire.Ack
	if err := message.Into(&ack); err != nil {
		return err
	}
	if !plainID(ack.CommandID) {
		return idMissing(message.Type, "commandId")
	}
	d.flights.wait(ack.CommandID)
	marked, err := d.database.MarkAcked(ctx, ack.CommandID, peer.AgentID, peer.Epoch, d.options.Now())
	if err != nil {
		return err
	}
	if marked {
		d.counters.acknowledged.Add(1)
		return nil
	}
	return d.whyNotAcked(ctx, peer, ack.CommandID)
}

// whyNotAcked tells a repeated ack, which is nothing, from a wrong one.
func (d *CommandDispatcher) whyNotAcked(ctx context.Context, peer websocket.Peer, commandID string) error {
	command, err := d.database.Command(ctx, commandID)
	if err != nil {
		return err
	}
	if command.AgentID != peer.AgentID {
		return models.Errorf(models.CodeForbidden, "command %q is not for agent %q", commandID, peer.AgentID)
	}
	if models.CanCommandBecome(command.Status, models.CommandAck) {
		return models.Errorf(models.CodeEpochStale, "a newer connection of this agent took over")
	}
	return nil
}

func (d *CommandDispatcher) completed(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var complete wire.Complete
	if err := message.Into(&complete); err != nil {
		return err
	}
	if !plainID(complete.CommandID) {
		return idMissing(message.Type, "commandId")
	}
	return d.finish(ctx, peer, db.Finish{
		CommandID: complete.CommandID, Status: models.CommandCompleted, Result: complete.Result,
	})
}

func (d *CommandDispatcher) failed(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var failed wire.Failed
	if err := message.Into(&failed); err != nil {
		return err
	}
	if !plainID(failed.CommandID) {
		return idMissing(message.Type, "commandId")
	}
	return d.finish(ctx, peer, db.Finish{
		CommandID: failed.CommandID, Status: models.CommandFailed, Retryable: failed.Retryable,
		Error: reasonOr(failed.Error, fmt.Sprintf("agent %q gave no reason", peer.AgentID)),
		Code:  codeOr(failed.Code, models.CodeCommandFailed),
	})
}

func (d *CommandDispatcher) finish(ctx context.Context, peer websocket.Peer, finish db.Finish) error {
	d.flights.wait(finish.CommandID)
	finish.AgentID, finish.Epoch = peer.AgentID, peer.Epoch
	now := d.options.Now()
	result, err := d.database.FinishCommand(ctx, finish, now)
	if err != nil {
		return err
	}
	if !endedAt(result.Command, now) {
		return nil // it had ended before
	}
	if finish.Status == models.CommandCompleted {
		d.counters.completed.Add(1)
	} else {
		d.counters.failed.Add(1)
	}
	d.options.Logger.Info("command ended", "command", finish.CommandID, "agent", peer.AgentID,
		"session", result.Command.SessionID, "action", result.Command.Action, "status", finish.Status,
		"sessionMoved", result.Moved, "error", finish.Error)
	return nil
}

// observed moves the session to where the agent sees it. States between two
// others belong to the control plane, so an agent's word on them is news of
// progress and moves nothing.
func (d *CommandDispatcher) observed(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var status wire.Status
	if err := message.Into(&status); err != nil {
		return err
	}
	if !plainID(status.SessionID) {
		return idMissing(message.Type, "sessionId")
	}
	seen := db.Observation{
		AgentID: peer.AgentID, Epoch: peer.Epoch, SessionID: status.SessionID, Generation: status.Generation,
		Reason: reasonOr(status.Reason, ""), ReasonCode: codeOr(status.ReasonCode, ""),
	}
	switch state := models.SessionState(status.State); state {
	case "stopped":
		seen.State = models.SessionTerminated
	case models.SessionFailed:
		seen.State, seen.Retryable = state, true
		seen.Reason = reasonOr(status.Reason, fmt.Sprintf("agent %q says that it failed, and gave no reason", peer.AgentID))
		seen.ReasonCode = codeOr(status.ReasonCode, models.CodeRuntimeExited)
	case models.SessionRunning, models.SessionHibernated, models.SessionTerminated:
		seen.State = state
	case models.SessionPending, models.SessionHibernating, models.SessionWaking, models.SessionTerminating:
		return d.mustOwn(ctx, peer, status.SessionID)
	default:
		return models.Errorf(models.CodeFrameInvalid, "%q is no state of a session", status.State)
	}
	session, moved, err := d.database.Observe(ctx, seen, d.options.Now())
	if err != nil {
		return err
	}
	if moved {
		d.options.Logger.Info("session observed", "session", session.ID, "agent", peer.AgentID,
			"state", session.State, "reason", session.Reason)
	}
	return nil
}

// mustOwn fails unless the session is on the peer's agent.
func (d *CommandDispatcher) mustOwn(ctx context.Context, peer websocket.Peer, sessionID string) error {
	session, err := d.database.Session(ctx, sessionID)
	if err != nil {
		return err
	}
	if session.AgentID != peer.AgentID {
		return models.Errorf(models.CodeForbidden, "session %q is not on agent %q", sessionID, peer.AgentID)
	}
	return nil
}

func idMissing(kind wire.Type, key string) *models.Error {
	return models.Errorf(models.CodeFrameInvalid, "a frame of type %s needs a %s of at most %d printable characters", kind, key, maxID)
}

// reasonOr makes an agent's words fit to be kept and shown.
func reasonOr(reason, otherwise string) string {
	reason = strings.TrimSpace(strings.ToValidUTF8(reason, "�"))
	reason = strings.ReplaceAll(reason, "\x00", "") // PostgreSQL's text has none
	if reason == "" {
		return otherwise
	}
	if len(reason) > maxReason {
		cut := maxReason
		for !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut] + "…"
	}
	return reason
}

// codeOr keeps an agent's error code if it looks like one.
func codeOr(code, otherwise models.ErrorCode) models.ErrorCode {
	if code == "" || len(code) > 64 || strings.ContainsFunc(string(code), func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z')
	}) {
		return otherwise
	}
	return code
}
