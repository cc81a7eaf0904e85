package sim

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// change is one row as it was written.
type change struct {
	n       int64
	at      time.Duration // since the world began
	replica int64
	kind    string // command, session, epoch or agent
	created bool
	id      string
	session string
	// agentWas is the session's agent before.
	agentWas, agent string
	action          string
	// generation is the command's or the session's.
	generation, seq  int64
	was, became      string
	reason, code     string
	superseded       bool
	sentWas, sentNow int64
	// epoch is the agent's at the time of the write.
	epoch int64
	// agentRow is the row of the session's agent at the time of the write.
	agentRow string
	deadline string
}

// placed tells whether the session came to be on this agent with this change, as
// it does too when it is woken there.
func (c change) placed() bool {
	return c.kind == "session" && c.agent != "" && (c.agent != c.agentWas || c.woken())
}

// woken tells whether the session was asked to run again.
func (c change) woken() bool {
	return c.was == string(models.SessionHibernated) && c.became == string(models.SessionWaking)
}

// lost tells whether the session is begun again.
func (c change) lost() bool {
	return c.kind == "session" && c.was == string(models.SessionRunning) && c.became == string(models.SessionPending)
}

// deserted tells whether that is since its agent is gone.
func (c change) deserted() bool { return c.code == string(models.CodeAgentUnavailable) }

// takes tells whether a session in this state takes room on its agent.
func takesRoom(state string) bool {
	return !models.SessionState(state).Terminal() && state != string(models.SessionHibernated)
}

// agentRow is what the history keeps of an agent.
type agentRow struct {
	Status   string            `json:"status"`
	Cordoned int               `json:"cordoned"`
	Deadline string            `json:"deadline"`
	By       string            `json:"by"`
	Capacity any               `json:"capacity"`
	Labels   map[string]string `json:"labels"`
	Region   string            `json:"region"`
}

func (a agentRow) traits() traits { return traits{region: a.Region, labels: a.Labels} }

// parseRow reads a row that the triggers wrote.
func parseRow(text string) (row agentRow) {
	_ = json.Unmarshal([]byte(text), &row) // SQLite made it
	return row
}

// String tells the change to people.
func (c change) String() string {
	switch {
	case c.kind == "epoch":
		return fmt.Sprintf("replica %d counts connection %d of %s (before: %d)", c.replica, c.sentNow, c.agent, c.sentWas)
	case c.kind == "agent":
		return fmt.Sprintf("replica %d writes agent %s: %s to %s", c.replica, c.agent, c.was, c.became)
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
	// product asks what replicas ask, without their faults.
	product *db.Database
}

func openHistory(path string) (*history, error) {
	handle, err := openReader(path)
	if err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	return &history{handle: handle, product: db.FromDB(handle)}, nil
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
		if err := rows.Scan(&c.n, &c.at, &c.replica, &c.kind, &c.created, &c.id, &c.session, &c.agentWas, &c.agent, &c.action, &c.generation, &c.seq,
			&c.was, &c.became, &c.reason, &c.code, &c.superseded, &c.sentWas, &c.sentNow, &c.epoch, &c.agentRow, &c.deadline); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

// last is the number of the newest change of commands and sessions.
func (h *history) last(ctx context.Context) (n int64, err error) {
	err = h.handle.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM sim_history WHERE kind IN ('command', 'session')`).Scan(&n)
	return n, err
}

// newest is the number of the newest change of anything.
func (h *history) newest(ctx context.Context) (n int64, err error) {
	err = h.handle.QueryRowContext(ctx, `SELECT coalesce(max(n), 0) FROM sim_history`).Scan(&n)
	return n, err
}

// openCommands describes the commands that have not ended.
func (h *history) openCommands(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT command_id || '|' || coalesce(session_id, '') || '|' || action || ' on ' || agent_id || ' is ' || status
		FROM agent_commands WHERE status NOT IN ('completed', 'failed') ORDER BY seq`)
}

// passing describes the sessions that are not where they are to be, and have not
// failed either.
func (h *history) passing(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT id || '|' || id || '|' || state || ' on ' || coalesce(agent_id, 'no agent') || ', and is to be ' || desired_state FROM sessions
		WHERE state NOT IN (desired_state, 'terminated', 'failed') AND NOT (`+waits+`) ORDER BY id`)
}

// waits restricts to sessions that wait for an agent.
const waits = `state = 'pending' AND agent_id IS NULL AND wait_until IS NOT NULL`

// withoutCommand describes the sessions whose start, hibernation or wake was
// never written.
func (h *history) withoutCommand(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT id || '|' || id || '|' || state FROM sessions s WHERE agent_id IS NOT NULL AND NOT EXISTS
		(SELECT 1 FROM agent_commands c WHERE c.session_id = s.id AND (c.action = 'start_session' AND s.state NOT IN ('pending', 'waking', 'hibernating')
			OR c.generation = s.generation AND c.action = CASE s.state WHEN 'waking' THEN 'wake_session'
				WHEN 'hibernating' THEN 'hibernate_session' ELSE 'start_session' END)) ORDER BY id`)
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

// placed gives the agent of each session that takes room on one.
func (h *history) placed(ctx context.Context) (map[string]string, error) {
	lines, err := h.texts(ctx, `SELECT id || '|' || agent_id FROM sessions WHERE agent_id IS NOT NULL AND state NOT IN ('terminated', 'failed', 'hibernated')`)
	placed := make(map[string]string, len(lines))
	for _, line := range lines {
		id, agent, _ := strings.Cut(line, "|")
		placed[id] = agent
	}
	return placed, err
}

// liveSession is a session that has not ended.
type liveSession struct {
	id, agent, state, reason string
	// until is when it gives up waiting, or empty; failures are the agents that
	// could not start it.
	until, failures string
	// moves is until when a drain looks for another agent with its home.
	moves string
}

// failedOn tells whether the agent could not start the session.
func (l liveSession) failedOn(agent string) bool {
	return strings.Contains(l.failures, `"agentId":"`+agent+`"`)
}

// moving tells whether a drain has had it hibernate and is to wake it elsewhere.
func (l liveSession) moving() bool {
	until, err := time.Parse(rowTime, l.moves)
	return l.state == string(models.SessionHibernated) && err == nil && time.Until(until) > time.Minute
}

func (l liveSession) waits() bool { return l.agent == "" && l.until != "" }

// live gives the sessions that have not ended, in order.
func (h *history) live(ctx context.Context) ([]liveSession, error) {
	rows, err := h.handle.QueryContext(ctx, `SELECT id, coalesce(agent_id, ''), state, coalesce(reason, ''), coalesce(wait_until, ''), coalesce(failures, ''),
		coalesce(move_until, '')
		FROM sessions WHERE state NOT IN ('terminated', 'failed') ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("read the sessions: %w", err)
	}
	defer rows.Close()
	var all []liveSession
	for rows.Next() {
		var one liveSession
		if err := rows.Scan(&one.id, &one.agent, &one.state, &one.reason, &one.until, &one.failures, &one.moves); err != nil {
			return nil, fmt.Errorf("read the sessions: %w", err)
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// unexplained describes the sessions of which nothing says why they are where
// they are, or something else than is so. Of those that an agent could not start
// or has lost the last placement is kept until the next.
func (h *history) unexplained(ctx context.Context) ([]string, error) {
	return h.texts(ctx, `SELECT s.id || '|' || s.id || '|' || s.state || ' on ' || coalesce(s.agent_id, 'no agent') || ', and the explanation is: ' ||
			coalesce(p.outcome || ' ' || coalesce(p.agent_id, '') || ' ' || p.verdicts, 'none')
		FROM sessions s LEFT JOIN placements p ON p.session_id = s.id
		WHERE p.session_id IS NULL OR p.agent_id IS NOT s.agent_id AND (s.agent_id IS NOT NULL OR s.failures IS NULL AND s.losses IS NULL)
			OR s.agent_id IS NULL AND s.failures IS NULL AND s.losses IS NULL AND (p.outcome <> 'waiting' OR s.state = 'pending' AND coalesce(s.reason, '') = '')
			OR s.agent_id IS NOT NULL AND (p.outcome <> 'placed' OR json_extract(p.verdicts, '$.groups[0].agentIds[0]') IS NOT s.agent_id
				OR json_extract(p.verdicts, '$.groups[0].score') IS NULL) ORDER BY s.id`)
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
