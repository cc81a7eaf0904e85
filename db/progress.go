package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// keptProgress is progress as its column has it: it is that of one start, and is
// not looked at any more once the session has moved on.
type keptProgress struct {
	Generation int64 `json:"generation"`
	models.Progress
}

// progressColumn scans a session's progress. It comes after state and
// generation.
type progressColumn struct{ of *models.Session }

// Scan implements sql.Scanner.
func (c progressColumn) Scan(value any) error {
	var kept keptProgress
	if err := (jsonColumn{&kept}).Scan(value); err != nil {
		return err
	}
	starting := c.of.State == models.SessionPending || c.of.State == models.SessionWaking
	if starting && kept.Generation == c.of.Generation && kept.Message != "" {
		c.of.Progress = &kept.Progress
	}
	return nil
}

// Advance is what an agent tells of a session that it is starting.
type Advance struct {
	AgentID    string
	Epoch      int64
	SessionID  string
	Generation int64
	Progress   models.Progress
}

// SetProgress keeps how far a session's start is. It is no move from state to
// state and leaves nothing in the history. Nothing is written, and no error
// given, when the session is not being started in that generation by that agent,
// or the connection has been replaced.
func (d *Database) SetProgress(ctx context.Context, told Advance, now time.Time) error {
	progress, err := asJSON(keptProgress{Generation: told.Generation, Progress: told.Progress})
	if err != nil {
		return err
	}
	return d.write(ctx, "set progress", func(ctx context.Context, t *tx) error {
		written, err := t.exec(ctx, `UPDATE sessions SET progress = $5, updated_at = $6
			WHERE id = $1 AND generation = $2 AND agent_id = $3 AND state IN ('pending', 'waking')
			AND EXISTS (SELECT 1 FROM agents a WHERE a.id = $3 AND a.epoch = $4)`,
			told.SessionID, told.Generation, told.AgentID, told.Epoch, progress, d.at(now))
		if err == nil && written > 0 {
			t.sessionChanged(told.SessionID)
		}
		return err
	})
}
