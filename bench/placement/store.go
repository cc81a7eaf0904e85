package placement

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
)

const (
	// callers launch at the same time.
	callers = 128
	// users have launched the sessions that are in the table. The number is a
	// prime, so that every user has a share of those that live.
	users = 5003
	// oneLives of so many sessions in the table; the others are terminated.
	oneLives = 100
)

// store is a database with many sessions in it, and a control plane's services
// over it. Its agents are rows that look like those of another replica, as ten
// thousand connections are what another benchmark measures.
type store struct {
	*db.Database
	// rows is how many sessions there were to begin with, and live how many of
	// them hold capacity.
	rows, live int
	selector   *services.AgentSelector
	sessions   *services.Sessions
}

// open makes and fills a database of each engine. Those that it gives are to be
// closed, even with an error.
func open(ctx context.Context, b *harness.Bench) (stores []*store, err error) {
	server, err := postgres.Start(ctx, b)
	if err != nil {
		return nil, err
	}
	url, err := server.Create(ctx, "placement")
	if err != nil {
		return nil, err
	}
	for _, url := range []string{b.Dir + "/placement.db", url} {
		database, err := databases.Open(ctx, url)
		if err != nil {
			return stores, err
		}
		s := &store{Database: database, rows: b.Of(1_000_000, 50_000)}
		s.live = s.rows / oneLives
		stores = append(stores, s)
		begin := time.Now()
		if err := s.fill(ctx); err != nil {
			return stores, err
		}
		b.Report.Notef("%s has %d sessions in the table, one of %d of them live; filling it took %.0f s", s.Engine(), s.rows, oneLives, time.Since(begin).Seconds())
	}
	return stores, nil
}

// control makes the services anew, which know nothing of the agents before.
func (s *store) control() {
	hub := websocket.NewAgentHub(s.Database)
	s.selector = services.NewAgentSelector(s.DB(), hub)
	s.sessions = services.NewSessions(s.Database, s.selector, services.NewCommandDispatcher(s.Database, hub),
		services.SessionsOptions{})
}

// desk is the template of every session.
func desk() models.Template {
	return models.Template{APIVersion: "streamspace.io/v1alpha1", Kind: "Template", Metadata: models.TemplateMetadata{Name: "desk"},
		Spec: models.TemplateSpec{DisplayName: "Desk", Description: "A desktop with a terminal and a file manager", Icon: "desktop",
			Platforms: []string{models.PlatformProcess}, DefaultResources: models.Resources{CPU: "500m", Memory: "512Mi"},
			VNC: models.VNC{Enabled: true}, Process: &models.ProcessSpec{Command: []string{"icewm-session"}, Geometry: "1280x800",
				Needs: []models.Need{{Command: "icewm-session", Install: "apt-get install icewm"}}}}}
}

// fill writes users, a template and sessions. Ids are as random as those that
// the product makes; the sessions are a second apart.
func (s *store) fill(ctx context.Context) error {
	now := time.Now()
	if err := s.SaveTemplates(ctx, nil, []models.Template{desk()}, now); err != nil {
		return err
	}
	spec, err := json.Marshal(desk())
	if err != nil {
		return fmt.Errorf("encode the template: %w", err)
	}
	id, at, cast := "substr(md5(i::text), 1, 16)", fmt.Sprintf("now() - (%d - i) * interval '1 second'", s.rows), "::jsonb"
	if s.Engine() == db.SQLite {
		id, cast = "lower(hex(randomblob(8)))", ""
		at = fmt.Sprintf("strftime('%%Y-%%m-%%dT%%H:%%M:%%f000Z', 'now', (i - %d) || ' seconds')", s.rows)
	}
	conn, err := s.DB().Conn(ctx)
	if err != nil {
		return fmt.Errorf("fill in: %w", err)
	}
	defer func() { _ = conn.Close() }()
	reserves := desk().Spec.DefaultResources.Reserves()
	statements := []string{
		`INSERT INTO users (id, name, role, created_at) SELECT 'u' || i, 'user ' || i, 'user', ` + at + ` FROM ` + databases.Series(s.Engine(), users),
		fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, agent_id, platform, cpu,
			memory, reserved_cpu, reserved_memory, attempts, spec, created_at, updated_at, state_since)
			SELECT %s, 'Desk', 'u' || (i %% %d), 'desk', 'vnc', CASE i %% %d WHEN 0 THEN 'running' ELSE 'terminated' END,
				CASE i %% %[3]d WHEN 0 THEN 'running' ELSE 'terminated' END, 1, 'a' || (i %% 1000), 'process', '500m',
				'512Mi', %d, %d, 1, '%s'%s, at, at, at FROM (SELECT i, %s AS at FROM %s) AS n`,
			id, users, oneLives, reserves.CPU, reserves.Memory, spec, cast, at, databases.Series(s.Engine(), s.rows)),
	}
	if s.Engine() == db.SQLite {
		// This connection is not used for more than this.
		statements = append([]string{"PRAGMA cache_size = -1000000"}, append(statements, "PRAGMA cache_size = -16000", "PRAGMA wal_checkpoint(TRUNCATE)")...)
	} else {
		statements = append(statements, "VACUUM ANALYZE", "CHECKPOINT")
	}
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("fill in: %w", err)
		}
	}
	return nil
}

// exec runs a statement that is the same on both engines.
func (s *store) exec(ctx context.Context, statement string, args ...any) error {
	if _, err := s.DB().ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("prepare a round: %w", err)
	}
	return nil
}

// populate replaces all agents by so many, each with room for that many sessions.
// Those that live from the beginning are spread over them, or are elsewhere if
// the agents are to be idle.
func (s *store) populate(ctx context.Context, agents, room int, idle bool) error {
	capacity := fmt.Sprintf(`{"maxSessions": %d, "cpu": "%d", "memory": "%dGi"}`, room, room, room)
	now, cast := "now()", "::jsonb"
	if s.Engine() == db.SQLite {
		now, cast = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')", ""
	}
	target := fmt.Sprintf("'a' || (n.i %% %d)", agents)
	if idle {
		target = "'elsewhere'"
	}
	if err := s.end(ctx); err != nil {
		return err
	}
	for _, statement := range []string{
		"DELETE FROM agents",
		fmt.Sprintf(`INSERT INTO agents (id, platform, region, status, connected, epoch, capacity, last_heartbeat, created_at, updated_at)
			SELECT 'a' || i, 'process', 'region' || (i %% 4), 'online', true, 1, '%s'%s, %s, %[3]s, %[3]s FROM %s`,
			capacity, cast, now, databases.Series(s.Engine(), agents)),
		fmt.Sprintf(`UPDATE sessions SET agent_id = %s FROM (SELECT id, row_number() OVER (ORDER BY id) AS i FROM sessions
			WHERE state = 'running') AS n WHERE sessions.id = n.id`, target),
	} {
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	s.control()
	return nil
}

// end ends the sessions that were launched, and lets every agent give a sign of
// life, as they would all the time.
func (s *store) end(ctx context.Context) error {
	now := "now()"
	if s.Engine() == db.SQLite {
		now = "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')"
	}
	if err := s.exec(ctx, "UPDATE sessions SET state = 'terminated', desired_state = 'terminated' WHERE state = 'pending'"); err != nil {
		return err
	}
	return s.exec(ctx, "UPDATE agents SET last_heartbeat = "+now)
}

// launched is what has become of launches.
type launched struct {
	took time.Duration
	// latencies are of those that were placed, in ms.
	latencies []float64
	refused   int
}

// launch has callers launch so many sessions. Who finds no agent is refused.
func (s *store) launch(ctx context.Context, count int) (launched, error) {
	var next atomic.Int64
	all, errs := make([]launched, callers), make([]error, callers)
	noWait := time.Duration(0)
	var launching sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		launching.Go(func() {
			mine := &all[caller]
			for next.Add(1) <= int64(count) && ctx.Err() == nil {
				user := rand.IntN(users)
				asked := time.Now()
				_, _, err := s.sessions.Launch(ctx, services.LaunchRequest{Template: "desk", Wait: &noWait,
					Owner: models.User{ID: fmt.Sprint("u", user), Name: fmt.Sprint("user ", user)}})
				switch {
				case err == nil:
					mine.latencies = append(mine.latencies, statistics.Milliseconds(time.Since(asked)))
				case models.CodeOf(err) == models.CodeNoSuitableAgent:
					mine.refused++
				default:
					errs[caller] = err
					return
				}
			}
		})
	}
	launching.Wait()
	total := launched{took: time.Since(begin)}
	for caller, one := range all {
		if errs[caller] != nil {
			return total, fmt.Errorf("launch on %s: %w", s.Engine(), errs[caller])
		}
		total.latencies, total.refused = append(total.latencies, one.latencies...), total.refused+one.refused
	}
	return total, ctx.Err()
}

// loads gives what each agent holds by the rows of sessions alone, and how many
// of the agents hold more than the room that they have.
func (s *store) loads(ctx context.Context, room int) (sessions []float64, overbooked int, err error) {
	rows, err := s.DB().QueryContext(ctx, `SELECT count(s.id), coalesce(sum(s.reserved_cpu), 0), coalesce(sum(s.reserved_memory), 0)
		FROM agents a LEFT JOIN sessions s ON s.agent_id = a.id AND s.state NOT IN ('terminated', 'failed') GROUP BY a.id`)
	if err != nil {
		return nil, 0, fmt.Errorf("count the agents' sessions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var count, cpu, memory int64
		if err := rows.Scan(&count, &cpu, &memory); err != nil {
			return nil, 0, fmt.Errorf("count the agents' sessions: %w", err)
		}
		sessions = append(sessions, float64(count))
		if count > int64(room) || cpu > int64(room)*1000 || memory > int64(room)<<30 {
			overbooked++
		}
	}
	return sessions, overbooked, rows.Err()
}
