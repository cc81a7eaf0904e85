package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
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
	payload, err := asJSON(command.Payload)
	if err != nil {
		return err
	}
	inserted, err := t.exec(ctx, `INSERT INTO agent_commands
		(command_id, agent_id, session_id, generation, action, payload, status, created_at, deadline_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'pending', $7, $8) ON CONFLICT (command_id) DO NOTHING`,
		command.CommandID, command.AgentID, orNull(command.SessionID), command.Generation, command.Action, payload,
		d.at(now), d.atOrNull(command.DeadlineAt))
	if err == nil && inserted == 0 {
		return models.Errorf(models.CodeInvalidRequest, "there already is a command %q", command.CommandID)
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

// ReissueCommand gives the session's unfinished command, to be sent again, or
// writes a new pending one with the payload of the newest command of the
// session's generation. Errors: models.CodeCommandUnknown when there is nothing
// to repeat, models.CodeTransitionIllegal when the session has ended.
func (d *Database) ReissueCommand(ctx context.Context, sessionID, commandID string, deadline, now time.Time) (command models.AgentCommand, err error) {
	err = d.write(ctx, "reissue command", func(ctx context.Context, t *tx) error {
		session, err := d.lockSession(ctx, t, sessionID)
		if err != nil {
			return err
		}
		if session.State.Terminal() {
			return models.Errorf(models.CodeTransitionIllegal, "session %q has ended", sessionID)
		}
		command, err = scanCommand(t.row(ctx, `SELECT `+commandColumns+` FROM agent_commands WHERE session_id = $1
			AND (status NOT IN ('completed', 'failed') OR generation = $2)
			ORDER BY CASE WHEN status IN ('completed', 'failed') THEN 1 ELSE 0 END, seq DESC LIMIT 1`, sessionID, session.Generation))
		if errors.Is(err, sql.ErrNoRows) {
			return models.Errorf(models.CodeCommandUnknown, "session %q has no command to repeat", sessionID)
		}
		if err != nil || command.Status != models.CommandCompleted && command.Status != models.CommandFailed {
			return err
		}
		command = models.AgentCommand{CommandID: commandID, AgentID: command.AgentID, SessionID: sessionID,
			Generation: command.Generation, Action: command.Action, Payload: command.Payload,
			Status: models.CommandPending, CreatedAt: now, DeadlineAt: deadline}
		return d.insertCommand(ctx, t, command, now)
	})
	return command, err
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
