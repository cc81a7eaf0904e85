package db

import (
	"context"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// CordonAgent keeps new sessions away from the agent until UncordonAgent; those
// that it has go on. actor is whom the history names, such as user:NAME. An
// agent that is cordoned already is given as it is. An unknown agent gives
// models.CodeAgentUnknown.
func (d *Database) CordonAgent(ctx context.Context, agentID, actor string, now time.Time) (models.Agent, error) {
	return d.changeService(ctx, "cordon agent", agentID, actor, now, func(agent *models.Agent, _ bool) string {
		if agent.Cordoned {
			return ""
		}
		agent.Cordoned = true
		return "cordoned by " + models.ActorName(actor)
	})
}

// UncordonAgent ends the agent's cordon and its drain, so that it takes new
// sessions again: it is online if its newest connection lasts, else offline. An
// agent that itself says that it is draining is so again with its next
// heartbeat. One that is neither cordoned nor draining is given as it is.
// An unknown agent gives models.CodeAgentUnknown.
func (d *Database) UncordonAgent(ctx context.Context, agentID, actor string, now time.Time) (models.Agent, error) {
	return d.changeService(ctx, "uncordon agent", agentID, actor, now, func(agent *models.Agent, connected bool) string {
		draining := agent.Status == models.AgentDraining
		if !agent.Cordoned && !draining {
			return ""
		}
		agent.Cordoned, agent.DrainDeadline, agent.DrainedBy = false, nil, ""
		switch {
		case draining && connected:
			agent.Status = models.AgentOnline
		case draining:
			agent.Status = models.AgentOffline
		}
		return "uncordoned by " + models.ActorName(actor)
	})
}

// DrainAgent makes the agent draining until UncordonAgent, whatever its
// heartbeats and connections say: it takes no new sessions, and what is left at
// the deadline is overdue; nil waits for ever. Asked again it changes the
// deadline. An unknown agent gives models.CodeAgentUnknown.
func (d *Database) DrainAgent(ctx context.Context, agentID string, deadline *time.Time, actor string, now time.Time) (models.Agent, error) {
	return d.changeService(ctx, "drain agent", agentID, actor, now, func(agent *models.Agent, _ bool) string {
		asked := agent.Status == models.AgentDraining && agent.DrainedBy != ""
		if asked && sameInstant(agent.DrainDeadline, deadline) {
			return ""
		}
		agent.Status, agent.DrainDeadline, agent.DrainedBy = models.AgentDraining, deadline, actor
		if deadline == nil {
			return "drained by " + models.ActorName(actor) + ", waits for its sessions to end"
		}
		return "drained by " + models.ActorName(actor) + ", stops what is left at " + deadline.UTC().Format(time.RFC3339)
	})
}

// sameInstant compares as the database keeps it, to the microsecond.
func sameInstant(a, b *time.Time) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Truncate(time.Microsecond).Equal(b.Truncate(time.Microsecond))
}

// changeService changes whether the agent takes sessions, with its history, in
// one transaction. change gets the agent and whether its newest connection
// lasts, and gives the history's reason, or nothing when nothing changes.
func (d *Database) changeService(ctx context.Context, what, agentID, actor string, now time.Time,
	change func(agent *models.Agent, connected bool) (reason string),
) (agent models.Agent, err error) {
	err = d.write(ctx, what, func(ctx context.Context, t *tx) error {
		from, _, err := d.lockAgent(ctx, t, agentID)
		if err != nil {
			return err
		}
		if agent, err = scanAgent(t.row(ctx, oneAgent, agentID)); err != nil {
			return err
		}
		var connected bool
		if err := t.row(ctx, `SELECT connected FROM agents WHERE id = $1`, agentID).Scan(&connected); err != nil {
			return err
		}
		reason := change(&agent, connected)
		if reason == "" {
			return nil
		}
		if _, err := t.exec(ctx, `UPDATE agents SET status = $2, cordoned = $3, drain_deadline = $4, drained_by = $5, updated_at = $6
			WHERE id = $1`, agentID, agent.Status, agent.Cordoned, d.atOptional(agent.DrainDeadline), orNull(agent.DrainedBy),
			d.at(now)); err != nil {
			return err
		}
		if agent, err = scanAgent(t.row(ctx, oneAgent, agentID)); err != nil {
			return err
		}
		return t.record(ctx, models.Event{Kind: models.EventAgentState, AgentID: agentID, From: from, To: agent.Status,
			Actor: actor, Reason: reason, At: now})
	})
	return agent, err
}

// Overdue is a session that is left on its agent past the deadline of the
// agent's drain, and that nobody has stopped yet.
type Overdue struct {
	SessionID, AgentID string
}

// OverdueSessions lists sessions whose agent's drain is past its deadline, at
// most limit, those of the earliest deadline first. Hibernated ones are not
// among them: they take nothing, and stay.
func (d *Database) OverdueSessions(ctx context.Context, limit int, now time.Time) ([]Overdue, error) {
	return queryAll(ctx, d, "list overdue sessions", func(row scanner) (one Overdue, err error) {
		return one, row.Scan(&one.SessionID, &one.AgentID)
	}, `SELECT s.id, s.agent_id FROM agents a JOIN sessions s ON s.agent_id = a.id
		WHERE a.status = 'draining' AND a.drain_deadline <= $1 AND `+live+` AND state <> 'terminating'
		ORDER BY a.drain_deadline, s.id LIMIT $2`, d.at(now), limit)
}

// isOverdue tells whether the agent's drain is past its deadline, and holds it
// so until the transaction ends: an uncordon that has returned stops nothing.
func (d *Database) isOverdue(ctx context.Context, t *tx, agentID string, now time.Time) (overdue bool, err error) {
	if _, _, err := d.lockAgent(ctx, t, agentID); err != nil {
		return false, err
	}
	err = t.row(ctx, `SELECT count(*) > 0 FROM agents WHERE id = $1 AND status = 'draining' AND drain_deadline <= $2`,
		agentID, d.at(now)).Scan(&overdue)
	if err != nil {
		return false, fmt.Errorf("read the drain: %w", err)
	}
	return overdue, nil
}
