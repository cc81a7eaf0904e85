package db

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// The outcomes of placing a session.
const (
	PlacementPlaced  = "placed"
	PlacementWaiting = "waiting"
	PlacementRefused = "refused"
)

// Placement is why a session is where it is, waits, or was refused.
type Placement struct {
	SessionID, UserID string
	// Outcome is one of the constants above.
	Outcome string
	// AgentID is empty unless the session was placed.
	AgentID string
	// Verdicts says of each agent why it was chosen or not, in the words of
	// whoever decided.
	Verdicts json.RawMessage
	At       time.Time
}

// savePlacements keeps why each session was placed, or waits.
func (l *launcher) savePlacements(ctx context.Context, written []int) error {
	var all []Placement
	for _, i := range written {
		launch := l.launches[i]
		if launch.Verdicts == nil {
			continue
		}
		placement := Placement{SessionID: launch.Session.ID, UserID: launch.Session.UserID, Outcome: PlacementPlaced,
			AgentID: launch.Session.AgentID, Verdicts: launch.Verdicts, At: l.now}
		if placement.AgentID == "" {
			placement.Outcome = PlacementWaiting
		}
		all = append(all, placement)
	}
	return l.savePlacementRows(ctx, all)
}

func (t *tx) savePlacementRows(ctx context.Context, all []Placement) error {
	if len(all) == 0 {
		return nil
	}
	d := t.database
	rows := &batch{columns: []batchColumn{{"session_id", "text"}, {"user_id", "text"}, {"outcome", "text"}, {"agent_id", "text"},
		{"verdicts", "text"}, {"at", "timestamptz"}}}
	for _, placement := range all {
		rows.add(placement.SessionID, placement.UserID, placement.Outcome, orNull(placement.AgentID), string(placement.Verdicts), d.at(placement.At))
	}
	source, args, err := d.source(rows, "u", 1)
	if err != nil {
		return err
	}
	asJSON := ""
	if d.engine == Postgres {
		asJSON = "::jsonb"
	}
	_, err = t.exec(ctx, `INSERT INTO placements (session_id, user_id, outcome, agent_id, verdicts, at)
		SELECT u.session_id, u.user_id, u.outcome, u.agent_id, u.verdicts`+asJSON+`, u.at FROM `+source+` WHERE true
		ON CONFLICT (session_id) DO UPDATE SET outcome = excluded.outcome, agent_id = excluded.agent_id,
			verdicts = excluded.verdicts, at = excluded.at
			WHERE placements.user_id = excluded.user_id AND (excluded.outcome <> 'refused' OR placements.outcome = 'refused')`, args...)
	return err
}

// SavePlacement keeps why a session was refused. What is known of another
// user's session of that id stays, and so does why one was placed or waits: the
// same request came twice, and this one was late.
func (d *Database) SavePlacement(ctx context.Context, placement Placement) error {
	return d.write(ctx, "save placement", func(ctx context.Context, t *tx) error {
		return t.savePlacementRows(ctx, []Placement{placement})
	})
}

// PlacementOf gives why the session was placed, waits or was refused; none when
// nothing is known of it.
func (d *Database) PlacementOf(ctx context.Context, sessionID string) (placement Placement, known bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = d.queryRow(ctx, `SELECT session_id, user_id, outcome, agent_id, verdicts, at FROM placements WHERE session_id = $1`, sessionID).
		Scan(&placement.SessionID, &placement.UserID, &placement.Outcome, text(&placement.AgentID), jsonColumn{&placement.Verdicts},
			timeColumn{&placement.At})
	if errors.Is(err, sql.ErrNoRows) {
		return Placement{}, false, nil
	}
	if err != nil {
		return Placement{}, false, fmt.Errorf("read placement: %w", outage(err))
	}
	return placement, true, nil
}

// ForgetPlacements removes what is known of sessions from before a time, at
// most limit of them, and gives how many.
func (d *Database) ForgetPlacements(ctx context.Context, before time.Time, limit int) (forgotten int64, err error) {
	err = d.write(ctx, "forget placements", func(ctx context.Context, t *tx) error {
		forgotten, err = t.exec(ctx, `DELETE FROM placements WHERE session_id IN (SELECT session_id FROM placements p
			WHERE at < $1 AND NOT EXISTS (SELECT 1 FROM sessions s WHERE s.id = p.session_id AND s.state NOT IN ('terminated', 'failed'))
			ORDER BY at LIMIT $2)`, d.at(before), limit)
		return err
	})
	return forgotten, err
}
