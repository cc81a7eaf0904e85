package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Removal is a person's word that an agent is gone for good.
type Removal struct {
	AgentID, Actor string
	// Force removes it although sessions are on it.
	Force bool
	// Within is how old the heartbeat of a connected agent may be: with an older one
	// the replica that it was connected to has died.
	Within time.Duration
	// Decide says what becomes of a session that is on it and has not ended, when
	// another agent shares its homes, or none does.
	Decide func(session models.Session, shares *models.Agent) ForcedEnd
}

// RemoveAgent deletes the agent with its keys, and carries out what is decided of
// the sessions that are on it, in one transaction. It gives the sessions as they
// are then. Errors: models.CodeAgentUnknown, models.CodeAgentConnected when it is
// connected and sessions are on it, models.CodeAgentInUse when it is not and Force
// is not set.
func (d *Database) RemoveAgent(ctx context.Context, asked Removal, now time.Time) (left []models.Session, err error) {
	err = d.write(ctx, "remove agent", func(ctx context.Context, t *tx) error {
		left = nil
		status, _, err := d.lockAgent(ctx, t, asked.AgentID)
		if err != nil {
			return err
		}
		agent, err := scanAgent(t.row(ctx, oneAgent, asked.AgentID))
		if err != nil {
			return err
		}
		ids, err := t.texts(ctx, `SELECT id FROM sessions WHERE agent_id = $1 AND state NOT IN ('terminated', 'failed') ORDER BY id`, agent.ID)
		if err != nil {
			return err
		}
		sessions, err := t.lockSessions(ctx, ids)
		if err != nil {
			return err
		}
		switch heard := agent.LastHeartbeat; {
		case len(ids) == 0:
		case agent.Connected && heard != nil && now.Sub(*heard) <= asked.Within:
			return models.Errorf(models.CodeAgentConnected, "agent %q is connected and has %d sessions; stop it first, or drain it: streamspace agents drain %s",
				agent.ID, len(ids), agent.ID)
		case !asked.Force:
			return models.Errorf(models.CodeAgentInUse, "%d sessions are on agent %q, which end or are placed anew when it is removed; if it is gone for good, say so with --force",
				len(ids), agent.ID)
		}
		shares, err := t.sharing(ctx, agent)
		if err != nil {
			return err
		}
		var ends []ForcedEnd
		for _, id := range ids {
			ends = append(ends, asked.Decide(sessions[id], shares))
		}
		if _, err := t.forceEnds(ctx, ends, nil, sessions, now); err != nil {
			return err
		}
		for _, statement := range []string{
			`UPDATE agent_commands SET status = 'failed', error_message = 'its agent was removed', completed_at = $2 WHERE agent_id = $1 AND status NOT IN ('completed', 'failed')`,
			`DELETE FROM api_tokens WHERE kind = 'agent' AND agent_id = $1 AND $2 <> ''`,
			`DELETE FROM breakers WHERE agent_id = $1 AND $2 <> ''`,
			`INSERT INTO removed_agents (agent_id, epoch) SELECT id, epoch FROM agents WHERE id = $1 AND $2 <> ''
				ON CONFLICT (agent_id) DO UPDATE SET epoch = excluded.epoch`,
			`DELETE FROM agents WHERE id = $1 AND $2 <> ''`,
		} {
			if _, err := t.exec(ctx, statement, agent.ID, d.at(now)); err != nil {
				return err
			}
		}
		after, err := t.lockSessions(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range ids {
			left = append(left, after[id])
		}
		//failpoint:remove-agent-uncommitted
		return t.record(ctx, models.Event{Kind: models.EventAgentState, AgentID: agent.ID, From: status, To: "removed",
			Actor: asked.Actor, Reason: "removed by " + models.ActorName(asked.Actor), At: now})
	})
	return left, err
}

// sharing gives another agent that has the agent's homes, one that is connected if
// there is one, or nil.
func (t *tx) sharing(ctx context.Context, agent models.Agent) (*models.Agent, error) {
	if agent.HomeStore == "" {
		return nil, nil
	}
	ids, err := t.texts(ctx, `SELECT id FROM agents WHERE home_store = $1 AND id <> $2 ORDER BY connected DESC, last_heartbeat DESC, id LIMIT 1`, agent.HomeStore, agent.ID)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	other, err := scanAgent(t.row(ctx, oneAgent, ids[0]))
	return &other, err
}
