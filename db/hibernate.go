package db

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Hibernation asks that a session's runtime ends and its home stays.
type Hibernation struct {
	SessionID, CommandID, Actor string
	// Reason is what the history says besides the actor; it may be empty.
	Reason     string
	DeadlineAt time.Time
	// Draining is an agent: the session hibernates only if it still is on that
	// one, whose drain is past its deadline. If the agent's homes are in a store,
	// it is to be moved to another one until MoveUntil. Empty asks for nothing.
	Draining  string
	MoveUntil time.Time
}

// HibernateSession raises the generation, wants the session hibernated and
// writes the hibernate command, in one transaction. A session that hibernates
// or is about to is returned as it is, without a command, and so is one that
// asked.Draining spares; but one that a drain was to move stays where it is when
// somebody else asks. One that keeps no home gives models.CodeInvalidRequest, one in another state than running
// models.CodeSessionNotRunning.
func (d *Database) HibernateSession(ctx context.Context, asked Hibernation, now time.Time) (session models.Session, command *models.AgentCommand, err error) {
	err = d.write(ctx, "hibernate session", func(ctx context.Context, t *tx) error {
		overdue, err := d.isOverdue(ctx, t, asked.Draining, now)
		if err != nil {
			return err
		}
		if session, err = d.lockSession(ctx, t, asked.SessionID); err != nil {
			return err
		}
		switch {
		case session.State == models.SessionHibernating || session.State == models.SessionHibernated:
			if asked.Draining == "" && session.MoveUntil != nil {
				// Whoever wants it to hibernate does not want it woken for a drain.
				session.MoveUntil = nil
				_, err = t.exec(ctx, `UPDATE sessions SET move_until = NULL WHERE id = $1`, session.ID)
			}
			return err
		case asked.Draining != "" && (!overdue || session.AgentID != asked.Draining):
			return nil
		case !session.Spec.Spec.PersistentHome:
			return models.Errorf(models.CodeInvalidRequest, "session %q keeps no home, so nothing would be left of it; stop it instead", session.ID)
		case session.State != models.SessionRunning:
			return models.Errorf(models.CodeSessionNotRunning, "session %q is %s; only a running one can hibernate", session.ID, session.State)
		}
		session.Generation++
		session.DesiredState = models.DesiredHibernated
		session.State, session.Reason, session.ReasonCode, session.Retryable = models.SessionHibernating, asked.Reason, "", false
		if err := d.saveSession(ctx, t, &session, models.SessionRunning, now); err != nil {
			return err
		}
		if asked.Draining != "" {
			if err := t.toBeMoved(ctx, &session, asked.MoveUntil); err != nil {
				return err
			}
		}
		command = &models.AgentCommand{CommandID: asked.CommandID, AgentID: session.AgentID, SessionID: session.ID,
			Generation: session.Generation, Action: models.ActionHibernateSession, Status: models.CommandPending,
			Payload:   &models.CommandPayload{"sessionId": session.ID, "generation": session.Generation},
			CreatedAt: now, DeadlineAt: asked.DeadlineAt}
		if err := d.insertCommand(ctx, t, *command, now); err != nil {
			return err
		}
		//failpoint:hibernate-uncommitted
		return t.recordSession(ctx, session, models.SessionRunning, asked.Actor, now)
	})
	return session, command, err
}

// toBeMoved notes that a drain has the session hibernate, and until when it is
// to be woken elsewhere, if its home can be had there.
func (t *tx) toBeMoved(ctx context.Context, session *models.Session, until time.Time) error {
	var store string
	if err := t.row(ctx, `UPDATE agents SET drain_hibernated = drain_hibernated + 1 WHERE id = $1 RETURNING home_store`,
		session.AgentID).Scan(&store); err != nil || store == "" {
		return err
	}
	until = until.UTC().Truncate(time.Microsecond)
	session.MoveUntil = &until
	_, err := t.exec(ctx, `UPDATE sessions SET move_until = $2 WHERE id = $1`, session.ID, t.database.at(until))
	return err
}

// Awakening asks that a hibernated session runs again.
type Awakening struct {
	SessionID, Actor string
	// Reason is what the history says besides the actor; it may be empty.
	Reason string
	// Generation is the session's before; another one gives
	// models.CodeTransitionIllegal.
	Generation int64
	// Agent is where it is to run, and From the agent that it was on, where its
	// home is.
	Agent models.Agent
	From  string
	// Moves restricts to a session that a drain still is to move; another one gives
	// models.CodeTransitionIllegal.
	Moves bool
	// Requirements are what the agent must be; what it must have free comes from
	// the session.
	Requirements models.Requirements
	Command      models.AgentCommand
	// Verdicts say why the session leaves its home for this agent; empty when it
	// does not.
	Verdicts json.RawMessage
}

// WakeSession reserves room on the agent, guarded as a launch is, raises the
// generation, wants the session running and writes the wake command, in one
// transaction. A session that wakes or runs is returned as it is, and woken is
// false. One that is not hibernated gives models.CodeSessionNotRunning; an agent
// that cannot take it now models.CodeNoSuitableAgent.
func (d *Database) WakeSession(ctx context.Context, asked Awakening, now time.Time) (session models.Session, woken bool, err error) {
	err = d.write(ctx, "wake session", func(ctx context.Context, t *tx) error {
		l := launcher{tx: t, now: now, launches: []Launch{{Session: models.Session{ID: asked.SessionID, AgentID: asked.Agent.ID},
			Requirements: asked.Requirements}, {Session: models.Session{AgentID: asked.From}}}}
		if _, err = l.lockAgents(ctx); err != nil {
			return err
		}
		if err := l.sumUp(ctx, slices.Collect(maps.Keys(l.agents))); err != nil {
			return err
		}
		if session, err = d.lockSession(ctx, t, asked.SessionID); err != nil {
			return err
		}
		switch {
		case session.State == models.SessionWaking || session.State == models.SessionRunning:
			return nil
		case session.State != models.SessionHibernated:
			return models.Errorf(models.CodeSessionNotRunning, "session %q is %s; only a hibernated one can be woken", session.ID, session.State)
		case session.Generation != asked.Generation || asked.Moves && (session.MoveUntil == nil || now.After(*session.MoveUntil)):
			return models.Errorf(models.CodeTransitionIllegal, "session %q changed while it was being woken; try again", session.ID)
		}
		if err := l.readBreakers(ctx); err != nil {
			return err
		}
		l.raised, l.probed = map[string]bool{}, map[breakerKey]models.Breaker{}
		l.launches[0].Session.Template, l.launches[0].Session.Resources = session.Template, session.Resources
		if outcome := l.reserve(l.launches[0]); outcome.Err != nil {
			return outcome.Err
		}
		session.Generation++
		session.DesiredState = models.DesiredRunning
		session.State, session.Reason, session.ReasonCode, session.Retryable = models.SessionWaking, asked.Reason, "", false
		if session.MoveUntil != nil && session.AgentID != asked.Agent.ID {
			if _, err := t.exec(ctx, `UPDATE agents SET drain_hibernated = drain_hibernated - 1, drain_moved = drain_moved + 1
				WHERE id = $1 AND drain_hibernated > 0`, session.AgentID); err != nil {
				return fmt.Errorf("count a moved session: %w", err)
			}
		}
		session.MoveUntil = nil
		session.AgentID, session.ClusterID, session.Platform, session.Region = asked.Agent.ID, asked.Agent.ClusterID, asked.Agent.Platform, asked.Agent.Region
		if err := t.saveLives(ctx, []life{{&session, models.SessionHibernated}}, now); err != nil {
			return err
		}
		if _, err := t.exec(ctx, `UPDATE sessions SET cluster_id = $2, platform = $3, region = $4, move_until = NULL WHERE id = $1`,
			session.ID, orNull(session.ClusterID), orNull(session.Platform), orNull(session.Region)); err != nil {
			return fmt.Errorf("move a session: %w", err)
		}
		command := asked.Command
		command.AgentID, command.SessionID, command.Generation = session.AgentID, session.ID, session.Generation
		if err := d.insertCommand(ctx, t, command, now); err != nil {
			return err
		}
		if len(asked.Verdicts) > 0 {
			if err := t.savePlacementRows(ctx, []Placement{{SessionID: session.ID, UserID: session.UserID, Outcome: PlacementPlaced,
				AgentID: session.AgentID, Verdicts: asked.Verdicts, At: now}}); err != nil {
				return err
			}
		}
		if err := t.saveBreakers(ctx, slices.Collect(maps.Values(l.probed))); err != nil {
			return err
		}
		if err := l.stamp(ctx); err != nil {
			return err
		}
		woken = true
		//failpoint:wake-uncommitted
		return t.recordSession(ctx, session, models.SessionHibernated, asked.Actor, now)
	})
	return session, woken, err
}
