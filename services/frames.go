package services

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"unicode/utf8"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

// maxReason bounds what an agent's words may take in the database, in bytes.
const maxReason = 1000

// maxProgress bounds an agent's words about a start, in bytes.
const maxProgress = 300

// AgentConnected implements websocket.Handler: what the agent has not been
// sent on this connection is sent soon, in order, under the same ids.
func (d *CommandDispatcher) AgentConnected(_ context.Context, peer websocket.Peer) {
	d.flows.open(peer.AgentID, peer.Epoch)
	if !d.offer(hint{agentID: peer.AgentID, reach: reachAll}) {
		d.awake()
	}
}

// AgentDisconnected implements websocket.Handler. Commands wait for the next
// connection.
func (d *CommandDispatcher) AgentDisconnected(peer websocket.Peer) {
	d.flows.close(peer.AgentID, peer.Epoch)
}

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
	return d.note(ctx, peer, db.Transition{CommandID: ack.CommandID, AckedAt: d.options.Now()})
}

func (d *CommandDispatcher) completed(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var complete wire.Complete
	if err := message.Into(&complete); err != nil {
		return err
	}
	if !plainID(complete.CommandID) {
		return idMissing(message.Type, "commandId")
	}
	return d.note(ctx, peer, db.Transition{CommandID: complete.CommandID, End: &db.End{
		Status: models.CommandCompleted, Result: complete.Result, At: d.options.Now(),
	}})
}

func (d *CommandDispatcher) failed(ctx context.Context, peer websocket.Peer, message wire.Envelope) error {
	var failed wire.Failed
	if err := message.Into(&failed); err != nil {
		return err
	}
	if !plainID(failed.CommandID) {
		return idMissing(message.Type, "commandId")
	}
	return d.note(ctx, peer, db.Transition{CommandID: failed.CommandID, End: &db.End{
		Status: models.CommandFailed, Retryable: failed.Retryable, Lingers: failed.Lingers, At: d.options.Now(),
		Error: reasonOr(failed.Error, fmt.Sprintf("agent %q gave no reason", peer.AgentID)),
		Code:  codeOr(failed.Code, models.CodeCommandFailed),
	}})
}

// note has what the agent said of a command written soon. While too much is
// unwritten it waits, and with it the agent's socket.
func (d *CommandDispatcher) note(ctx context.Context, peer websocket.Peer, said db.Transition) error {
	said.AgentID, said.Epoch = peer.AgentID, peer.Epoch
	flow := d.flows.current(peer.AgentID, peer.Epoch)
	if flow == nil {
		return models.Errorf(models.CodeEpochStale, "a newer connection of this agent took over")
	}
	flow.answers.Lock()
	defer flow.answers.Unlock()
	if err := d.recorders.of(said.AgentID).note(ctx, said); err != nil {
		return err
	}
	if d.flows.landed(flow, said.CommandID) && !d.offer(hint{agentID: peer.AgentID}) {
		d.awake()
	}
	return nil
}

// Settle waits until what the agent has said of commands is in the database,
// for whoever goes by something else that it says afterwards.
func (d *CommandDispatcher) Settle(ctx context.Context, agentID string) error {
	return d.recorders.of(agentID).settle(ctx, agentID)
}

// settled counts and logs what has been written of a command, and tells an
// agent what was wrong with what it said.
func (d *CommandDispatcher) settled(said db.Transition, written db.Written) {
	if written.Err != nil {
		if said.Epoch != 0 {
			d.hub.Refuse(said.AgentID, said.Epoch, written.Err)
		}
		return
	}
	if written.Acked {
		d.counters.acknowledged.Add(1)
	}
	if !written.Ended {
		return
	}
	end := said.End
	if end.Status == models.CommandCompleted {
		d.counters.completed.Add(1)
	} else {
		d.counters.failed.Add(1)
	}
	if end.Code == models.CodeCommandTimeout && said.Epoch == 0 {
		d.counters.timedOut.Add(1)
	}
	level := slog.LevelInfo
	if end.Status == models.CommandFailed {
		level = slog.LevelWarn
	}
	d.options.Logger.Log(context.Background(), level, "command ended", "command", said.CommandID, "agent", said.AgentID,
		"session", written.Command.SessionID, "action", written.Command.Action, "status", end.Status,
		"sessionMoved", written.Moved, "code", end.Code, "error", end.Error)
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
		if err := d.mustOwn(ctx, peer, status.SessionID); err != nil || status.Progress == nil {
			return err
		}
		return d.database.SetProgress(ctx, db.Advance{AgentID: peer.AgentID, Epoch: peer.Epoch, SessionID: status.SessionID,
			Generation: status.Generation, Progress: models.Progress{Message: cut(reasonOr(status.Progress.Message, ""), maxProgress),
				Percent: min(100, max(0, status.Progress.Percent))}}, d.options.Now())
	default:
		return models.Errorf(models.CodeFrameInvalid, "%q is no state of a session", status.State)
	}
	if err := d.Settle(ctx, peer.AgentID); err != nil {
		return err
	}
	if seen.ReasonCode == models.CodeRuntimeLost {
		session, err := d.database.Session(ctx, seen.SessionID)
		if err != nil {
			return err
		}
		if session.AgentID == peer.AgentID && session.State == models.SessionRunning && (seen.Generation == 0 || seen.Generation == session.Generation) {
			return d.missing(ctx, peer, session, 0)
		}
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
	return cut(reason, maxReason)
}

// cut ends a text after so many bytes, between two characters.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
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
