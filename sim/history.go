package sim

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// change is one row as it was written.
type change struct {
	n       int64
	at      time.Duration // since the world began
	replica int64
	kind    string // command, session or epoch
	// created tells of a row that is new, or of a session that got its agent.
	created bool
	id      string
	session string
	agent   string
	action  string
	// generation is the command's or the session's.
	generation, seq  int64
	was, became      string
	reason, code     string
	superseded       bool
	sentWas, sentNow int64
	// epoch is the agent's at the time of the write.
	epoch       int64
	agentStatus string
	deadline    string
}

// String tells the change to people.
func (c change) String() string {
	switch {
	case c.kind == "epoch":
		return fmt.Sprintf("replica %d counts connection %d of %s (before: %d)", c.replica, c.sentNow, c.agent, c.sentWas)
	case c.kind == "command":
		return fmt.Sprintf("replica %d writes command %s (%s of %s, generation %d, on %s): %s to %s, sent on %d, connection %d %s",
			c.replica, c.id, c.action, c.session, c.generation, c.agent, c.was, c.became, c.sentNow, c.epoch, c.reason)
	}
	return fmt.Sprintf("replica %d writes session %s (generation %d, on %s): %s to %s %s %s",
		c.replica, c.id, c.generation, c.agent, c.was, c.became, c.code, c.reason)
}

// history reads what the triggers wrote, and the rows as they are.
type history struct {
	handle *sql.DB
}

func openHistory(path string) (*history, error) {
	handle, err := openReader(path)
	if err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	return &history{handle: handle}, nil
}

func (h *history) close() { _ = h.handle.Close() }

// changes gives all changes after the given one.
func (h *history) changes(ctx context.Context, after int64) ([]change, error) {
	rows, err := h.handle.QueryContext(ctx, `SELECT * FROM sim_history WHERE n > ? ORDER BY n`, after)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer rows.Close()
	var all []change
	for rows.Next() {
		var c change
		if err := rows.Scan(&c.n, &c.at, &c.replica, &c.kind, &c.created, &c.id, &c.session, &c.agent, &c.action, &c.generation, &c.seq,
			&c.was, &c.became, &c.reason, &c.code, &c.superseded, &c.sentWas, &c.sentNow, &c.epoch, &c.agentStatus, &c.deadline); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// last is the number of the newest change of commands and sessions.
func (h *history) last(ctx context.Context) (n int64, err error) {
	err = h.handle.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM sim_history WHERE kind <> 'epoch'`).Scan(&n)
	return n, err
}

// openCommands describes the commands that have not ended.
func (h *history) openCommands(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT command_id || '|' || coalesce(session_id, '') || '|' || action || ' on ' || agent_id || ' is ' || status
		FROM agent_commands WHERE status NOT IN ('completed', 'failed') ORDER BY seq`)
}

// passing describes the sessions that are between two states.
func (h *history) passing(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT id || '|' || id || '|' || state || ' on ' || coalesce(agent_id, 'no agent') FROM sessions
		WHERE state NOT IN ('running', 'terminated', 'failed', 'hibernated') AND NOT (`+waits+`) ORDER BY id`)
}

// waits restricts to sessions that wait for an agent.
const waits = `state = 'pending' AND agent_id IS NULL AND wait_until IS NOT NULL`

// waiting describes the sessions that wait for an agent although the machine has
// room for another one, and has not failed to start them or others like them.
func (h *history) waiting(ctx context.Context, machine string, limit int) ([]string, error) {
	return h.texts(ctx, `SELECT id || '|' || id || '|' || 'waits because ' || coalesce(reason, '') FROM sessions WHERE `+waits+` AND ? > (
		SELECT count(*) FROM sessions WHERE agent_id = ? AND state NOT IN ('terminated', 'failed', 'hibernated'))
		AND coalesce(failures, '') NOT LIKE '%"agentId":"' || ? || '"%'
		AND NOT EXISTS (SELECT 1 FROM breakers b WHERE b.agent_id = ? AND b.template = sessions.template AND b.failures >= ?)
		ORDER BY id`, limit, machine, machine, machine, models.BreakerTrips)
}

// withoutCommand describes the sessions whose start was never written.
func (h *history) withoutCommand(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT id || '|' || id || '|' || state FROM sessions s WHERE agent_id IS NOT NULL AND NOT EXISTS
		(SELECT 1 FROM agent_commands c WHERE c.session_id = s.id AND c.action = 'start_session') ORDER BY id`)
}

// runningOn gives the sessions that should run on the machine.
func (h *history) runningOn(ctx context.Context, machine string) (map[driver.Ref]bool, error) {
	lines, err := h.texts(ctx, `SELECT generation || '|' || id FROM sessions WHERE agent_id = ? AND state = 'running'`, machine)
	running := make(map[driver.Ref]bool, len(lines))
	for _, line := range lines {
		generation, id, _ := strings.Cut(line, "|")
		number, err := strconv.ParseInt(generation, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read a generation: %w", err)
		}
		running[driver.Ref{SessionID: id, Generation: number}] = true
	}
	return running, err
}

func (h *history) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := h.handle.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, fmt.Errorf("read the database: %w", err)
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// described parts what openCommands and passing give into what it is about and
// the words.
func described(line string) (id, session, words string) {
	id, rest, _ := strings.Cut(line, "|")
	session, words, _ = strings.Cut(rest, "|")
	return id, session, id + ": " + words
}
