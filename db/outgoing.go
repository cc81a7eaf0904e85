package db

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"
)

// Outgoing is an unfinished command as it is sent, with its payload as it lies
// in the database.
type Outgoing struct {
	CommandID, AgentID, SessionID, Action, Status string
	// Seq is the command's place in the order of creation. Commands of one
	// session are created one after the other, so it is their order too.
	Seq        int64
	Generation int64
	Attempts   int
	// SentEpoch is the connection that it was last sent on; 0 is none.
	SentEpoch int64
	// Overtaken tells that the command begins what nobody wants any more, since its
	// session has ended or is in a later generation, or what is known to run.
	Overtaken  bool
	Payload    json.RawMessage
	CreatedAt  time.Time
	DeadlineAt time.Time
}

const outgoingColumns = `c.seq, c.command_id, c.agent_id, c.session_id, c.generation, c.action, c.payload, c.status,
	c.attempts, c.sent_epoch, c.created_at, c.deadline_at, c.action IN ('start_session', 'wake_session') AND c.generation <> 0
	AND EXISTS (SELECT 1 FROM sessions s WHERE s.id = c.session_id AND (s.generation > c.generation OR s.state IN ('running', 'terminated', 'failed')))`

func scanOutgoing(row scanner) (Outgoing, error) {
	var command Outgoing
	err := row.Scan(&command.Seq, &command.CommandID, &command.AgentID, text(&command.SessionID), &command.Generation,
		&command.Action, jsonColumn{&command.Payload}, &command.Status, &command.Attempts, &command.SentEpoch,
		timeColumn{&command.CreatedAt}, timeColumn{&command.DeadlineAt}, &command.Overtaken)
	return command, err
}

// Unsent asks for commands of one agent that were not sent on a connection.
type Unsent struct {
	AgentID string
	// Epoch is that connection.
	Epoch int64
	// After is the place after which to begin, UpTo the last one to look at; 0
	// is no end.
	After, UpTo int64
	// Limit is at least 1.
	Limit int
}

func (u Unsent) upTo() int64 {
	if u.UpTo == 0 {
		return math.MaxInt64
	}
	return u.UpTo
}

// unfinished restricts to commands that have not ended, in the words of the
// partial indexes.
const unfinished = `c.status NOT IN ('completed', 'failed')`

// UnsentCommands lists unfinished commands that have not been sent on their
// agent's connection, in the order of creation for each agent. Those sent on an
// earlier connection are among them: whether the agent has them is not known.
func (d *Database) UnsentCommands(ctx context.Context, wanted []Unsent) ([]Outgoing, error) {
	const one = `SELECT ` + outgoingColumns + ` FROM agent_commands c WHERE c.agent_id = %s AND ` + unfinished + `
		AND c.seq > %s AND c.seq <= %s AND c.sent_epoch < %s ORDER BY c.seq LIMIT %s`
	if d.engine == SQLite {
		var all []Outgoing
		for _, from := range wanted {
			some, err := queryAll(ctx, d, "list unsent commands", scanOutgoing, fmt.Sprintf(one, "$1", "$2", "$3", "$4", "$5"),
				from.AgentID, from.After, from.upTo(), from.Epoch, from.Limit)
			if err != nil {
				return nil, err
			}
			all = append(all, some...)
		}
		return all, nil
	}
	rows := &batch{columns: []batchColumn{{"agent_id", "text"}, {"epoch", "bigint"}, {"after", "bigint"}, {"up_to", "bigint"},
		{"most", "bigint"}}}
	for _, from := range wanted {
		rows.add(from.AgentID, from.Epoch, from.After, from.upTo(), int64(from.Limit))
	}
	source, args, err := d.source(rows, "u", 1)
	if err != nil {
		return nil, fmt.Errorf("list unsent commands: %w", err)
	}
	return queryAll(ctx, d, "list unsent commands", scanOutgoing, `SELECT c.* FROM `+source+`
		CROSS JOIN LATERAL (`+fmt.Sprintf(one, "u.agent_id", "u.after", "u.up_to", "u.epoch", "u.most")+`) c ORDER BY c.agent_id, c.seq`, args...)
}

// UnfinishedCommands gives those of the commands that have not ended, in the
// order of creation.
func (d *Database) UnfinishedCommands(ctx context.Context, commandIDs []string) ([]Outgoing, error) {
	condition, arg, err := d.oneOf("c.command_id", "$1", commandIDs)
	if err != nil {
		return nil, fmt.Errorf("list unfinished commands: %w", err)
	}
	commands, err := queryAll(ctx, d, "list unfinished commands", scanOutgoing, `SELECT `+outgoingColumns+` FROM agent_commands c
		WHERE `+condition+` AND `+unfinished, arg)
	slices.SortFunc(commands, func(a, b Outgoing) int { return int(a.Seq - b.Seq) })
	return commands, err
}

// AgentsWithUnsent gives those of the agents that have a command which
// UnsentCommands would list, at most limit of them.
func (d *Database) AgentsWithUnsent(ctx context.Context, wanted []Unsent, limit int) ([]string, error) {
	rows := &batch{columns: []batchColumn{{"agent_id", "text"}, {"epoch", "bigint"}, {"after", "bigint"}}}
	for _, from := range wanted {
		rows.add(from.AgentID, from.Epoch, from.After)
	}
	source, args, err := d.source(rows, "u", 2)
	if err != nil {
		return nil, fmt.Errorf("list agents with unsent commands: %w", err)
	}
	return queryAll(ctx, d, "list agents with unsent commands", func(row scanner) (id string, err error) { return id, row.Scan(&id) },
		`SELECT u.agent_id FROM `+source+` WHERE EXISTS (SELECT 1 FROM agent_commands c WHERE c.agent_id = u.agent_id
			AND `+unfinished+` AND c.seq > u.after AND c.sent_epoch < u.epoch) LIMIT $1`, append([]any{limit}, args...)...)
}

// HasUnfinishedCommand tells whether some command of the session has not ended.
func (d *Database) HasUnfinishedCommand(ctx context.Context, sessionID string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var has bool
	err := d.queryRow(ctx, `SELECT EXISTS (SELECT 1 FROM agent_commands c WHERE c.session_id = $1 AND `+unfinished+`)`, sessionID).Scan(&has)
	if err != nil {
		return false, fmt.Errorf("look for a session's unfinished command: %w", err)
	}
	return has, nil
}
