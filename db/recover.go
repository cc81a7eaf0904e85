package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Recovery begins a session again that should run and that its agent does not
// have any more.
type Recovery struct {
	AgentID, SessionID, Actor string
	// Epoch is the connection on which the agent said so.
	Epoch int64
	// Generation is the session's before; with another one nothing happens.
	Generation int64
	// Losses are the session's from now on.
	Losses []models.Loss
	Reason string
	// Command starts the session on the agent that it is on. Nil has it wait for
	// any agent, until WaitUntil.
	Command   *models.AgentCommand
	WaitUntil time.Time
}

// Recover raises a running session's generation, makes it pending and writes
// its start command, in one transaction; done tells whether the session still
// was as it was read. Another agent's session gives models.CodeForbidden, a
// replaced connection models.CodeEpochStale.
func (d *Database) Recover(ctx context.Context, asked Recovery, now time.Time) (session models.Session, done bool, err error) {
	err = d.write(ctx, "recover session", func(ctx context.Context, t *tx) error {
		if session, err = d.lockObserved(ctx, t, asked.AgentID, asked.Epoch, asked.SessionID); err != nil {
			return err
		}
		if session.State != models.SessionRunning || session.Generation != asked.Generation {
			return nil
		}
		session.Generation++
		session.State, session.Reason, session.ReasonCode = models.SessionPending, asked.Reason, models.CodeRuntimeLost
		session.Losses = asked.Losses
		if asked.Command == nil {
			session.AgentID, session.WaitUntil = "", &asked.WaitUntil
		}
		if err := t.saveLives(ctx, []life{{&session, models.SessionRunning}}, now); err != nil {
			return err
		}
		if asked.Command != nil {
			if err := d.insertCommand(ctx, t, *asked.Command, now); err != nil {
				return err
			}
		}
		done = true
		return t.recordSession(ctx, session, models.SessionRunning, asked.Actor, now)
	})
	return session, done, err
}

// lockObserved locks a session of which its agent says something on a
// connection.
func (d *Database) lockObserved(ctx context.Context, t *tx, agentID string, epoch int64, sessionID string) (models.Session, error) {
	if err := d.requireEpoch(ctx, t, agentID, epoch); err != nil {
		return models.Session{}, err
	}
	session, err := d.lockSession(ctx, t, sessionID)
	if err == nil && session.AgentID != agentID {
		err = models.Errorf(models.CodeForbidden, "session %q is not on agent %q", sessionID, agentID)
	}
	return session, err
}
