package dispatch

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// agents of a throughput run; commands are spread over them evenly.
	agents = 10
	// limitBatch is how many rows the plain SQL changes at once.
	limitBatch = 500
)

// run is one measured run.
type run struct {
	perSecond float64
	// cpu is processor time a command or job, in microseconds.
	cpu float64
}

// throughput measures durable commands a second beside River's jobs, from the
// same PostgreSQL, and beside plain SQL that changes the same rows.
func throughput(ctx context.Context, b *harness.Bench, server *postgres.Server) error {
	url, err := server.Create(ctx, "throughput")
	if err != nil {
		return err
	}
	database, err := databases.Open(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = database.Close() }()
	peer, err := newRiver(ctx, server)
	if err != nil {
		return err
	}
	defer peer.close()
	count, rounds := b.Of(30_000, 5_000), b.Of(7, 3)
	var ours, theirs, limits []run
	for range rounds {
		for _, one := range []struct {
			into    *[]run
			measure func() (time.Duration, time.Duration, error)
		}{
			{&ours, func() (time.Duration, time.Duration, error) { return commands(ctx, database, server, count) }},
			{&theirs, func() (time.Duration, time.Duration, error) { return peer.work(ctx, server, count) }},
			{&limits, func() (time.Duration, time.Duration, error) { return plainSQL(ctx, database, url, server, count) }},
		} {
			took, cpu, err := one.measure()
			if err != nil {
				return err
			}
			*one.into = append(*one.into, run{float64(count) / took.Seconds(), float64(cpu.Microseconds()) / float64(count)})
		}
	}
	b.Report.Compare(report.Comparison{Metric: "dispatch_over_river", Goal: report.AtLeast(1.5), Peer: "River",
		Title: "Durable commands, or jobs, a second on PostgreSQL", Ours: rates(ours), Theirs: rates(theirs)})
	b.Report.Compare(report.Comparison{Metric: "dispatch_over_plain_sql", Goal: report.AtLeast(0.6), Peer: "plain SQL, batches of 500",
		Title: "Durable commands, or rows, a second on PostgreSQL", Ours: rates(ours), Theirs: rates(limits)})
	b.Report.Compare(report.Comparison{Metric: "dispatch_cpu_over_river", Goal: report.AtMost(1), Peer: "River", Digits: 1,
		Title: "Processor time a command, or job, in µs; PostgreSQL's and the agents' included", Ours: costs(ours), Theirs: costs(theirs)})
	return nil
}

// sqlite measures the same on SQLite, beside its own limit.
func sqlite(ctx context.Context, b *harness.Bench, _ *postgres.Server) error {
	count, rounds := b.Of(20_000, 3_000), b.Of(7, 3)
	var ours, limits []float64
	for round := range rounds {
		database, err := databases.Open(ctx, fmt.Sprintf("%s/round%d.db", b.Dir, round))
		if err != nil {
			return err
		}
		took, _, err := commands(ctx, database, nil, count)
		if err != nil {
			return err
		}
		ours = append(ours, float64(count)/took.Seconds())
		if took, err = plainSQLite(ctx, database, count); err != nil {
			return err
		}
		limits = append(limits, float64(count)/took.Seconds())
		if err := database.Close(); err != nil {
			return err
		}
	}
	b.Report.Compare(report.Comparison{Metric: "dispatch_over_plain_sqlite", Goal: report.AtLeast(0.6), Peer: "plain SQL, batches of 500",
		Title: "Durable commands, or rows, a second on SQLite", Ours: ours, Theirs: limits})
	return nil
}

// commands dispatches fresh commands and waits for the end of all.
func commands(ctx context.Context, database *db.Database, server *postgres.Server, count int) (took, cpu time.Duration, err error) {
	if err := renew(ctx, database, count); err != nil {
		return 0, 0, err
	}
	p, err := newPlane(ctx, database)
	if err != nil {
		return 0, 0, err
	}
	defer p.stop()
	if err := p.populate(ctx, p.obey); err != nil {
		return 0, 0, err
	}
	return timed(server, func() error { return p.drain(ctx, count) })
}

// renew leaves pending commands alone in the table.
func renew(ctx context.Context, database *db.Database, count int) error {
	empty := "DELETE FROM agent_commands"
	if database.Engine() == db.Postgres {
		empty = "TRUNCATE agent_commands"
	}
	if _, err := database.DB().ExecContext(ctx, empty); err != nil {
		return fmt.Errorf("empty the table: %w", err)
	}
	if err := fill(ctx, database, fmt.Sprintf("c%d-", time.Now().UnixNano()), models.CommandPending, count, agents); err != nil {
		return err
	}
	if database.Engine() == db.Postgres {
		if _, err := database.DB().ExecContext(ctx, "VACUUM ANALYZE agent_commands"); err != nil {
			return fmt.Errorf("analyse the table: %w", err)
		}
	}
	return nil
}

// plainSQL changes the same rows in the same way with nothing around it.
func plainSQL(ctx context.Context, database *db.Database, url string, server *postgres.Server, count int) (took, cpu time.Duration, err error) {
	if err := renew(ctx, database, count); err != nil {
		return 0, 0, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return 0, 0, fmt.Errorf("connect: %w", err)
	}
	defer pool.Close()
	return timed(server, func() error {
		for done := 0; done < count; done += limitBatch {
			if err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				rows, err := tx.Query(ctx, `SELECT command_id FROM agent_commands WHERE status NOT IN ('completed', 'failed')
					AND agent_id = ANY($1) ORDER BY seq LIMIT $2`, names(), limitBatch)
				if err != nil {
					return err
				}
				ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
				if err != nil {
					return err
				}
				_, err = tx.Exec(ctx, `UPDATE agent_commands c SET status = 'completed', attempts = attempts + 1, sent_epoch = 1,
					sent_at = $2, acknowledged_at = $2, completed_at = $2 FROM unnest($1::text[]) AS u(id)
					WHERE c.command_id = u.id AND c.status NOT IN ('completed', 'failed')`, ids, time.Now())
				return err
			}); err != nil {
				return fmt.Errorf("plain SQL: %w", err)
			}
		}
		return nil
	})
}

func plainSQLite(ctx context.Context, database *db.Database, count int) (time.Duration, error) {
	if err := renew(ctx, database, count); err != nil {
		return 0, err
	}
	took, _, err := timed(nil, func() error {
		for done := 0; done < count; done += limitBatch {
			if err := plainBatch(ctx, database); err != nil {
				return fmt.Errorf("plain SQL: %w", err)
			}
		}
		return nil
	})
	return took, err
}

func plainBatch(ctx context.Context, database *db.Database) error {
	// The driver's transactions are immediate, as the product's are.
	tx, err := database.DB().BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing once it has committed
	var ids string
	if err := tx.QueryRowContext(ctx, `SELECT json_group_array(command_id) FROM (SELECT command_id FROM agent_commands
		WHERE status NOT IN ('completed', 'failed') ORDER BY seq LIMIT ?1)`, limitBatch).Scan(&ids); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE agent_commands SET status = 'completed', attempts = attempts + 1, sent_epoch = 1,
		sent_at = ?1, acknowledged_at = ?1, completed_at = ?1
		WHERE command_id IN (SELECT value FROM json_each(?2)) AND status NOT IN ('completed', 'failed')`,
		time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"), ids); err != nil {
		return err
	}
	return tx.Commit()
}

func names() []string {
	list := make([]string, agents)
	for n := range list {
		list[n] = fmt.Sprint("a", n)
	}
	return list
}

// timed measures work: its duration, and the processor time of this process and
// of the server meanwhile.
func timed(server *postgres.Server, work func() error) (took, cpu time.Duration, err error) {
	before, err := spent(server)
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := work(); err != nil {
		return 0, 0, err
	}
	took = time.Since(begin)
	after, err := spent(server)
	return took, after - before, err
}

func spent(server *postgres.Server) (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	total := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	if server == nil {
		return total, nil
	}
	its, err := server.CPU()
	return total + its, err
}

func rates(runs []run) []float64 {
	return column(runs, func(r run) float64 { return r.perSecond })
}
func costs(runs []run) []float64 { return column(runs, func(r run) float64 { return r.cpu }) }

func column(runs []run, of func(run) float64) []float64 {
	values := make([]float64, 0, len(runs))
	for _, one := range runs {
		values = append(values, of(one))
	}
	return values
}
