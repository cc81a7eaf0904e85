package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

const commandColumns = `seq, command_id, agent_id, session_id, generation, action, payload, status, attempts, result,
	error_message, created_at, deadline_at, sent_at, acknowledged_at, completed_at`

// sequenced is a command with its place in the order of creation.
type sequenced struct {
	models.AgentCommand
	seq int64
}

func scanSequenced(row scanner) (sequenced, error) {
	var command sequenced
	err := row.Scan(&command.seq, &command.CommandID, &command.AgentID, text(&command.SessionID), &command.Generation,
		&command.Action, jsonColumn{&command.Payload}, &command.Status, &command.Attempts, jsonColumn{&command.Result},
		text(&command.ErrorMessage), timeColumn{&command.CreatedAt}, timeColumn{&command.DeadlineAt},
		optionalTime{&command.SentAt}, optionalTime{&command.AcknowledgedAt}, optionalTime{&command.CompletedAt})
	return command, err
}

func scanCommand(row scanner) (models.AgentCommand, error) {
	command, err := scanSequenced(row)
	return command.AgentCommand, err
}

// CreateCommand writes a command as pending. A command id that exists already
// gives models.CodeInvalidRequest.
func (d *Database) CreateCommand(ctx context.Context, command *models.AgentCommand, now time.Time) error {
	return d.write(ctx, "create command", func(ctx context.Context, t *tx) error {
		return d.insertCommand(ctx, t, *command, now)
	})
}

func (d *Database) insertCommand(ctx context.Context, t *tx, command models.AgentCommand, now time.Time) error {
	return t.insertCommands(ctx, []models.AgentCommand{command}, now)
}

// insertCommands writes commands as pending, in their order.
func (t *tx) insertCommands(ctx context.Context, commands []models.AgentCommand, now time.Time) error {
	if len(commands) == 0 {
		return nil
	}
	d := t.database
	rows := &batch{columns: []batchColumn{{"command_id", "text"}, {"agent_id", "text"}, {"session_id", "text"}, {"generation", "bigint"},
		{"action", "text"}, {"payload", "text"}, {"deadline_at", "timestamptz"}}}
	for _, command := range commands {
		payload, err := asJSON(command.Payload)
		if err != nil {
			return err
		}
		rows.add(command.CommandID, command.AgentID, orNull(command.SessionID), command.Generation, command.Action, payload, d.atOrNull(command.DeadlineAt))
	}
	source, args, err := d.source(rows, "u", 2)
	if err != nil {
		return err
	}
	cast := ""
	if d.engine == Postgres {
		cast = "::jsonb"
	}
	inserted, err := t.exec(ctx, `INSERT INTO agent_commands
			(command_id, agent_id, session_id, generation, action, payload, status, created_at, deadline_at)
		SELECT u.command_id, u.agent_id, u.session_id, u.generation, u.action, u.payload`+cast+`, 'pending', $1, u.deadline_at
		FROM `+source+` WHERE true ON CONFLICT (command_id) DO NOTHING`, append([]any{d.at(now)}, args...)...)
	if err == nil && int(inserted) != len(commands) {
		return models.Errorf(models.CodeInvalidRequest, "%d of %d command ids are in use already, such as %q", len(commands)-int(inserted), len(commands), commands[0].CommandID)
	}
	return err
}

// Command gives one command, or models.CodeCommandUnknown.
func (d *Database) Command(ctx context.Context, commandID string) (models.AgentCommand, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	command, err := scanCommand(d.queryRow(ctx, `SELECT `+commandColumns+` FROM agent_commands WHERE command_id = $1`, commandID))
	if errors.Is(err, sql.ErrNoRows) {
		return command, commandUnknown(commandID)
	}
	if err != nil {
		return command, fmt.Errorf("read command: %w", outage(err))
	}
	return command, nil
}

// CommandFilter restricts a list of commands; an empty field restricts nothing.
type CommandFilter struct {
	AgentID, SessionID, Status string
}

// Commands lists commands, newest first.
func (d *Database) Commands(ctx context.Context, wanted CommandFilter, page Page) (commands []models.AgentCommand, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var list filter
	list.equals("agent_id", wanted.AgentID)
	list.equals("session_id", wanted.SessionID)
	list.equals("status", wanted.Status)
	var before int64
	if more, err := page.position(&before); err != nil {
		return nil, "", err
	} else if more {
		list.and("seq < ?", before)
	}
	rows, err := queryAll(ctx, d, "list commands", scanSequenced, `SELECT `+commandColumns+` FROM agent_commands`+list.where()+
		` ORDER BY seq DESC LIMIT `+list.parameter(limit+1), list.args...)
	if err != nil {
		return nil, "", err
	}
	rows, next, err = cut(rows, limit, func(command sequenced) any { return command.seq })
	for _, row := range rows {
		commands = append(commands, row.AgentCommand)
	}
	return commands, next, err
}

// OverdueCommands lists unfinished commands whose deadline has passed, the
// longest overdue first.
func (d *Database) OverdueCommands(ctx context.Context, now time.Time, limit int) ([]models.AgentCommand, error) {
	return queryAll(ctx, d, "list overdue commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE status NOT IN ('completed', 'failed') AND deadline_at < $1 ORDER BY deadline_at, seq LIMIT $2`, d.at(now), limit)
}

// Reissue asks that a session's command is sent again.
type Reissue struct {
	SessionID string
	// CommandID and DeadlineAt are those of a new command, if one must be written.
	CommandID  string
	DeadlineAt time.Time
	// State and Generation restrict to a session that still is as it was read;
	// zero values restrict nothing.
	State      models.SessionState
	Generation int64
	// Anywhere has the command, if it was sent already, be sent again by the
	// replica that its agent is connected to.
	Anywhere bool
}

// Reissued is what has become of a Reissue.
type Reissued struct {
	// Command is to be sent. It has no id when the session is no longer as it was
	// read.
	Command models.AgentCommand
	// Err says why there is none: models.CodeSessionUnknown,
	// models.CodeCommandUnknown when there is nothing to repeat,
	// models.CodeTransitionIllegal when the session has ended.
	Err error
}

// ReissueCommand is ReissueCommands for one.
func (d *Database) ReissueCommand(ctx context.Context, asked Reissue, now time.Time) (models.AgentCommand, error) {
	all, err := d.ReissueCommands(ctx, Fence{}, []Reissue{asked}, now)
	if err != nil {
		return models.AgentCommand{}, err
	}
	return all[0].Command, all[0].Err
}

// ReissueCommands gives each session's unfinished command, to be sent again, or
// writes a new pending one with the payload of the newest command of the
// session's generation, in one transaction of a few statements. So there is one
// open command a session at most, whoever asks at the same time. The answers are
// in the order of what was asked, of which a session has one at most. A lost
// lease gives models.CodeLeaseLost, and nothing is written.
func (d *Database) ReissueCommands(ctx context.Context, fence Fence, asked []Reissue, now time.Time) (reissued []Reissued, err error) {
	ids := make([]string, 0, len(asked))
	for _, one := range asked {
		ids = append(ids, one.SessionID)
	}
	err = d.write(ctx, "reissue commands", func(ctx context.Context, t *tx) error {
		reissued = make([]Reissued, len(asked))
		if err := t.requireLease(ctx, fence); err != nil {
			return err
		}
		sessions, err := t.lockSessions(ctx, slices.Clone(ids))
		if err != nil {
			return err
		}
		newest, err := t.newestCommands(ctx, slices.Clone(ids))
		if err != nil {
			return err
		}
		var fresh []models.AgentCommand
		var unsent []string
		for i, one := range asked {
			session, known := sessions[one.SessionID]
			command, has := newest[one.SessionID]
			switch {
			case !known:
				reissued[i].Err = sessionUnknown(one.SessionID)
			case session.State.Terminal():
				reissued[i].Err = models.Errorf(models.CodeTransitionIllegal, "session %q has ended", session.ID)
			case one.State != "" && one.State != session.State || one.Generation != 0 && one.Generation != session.Generation:
			case !has:
				reissued[i].Err = models.Errorf(models.CodeCommandUnknown, "session %q has no command to repeat", session.ID)
			case ended(command.Status):
				command = models.AgentCommand{CommandID: one.CommandID, AgentID: command.AgentID, SessionID: session.ID,
					Generation: command.Generation, Action: command.Action, Payload: command.Payload,
					Status: models.CommandPending, CreatedAt: now, DeadlineAt: one.DeadlineAt}
				fresh = append(fresh, command)
				reissued[i].Command = command
			default:
				reissued[i].Command = command
				if one.Anywhere {
					unsent = append(unsent, command.CommandID)
				}
			}
		}
		if err := t.unsend(ctx, unsent); err != nil {
			return err
		}
		if err := t.insertCommands(ctx, fresh, now); err != nil {
			return err
		}
		//failpoint:reissue-uncommitted
		return nil
	})
	return reissued, err
}

// unsend has commands count as not sent on any connection, so that whoever has
// their agent's sends them.
func (t *tx) unsend(ctx context.Context, commandIDs []string) error {
	if len(commandIDs) == 0 {
		return nil
	}
	condition, arg, err := t.database.oneOf("command_id", "$1", commandIDs)
	if err == nil {
		_, err = t.exec(ctx, `UPDATE agent_commands SET sent_epoch = 0 WHERE `+condition, arg)
	}
	return err
}

func ended(status string) bool {
	return status == models.CommandCompleted || status == models.CommandFailed
}

// newestCommands gives each session's newest unfinished command, or else the
// newest one of its generation.
func (t *tx) newestCommands(ctx context.Context, sessionIDs []string) (map[string]models.AgentCommand, error) {
	commands, err := queryIn(ctx, t, `SELECT `+commandColumns+` FROM agent_commands WHERE seq IN (
			SELECT max(c.seq) FROM agent_commands c JOIN sessions s ON s.id = c.session_id
			WHERE %s AND (c.status NOT IN ('completed', 'failed') OR c.generation = s.generation)
			GROUP BY c.session_id, CASE WHEN c.status IN ('completed', 'failed') THEN 1 ELSE 0 END)
		ORDER BY CASE WHEN status IN ('completed', 'failed') THEN 0 ELSE 1 END`, "c.session_id", sessionIDs, scanCommand)
	newest := make(map[string]models.AgentCommand, len(commands))
	for _, command := range commands {
		newest[command.SessionID] = command // an unfinished one comes last
	}
	return newest, err
}

// CountCommands counts all commands by status.
func (d *Database) CountCommands(ctx context.Context) (map[string]int, error) {
	return countBy[string](ctx, d, "count commands", `SELECT status, count(*) FROM agent_commands GROUP BY status`)
}

// OldestUnfinished gives, for each status of commands that have not ended, when
// the oldest of them was created.
func (d *Database) OldestUnfinished(ctx context.Context) (map[string]time.Time, error) {
	type row struct {
		status string
		since  time.Time
	}
	rows, err := queryAll(ctx, d, "read ages of commands", func(s scanner) (r row, err error) {
		return r, s.Scan(&r.status, timeColumn{&r.since})
	}, `SELECT status, min(created_at) FROM agent_commands c WHERE `+unfinished+` GROUP BY status`)
	oldest := make(map[string]time.Time, len(rows))
	for _, row := range rows {
		oldest[row.status] = row.since
	}
	return oldest, err
}

func commandUnknown(commandID string) error {
	return models.Errorf(models.CodeCommandUnknown, "there is no command %q", commandID)
}
