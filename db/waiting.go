package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// waiting is the queue of sessions that wait for an agent, in its order: higher
// priorities first; among users, whoever has the least, counting what runs and
// what is before in the queue; then the oldest.
const waiting = `WITH waits AS (
		SELECT id, user_id, priority, created_at, row_number() OVER (PARTITION BY user_id ORDER BY priority DESC, created_at, id) AS turn
		FROM sessions WHERE state = 'pending' AND agent_id IS NULL AND wait_until IS NOT NULL
	), held AS (
		SELECT user_id, count(*) AS sessions FROM sessions
		WHERE ` + live + ` AND agent_id IS NOT NULL AND user_id IN (SELECT user_id FROM waits) GROUP BY user_id
	), queue AS (
		SELECT w.id, row_number() OVER (ORDER BY w.priority DESC, w.turn + coalesce(h.sessions, 0), w.created_at, w.id) AS place
		FROM waits w LEFT JOIN held h ON h.user_id = w.user_id
	) `

// WaitingSessions lists sessions that wait for an agent, in the order in which
// they are to get one, at most limit of them.
func (d *Database) WaitingSessions(ctx context.Context, limit int) ([]models.Session, error) {
	return queryAll(ctx, d, "list waiting sessions", scanSession, waiting+`SELECT `+sessionColumns+` FROM queue q
		JOIN sessions s ON s.id = q.id LEFT JOIN users u ON u.id = s.user_id ORDER BY q.place LIMIT $1`, limit)
}

// WaitingPlaces gives the places of the sessions in the queue, 1 being the next
// one, and how many wait in all. Those that do not wait have none.
func (d *Database) WaitingPlaces(ctx context.Context, sessionIDs []string) (places map[string]int, all int, err error) {
	condition, arg, err := d.oneOf("q.id", "$1", sessionIDs)
	if err != nil {
		return nil, 0, err
	}
	type place struct {
		id         string
		place, all int
	}
	found, err := queryAll(ctx, d, "find places in the queue", func(row scanner) (p place, err error) {
		return p, row.Scan(&p.id, &p.place, &p.all)
	}, waiting+`SELECT q.id, q.place, (SELECT count(*) FROM queue) FROM queue q WHERE `+condition, arg)
	places = make(map[string]int, len(found))
	for _, one := range found {
		places[one.id], all = one.place, one.all
	}
	return places, all, err
}

// WaitedTooLong lists sessions that wait for an agent and should have given up,
// the longest overdue first.
func (d *Database) WaitedTooLong(ctx context.Context, now time.Time, limit int) ([]models.Session, error) {
	return queryAll(ctx, d, "list sessions that waited too long", scanSession, `SELECT `+sessionColumns+sessionTables+`
		WHERE s.state = 'pending' AND s.agent_id IS NULL AND s.wait_until < $1 ORDER BY s.wait_until, s.id LIMIT $2`, d.at(now), limit)
}

// SaveWaiting writes why a session waits, if that has changed and the session
// waits still.
func (d *Database) SaveWaiting(ctx context.Context, sessionID, reason string, code models.ErrorCode, now time.Time) error {
	return d.write(ctx, "save why a session waits", func(ctx context.Context, t *tx) error {
		changed, err := t.exec(ctx, `UPDATE sessions SET reason = $2, reason_code = $3, updated_at = $4
			WHERE id = $1 AND state = 'pending' AND agent_id IS NULL AND coalesce(reason, '') <> $2`,
			sessionID, reason, string(code), d.at(now))
		if changed > 0 {
			t.sessionChanged(sessionID)
		}
		return err
	})
}
