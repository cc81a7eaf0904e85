package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// PastTimeLimits lists running sessions that have reached a time limit, at most
// limit.
func (d *Database) PastTimeLimits(ctx context.Context, limit int, now time.Time) ([]string, error) {
	return queryAll(ctx, d, "list sessions past a time limit", func(row scanner) (id string, err error) { return id, row.Scan(&id) },
		`SELECT id FROM sessions WHERE expires_at <= $1 UNION SELECT id FROM sessions WHERE idle_at <= $1 LIMIT $2`, d.at(now), limit)
}

// LimitEnd is a session that a time limit has ended, and the command for that.
type LimitEnd struct {
	Session models.Session
	Command models.AgentCommand
}

// EndAtTimeLimits stops or hibernates, as each says, those of the sessions that
// still run and still are past a time limit, in one transaction of a few
// statements: what was used meanwhile goes on, and of several callers one does
// it. newCommandID makes the ids of the commands, which are due by deadlineAt.
func (d *Database) EndAtTimeLimits(ctx context.Context, ids []string, actor string, newCommandID func() string, deadlineAt, now time.Time) (ended []LimitEnd, err error) {
	err = d.write(ctx, "end sessions at their time limits", func(ctx context.Context, t *tx) error {
		ended = nil
		sessions, err := t.lockSessions(ctx, ids)
		if err != nil {
			return err
		}
		var lives []life
		var commands []models.AgentCommand
		var events []models.Event
		for _, session := range sessions {
			reached := models.LimitReached(session.ExpiresAt, session.IdleAt, now)
			if session.State != models.SessionRunning || reached == "" {
				continue
			}
			session.Generation++
			session.State, session.DesiredState = models.SessionTerminating, models.DesiredTerminated
			action := models.ActionStopSession
			if session.OnLimit == models.OnLimitHibernate && session.Spec.Spec.PersistentHome {
				session.State, session.DesiredState = models.SessionHibernating, models.DesiredHibernated
				action = models.ActionHibernateSession
			}
			session.Reason, session.ReasonCode, session.Retryable = session.TimeLimits.Reason(reached), reached, false
			command := models.AgentCommand{CommandID: newCommandID(), AgentID: session.AgentID, SessionID: session.ID,
				Generation: session.Generation, Action: action, Status: models.CommandPending,
				Payload:   &models.CommandPayload{"sessionId": session.ID, "generation": session.Generation},
				CreatedAt: now, DeadlineAt: deadlineAt}
			lives = append(lives, life{&session, models.SessionRunning})
			commands = append(commands, command)
			events = append(events, sessionEvent(session, models.SessionRunning, actor, now))
		}
		if len(lives) == 0 {
			return nil
		}
		if err := t.saveLives(ctx, lives, now); err != nil {
			return err
		}
		if err := t.insertCommands(ctx, commands, now); err != nil {
			return err
		}
		for i, one := range lives {
			ended = append(ended, LimitEnd{Session: *one.session, Command: commands[i]})
		}
		return t.recordAll(ctx, events)
	})
	return ended, err
}

// Activity is when somebody last used a session.
type Activity struct {
	SessionID string
	At        time.Time
}

// NoteActivity has sessions that run be unused from the given times on, or from
// later ones that are known, in one transaction of two statements. Those without
// an idle timeout are left alone.
func (d *Database) NoteActivity(ctx context.Context, seen []Activity, now time.Time) error {
	ids, latest := make([]string, 0, len(seen)), make(map[string]time.Time, len(seen))
	for _, one := range seen {
		ids = append(ids, one.SessionID)
		latest[one.SessionID] = one.At
	}
	return d.write(ctx, "note the use of sessions", func(ctx context.Context, t *tx) error {
		limits, err := queryIn(ctx, t, `SELECT id, idle_timeout, idle_at FROM sessions WHERE %s AND idle_at IS NOT NULL ORDER BY id`+d.forUpdate(),
			"id", ids, func(row scanner) (s models.Session, err error) {
				return s, row.Scan(&s.ID, text(&s.IdleTimeout), optionalTime{&s.IdleAt})
			})
		if err != nil {
			return err
		}
		rows := &batch{columns: []batchColumn{{"id", "text"}, {"idle_at", "timestamptz"}}}
		for _, session := range limits {
			if _, idle := session.Ends(now, latest[session.ID]); idle != nil && idle.After(*session.IdleAt) {
				rows.add(session.ID, d.at(*idle))
				t.sessionChanged(session.ID)
			}
		}
		if len(rows.rows) == 0 {
			return nil
		}
		source, args, err := d.source(rows, "u", 2)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE sessions SET idle_at = u.idle_at, updated_at = $1 FROM `+source+` WHERE sessions.id = u.id`,
			append([]any{d.at(now)}, args...)...)
		return err
	})
}
