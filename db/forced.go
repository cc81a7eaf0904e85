package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

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
	// AgentID, Epoch and Generation restrict to a session that still is on that
	// agent, which has made no newer connection, and in that generation; zero
	// values restrict nothing.
	AgentID           string
	Epoch, Generation int64
	// Again has the session begin again, and To is pending.
	Again *Again
	// Rehome has the session hibernate on another agent that has its home, and To
	// is hibernated.
	Rehome *Rehome
}

// Again has a session whose agent is gone wait for any agent, in its next
// generation.
type Again struct {
	// Losses are the session's from now on.
	Losses    []models.Loss
	WaitUntil time.Time
}

// Rehome has a session hibernate on an agent that shares its home.
type Rehome struct {
	Agent models.Agent
	// MoveUntil is until when it is to be woken there, or wherever its home is; nil
	// leaves it.
	MoveUntil *time.Time
}

// legal tells whether a session may move so.
func (e ForcedEnd) legal() bool {
	return e.From.CanBecome(e.To) || e.Rehome != nil && e.From == models.SessionHibernated && e.To == e.From
}

// ForceEnd is ForceEnds for one.
func (d *Database) ForceEnd(ctx context.Context, end ForcedEnd, now time.Time) (done bool, err error) {
	all, err := d.ForceEnds(ctx, Fence{}, []ForcedEnd{end}, now)
	return err == nil && all[0], err
}

// ForceEnds moves sessions that still are as they were read, fails their open
// commands with the same reasons, and writes the history, in one transaction of
// a few statements. It reports in the order of ends, of which a session has one
// at most, whether each session still was so. A lost lease gives
// models.CodeLeaseLost, and nothing is written.
func (d *Database) ForceEnds(ctx context.Context, fence Fence, ends []ForcedEnd, now time.Time) (done []bool, err error) {
	for _, end := range ends {
		if !end.legal() {
			return nil, models.Errorf(models.CodeTransitionIllegal, "a %s session cannot become %s", end.From, end.To)
		}
	}
	err = d.write(ctx, "force the end of sessions", func(ctx context.Context, t *tx) error {
		if err := t.requireLease(ctx, fence); err != nil {
			return err
		}
		epochs, err := t.epochs(ctx, ends)
		if err != nil {
			return err
		}
		ids := make([]string, 0, len(ends))
		for _, end := range ends {
			ids = append(ids, end.SessionID)
		}
		sessions, err := t.lockSessions(ctx, ids)
		if err != nil {
			return err
		}
		done, err = t.forceEnds(ctx, ends, epochs, sessions, now)
		return err
	})
	return done, err
}

// epochs reads the newest connections of the agents that ends depend on, and on
// PostgreSQL keeps newer ones from being counted until the transaction ends.
func (t *tx) epochs(ctx context.Context, ends []ForcedEnd) (map[string]int64, error) {
	var agents []string
	for _, end := range ends {
		if end.Epoch != 0 {
			agents = append(agents, end.AgentID)
		}
	}
	lock := ""
	if t.database.engine == Postgres {
		lock = " FOR SHARE"
	}
	type agent struct {
		id    string
		epoch int64
	}
	found, err := queryIn(ctx, t, "SELECT id, epoch FROM agents WHERE %s ORDER BY id"+lock, "id", agents,
		func(row scanner) (a agent, err error) { return a, row.Scan(&a.id, &a.epoch) })
	epochs := make(map[string]int64, len(found))
	for _, one := range found {
		epochs[one.id] = one.epoch
	}
	return epochs, err
}

// forceEnds is ForceEnds with all that it depends on read and locked.
func (t *tx) forceEnds(ctx context.Context, ends []ForcedEnd, epochs map[string]int64, sessions map[string]models.Session, now time.Time) ([]bool, error) {
	done := make([]bool, len(ends))
	var lives []life
	var events []models.Event
	var left []leftover
	failed := &batch{columns: []batchColumn{{"session_id", "text"}, {"reason", "text"}}}
	for i, end := range ends {
		session, known := sessions[end.SessionID]
		if !known || session.State != end.From || end.Waiting && !session.Waiting() || end.AgentID != "" && session.AgentID != end.AgentID ||
			end.Generation != 0 && session.Generation != end.Generation || end.Epoch != 0 && epochs[end.AgentID] != end.Epoch {
			continue
		}
		session.State, session.Reason, session.ReasonCode, session.Retryable = end.To, end.Reason, end.ReasonCode, end.Retryable
		if session.AgentID != "" && end.From != models.SessionHibernated {
			left = append(left, leftover{session.AgentID, session.ID, session.Generation})
		}
		switch {
		case end.Again != nil:
			session.Generation++
			session.AgentID, session.WaitUntil, session.Losses = "", &end.Again.WaitUntil, end.Again.Losses
		case end.Rehome != nil:
			session.AgentID = end.Rehome.Agent.ID
			if err := t.rehome(ctx, session.ID, *end.Rehome); err != nil {
				return nil, err
			}
		}
		done[i] = true
		lives = append(lives, life{&session, end.From})
		events = append(events, sessionEvent(session, end.From, end.Actor, now))
		failed.add(end.SessionID, orNull(end.Reason))
	}
	if len(lives) == 0 {
		return done, nil
	}
	if err := t.saveLives(ctx, lives, now); err != nil {
		return nil, err
	}
	source, args, err := t.database.source(failed, "u", 2)
	if err != nil {
		return nil, err
	}
	if _, err := t.exec(ctx, `UPDATE agent_commands SET status = 'failed', error_message = u.reason, completed_at = $1
		FROM `+source+` WHERE agent_commands.session_id = u.session_id AND status NOT IN ('completed', 'failed')`,
		append([]any{t.database.at(now)}, args...)...); err != nil {
		return nil, err
	}
	if err := t.leave(ctx, left, now); err != nil {
		return nil, err
	}
	if err := t.recordAll(ctx, events); err != nil {
		return nil, err
	}
	//failpoint:force-end-uncommitted
	return done, nil
}

// rehome writes where a session hibernates from now on, but for its agent.
func (t *tx) rehome(ctx context.Context, sessionID string, to Rehome) error {
	_, err := t.exec(ctx, `UPDATE sessions SET cluster_id = $2, platform = $3, region = $4, move_until = $5 WHERE id = $1`,
		sessionID, orNull(to.Agent.ClusterID), orNull(to.Agent.Platform), orNull(to.Agent.Region), t.database.atOptional(to.MoveUntil))
	return err
}
