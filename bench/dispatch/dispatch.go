// Package dispatch measures the way of commands: from pending rows through real
// WebSocket agents to their end in the database. Control plane and agents run
// in the benchmark's process, so that its processor time is that of both.
package dispatch

import (
	"context"
	"errors"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/postgres"
)

// The parts of the benchmark.
const (
	Throughput = "throughput"
	SQLite     = "sqlite"
	Latency    = "latency"
	Idle       = "idle"
	Fleet      = "fleet"
	Growth     = "growth"
)

// Run measures every part that is wanted.
func Run(ctx context.Context, b *harness.Bench) error {
	server, err := postgres.Start(ctx, b)
	if err != nil {
		return err
	}
	var errs []error
	for _, part := range []struct {
		name    string
		measure func(context.Context, *harness.Bench, *postgres.Server) error
	}{
		// Growth is last: PostgreSQL is busy with what it fills in for long after.
		{Throughput, throughput}, {SQLite, sqlite}, {Latency, latency}, {Idle, idle}, {Fleet, fleet}, {Growth, growth},
	} {
		if b.Wants(part.name) && ctx.Err() == nil {
			errs = append(errs, part.measure(ctx, b, server))
		}
	}
	return errors.Join(errs...)
}
