package db

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// Transition is what became of one command on one connection: that it was
// sent, acknowledged, or has ended, or several of these at once. Zero fields
// say nothing.
type Transition struct {
	CommandID, AgentID string
	// Known is what the caller has read of the command since it was created, so
	// that it need not be read again: its session, generation and action, which
	// never change. Nil is unknown.
	Known *Outgoing
	// Epoch is the connection that says so; 0 means that the control plane
	// itself does, for example at the deadline.
	Epoch int64
	// Sends counts sends on that connection, SentAt is the first of them.
	Sends  int
	SentAt time.Time
	// AckedAt is when the agent said that it has the command.
	AckedAt time.Time
	// End is nil while the command goes on.
	End *End
}

// End is how a command ended.
type End struct {
	// Status is models.CommandCompleted or models.CommandFailed.
	Status    string
	Result    *models.CommandPayload
	Error     string
	Code      models.ErrorCode
	Retryable bool
	// Lingers tells that something may run all the same.
	Lingers bool
	At      time.Time
}

// Written is what a Transition has left.
type Written struct {
	// Command is the command without payload and result, as it was read.
	Command models.AgentCommand
	// Err says why nothing was written: models.CodeCommandUnknown,
	// models.CodeForbidden for another agent's command, models.CodeEpochStale
	// for a replaced connection.
	Err error
	// Acked and Ended tell that it was this transition that did it. A command
	// that has ended absorbs whatever else is said of it, without error.
	Acked, Ended bool
	// Session is the command's session afterwards, nil when the command did not
	// end here or has none. Only what a life changes is filled in.
	Session *models.Session
	// Moved tells that the session changed its state.
	Moved bool
}

// WriteTransitions writes what became of many commands, of the sessions of
// those that ended, and the history, in one transaction of a few statements.
// The answers are in the order of the batch. Two transitions of one command in
// one batch are an error, since one row is written once.
func (d *Database) WriteTransitions(ctx context.Context, transitions []Transition, now time.Time) (written []Written, err error) {
	for _, transition := range transitions {
		if end := transition.End; end != nil && end.Status != models.CommandCompleted && end.Status != models.CommandFailed {
			return nil, models.Errorf(models.CodeTransitionIllegal, "a command cannot end as %q", end.Status)
		}
	}
	err = d.write(ctx, "write command transitions", func(ctx context.Context, t *tx) error {
		w := transitionWriter{tx: t, transitions: transitions, written: make([]Written, len(transitions)), now: now}
		written = w.written
		return w.run(ctx)
	})
	return written, err
}

// transitionWriter is one transaction of WriteTransitions. It locks agents,
// sessions, breakers, commands, in this order and each in the order of their ids, as
// every transaction does.
type transitionWriter struct {
	*tx
	transitions []Transition
	written     []Written
	now         time.Time
	// breakers are those of the sessions' agents and templates, and learned
	// those that are to be written.
	breakers, learned map[breakerKey]models.Breaker
	// left is what may run although its start has failed.
	left []leftover
}

func (w *transitionWriter) run(ctx context.Context) error {
	epochs, err := w.lockEpochs(ctx)
	if err != nil {
		return err
	}
	commands, err := w.readCommands(ctx)
	if err != nil {
		return err
	}
	legal := make([]int, 0, len(w.transitions))
	var ending []string
	for i, transition := range w.transitions {
		command, known := commands[transition.CommandID]
		result := &w.written[i]
		result.Command = command
		switch {
		case !known:
			result.Err = commandUnknown(transition.CommandID)
		case command.AgentID != transition.AgentID:
			result.Err = models.Errorf(models.CodeForbidden, "command %q is not for agent %q", transition.CommandID, transition.AgentID)
		case transition.Epoch != 0 && epochs[transition.AgentID] != transition.Epoch:
			result.Err = models.Errorf(models.CodeEpochStale, "connection %d of agent %q was replaced by connection %d",
				transition.Epoch, transition.AgentID, epochs[transition.AgentID])
		default:
			legal = append(legal, i)
			if transition.End != nil && command.SessionID != "" {
				ending = append(ending, command.SessionID)
			}
		}
	}
	sessions, err := w.readLives(ctx, ending)
	if err != nil || len(legal) == 0 {
		return err
	}
	changed, err := w.updateCommands(ctx, legal)
	if err != nil {
		return err
	}
	return w.applyEnds(ctx, legal, changed, sessions)
}

// lockEpochs reads the epochs of the batch's agents, and on PostgreSQL keeps
// new connections from being counted until the transaction ends.
func (w *transitionWriter) lockEpochs(ctx context.Context) (map[string]int64, error) {
	var agents []string
	for _, transition := range w.transitions {
		if transition.Epoch != 0 {
			agents = append(agents, transition.AgentID)
		}
	}
	lock := ""
	if w.database.engine == Postgres {
		lock = " FOR SHARE"
	}
	type agent struct {
		id    string
		epoch int64
	}
	found, err := queryIn(ctx, w.tx, "SELECT id, epoch FROM agents WHERE %s ORDER BY id"+lock, "id", agents,
		func(row scanner) (a agent, err error) { return a, row.Scan(&a.id, &a.epoch) })
	epochs := make(map[string]int64, len(found))
	for _, one := range found {
		epochs[one.id] = one.epoch
	}
	return epochs, err
}

// readCommands gives what never changes of the commands, and the status of
// those that had to be read.
func (w *transitionWriter) readCommands(ctx context.Context) (map[string]models.AgentCommand, error) {
	var ids []string
	known := make(map[string]models.AgentCommand, len(w.transitions))
	for _, transition := range w.transitions {
		if of := transition.Known; of != nil {
			known[transition.CommandID] = models.AgentCommand{CommandID: of.CommandID, AgentID: of.AgentID, SessionID: of.SessionID,
				Generation: of.Generation, Action: of.Action, Status: of.Status}
		} else {
			ids = append(ids, transition.CommandID)
		}
	}
	found, err := queryIn(ctx, w.tx, "SELECT command_id, agent_id, session_id, generation, action, status FROM agent_commands WHERE %s",
		"command_id", ids, func(row scanner) (c models.AgentCommand, err error) {
			return c, row.Scan(&c.CommandID, &c.AgentID, text(&c.SessionID), &c.Generation, &c.Action, &c.Status)
		})
	for _, command := range found {
		known[command.CommandID] = command
	}
	return known, err
}

// readLives locks and reads what a consequence depends on and changes.
func (w *transitionWriter) readLives(ctx context.Context, ids []string) (map[string]*models.Session, error) {
	lock := ""
	if w.database.engine == Postgres {
		lock = " FOR UPDATE OF s"
	}
	w.breakers, w.learned = map[breakerKey]models.Breaker{}, map[breakerKey]models.Breaker{}
	found, err := queryIn(ctx, w.tx, `SELECT s.id, s.template, s.state, s.desired_state, s.generation, s.reason, s.reason_code, s.retryable,
			s.agent_id, s.wait_until, s.failures, s.losses, s.state_since, s.idle_timeout, s.max_duration, s.expires_at, s.idle_at,
			b.failures, b.failed_at, b.retry_at
		FROM sessions s LEFT JOIN breakers b ON b.agent_id = s.agent_id AND b.template = s.template
		WHERE %s ORDER BY s.id`+lock, "s.id", ids, func(row scanner) (s models.Session, err error) {
		var failures sql.NullInt64
		var b models.Breaker
		err = row.Scan(&s.ID, &s.Template, text(&s.State), text(&s.DesiredState), &s.Generation, text(&s.Reason), text(&s.ReasonCode),
			&s.Retryable, text(&s.AgentID), optionalTime{&s.WaitUntil}, jsonColumn{&s.Failures}, jsonColumn{&s.Losses}, timeColumn{&s.StateSince},
			text(&s.IdleTimeout), text(&s.MaxDuration), optionalTime{&s.ExpiresAt}, optionalTime{&s.IdleAt},
			&failures, timeColumn{&b.FailedAt}, timeColumn{&b.RetryAt})
		if b.AgentID, b.Template, b.Failures = s.AgentID, s.Template, failures.Int64; failures.Valid {
			w.breakers[keyOf(b)] = b
		}
		return s, err
	})
	sessions := make(map[string]*models.Session, len(found))
	for _, session := range found {
		sessions[session.ID] = &session
	}
	return sessions, err
}

// updateCommands writes one row a command and gives the ids of those that it
// changed. Rows that have ended are left alone.
func (w *transitionWriter) updateCommands(ctx context.Context, legal []int) (map[string]bool, error) {
	d := w.database
	rows := &batch{columns: []batchColumn{{"command_id", "text"}, {"epoch", "bigint"}, {"sends", "bigint"}, {"sent_at", "timestamptz"},
		{"acked_at", "timestamptz"}, {"ended", "text"}, {"result", "text"}, {"error", "text"}, {"ended_at", "timestamptz"}}}
	for _, i := range legal {
		transition := w.transitions[i]
		end := transition.End
		if end == nil {
			end = &End{}
		}
		result, err := asJSON(end.Result)
		if err != nil {
			return nil, err
		}
		rows.add(transition.CommandID, transition.Epoch, int64(transition.Sends), d.atOrNull(transition.SentAt),
			d.atOrNull(transition.AckedAt), orNull(end.Status), result, orNull(end.Error), d.atOrNull(end.At))
	}
	source, args, err := d.source(rows, "u", 1)
	if err != nil {
		return nil, err
	}
	result := "u.result"
	if d.engine == Postgres {
		result = "u.result::jsonb"
	}
	changed, err := w.tx.texts(ctx, `UPDATE agent_commands SET
		attempts = attempts + u.sends,
		sent_epoch = CASE WHEN u.sends > 0 THEN u.epoch ELSE sent_epoch END,
		sent_at = coalesce(agent_commands.sent_at, u.sent_at),
		acknowledged_at = coalesce(acknowledged_at, u.acked_at),
		status = CASE WHEN u.ended IS NOT NULL THEN u.ended
			WHEN u.acked_at IS NOT NULL AND status IN (`+quoted(models.CommandPredecessors(models.CommandAck))+`) THEN 'ack'
			WHEN u.sends > 0 AND status = 'pending' THEN 'sent' ELSE status END,
		result = coalesce(`+result+`, agent_commands.result),
		error_message = coalesce(u.error, error_message),
		completed_at = u.ended_at
		FROM `+source+` WHERE agent_commands.command_id = u.command_id AND status NOT IN ('completed', 'failed')
		RETURNING agent_commands.command_id`, args...)
	set := make(map[string]bool, len(changed))
	for _, id := range changed {
		set[id] = true
	}
	return set, err
}

// applyEnds writes what the ends make of their sessions.
func (w *transitionWriter) applyEnds(ctx context.Context, legal []int, changed map[string]bool, sessions map[string]*models.Session) error {
	before := make(map[string]models.SessionState, len(sessions))
	for id, session := range sessions {
		before[id] = session.State
	}
	touched := map[string]bool{}
	var events []models.Event
	for _, i := range legal {
		transition, result := w.transitions[i], &w.written[i]
		if !changed[transition.CommandID] {
			continue
		}
		result.Acked = !transition.AckedAt.IsZero() && models.CanCommandBecome(result.Command.Status, models.CommandAck)
		if transition.End == nil {
			continue
		}
		result.Ended = true
		session := sessions[result.Command.SessionID]
		if session == nil {
			continue
		}
		result.Session = session
		event, changes := w.applyEnd(transition, result, session)
		if changes {
			touched[session.ID] = true
		}
		if result.Moved {
			events = append(events, event)
		}
	}
	lives := make([]life, 0, len(touched))
	for id := range touched {
		lives = append(lives, life{sessions[id], before[id]})
	}
	if err := w.saveLives(ctx, lives, w.now); err != nil {
		return err
	}
	if err := w.leave(ctx, w.left, w.now); err != nil {
		return err
	}
	if err := w.saveBreakers(ctx, slices.Collect(maps.Values(w.learned))); err != nil {
		return err
	}
	return w.recordAll(ctx, events)
}

// applyEnd changes the session as the command's end asks, and gives the
// history of it if the session moved.
func (w *transitionWriter) applyEnd(transition Transition, result *Written, session *models.Session) (event models.Event, changes bool) {
	end := transition.End
	outcome := models.Outcome{Action: result.Command.Action, Generation: result.Command.Generation,
		Completed: end.Status == models.CommandCompleted, Reason: end.Error, Code: end.Code, Retryable: end.Retryable,
		Said: transition.Epoch != 0 && !end.Lingers}
	if end.Result != nil {
		if named, ok := (*end.Result)["state"].(string); ok {
			outcome.State = models.SessionState(named)
		}
	}
	next, changes := outcome.Consequence(*session)
	if !changes {
		return event, false
	}
	from := session.State
	actor := "agent:" + transition.AgentID
	if transition.Epoch == 0 {
		actor = "system"
	}
	if models.Begins(outcome.Action) && outcome.Said {
		w.learn(*session, outcome)
	}
	if outcome.Action == models.ActionStartSession && !outcome.Completed {
		session.Failures = append(session.Failures, models.StartFailure{AgentID: transition.AgentID, Reason: outcome.Reason, Code: outcome.Code,
			Retryable: outcome.Retryable, At: w.now.UTC().Truncate(time.Microsecond)})
		next.Reason = session.FailedStarts()
	}
	session.State, session.Reason, session.ReasonCode, session.Retryable = next.State, next.Reason, next.Code, next.Retryable
	if session.State == models.SessionFailed && models.Begins(outcome.Action) && !outcome.Said {
		w.left = append(w.left, leftover{transition.AgentID, session.ID, session.Generation})
	}
	if next.Elsewhere {
		w.sendElsewhere(session)
	}
	if session.State == from && !next.Elsewhere {
		return event, true
	}
	result.Moved = true
	return sessionEvent(*session, from, actor, w.now), true
}

// learn counts starts that fail against the agent and the template; one that
// succeeds ends the count.
func (w *transitionWriter) learn(session models.Session, outcome models.Outcome) {
	key := breakerKey{session.AgentID, session.Template}
	breaker, known := w.breakers[key]
	switch {
	case outcome.Completed && known:
		breaker.Failures = 0
	case outcome.Completed || outcome.Code.Permanent():
		return
	default:
		breaker.AgentID, breaker.Template = session.AgentID, session.Template
		breaker = breaker.Failed(w.now)
	}
	w.breakers[key], w.learned[key] = breaker, breaker
}

// sendElsewhere has a session that its agent could not start wait for another
// one. Its generation rises, so that nothing that is still said of the failed
// start touches the next one.
func (w *transitionWriter) sendElsewhere(session *models.Session) {
	session.Reason = fmt.Sprintf("agent %q failed to start it: %s; another agent is looked for",
		session.AgentID, session.Failures[len(session.Failures)-1].Reason)
	session.AgentID, session.Generation = "", session.Generation+1
	if until := w.now.Add(models.TryElsewhereFor).UTC().Truncate(time.Microsecond); session.WaitUntil == nil || session.WaitUntil.Before(until) {
		session.WaitUntil = &until
	}
}

// queryIn reads the rows whose column is one of ids; %s in the query stands for
// that condition. No ids is no query.
func queryIn[T any](ctx context.Context, t *tx, query, column string, ids []string, scan func(scanner) (T, error)) ([]T, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	slices.Sort(ids)
	condition, arg, err := t.database.oneOf(column, "$1", slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	rows, err := t.QueryContext(ctx, t.database.dialect(fmt.Sprintf(query, condition)), arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// texts runs a statement that returns one text a row.
func (t *tx) texts(ctx context.Context, query string, args ...any) ([]string, error) {
	rows, err := t.QueryContext(ctx, t.database.dialect(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}
