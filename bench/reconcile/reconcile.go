// Package reconcile measures one look at all sessions for those that are stuck.
package reconcile

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/bench/databases"
	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/db"
)

const (
	// stuckSessions are in each of the tables.
	stuckSessions = 1000
	// fewStuck are those that the number of statements is compared with.
	fewStuck = 10
	// oneLives of so many sessions in the table; the others have ended.
	oneLives = 100
)

// Run measures passes over a small table and over a large one, on both engines.
func Run(ctx context.Context, b *harness.Bench) error {
	server, err := postgres.Start(ctx, b)
	if err != nil {
		return err
	}
	small, large, rounds := 10_000, b.Of(1_000_000, 50_000), b.Of(11, 3)
	tables := map[db.Engine]map[int]*table{db.SQLite: {}, db.Postgres: {}}
	defer func() {
		for _, sizes := range tables {
			for _, one := range sizes {
				_ = one.Close()
			}
		}
	}()
	for engine, sizes := range tables {
		for _, rows := range []int{small, large} {
			url := fmt.Sprintf("%s/reconcile-%d.db", b.Dir, rows)
			if engine == db.Postgres {
				if url, err = server.Create(ctx, fmt.Sprint("reconcile_", rows)); err != nil {
					return err
				}
			}
			if sizes[rows], err = fill(ctx, url, rows); err != nil {
				return err
			}
		}
	}
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		seconds := map[int][]float64{}
		for round := range rounds + 1 {
			for _, rows := range []int{small, large} {
				took, err := tables[engine][rows].pass(ctx, stuckSessions)
				if err != nil {
					return err
				}
				if round > 0 { // the first one warms the caches
					seconds[rows] = append(seconds[rows], took)
				}
			}
		}
		b.Report.Compare(report.Comparison{Metric: fmt.Sprintf("reconcile_pass_%s_large_over_small", engine), Goal: report.AtMost(1.5),
			Title:  fmt.Sprintf("One pass on %s over %d sessions, of which %d are stuck, in seconds", engine, large, stuckSessions),
			Digits: 3, Peer: fmt.Sprint(small, " sessions"), Ours: seconds[large], Theirs: seconds[small]})
		b.Report.Result(fmt.Sprintf("reconcile_pass_%s_seconds", engine), statistics.Median(seconds[large]), report.AtMost(1))
	}
	return statements(ctx, b, server, small)
}

// statements compares how many statements a pass is with few stuck sessions and
// with many.
func statements(ctx context.Context, b *harness.Bench, server *postgres.Server, rows int) error {
	url, err := server.Create(ctx, "reconcile_statements")
	if err != nil {
		return err
	}
	one, err := fill(ctx, url, rows)
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }()
	counted, err := databases.OpenCounted(url)
	if err != nil {
		return err
	}
	defer func() { _ = counted.Close() }()
	plain := one.Database
	taken := map[int]float64{}
	for _, stuck := range []int{fewStuck, stuckSessions} {
		if err := one.get(ctx, stuck); err != nil {
			return err
		}
		before := counted.Statements()
		one.Database = counted.Database
		_, err := one.look(ctx, stuck)
		one.Database = plain
		if err != nil {
			return err
		}
		taken[stuck] = float64(counted.Statements() - before)
	}
	b.Report.Notef("\nA pass is %.0f statements with %d stuck sessions, and %.0f with %d.", taken[fewStuck], fewStuck, taken[stuckSessions], stuckSessions)
	b.Report.Result("reconcile_statements_many_over_few", taken[stuckSessions]/taken[fewStuck], report.AtMost(1))
	return nil
}
