package db

import (
	"context"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// StuckSession is a session that stays too long in a state that should pass.
type StuckSession struct {
	Session models.Session
	// Agent is nil when the session has none or its row is gone.
	Agent *models.Agent
	// Open is the session's newest unfinished command, nil when there is none.
	Open *models.AgentCommand
	// Tries counts how often its agent was asked in the session's generation: the
	// commands that have ended, and how often the open one was sent.
	Tries int
}

// StuckSessions lists sessions that have been in state since before the given
// time, oldest first, in three queries however many there are. Those that wait
// for an agent are not stuck: they have a time of their own.
func (d *Database) StuckSessions(ctx context.Context, state models.SessionState, before time.Time, limit int) ([]StuckSession, error) {
	sessions, err := queryAll(ctx, d, "list stuck sessions", scanSession, `SELECT `+sessionColumns+sessionTables+
		` WHERE s.state = $1 AND s.state_since < $2 AND NOT (s.agent_id IS NULL AND s.wait_until IS NOT NULL)
		ORDER BY s.state_since, s.id LIMIT $3`, string(state), d.at(before), limit)
	if err != nil || len(sessions) == 0 {
		return nil, err
	}
	stuck, err := d.withAgents(ctx, sessions)
	if err != nil {
		return nil, err
	}
	ids := make([]string, 0, len(sessions))
	place := make(map[string]*StuckSession, len(sessions))
	for i := range stuck {
		ids = append(ids, stuck[i].Session.ID)
		place[stuck[i].Session.ID] = &stuck[i]
	}
	condition, arg, err := d.oneOf("session_id", "$1", ids)
	if err != nil {
		return nil, fmt.Errorf("list stuck sessions: %w", err)
	}
	commands, err := queryAll(ctx, d, "read the commands of stuck sessions", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE `+condition+` AND (status NOT IN ('completed', 'failed') OR generation = (SELECT generation FROM sessions s WHERE s.id = session_id))
		ORDER BY seq`, arg)
	if err != nil {
		return nil, err
	}
	for _, command := range commands {
		one := place[command.SessionID]
		if ended(command.Status) {
			one.Tries++
			continue
		}
		one.Open = &command
	}
	for i := range stuck {
		if open := stuck[i].Open; open != nil {
			stuck[i].Tries += open.Attempts
		}
	}
	return stuck, nil
}

// CountStuck counts, for each state, the sessions that have been in it since
// before its time. Every state asked for has a key.
func (d *Database) CountStuck(ctx context.Context, before map[models.SessionState]time.Time) (map[models.SessionState]int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	counts := make(map[models.SessionState]int, len(before))
	for state, since := range before {
		var count int
		if err := d.queryRow(ctx, `SELECT count(*) FROM sessions WHERE state = $1 AND state_since < $2
			AND NOT (agent_id IS NULL AND wait_until IS NOT NULL)`,
			string(state), d.at(since)).Scan(&count); err != nil {
			return nil, fmt.Errorf("count stuck sessions: %w", outage(err))
		}
		counts[state] = count
	}
	return counts, nil
}
