package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Observation is what an agent says of one session, unasked.
type Observation struct {
	AgentID   string
	Epoch     int64
	SessionID string
	// Generation is that of the observed runtime; 0 is unknown.
	Generation int64
	State      models.SessionState
	Reason     string
	ReasonCode models.ErrorCode
	Retryable  bool
}

// Observe moves a session to where its agent sees it, when that is a legal
// transition; moved tells whether. Observations of a runtime older than the
// session's last start change nothing. Another agent's session gives
// models.CodeForbidden, a replaced connection models.CodeEpochStale.
func (d *Database) Observe(ctx context.Context, seen Observation, now time.Time) (session models.Session, moved bool, err error) {
	err = d.write(ctx, "observe session", func(ctx context.Context, t *tx) error {
		if err := d.requireEpoch(ctx, t, seen.AgentID, seen.Epoch); err != nil {
			return err
		}
		if session, err = d.lockSession(ctx, t, seen.SessionID); err != nil {
			return err
		}
		if session.AgentID != seen.AgentID {
			return models.Errorf(models.CodeForbidden, "session %q is not on agent %q", seen.SessionID, seen.AgentID)
		}
		if !session.State.CanBecome(seen.State) {
			return nil
		}
		if seen.Generation != 0 {
			var started int64
			if err := t.row(ctx, `SELECT coalesce(max(generation), 0) FROM agent_commands WHERE session_id = $1
				AND action IN ('start_session', 'wake_session')`, seen.SessionID).Scan(&started); err != nil {
				return err
			}
			if seen.Generation < started {
				return nil
			}
		}
		from := session.State
		session.State, session.Reason, session.ReasonCode, session.Retryable =
			seen.State, seen.Reason, seen.ReasonCode, seen.Retryable
		if err := d.saveSession(ctx, t, &session, from, now); err != nil {
			return err
		}
		moved = true
		return t.recordSession(ctx, session, from, "agent:"+seen.AgentID, now)
	})
	return session, moved, err
}

// StuckSession is a session that stays too long in a state that should pass.
type StuckSession struct {
	Session models.Session
	// Agent is nil when the session has none or its row is gone.
	Agent *models.Agent
	// Open is the session's newest unfinished command, nil when there is none.
	Open *models.AgentCommand
}

// StuckSessions lists sessions that have been in state since before the given
// time, oldest first. Those that wait for an agent are not stuck: they have a
// time of their own.
func (d *Database) StuckSessions(ctx context.Context, state models.SessionState, before time.Time, limit int) ([]StuckSession, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	sessions, err := queryAll(ctx, d, "list stuck sessions", scanSession, `SELECT `+sessionColumns+sessionTables+
		` WHERE s.state = $1 AND s.state_since < $2 AND NOT (s.agent_id IS NULL AND s.wait_until IS NOT NULL)
		ORDER BY s.state_since, s.id LIMIT $3`, string(state), d.at(before), limit)
	if err != nil {
		return nil, err
	}
	stuck := make([]StuckSession, 0, len(sessions))
	for _, session := range sessions {
		one := StuckSession{Session: session}
		if session.AgentID != "" {
			agent, err := d.Agent(ctx, session.AgentID)
			if err == nil {
				one.Agent = &agent
			} else if models.CodeOf(err) != models.CodeAgentUnknown {
				return nil, err
			}
		}
		open, err := scanCommand(d.queryRow(ctx, `SELECT `+commandColumns+` FROM agent_commands WHERE session_id = $1
			AND status NOT IN ('completed', 'failed') ORDER BY seq DESC LIMIT 1`, session.ID))
		if err == nil {
			one.Open = &open
		} else if !errors.Is(err, sql.ErrNoRows) {
			return nil, fmt.Errorf("read a stuck session's command: %w", err)
		}
		stuck = append(stuck, one)
	}
	return stuck, nil
}

// CountStuck counts, for each state, the sessions that have been in it since
// before its time. Every state asked for has a key.
func (d *Database) CountStuck(ctx context.Context, before map[models.SessionState]time.Time) (map[models.SessionState]int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	counts := make(map[models.SessionState]int, len(before))
	for state, since := range before {
		var count int
		if err := d.queryRow(ctx, `SELECT count(*) FROM sessions WHERE state = $1 AND state_since < $2
			AND NOT (agent_id IS NULL AND wait_until IS NOT NULL)`,
			string(state), d.at(since)).Scan(&count); err != nil {
			return nil, fmt.Errorf("count stuck sessions: %w", outage(err))
		}
		counts[state] = count
	}
	return counts, nil
}

// ForcedEnd ends a session without its agent's word.
type ForcedEnd struct {
	SessionID  string
	From, To   models.SessionState
	Reason     string
	ReasonCode models.ErrorCode
	Retryable  bool
	Actor      string
	// Waiting restricts to a session that still waits for an agent.
	Waiting bool
}

// ForceEnd moves a session that still is in state From, fails its open
// commands with the same reason, and writes the history, in one transaction.
// It reports whether the session still was in that state.
func (d *Database) ForceEnd(ctx context.Context, end ForcedEnd, now time.Time) (done bool, err error) {
	if !end.From.CanBecome(end.To) {
		return false, models.Errorf(models.CodeTransitionIllegal, "a %s session cannot become %s", end.From, end.To)
	}
	err = d.write(ctx, "force a session's end", func(ctx context.Context, t *tx) error {
		session, err := d.lockSession(ctx, t, end.SessionID)
		if err != nil || session.State != end.From || end.Waiting && !session.Waiting() {
			return err
		}
		session.State, session.Reason, session.ReasonCode, session.Retryable = end.To, end.Reason, end.ReasonCode, end.Retryable
		if err := d.saveSession(ctx, t, &session, end.From, now); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE agent_commands SET status = 'failed', error_message = $2, completed_at = $3
			WHERE session_id = $1 AND status NOT IN ('completed', 'failed')`, end.SessionID, end.Reason, d.at(now)); err != nil {
			return err
		}
		done = true
		return t.recordSession(ctx, session, end.From, end.Actor, now)
	})
	return done, err
}
