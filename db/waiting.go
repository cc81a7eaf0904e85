package db

import (
	"cmp"
	"context"
	"fmt"
	"slices"
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

// WaitingIDs lists sessions that wait for an agent, in the order in which they
// are to get one: the first ones, as many as first says, and those behind the
// place after; at most limit in all.
func (d *Database) WaitingIDs(ctx context.Context, first, after, limit int) ([]string, error) {
	return queryAll(ctx, d, "list the queue", func(row scanner) (id string, err error) { return id, row.Scan(&id) },
		waiting+`SELECT id FROM queue WHERE place <= $1 OR place > $2 ORDER BY place LIMIT $3`, first, after, limit)
}

// WaitingSessions gives those of the sessions that wait for an agent still, in
// the order of the ids.
func (d *Database) WaitingSessions(ctx context.Context, ids []string) ([]models.Session, error) {
	condition, arg, err := d.oneOf("s.id", "$1", ids)
	if err != nil {
		return nil, err
	}
	// By their ids alone: PostgreSQL would compare all that wait with each id.
	sessions, err := queryAll(ctx, d, "read waiting sessions", scanSession, `SELECT `+sessionColumns+sessionTables+` WHERE `+condition, arg)
	sessions = slices.DeleteFunc(sessions, func(session models.Session) bool { return !session.Waiting() })
	place := make(map[string]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	slices.SortFunc(sessions, func(a, b models.Session) int { return cmp.Compare(place[a.ID], place[b.ID]) })
	return sessions, err
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

// SaveWaiting writes why sessions wait, of those where that has changed and
// that wait still.
func (d *Database) SaveWaiting(ctx context.Context, sessionIDs []string, reason string, code models.ErrorCode, now time.Time) error {
	condition, arg, err := d.oneOf("id", "$1", sessionIDs)
	if err != nil {
		return err
	}
	return d.write(ctx, "save why sessions wait", func(ctx context.Context, t *tx) error {
		// In the order in which everybody locks them.
		changed, err := t.texts(ctx, `UPDATE sessions SET reason = $2, reason_code = $3, updated_at = $4
			WHERE id IN (SELECT id FROM sessions WHERE `+condition+` AND state = 'pending' AND agent_id IS NULL
				AND coalesce(reason, '') <> $2 ORDER BY id`+d.forUpdate()+`) RETURNING id`, arg, reason, string(code), d.at(now))
		for _, id := range changed {
			t.sessionChanged(id)
		}
		return err
	})
}

// CountWaiting counts the sessions that wait for an agent.
func (d *Database) CountWaiting(ctx context.Context) (count int, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = d.queryRow(ctx, `SELECT count(*) FROM sessions WHERE state = 'pending' AND agent_id IS NULL AND wait_until IS NOT NULL`).Scan(&count)
	if err != nil {
		return 0, fmt.Errorf("count waiting sessions: %w", outage(err))
	}
	return count, nil
}
