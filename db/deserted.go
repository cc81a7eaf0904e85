package db

import (
	"context"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// GoneAgents lists agents that were last heard of before the given time, and ids
// of agents that sessions are on and that are not registered. It takes as long as
// there are agents, however many sessions there are.
func (d *Database) GoneAgents(ctx context.Context, before time.Time) ([]string, error) {
	id := func(row scanner) (id string, err error) { return id, row.Scan(&id) }
	silent, err := queryAll(ctx, d, "list silent agents", id,
		`SELECT id FROM agents WHERE coalesce(last_heartbeat, created_at) < $1 ORDER BY id`, d.at(before))
	if err != nil {
		return nil, err
	}
	// From one agent's sessions the index leads to the next one's.
	unknown, err := queryAll(ctx, d, "list agents that are not registered", id, `WITH RECURSIVE used(id) AS (
			SELECT min(agent_id) FROM sessions WHERE state NOT IN ('terminated', 'failed')
			UNION ALL
			SELECT (SELECT min(agent_id) FROM sessions WHERE agent_id > used.id AND state NOT IN ('terminated', 'failed')) FROM used WHERE used.id IS NOT NULL)
		SELECT used.id FROM used LEFT JOIN agents a ON a.id = used.id WHERE used.id IS NOT NULL AND a.id IS NULL ORDER BY used.id`)
	return append(silent, unknown...), err
}

// RunningOn lists the running sessions of agents by their ids, from the one after
// another on, with the agents. They have neither commands nor tries.
func (d *Database) RunningOn(ctx context.Context, agentIDs []string, after string, limit int) ([]StuckSession, error) {
	condition, arg, err := d.oneOf("s.agent_id", "$1", agentIDs)
	if err != nil {
		return nil, fmt.Errorf("list sessions of agents: %w", err)
	}
	// Without the words of its condition SQLite does not use the partial index.
	sessions, err := queryAll(ctx, d, "list sessions of agents", scanSession, `SELECT `+sessionColumns+sessionTables+
		` WHERE `+condition+` AND s.state = 'running' AND s.state NOT IN ('terminated', 'failed') AND s.id > $2 ORDER BY s.id LIMIT $3`, arg, after, limit)
	if err != nil || len(sessions) == 0 {
		return nil, err
	}
	return d.withAgents(ctx, sessions)
}

// withAgents adds their agents to sessions.
func (d *Database) withAgents(ctx context.Context, sessions []models.Session) ([]StuckSession, error) {
	var agentIDs []string
	for _, session := range sessions {
		if session.AgentID != "" {
			agentIDs = append(agentIDs, session.AgentID)
		}
	}
	condition, arg, err := d.oneOf("a.id", "$1", agentIDs)
	if err != nil {
		return nil, fmt.Errorf("read the agents of sessions: %w", err)
	}
	found, err := queryAll(ctx, d, "read the agents of sessions", scanAgent, `SELECT `+agentColumns+agentTables+` WHERE `+condition, arg)
	if err != nil {
		return nil, err
	}
	agents := make(map[string]*models.Agent, len(found))
	for _, agent := range found {
		agents[agent.ID] = &agent
	}
	stuck := make([]StuckSession, 0, len(sessions))
	for _, session := range sessions {
		stuck = append(stuck, StuckSession{Session: session, Agent: agents[session.AgentID]})
	}
	return stuck, nil
}
