package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

const sessionColumns = `s.id, s.name, s.user_id, coalesce(u.name, ''), s.template, s.protocol, s.state, s.desired_state,
	s.generation, s.reason, s.reason_code, s.retryable, s.agent_id, s.cluster_id, s.platform, s.region, s.cpu, s.memory,
	s.gpus, s.priority, s.wait_until, s.move_until, s.attempts, s.failures, s.losses, s.placement, s.spec, s.request_hash, s.created_at, s.updated_at, s.state_since,
	s.expires_at, s.idle_at, s.progress`

const sessionTables = ` FROM sessions s LEFT JOIN users u ON u.id = s.user_id`

func sessionTargets(session *models.Session) []any {
	return []any{&session.ID, &session.Name, &session.UserID, &session.User, &session.Template, text(&session.Protocol),
		text(&session.State), text(&session.DesiredState), &session.Generation, text(&session.Reason),
		text(&session.ReasonCode), &session.Retryable, text(&session.AgentID), text(&session.ClusterID),
		text(&session.Platform), text(&session.Region), text(&session.Resources.CPU), text(&session.Resources.Memory), &session.Resources.GPUs,
		&session.Priority, optionalTime{&session.WaitUntil}, optionalTime{&session.MoveUntil}, &session.Attempts, jsonColumn{&session.Failures}, jsonColumn{&session.Losses}, jsonColumn{&session.Placement},
		jsonColumn{&session.Spec}, &session.RequestHash, timeColumn{&session.CreatedAt}, timeColumn{&session.UpdatedAt},
		timeColumn{&session.StateSince}, optionalTime{&session.ExpiresAt}, optionalTime{&session.IdleAt}, progressColumn{session}}
}

func scanSession(row scanner) (models.Session, error) {
	var session models.Session
	err := row.Scan(sessionTargets(&session)...)
	session.TimeLimits = session.Spec.Spec.TimeLimits()
	return session, err
}

// Stop asks for a session's end.
type Stop struct {
	SessionID, CommandID, Actor string
	// Reason is what the history says besides the actor; it may be empty.
	Reason     string
	DeadlineAt time.Time
	// Draining is an agent: the session is stopped only if it still is on that
	// one, whose drain is past its deadline. Empty asks for nothing.
	Draining string
}

// StopSession raises the generation, wants the session terminated and writes
// the stop command, in one transaction. A session that is terminating or ended
// is returned as it is, without a command. One that has no agent ends at once,
// and so does one that is hibernated: nothing of it runs, and its agent is told
// when it can be. A session that stop.Draining spares is returned as it is, too.
func (d *Database) StopSession(ctx context.Context, stop Stop, now time.Time) (session models.Session, command *models.AgentCommand, err error) {
	err = d.write(ctx, "stop session", func(ctx context.Context, t *tx) error {
		overdue, err := d.isOverdue(ctx, t, stop.Draining, now)
		if err != nil {
			return err
		}
		if session, err = d.lockSession(ctx, t, stop.SessionID); err != nil {
			return err
		}
		if session.State.Terminal() || session.State == models.SessionTerminating {
			return nil
		}
		if stop.Draining != "" {
			if !overdue || session.AgentID != stop.Draining {
				return nil
			}
			if _, err := t.exec(ctx, `UPDATE agents SET drain_stopped = drain_stopped + 1 WHERE id = $1`, stop.Draining); err != nil {
				return err
			}
		}
		from := session.State
		session.Generation++
		session.DesiredState = models.DesiredTerminated
		session.State, session.Reason, session.ReasonCode, session.Retryable = models.SessionTerminating, stop.Reason, "", false
		if session.AgentID == "" || from == models.SessionHibernated {
			session.State = models.SessionTerminated
		}
		if err := d.saveSession(ctx, t, &session, from, now); err != nil {
			return err
		}
		if session.AgentID != "" {
			command = &models.AgentCommand{CommandID: stop.CommandID, AgentID: session.AgentID, SessionID: session.ID,
				Generation: session.Generation, Action: models.ActionStopSession, Status: models.CommandPending,
				Payload:   &models.CommandPayload{"sessionId": session.ID, "generation": session.Generation},
				CreatedAt: now, DeadlineAt: stop.DeadlineAt}
			if err := d.insertCommand(ctx, t, *command, now); err != nil {
				return err
			}
		}
		//failpoint:stop-uncommitted
		return t.recordSession(ctx, session, from, stop.Actor, now)
	})
	return session, command, err
}

// Session gives one session, or models.CodeSessionUnknown.
func (d *Database) Session(ctx context.Context, sessionID string) (models.Session, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	session, err := scanSession(d.queryRow(ctx, `SELECT `+sessionColumns+sessionTables+` WHERE s.id = $1`, sessionID))
	if errors.Is(err, sql.ErrNoRows) {
		return session, sessionUnknown(sessionID)
	}
	if err != nil {
		return session, fmt.Errorf("read session: %w", outage(err))
	}
	return session, nil
}

// SessionFilter restricts a list of sessions; an empty field restricts nothing.
type SessionFilter struct {
	UserID, AgentID, Template string
	States                    []models.SessionState
}

// sessionKey is where a page of sessions ended.
type sessionKey struct {
	At string `json:"at"`
	ID string `json:"id"`
}

// Sessions lists sessions, newest first.
func (d *Database) Sessions(ctx context.Context, wanted SessionFilter, page Page) (sessions []models.Session, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var list filter
	list.equals("s.user_id", wanted.UserID)
	list.equals("s.agent_id", wanted.AgentID)
	list.equals("s.template", wanted.Template)
	if len(wanted.States) > 0 {
		states := make([]string, 0, len(wanted.States))
		for _, state := range wanted.States {
			states = append(states, string(state))
		}
		condition, among, err := d.oneOf("s.state", "?", states)
		if err != nil {
			return nil, "", fmt.Errorf("list sessions: %w", err)
		}
		list.and(condition, among)
	}
	var key sessionKey
	if more, err := page.position(&key); err != nil {
		return nil, "", err
	} else if more {
		after, err := time.Parse(timeLayout, key.At)
		if err != nil {
			return nil, "", models.Errorf(models.CodeInvalidRequest, "the cursor is not one that this server gave")
		}
		list.and("(s.created_at < ? OR (s.created_at = ? AND s.id < ?))", d.at(after), d.at(after), key.ID)
	}
	sessions, err = queryAll(ctx, d, "list sessions", scanSession, `SELECT `+sessionColumns+sessionTables+list.where()+
		` ORDER BY s.created_at DESC, s.id DESC LIMIT `+list.parameter(limit+1), list.args...)
	if err != nil {
		return nil, "", err
	}
	return cut(sessions, limit, func(session models.Session) any {
		return sessionKey{At: session.CreatedAt.Format(timeLayout), ID: session.ID}
	})
}

// AgentSessions lists every session placed on the agent that has not ended.
func (d *Database) AgentSessions(ctx context.Context, agentID string) ([]models.Session, error) {
	return queryAll(ctx, d, "list an agent's sessions", scanSession, `SELECT `+sessionColumns+sessionTables+
		` WHERE s.agent_id = $1 AND s.state NOT IN ('terminated', 'failed') ORDER BY s.id`, agentID)
}

// CountSessions counts all sessions by state.
func (d *Database) CountSessions(ctx context.Context) (map[models.SessionState]int, error) {
	return countBy[models.SessionState](ctx, d, "count sessions", `SELECT state, count(*) FROM sessions GROUP BY state`)
}

// countBy reads a query of names and counts.
func countBy[T ~string](ctx context.Context, d *Database, what, query string, args ...any) (map[T]int, error) {
	type row struct {
		name  T
		count int
	}
	rows, err := queryAll(ctx, d, what, func(s scanner) (r row, err error) {
		return r, s.Scan(text(&r.name), &r.count)
	}, query, args...)
	if err != nil {
		return nil, err
	}
	counts := make(map[T]int, len(rows))
	for _, row := range rows {
		counts[row.name] = row.count
	}
	return counts, nil
}

// lockSession reads a session, and holds its row on PostgreSQL until the
// transaction ends. Transactions lock agent, session, command, in this order.
func (d *Database) lockSession(ctx context.Context, t *tx, sessionID string) (models.Session, error) {
	lock := ""
	if d.engine == Postgres {
		lock = " FOR UPDATE OF s"
	}
	session, err := scanSession(t.row(ctx, `SELECT `+sessionColumns+sessionTables+` WHERE s.id = $1`+lock, sessionID))
	if errors.Is(err, sql.ErrNoRows) {
		return session, sessionUnknown(sessionID)
	}
	return session, err
}

// saveSession writes what a session's life changes. The row is locked, so it
// still is in state from; the guard makes sure of it.
func (d *Database) saveSession(ctx context.Context, t *tx, session *models.Session, from models.SessionState, now time.Time) error {
	t.arrive(session, from, now)
	written, err := t.exec(ctx, `UPDATE sessions SET state = $2, desired_state = $3, generation = $4, reason = $5,
		reason_code = $6, retryable = $7, updated_at = $8, state_since = $9, expires_at = $11, idle_at = $12
		WHERE id = $1 AND state = $10`,
		session.ID, string(session.State), string(session.DesiredState), session.Generation, orNull(session.Reason),
		orNull(session.ReasonCode), session.Retryable, d.at(session.UpdatedAt), d.at(session.StateSince), string(from),
		d.atOptional(session.ExpiresAt), d.atOptional(session.IdleAt))
	if err == nil && written != 1 {
		return models.Errorf(models.CodeTransitionIllegal, "session %q is no longer %s", session.ID, from)
	}
	t.sessionChanged(session.ID)
	return err
}

func sessionUnknown(sessionID string) error {
	return models.Errorf(models.CodeSessionUnknown, "there is no session %q", sessionID)
}
