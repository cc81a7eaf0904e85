package db

import (
	"context"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// life is a session whose life goes on, and the state that it was in.
type life struct {
	session *models.Session
	before  models.SessionState
}

// passage is a state that a session has left.
type passage struct {
	from, to models.SessionState
	took     time.Duration
}

// arrive is arrive, and has what passed told of once the transaction has
// committed.
func (t *tx) arrive(session *models.Session, from models.SessionState, now time.Time) {
	since := session.StateSince
	arrive(session, from, now)
	switch from {
	case session.State:
	case models.SessionPending, models.SessionHibernating, models.SessionWaking, models.SessionTerminating:
		t.passed = append(t.passed, passage{from, session.State, now.Sub(since)})
	}
}

// arrive notes what follows from the session's change from one state to the one
// that it has now. Its time limits count from when it runs.
func arrive(session *models.Session, from models.SessionState, now time.Time) {
	session.UpdatedAt = now.UTC().Truncate(time.Microsecond)
	if session.State == from {
		return
	}
	session.StateSince, session.ExpiresAt, session.IdleAt = session.UpdatedAt, nil, nil
	switch session.State {
	case models.SessionRunning:
		session.ExpiresAt, session.IdleAt = session.Ends(now, now)
	case models.SessionHibernated:
		session.DesiredState = models.DesiredHibernated
	case models.SessionTerminated:
		session.DesiredState = models.DesiredTerminated
	}
}

// lockSessions reads sessions, and holds their rows on PostgreSQL until the
// transaction ends.
func (t *tx) lockSessions(ctx context.Context, ids []string) (map[string]models.Session, error) {
	lock := ""
	if t.database.engine == Postgres {
		lock = " FOR UPDATE OF s"
	}
	sessions, err := queryIn(ctx, t, "SELECT "+sessionColumns+sessionTables+" WHERE %s ORDER BY s.id"+lock, "s.id", ids, scanSession)
	byID := make(map[string]models.Session, len(sessions))
	for _, session := range sessions {
		byID[session.ID] = session
	}
	return byID, err
}

// saveLives writes what the lives of sessions change, in one statement. Their
// rows are locked, so they still are as they were read; the guard makes sure of
// it.
func (t *tx) saveLives(ctx context.Context, lives []life, now time.Time) error {
	if len(lives) == 0 {
		return nil
	}
	d := t.database
	rows := &batch{columns: []batchColumn{{"id", "text"}, {"before", "text"}, {"state", "text"}, {"desired_state", "text"},
		{"reason", "text"}, {"reason_code", "text"}, {"retryable", "boolean"}, {"state_since", "timestamptz"},
		{"agent_id", "text"}, {"generation", "bigint"}, {"wait_until", "timestamptz"}, {"failures", "text"}, {"losses", "text"},
		{"expires_at", "timestamptz"}, {"idle_at", "timestamptz"}}}
	for _, one := range lives {
		session := one.session
		t.arrive(session, one.before, now)
		failures, err := asJSON(session.Failures)
		if err != nil {
			return err
		}
		losses, err := asJSON(session.Losses)
		if err != nil {
			return err
		}
		rows.add(session.ID, string(one.before), string(session.State), string(session.DesiredState), orNull(session.Reason),
			orNull(session.ReasonCode), session.Retryable, d.at(session.StateSince), orNull(session.AgentID), session.Generation,
			d.atOptional(session.WaitUntil), failures, losses, d.atOptional(session.ExpiresAt), d.atOptional(session.IdleAt))
		t.sessionChanged(session.ID)
	}
	slices.Sort(t.changed)
	source, args, err := d.source(rows, "u", 2)
	if err != nil {
		return err
	}
	cast := ""
	if d.engine == Postgres {
		cast = "::jsonb"
	}
	saved, err := t.exec(ctx, `UPDATE sessions SET state = u.state, desired_state = u.desired_state, reason = u.reason,
		reason_code = u.reason_code, retryable = u.retryable, updated_at = $1, state_since = u.state_since,
		agent_id = u.agent_id, generation = u.generation, wait_until = u.wait_until, failures = u.failures`+cast+`, losses = u.losses`+cast+`,
		expires_at = u.expires_at, idle_at = u.idle_at,
		cluster_id = CASE WHEN u.agent_id IS NULL THEN NULL ELSE cluster_id END,
		platform = CASE WHEN u.agent_id IS NULL THEN NULL ELSE platform END,
		region = CASE WHEN u.agent_id IS NULL THEN NULL ELSE region END
		FROM `+source+` WHERE sessions.id = u.id AND sessions.state = u.before`, append([]any{d.at(now)}, args...)...)
	if err == nil && int(saved) != len(lives) {
		return models.Errorf(models.CodeTransitionIllegal, "%d of %d sessions changed while they were locked", len(lives)-int(saved), len(lives))
	}
	return err
}
