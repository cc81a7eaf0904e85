package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/streamspace/streamspace/bench/postgres"
)

// riverWorkers lets River fetch and complete in batches that are as large as
// ours; fewer made it slower.
const riverWorkers = 1000

// riverPeer works no-op jobs with River on the same server.
type riverPeer struct {
	pool *pgxpool.Pool
	done atomic.Int64
}

// noop is a job with nothing to do.
type noop struct {
	Session string `json:"sessionId"`
}

// Kind implements river.JobArgs.
func (noop) Kind() string { return "noop" }

type noopWorker struct {
	river.WorkerDefaults[noop]
}

// Work implements river.Worker.
func (noopWorker) Work(context.Context, *river.Job[noop]) error { return nil }

func newRiver(ctx context.Context, server *postgres.Server) (*riverPeer, error) {
	url, err := server.Create(ctx, "river")
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect for River: %w", err)
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("migrate for River: %w", err)
	}
	return &riverPeer{pool: pool}, nil
}

func (r *riverPeer) close() { r.pool.Close() }

// work inserts jobs, and measures their way to completed.
func (r *riverPeer) work(ctx context.Context, server *postgres.Server, count int) (took, cpu time.Duration, err error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, noopWorker{})
	client, err := river.NewClient(riverpgxv5.New(r.pool), &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: riverWorkers}},
		Workers:       workers,
		FetchCooldown: time.Millisecond, FetchPollInterval: time.Second,
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return 0, 0, fmt.Errorf("make River's client: %w", err)
	}
	if _, err := r.pool.Exec(ctx, "TRUNCATE river_job"); err != nil {
		return 0, 0, fmt.Errorf("empty River's table: %w", err)
	}
	const piece = 5000
	for begun := 0; begun < count; begun += piece {
		jobs := make([]river.InsertManyParams, min(piece, count-begun))
		for i := range jobs {
			jobs[i].Args = noop{Session: "s"}
		}
		if _, err := client.InsertManyFast(ctx, jobs); err != nil {
			return 0, 0, fmt.Errorf("insert River's jobs: %w", err)
		}
	}
	if _, err := r.pool.Exec(ctx, "VACUUM ANALYZE river_job"); err != nil {
		return 0, 0, fmt.Errorf("analyse River's table: %w", err)
	}
	completed, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{
		Kinds: []river.EventKind{river.EventKindJobCompleted}, ChanSize: count,
	})
	defer unsubscribe()
	took, cpu, err = timed(server, func() error {
		if err := client.Start(ctx); err != nil {
			return fmt.Errorf("start River: %w", err)
		}
		for range count {
			select {
			case <-completed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if stopErr := client.Stop(context.WithoutCancel(ctx)); err == nil && stopErr != nil {
		err = fmt.Errorf("stop River: %w", stopErr)
	}
	return took, cpu, err
}
