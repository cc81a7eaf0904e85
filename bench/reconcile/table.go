package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
)

// table is a database with many sessions. Its agents are rows that look like
// those of another replica.
type table struct {
	*db.Database
	// cast makes a text what a column of JSON takes.
	cast string
}

// stuckOf is how many of ten stuck sessions are of a kind, and how they are.
func stuckOf() map[string]struct {
	share                          int
	state, desired, agent, command string
} {
	type kind = struct {
		share                          int
		state, desired, agent, command string
	}
	return map[string]kind{
		"asked":  {4, "pending", "running", "a", "sent"},
		"failed": {3, "terminating", "terminated", "a", "failed"},
		"left":   {3, "pending", "running", "gone", "pending"},
	}
}

// fill makes a database with so many sessions of which none is stuck, each with
// a command.
func fill(ctx context.Context, url string, rows int) (*table, error) {
	database, err := databases.Open(ctx, url)
	if err != nil {
		return nil, err
	}
	t := &table{Database: database, cast: "::jsonb"}
	id, at := "substr(md5(i::text), 1, 16)", fmt.Sprintf("now() - (%d - i) * interval '1 second'", rows)
	if database.Engine() == db.SQLite {
		t.cast, id = "", "lower(hex(randomblob(8)))"
		at = fmt.Sprintf("strftime('%%Y-%%m-%%dT%%H:%%M:%%f000Z', 'now', (i - %d) || ' seconds')", rows)
	}
	spec, err := json.Marshal(models.Template{Metadata: models.TemplateMetadata{Name: "desk"},
		Spec: models.TemplateSpec{DisplayName: "Desk", VNC: models.VNC{Enabled: true}}})
	if err != nil {
		return t, fmt.Errorf("encode the template: %w", err)
	}
	statements := []string{
		fmt.Sprintf(`INSERT INTO users (id, name, role, created_at) VALUES ('u', 'ann', 'user', %s)`, t.ago(0)),
		fmt.Sprintf(`INSERT INTO agents (id, platform, status, connected, epoch, last_heartbeat, created_at, updated_at)
			VALUES ('a', 'process', 'online', true, 1, %s, %[1]s, %[1]s), ('gone', 'process', 'offline', false, 1, %[2]s, %[2]s, %[2]s)`, t.ago(0), t.ago(time.Hour)),
		fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, agent_id, platform, spec, request_hash,
				created_at, updated_at, state_since)
			SELECT %s, 'Desk', 'u', 'desk', 'vnc', CASE i %% %d WHEN 0 THEN 'running' ELSE 'terminated' END,
				CASE i %% %[2]d WHEN 0 THEN 'running' ELSE 'terminated' END, 1, 'a', 'process', '%s'%s, 'x', at, at, at
			FROM (SELECT i, %s AS at FROM %s) AS n`, id, oneLives, spec, t.cast, at, databases.Series(database.Engine(), rows)),
		`INSERT INTO agent_commands (command_id, agent_id, session_id, generation, action, payload, status, created_at, completed_at)
			SELECT 'start-' || id, 'a', id, 1, 'start_session', '{}', 'completed', created_at, created_at FROM sessions`,
	}
	if database.Engine() == db.Postgres {
		statements = append(statements, "VACUUM ANALYZE", "CHECKPOINT")
	} else {
		statements = append(statements, "ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")
	}
	return t, t.exec(ctx, statements...)
}

// ago is an instant in the engine's words.
func (t *table) ago(duration time.Duration) string {
	at := time.Now().Add(-duration).UTC()
	if t.Engine() == db.SQLite {
		return "'" + at.Format("2006-01-02T15:04:05.000000Z") + "'"
	}
	return "'" + at.Format(time.RFC3339Nano) + "'"
}

func (t *table) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if _, err := t.DB().ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("fill in: %w: %s", err, statement)
		}
	}
	return nil
}

// get has so many sessions be stuck, and nothing be left of those before.
func (t *table) get(ctx context.Context, stuck int) error {
	statements := []string{
		"DELETE FROM agent_commands WHERE session_id LIKE 'stuck-%'",
		"DELETE FROM events WHERE session_id LIKE 'stuck-%'",
		"DELETE FROM sessions WHERE id LIKE 'stuck-%'",
		"UPDATE agents SET last_heartbeat = " + t.ago(0) + " WHERE id = 'a'",
	}
	for name, kind := range stuckOf() {
		statements = append(statements,
			fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, agent_id, platform, spec, request_hash,
					created_at, updated_at, state_since)
				SELECT 'stuck-%s-' || i, 'Desk', 'u', 'desk', 'vnc', '%s', '%s', 1, '%s', 'process', '{}'%s, 'x', %s, %[6]s, %[6]s FROM %[7]s`,
				name, kind.state, kind.desired, kind.agent, t.cast, t.ago(40*time.Minute), databases.Series(t.Engine(), stuck*kind.share/10)),
			fmt.Sprintf(`INSERT INTO agent_commands (command_id, agent_id, session_id, generation, action, payload, status, created_at, deadline_at)
				SELECT 'start-' || id, agent_id, id, 1, 'start_session', '{}', '%s', created_at, %s FROM sessions WHERE id LIKE 'stuck-%s-%%'`,
				kind.command, t.ago(-24*time.Hour), name))
	}
	if t.Engine() == db.Postgres {
		statements = append(statements, "VACUUM ANALYZE sessions", "VACUUM ANALYZE agent_commands")
	}
	return t.exec(ctx, statements...)
}

// pass measures one pass over the table with so many stuck sessions, in seconds.
func (t *table) pass(ctx context.Context, stuck int) (seconds float64, err error) {
	if err := t.get(ctx, stuck); err != nil {
		return 0, err
	}
	return t.look(ctx, stuck)
}

// look has a reconciler make one pass, and sees that it did what there was to do.
func (t *table) look(ctx context.Context, stuck int) (seconds float64, err error) {
	hub := websocket.NewAgentHub(t.Database)
	defer hub.Stop()
	var looks atomic.Int64
	reconciler := services.NewSessionReconcilerWith(t.Database, hub,
		services.NewCommandDispatcherWith(t.Database, hub, services.DispatcherOptions{QueueSize: 2 * stuck}),
		services.ReconcilerOptions{Interval: time.Hour, Lease: 2 * time.Hour, Replica: "bench", Now: func() time.Time {
			if looks.Add(1) == 1 { // since when it watches
				return time.Now().Add(-time.Hour)
			}
			return time.Now()
		}})
	done := make(chan struct{})
	go func() { reconciler.Start(); close(done) }()
	defer func() { reconciler.Stop(); <-done }()
	for tick := time.NewTicker(time.Millisecond); reconciler.Stats().Passes == 0; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	did := reconciler.Stats()
	retried, ended := 0, 0
	for _, count := range did.Retries {
		retried += int(count)
	}
	for _, count := range did.ForcedEnds {
		ended += int(count)
	}
	if retried != stuck*7/10 || ended != stuck*3/10 {
		return 0, fmt.Errorf("of %d stuck sessions on %s %d were asked for again and %d ended", stuck, t.Engine(), retried, ended)
	}
	return did.PassSeconds, nil
}
