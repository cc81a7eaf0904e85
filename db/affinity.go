package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Home gives the agent that the user's last session of the template was placed
// on, where a home that was kept lies, and that agent's home store, or nothing
// when there was none.
func (d *Database) Home(ctx context.Context, userID, template string) (agentID, store string, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = d.queryRow(ctx, `SELECT s.agent_id, coalesce(a.home_store, '') FROM sessions s LEFT JOIN agents a ON a.id = s.agent_id
		WHERE s.user_id = $1 AND s.template = $2 AND s.agent_id IS NOT NULL
		ORDER BY s.created_at DESC, s.id DESC LIMIT 1`, userID, template).Scan(&agentID, &store)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", "", fmt.Errorf("find a user's home: %w", outage(err))
	}
	return agentID, store, nil
}

// UserLoads counts the live sessions of users by user and agent, in one query.
func (d *Database) UserLoads(ctx context.Context, userIDs []string) (map[string]map[string]int, error) {
	condition, arg, err := d.oneOf("user_id", "$1", userIDs)
	if err != nil {
		return nil, fmt.Errorf("count users' sessions: %w", err)
	}
	type load struct {
		user, agent string
		sessions    int
	}
	loads, err := queryAll(ctx, d, "count users' sessions", func(row scanner) (l load, err error) {
		return l, row.Scan(&l.user, &l.agent, &l.sessions)
	}, `SELECT user_id, agent_id, count(*) FROM sessions WHERE `+condition+` AND agent_id IS NOT NULL AND `+live+` GROUP BY user_id, agent_id`, arg)
	byUser := map[string]map[string]int{}
	for _, one := range loads {
		if byUser[one.user] == nil {
			byUser[one.user] = map[string]int{}
		}
		byUser[one.user][one.agent] = one.sessions
	}
	return byUser, err
}
