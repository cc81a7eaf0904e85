package db

import (
	"context"
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
// transition; moved tells whether. One that keeps no home does not hibernate
// unasked. Observations of a runtime older than the
// session's last start change nothing. Another agent's session gives
// models.CodeForbidden, a replaced connection models.CodeEpochStale.
func (d *Database) Observe(ctx context.Context, seen Observation, now time.Time) (session models.Session, moved bool, err error) {
	err = d.write(ctx, "observe session", func(ctx context.Context, t *tx) error {
		if session, err = d.lockObserved(ctx, t, seen.AgentID, seen.Epoch, seen.SessionID); err != nil {
			return err
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
		if from == models.SessionRunning && seen.State == models.SessionHibernated && !session.Spec.Spec.PersistentHome {
			return nil
		}
		if seen.Reason == "" && session.ReasonCode.IsTimeLimit() {
			seen.Reason, seen.ReasonCode = session.Reason, session.ReasonCode // it ended for that
		}
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
