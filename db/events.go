package db

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

const eventColumns = `id, kind, session_id, agent_id, from_state, to_state, actor, reason, reason_code, generation, at`

func scanEvent(row scanner) (models.Event, error) {
	var event models.Event
	err := row.Scan(&event.ID, &event.Kind, text(&event.SessionID), text(&event.AgentID), text(&event.From), text(&event.To),
		&event.Actor, text(&event.Reason), text(&event.ReasonCode), &event.Generation, timeColumn{&event.At})
	return event, err
}

// record writes one line of history in the transaction of what it tells of.
func (t *tx) record(ctx context.Context, event models.Event) error {
	return t.recordAll(ctx, []models.Event{event})
}

// recordSession writes the history of a session's move from one state to the
// one that it has now.
func (t *tx) recordSession(ctx context.Context, session models.Session, from models.SessionState, actor string, now time.Time) error {
	t.sessionChanged(session.ID)
	return t.record(ctx, sessionEvent(session, from, actor, now))
}

func sessionEvent(session models.Session, from models.SessionState, actor string, now time.Time) models.Event {
	return models.Event{Kind: models.EventSessionState, SessionID: session.ID, AgentID: session.AgentID,
		From: string(from), To: string(session.State), Actor: actor, Reason: session.Reason,
		ReasonCode: session.ReasonCode, Generation: session.Generation, At: now}
}

// recordAll writes lines of history.
func (t *tx) recordAll(ctx context.Context, events []models.Event) error {
	if len(events) == 0 {
		return nil
	}
	d := t.database
	rows := &batch{columns: []batchColumn{{"kind", "text"}, {"session_id", "text"}, {"agent_id", "text"}, {"from_state", "text"},
		{"to_state", "text"}, {"actor", "text"}, {"reason", "text"}, {"reason_code", "text"}, {"generation", "bigint"}, {"at", "timestamptz"}}}
	for _, event := range events {
		rows.add(event.Kind, orNull(event.SessionID), orNull(event.AgentID), orNull(event.From), orNull(event.To), event.Actor,
			orNull(event.Reason), orNull(event.ReasonCode), event.Generation, d.at(event.At))
	}
	source, args, err := d.source(rows, "u", 1)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO events (kind, session_id, agent_id, from_state, to_state, actor, reason, reason_code, generation, at)
		SELECT kind, session_id, agent_id, from_state, to_state, actor, reason, reason_code, generation, at FROM `+source, args...)
	return err
}

// SessionEvents lists a session's history, oldest first.
func (d *Database) SessionEvents(ctx context.Context, sessionID string, page Page) (events []models.Event, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var after int64
	if _, err := page.position(&after); err != nil {
		return nil, "", err
	}
	events, err = queryAll(ctx, d, "list events", scanEvent, `SELECT `+eventColumns+` FROM events
		WHERE session_id = $1 AND id > $2 ORDER BY id LIMIT $3`, sessionID, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	return cut(events, limit, func(event models.Event) any { return event.ID })
}
