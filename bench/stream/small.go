package stream

import (
	"context"
	"net"
	"time"

	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/statistics"
)

// messageSize is about that of a key press or a move of the pointer in RFB, in
// bytes.
const messageSize = 8

// measureEcho gives the median time, in milliseconds, of that many small
// messages there and back, one after the other.
func (w way) measureEcho(ctx context.Context, messages int) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := w.open(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	message := make([]byte, messageSize)
	times := make([]float64, messages)
	for i := range times {
		begun := time.Now()
		if err := source.Exchange(conn, message); err != nil {
			return 0, err
		}
		times[i] = statistics.Milliseconds(time.Since(begun))
	}
	return statistics.Median(times), nil
}

// measureOpen gives the median time, in milliseconds, from the wish for a
// stream to its first byte, of that many streams one after the other. What a
// viewer gets in advance is there.
func (w way) measureOpen(ctx context.Context, streams int) (float64, error) {
	times := make([]float64, streams)
	for i := range times {
		open, err := w.prepare(ctx)
		if err != nil {
			return 0, err
		}
		if times[i], err = timeOpen(ctx, open); err != nil {
			return 0, err
		}
	}
	return statistics.Median(times), nil
}

func timeOpen(ctx context.Context, open func(context.Context) (net.Conn, error)) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	begun := time.Now()
	conn, err := greeted(ctx, open)
	if err != nil {
		return 0, err
	}
	took := statistics.Milliseconds(time.Since(begun))
	_ = conn.Close() // how it ends is not measured
	return took, nil
}
