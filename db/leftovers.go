package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// rememberLeftovers is for how long it is remembered what an agent may still run.
const rememberLeftovers = 90 * 24 * time.Hour

// leftover is what an agent may still run of a session.
type leftover struct {
	agentID, sessionID string
	generation         int64
}

// leave notes what may still run where nobody could say so.
func (t *tx) leave(ctx context.Context, left []leftover, now time.Time) error {
	if len(left) == 0 {
		return nil
	}
	rows := &batch{columns: []batchColumn{{"agent_id", "text"}, {"session_id", "text"}, {"generation", "bigint"}}}
	for _, one := range left {
		rows.add(one.agentID, one.sessionID, one.generation)
	}
	source, args, err := t.database.source(rows, "u", 2)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO leftovers (agent_id, session_id, generation, made_at)
		SELECT u.agent_id, u.session_id, u.generation, $1 FROM `+source+` WHERE true
		ON CONFLICT (agent_id, session_id) DO UPDATE SET generation = excluded.generation, made_at = excluded.made_at`,
		append([]any{t.database.at(now)}, args...)...)
	return err
}

// HasLeftovers tells whether anything may still run on the agent that was given
// up.
func (d *Database) HasLeftovers(ctx context.Context, agentID string) (has bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = d.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM leftovers WHERE agent_id = $1)`, agentID).Scan(&has)
	return has, outage(err)
}

// ForgetLeftovers forgets what may still run on an agent that tells itself what
// it runs, on this connection.
func (d *Database) ForgetLeftovers(ctx context.Context, agentID string, epoch int64) error {
	return d.write(ctx, "forget leftovers", func(ctx context.Context, t *tx) error {
		if err := d.requireEpoch(ctx, t, agentID, epoch); err != nil {
			return err
		}
		_, err := t.exec(ctx, `DELETE FROM leftovers WHERE agent_id = $1`, agentID)
		return err
	})
}

// StopLeftovers writes a stop command for everything that may still run on an
// agent that does not tell what it runs, and has connected so. What it has
// stopped since, what is long ago and what is to run there again is forgotten; a
// stop that is unfinished is not written twice. newID makes ids of commands.
func (d *Database) StopLeftovers(ctx context.Context, agentID string, epoch int64, newID func() string, deadline, now time.Time) (stops []models.AgentCommand, err error) {
	err = d.write(ctx, "stop leftovers", func(ctx context.Context, t *tx) error {
		stops = nil
		if err := d.requireEpoch(ctx, t, agentID, epoch); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `DELETE FROM leftovers WHERE agent_id = $1 AND (made_at < $2
			OR EXISTS (SELECT 1 FROM agent_commands c WHERE c.session_id = leftovers.session_id AND c.agent_id = $1 AND c.action = 'stop_session'
				AND c.status = 'completed' AND c.generation >= leftovers.generation AND c.created_at >= leftovers.made_at)
			OR EXISTS (SELECT 1 FROM sessions s WHERE s.id = leftovers.session_id AND s.agent_id = $1 AND s.state NOT IN ('terminated', 'failed')))`,
			agentID, d.at(now.Add(-rememberLeftovers))); err != nil {
			return err
		}
		rows, err := t.QueryContext(ctx, d.dialect(`SELECT session_id, generation FROM leftovers l WHERE agent_id = $1 AND NOT EXISTS (
			SELECT 1 FROM agent_commands c WHERE c.session_id = l.session_id AND c.agent_id = l.agent_id AND c.action = 'stop_session'
				AND c.status NOT IN ('completed', 'failed')) ORDER BY session_id`), agentID)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			stop := models.AgentCommand{CommandID: newID(), AgentID: agentID, Action: models.ActionStopSession, Status: models.CommandPending,
				CreatedAt: now, DeadlineAt: deadline}
			if err := rows.Scan(&stop.SessionID, &stop.Generation); err != nil {
				return err
			}
			stop.Payload = &models.CommandPayload{"sessionId": stop.SessionID, "generation": stop.Generation}
			stops = append(stops, stop)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		return t.insertCommands(ctx, stops, now)
	})
	return stops, err
}
