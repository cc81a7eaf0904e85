package stream

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/bench/source"
)

const (
	mega = 1e6
	giga = 1e9
	// warmBytes go before each measurement, for buffers and windows to grow.
	warmBytes = 64 << 20
)

// bulk is one measurement of a stream that carries all it can.
type bulk struct {
	// megabytes is a second's, of 1,000,000 bytes each.
	megabytes float64
	// cpuSeconds is the processor time of one gigabyte, 1,000,000,000 bytes.
	cpuSeconds float64
}

// measureBulk opens a stream of its own and fetches that many bytes.
func (w way) measureBulk(ctx context.Context, wanted uint64) (bulk, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := w.open(ctx)
	if err != nil {
		return bulk{}, err
	}
	defer func() { _ = conn.Close() }()
	fetch := func(bytes uint64) error {
		if err := source.Ask(conn, bytes); err != nil {
			return err
		}
		return source.Take(conn, bytes)
	}
	if err := fetch(warmBytes); err != nil {
		return bulk{}, err
	}
	before, err := w.cpu()
	if err != nil {
		return bulk{}, err
	}
	begun := time.Now()
	if err := fetch(wanted); err != nil {
		return bulk{}, err
	}
	took := time.Since(begun)
	after, err := w.cpu()
	if err != nil {
		return bulk{}, err
	}
	return bulk{
		megabytes:  float64(wanted) / mega / took.Seconds(),
		cpuSeconds: (after - before).Seconds() / (float64(wanted) / giga),
	}, nil
}

func megabytes(all []bulk) []float64 {
	return figures(all, func(one bulk) float64 { return one.megabytes })
}

func cpuSeconds(all []bulk) []float64 {
	return figures(all, func(one bulk) float64 { return one.cpuSeconds })
}

// figures gives one figure of each measurement.
func figures[T any](all []T, of func(T) float64) []float64 {
	values := make([]float64, len(all))
	for i, one := range all {
		values[i] = of(one)
	}
	return values
}
