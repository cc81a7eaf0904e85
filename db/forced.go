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
}

// ForceEnd is ForceEnds for one.
func (d *Database) ForceEnd(ctx context.Context, end ForcedEnd, now time.Time) (done bool, err error) {
	all, err := d.ForceEnds(ctx, Fence{}, []ForcedEnd{end}, now)
	return err == nil && all[0], err
}

// ForceEnds moves sessions that still are in state From, fails their open
// commands with the same reasons, and writes the history, in one transaction of
// a few statements. It reports in the order of ends, of which a session has one
// at most, whether each session still was in that state. A lost lease gives
// models.CodeLeaseLost, and nothing is written.
func (d *Database) ForceEnds(ctx context.Context, fence Fence, ends []ForcedEnd, now time.Time) (done []bool, err error) {
	ids := make([]string, 0, len(ends))
	for _, end := range ends {
		if !end.From.CanBecome(end.To) {
			return nil, models.Errorf(models.CodeTransitionIllegal, "a %s session cannot become %s", end.From, end.To)
		}
		ids = append(ids, end.SessionID)
	}
	err = d.write(ctx, "force the end of sessions", func(ctx context.Context, t *tx) error {
		done = make([]bool, len(ends))
		if err := t.requireLease(ctx, fence); err != nil {
			return err
		}
		sessions, err := t.lockSessions(ctx, ids)
		if err != nil {
			return err
		}
		var lives []life
		var events []models.Event
		failed := &batch{columns: []batchColumn{{"session_id", "text"}, {"reason", "text"}}}
		for i, end := range ends {
			session, known := sessions[end.SessionID]
			if !known || session.State != end.From || end.Waiting && !session.Waiting() {
				continue
			}
			session.State, session.Reason, session.ReasonCode, session.Retryable = end.To, end.Reason, end.ReasonCode, end.Retryable
			done[i] = true
			lives = append(lives, life{&session, end.From})
			events = append(events, sessionEvent(session, end.From, end.Actor, now))
			failed.add(end.SessionID, orNull(end.Reason))
		}
		if len(lives) == 0 {
			return nil
		}
		if err := t.saveLives(ctx, lives, now); err != nil {
			return err
		}
		source, args, err := d.source(failed, "u", 2)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE agent_commands SET status = 'failed', error_message = u.reason, completed_at = $1
			FROM `+source+` WHERE agent_commands.session_id = u.session_id AND status NOT IN ('completed', 'failed')`,
			append([]any{d.at(now)}, args...)...); err != nil {
			return err
		}
		if err := t.recordAll(ctx, events); err != nil {
			return err
		}
		//failpoint:force-end-uncommitted
		return nil
	})
	return done, err
}
