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
	return d.changeService(ctx, "cordon agent", agentID, actor, now, func(agent *models.Agent) string {
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
	return d.changeService(ctx, "uncordon agent", agentID, actor, now, func(agent *models.Agent) string {
		draining := agent.Status == models.AgentDraining
		if !agent.Cordoned && !draining {
			return ""
		}
		agent.Cordoned, agent.DrainDeadline, agent.DrainedBy, agent.Drained = false, nil, "", nil
		switch {
		case draining && agent.Connected:
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
// deadline, and goes on counting what it does with sessions. An unknown agent gives models.CodeAgentUnknown.
func (d *Database) DrainAgent(ctx context.Context, agentID string, deadline *time.Time, actor string, now time.Time) (models.Agent, error) {
	return d.changeService(ctx, "drain agent", agentID, actor, now, func(agent *models.Agent) string {
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
// one transaction. change gives the history's reason, or nothing when nothing
// changes.
func (d *Database) changeService(ctx context.Context, what, agentID, actor string, now time.Time,
	change func(agent *models.Agent) (reason string),
) (agent models.Agent, err error) {
	err = d.write(ctx, what, func(ctx context.Context, t *tx) error {
		from, _, err := d.lockAgent(ctx, t, agentID)
		if err != nil {
			return err
		}
		if agent, err = scanAgent(t.row(ctx, oneAgent, agentID)); err != nil {
			return err
		}
		reason := change(&agent)
		if reason == "" {
			return nil
		}
		var drained models.Drained
		if agent.Drained != nil {
			drained = *agent.Drained
		}
		if _, err := t.exec(ctx, `UPDATE agents SET status = $2, cordoned = $3, drain_deadline = $4, drained_by = $5, updated_at = $6,
			drain_moved = $7, drain_hibernated = $8, drain_stopped = $9 WHERE id = $1`, agentID, agent.Status, agent.Cordoned,
			d.atOptional(agent.DrainDeadline), orNull(agent.DrainedBy), d.at(now), drained.Moved, drained.Hibernated, drained.Stopped); err != nil {
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
// agent's drain, and that nobody has stopped or hibernated yet.
type Overdue struct {
	SessionID, AgentID string
	State              models.SessionState
	KeepsHome          bool
	Deadline           time.Time
}

// OverdueSessions lists sessions whose agent's drain is past its deadline, at
// most limit, those of the earliest deadline first and from the one after
// another; the zero value is before all. Those that hibernate are not among
// them: they take nothing, or soon will.
func (d *Database) OverdueSessions(ctx context.Context, after Overdue, limit int, now time.Time) ([]Overdue, error) {
	return queryAll(ctx, d, "list overdue sessions", func(row scanner) (one Overdue, err error) {
		var spec models.Template
		err = row.Scan(&one.SessionID, &one.AgentID, text(&one.State), jsonColumn{&spec}, timeColumn{&one.Deadline})
		one.KeepsHome = spec.Spec.PersistentHome
		return one, err
	}, `SELECT s.id, s.agent_id, s.state, s.spec, a.drain_deadline FROM agents a JOIN sessions s ON s.agent_id = a.id
		WHERE a.status = 'draining' AND a.drain_deadline <= $1 AND `+live+` AND state NOT IN ('terminating', 'hibernating')
		AND (a.drain_deadline, s.id) > ($3, $4) ORDER BY a.drain_deadline, s.id LIMIT $2`, d.at(now), limit, d.at(after.Deadline), after.SessionID)
}

// Moving is a session that a drain has hibernated, or is about to, and that is
// to be woken on another agent.
type Moving struct {
	SessionID, AgentID string
	State              models.SessionState
	Until              time.Time
	// Removed tells that its agent was removed: AgentID is another one that shares
	// its home.
	Removed bool
}

// MovingSessions lists sessions that drains have hibernating or hibernated and
// that are to be moved still, at most limit, those that give up first before
// others and from the one after another; the zero value is before all.
func (d *Database) MovingSessions(ctx context.Context, after Moving, limit int, now time.Time) ([]Moving, error) {
	return queryAll(ctx, d, "list moving sessions", func(row scanner) (one Moving, err error) {
		return one, row.Scan(&one.SessionID, &one.AgentID, text(&one.State), timeColumn{&one.Until}, &one.Removed)
	}, `SELECT id, agent_id, state, move_until, coalesce(reason_code, '') = 'agent_unavailable' FROM sessions WHERE (move_until, id) > ($1, $2) AND move_until > $3
		AND state IN ('hibernating', 'hibernated') ORDER BY move_until, id LIMIT $4`, d.at(after.Until), after.SessionID, d.at(now), limit)
}

// isOverdue tells whether the agent's drain is past its deadline, and holds it
// so until the transaction ends: an uncordon that has returned stops nothing.
// No agent is never overdue.
func (d *Database) isOverdue(ctx context.Context, t *tx, agentID string, now time.Time) (overdue bool, err error) {
	if agentID == "" {
		return false, nil
	}
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
