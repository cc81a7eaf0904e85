// Package placement measures how agents are chosen for sessions: alone in
// memory, and as launches that are in the database when they return.
package placement

import (
	"context"
	"errors"

	"github.com/streamspace/streamspace/bench/harness"
)

// The parts of the benchmark.
const (
	Decisions = "decisions"
	Balance   = "balance"
	Durable   = "durable"
	Select    = "select"
)

// Run measures every part that is wanted. Those that use a database use the same
// ones, since filling them takes longer than most measurements.
func Run(ctx context.Context, b *harness.Bench) error {
	var errs []error
	if b.Wants(Decisions) {
		errs = append(errs, decisions(ctx, b))
	}
	if b.Wants(Balance) || b.Wants(Durable) || b.Wants(Select) {
		errs = append(errs, stored(ctx, b))
	}
	return errors.Join(errs...)
}

// stored measures the parts that use a database.
func stored(ctx context.Context, b *harness.Bench) error {
	stores, err := open(ctx, b)
	defer func() {
		for _, one := range stores {
			_ = one.Close()
		}
	}()
	if err != nil {
		return err
	}
	var errs []error
	for _, part := range []struct {
		name    string
		measure func(context.Context, *harness.Bench, []*store) error
	}{
		{Balance, balance}, {Durable, durable}, {Select, selection},
	} {
		if b.Wants(part.name) && ctx.Err() == nil {
			errs = append(errs, part.measure(ctx, b, stores))
		}
	}
	return errors.Join(errs...)
}
