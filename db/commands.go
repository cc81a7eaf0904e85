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
		return command, fmt.Errorf("read command: %w", err)
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

// pending restricts to commands that were never sent. It says twice that they
// have not ended, in the words of the partial index: SQLite does not infer it.
const pending = `status = 'pending' AND status NOT IN ('completed', 'failed')`

// oldestFirst orders by creation; the plus keeps the planner from walking the
// whole history in that order, rather than the partial index of what is open.
const oldestFirst = ` ORDER BY +seq`

// PendingCommands lists commands that were never sent, oldest first, for all
// agents or, with agentIDs not nil, for those.
func (d *Database) PendingCommands(ctx context.Context, agentIDs []string, limit int) ([]models.AgentCommand, error) {
	if agentIDs == nil {
		return queryAll(ctx, d, "list pending commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
			WHERE `+pending+oldestFirst+` LIMIT $1`, limit)
	}
	agents, err := asJSON(agentIDs)
	if err != nil {
		return nil, fmt.Errorf("list pending commands: %w", err)
	}
	return queryAll(ctx, d, "list pending commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE `+pending+` AND agent_id IN `+d.among("$1")+oldestFirst+` LIMIT $2`, agents, limit)
}

// SessionPending lists one session's commands that were never sent, in order.
// An empty session stands for commands without one.
func (d *Database) SessionPending(ctx context.Context, agentID, sessionID string) ([]models.AgentCommand, error) {
	return queryAll(ctx, d, "list a session's pending commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE agent_id = $1 AND coalesce(session_id, '') = $2 AND `+pending+` ORDER BY seq`, agentID, sessionID)
}

// UnfinishedCommands lists an agent's commands that are neither completed nor
// failed, in order.
func (d *Database) UnfinishedCommands(ctx context.Context, agentID string) ([]models.AgentCommand, error) {
	return queryAll(ctx, d, "list unfinished commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE agent_id = $1 AND status NOT IN ('completed', 'failed') ORDER BY seq`, agentID)
}

// Lane is the commands of one session for one agent, which are sent in order.
// Commands without a session share the lane with an empty SessionID.
type Lane struct {
	AgentID, SessionID string
}

// PendingLanes lists lanes with commands that were never sent, the longest
// waiting first.
func (d *Database) PendingLanes(ctx context.Context, limit int) ([]Lane, error) {
	return queryAll(ctx, d, "list pending lanes", scanLane, `SELECT agent_id, coalesce(session_id, '') FROM agent_commands
		WHERE `+pending+` GROUP BY agent_id, coalesce(session_id, '') ORDER BY min(seq) LIMIT $1`, limit)
}

// UnsentLanes lists lanes of the given agents with unfinished commands that
// have not been sent on the agent's newest connection, the longest waiting
// first.
func (d *Database) UnsentLanes(ctx context.Context, agentIDs []string, limit int) ([]Lane, error) {
	if len(agentIDs) == 0 {
		return nil, nil
	}
	agents, err := asJSON(agentIDs)
	if err != nil {
		return nil, fmt.Errorf("list unsent lanes: %w", err)
	}
	return queryAll(ctx, d, "list unsent lanes", scanLane, `SELECT c.agent_id, coalesce(c.session_id, '')
		FROM agent_commands c JOIN agents a ON a.id = c.agent_id
		WHERE c.status NOT IN ('completed', 'failed') AND c.sent_epoch < a.epoch AND c.agent_id IN `+d.among("$1")+`
		GROUP BY c.agent_id, coalesce(c.session_id, '') ORDER BY min(c.seq) LIMIT $2`, agents, limit)
}

func scanLane(row scanner) (lane Lane, err error) {
	return lane, row.Scan(&lane.AgentID, &lane.SessionID)
}

// UnsentCommands lists a lane's unfinished commands that have not been sent on
// the connection with this epoch, in order. Those sent on an earlier one are
// among them: whether the agent has them is not known.
func (d *Database) UnsentCommands(ctx context.Context, lane Lane, epoch int64) ([]models.AgentCommand, error) {
	return queryAll(ctx, d, "list unsent commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE agent_id = $1 AND coalesce(session_id, '') = $2 AND status NOT IN ('completed', 'failed') AND sent_epoch < $3
		ORDER BY seq`, lane.AgentID, lane.SessionID, epoch)
}

// OverdueCommands lists unfinished commands whose deadline has passed, oldest
// first.
func (d *Database) OverdueCommands(ctx context.Context, now time.Time, limit int) ([]models.AgentCommand, error) {
	return queryAll(ctx, d, "list overdue commands", scanCommand, `SELECT `+commandColumns+` FROM agent_commands
		WHERE status NOT IN ('completed', 'failed') AND deadline_at < $1`+oldestFirst+` LIMIT $2`, d.at(now), limit)
}

// MarkSent notes that the command went out on the connection with this epoch:
// pending becomes sent, and attempts counts each time. It reports false when
// the command has ended or the connection was replaced.
func (d *Database) MarkSent(ctx context.Context, commandID, agentID string, epoch int64, now time.Time) (bool, error) {
	return d.mark(ctx, `UPDATE agent_commands SET attempts = attempts + 1, sent_epoch = $3, sent_at = coalesce(sent_at, $4),
		status = CASE WHEN status = 'pending' THEN 'sent' ELSE status END
		WHERE command_id = $1 AND agent_id = $2 AND status NOT IN ('completed', 'failed')
		AND EXISTS (SELECT 1 FROM agents WHERE id = $2 AND epoch = $3)`, "mark command sent", commandID, agentID, epoch, now)
}

// MarkAcked notes that the agent has the command; false as with MarkSent, or
// when it was acknowledged before.
func (d *Database) MarkAcked(ctx context.Context, commandID, agentID string, epoch int64, now time.Time) (bool, error) {
	return d.mark(ctx, `UPDATE agent_commands SET status = 'ack', acknowledged_at = $4
		WHERE command_id = $1 AND agent_id = $2 AND status IN (`+quoted(models.CommandPredecessors(models.CommandAck))+`)
		AND EXISTS (SELECT 1 FROM agents WHERE id = $2 AND epoch = $3)`, "mark command acknowledged", commandID, agentID, epoch, now)
}

func (d *Database) mark(ctx context.Context, query, what, commandID, agentID string, epoch int64, now time.Time) (marked bool, err error) {
	err = d.write(ctx, what, func(ctx context.Context, t *tx) error {
		written, err := t.exec(ctx, query, commandID, agentID, epoch, d.at(now))
		marked = written == 1
		return err
	})
	return marked, err
}

// Finish is a command's end.
type Finish struct {
	CommandID, AgentID string
	// Epoch is the connection that says so; 0 means that the control plane
	// itself does, for example at the deadline.
	Epoch int64
	// Status is models.CommandCompleted or models.CommandFailed.
	Status    string
	Result    *models.CommandPayload
	Error     string
	Code      models.ErrorCode
	Retryable bool
}

// FinishResult is what a Finish has left.
type FinishResult struct {
	Command models.AgentCommand
	// Session is the command's session afterwards, nil when it has none.
	Session *models.Session
	// Moved tells that the session changed its state.
	Moved bool
}

// FinishCommand ends a command together with what that means for its session,
// in one transaction. An ended command stays as it is, without error. Another
// agent's command gives models.CodeForbidden, a replaced connection
// models.CodeEpochStale, an unknown command models.CodeCommandUnknown.
func (d *Database) FinishCommand(ctx context.Context, finish Finish, now time.Time) (result FinishResult, err error) {
	if finish.Status != models.CommandCompleted && finish.Status != models.CommandFailed {
		return result, models.Errorf(models.CodeTransitionIllegal, "a command cannot end as %q", finish.Status)
	}
	err = d.write(ctx, "finish command", func(ctx context.Context, t *tx) error {
		result = FinishResult{}
		command, err := d.readCommand(ctx, t, finish.CommandID, "")
		if err != nil {
			return err
		}
		if command.AgentID != finish.AgentID {
			return models.Errorf(models.CodeForbidden, "command %q is not for agent %q", finish.CommandID, finish.AgentID)
		}
		if finish.Epoch != 0 {
			if err := d.requireEpoch(ctx, t, finish.AgentID, finish.Epoch); err != nil {
				return err
			}
		}
		if command.SessionID != "" {
			session, err := d.lockSession(ctx, t, command.SessionID)
			if err != nil && models.CodeOf(err) != models.CodeSessionUnknown {
				return err
			}
			if err == nil {
				result.Session = &session
			}
		}
		if command, err = d.readCommand(ctx, t, finish.CommandID, d.forUpdate()); err != nil {
			return err
		}
		if !models.CanCommandBecome(command.Status, finish.Status) {
			result.Command = command
			return nil
		}
		if err := d.endCommand(ctx, t, &command, finish, now); err != nil {
			return err
		}
		result.Command = command
		if result.Session == nil {
			return nil
		}
		result.Moved, err = d.applyOutcome(ctx, t, command, finish, result.Session, now)
		return err
	})
	return result, err
}

func (d *Database) endCommand(ctx context.Context, t *tx, command *models.AgentCommand, finish Finish, now time.Time) error {
	body, err := asJSON(finish.Result)
	if err != nil {
		return err
	}
	ended := now.UTC().Truncate(time.Microsecond)
	command.Status, command.Result, command.ErrorMessage, command.CompletedAt = finish.Status, finish.Result, finish.Error, &ended
	_, err = t.exec(ctx, `UPDATE agent_commands SET status = $2, result = $3, error_message = $4, completed_at = $5 WHERE command_id = $1`,
		command.CommandID, command.Status, body, orNull(command.ErrorMessage), d.at(ended))
	return err
}

// applyOutcome writes what the command's end makes of its session.
func (d *Database) applyOutcome(ctx context.Context, t *tx, command models.AgentCommand, finish Finish, session *models.Session, now time.Time) (moved bool, err error) {
	outcome := models.Outcome{Action: command.Action, Generation: command.Generation,
		Completed: finish.Status == models.CommandCompleted, Reason: finish.Error, Code: finish.Code, Retryable: finish.Retryable}
	if finish.Result != nil {
		if named, ok := (*finish.Result)["state"].(string); ok {
			outcome.State = models.SessionState(named)
		}
	}
	next, changes := outcome.Consequence(*session)
	if !changes {
		return false, nil
	}
	from := session.State
	session.State, session.Reason, session.ReasonCode, session.Retryable = next.State, next.Reason, next.Code, next.Retryable
	if err := d.saveSession(ctx, t, session, from, now); err != nil {
		return false, err
	}
	if session.State == from {
		return false, nil
	}
	actor := "agent:" + finish.AgentID
	if finish.Epoch == 0 {
		actor = "system"
	}
	return true, t.recordSession(ctx, *session, from, actor, now)
}

func (d *Database) readCommand(ctx context.Context, t *tx, commandID, lock string) (models.AgentCommand, error) {
	command, err := scanCommand(t.row(ctx, `SELECT `+commandColumns+` FROM agent_commands WHERE command_id = $1`+lock, commandID))
	if errors.Is(err, sql.ErrNoRows) {
		return command, commandUnknown(commandID)
	}
	return command, err
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

func commandUnknown(commandID string) error {
	return models.Errorf(models.CodeCommandUnknown, "there is no command %q", commandID)
}
