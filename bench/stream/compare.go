package stream

import (
	"context"
	"errors"
	"fmt"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/websockify"
)

// startBridges gives the peer's ways. That to the flood has a relay behind the
// bridge, and so as many hops as the product's; that to the echo is the bridge
// alone, one hop less.
func startBridges(ctx context.Context, b *harness.Bench, sockets string) (ways, error) {
	relay, address, err := startRelay(ctx, b, nil, "-to", source.Socket(sockets, source.Flood))
	if err != nil {
		return ways{}, err
	}
	chained, err := websockify.ToTCP(ctx, b.Processes, address)
	if err != nil {
		return ways{}, err
	}
	alone, err := websockify.ToUnix(ctx, b.Processes, source.Socket(sockets, source.Echo))
	if err != nil {
		return ways{}, err
	}
	return ways{echo: bridgeWay(alone), flood: bridgeWay(chained, relay)}, nil
}

// compare measures both sides on the loopback interface.
func compare(ctx context.Context, b *harness.Bench, sockets string) (err error) {
	theirs, err := startBridges(ctx, b, sockets)
	if err != nil {
		return err
	}
	s, err := startSystem(ctx, b, layout{dir: b.Dir, sockets: sockets})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, part := range []struct {
		name    string
		measure func(context.Context, *harness.Bench, ways, ways) error
	}{{Bulk, compareBulk}, {Echo, compareEcho}, {Open, compareOpen}} {
		if !b.Wants(part.name) {
			continue
		}
		if err := part.measure(ctx, b, s.ways(), theirs); err != nil {
			return err
		}
	}
	return nil
}

func compareBulk(ctx context.Context, b *harness.Bench, ours, theirs ways) error {
	wanted := uint64(b.Of(2<<30, 256<<20))
	our, their, err := pairs(ctx, b, ours.flood, theirs.flood, func(ctx context.Context, w way) (bulk, error) {
		return w.measureBulk(ctx, wanted)
	})
	if err != nil {
		return err
	}
	const name = "websockify and relay"
	b.Report.Compare(report.Comparison{Metric: "stream_bytes_ratio", Goal: report.AtLeast(1),
		Title: "bytes per second, one stream (MB/s)",
		Peer:  name, Ours: megabytes(our), Theirs: megabytes(their)})
	b.Report.Compare(report.Comparison{Metric: "stream_cpu_ratio", Goal: report.AtMost(1),
		Title: "processor time per gigabyte, all programs on the way (s)", Digits: 3,
		Peer: name, Ours: cpuSeconds(our), Theirs: cpuSeconds(their)})
	return nil
}

func compareEcho(ctx context.Context, b *harness.Bench, ours, theirs ways) error {
	messages := b.Of(4000, 500)
	our, their, err := pairs(ctx, b, ours.echo, theirs.echo, func(ctx context.Context, w way) (float64, error) {
		return w.measureEcho(ctx, messages)
	})
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "stream_echo_ratio", Goal: report.AtMost(1),
		Title:  fmt.Sprintf("a message of %d bytes there and back, p50 of %d (ms)", messageSize, messages),
		Digits: 3, Peer: "websockify alone", Ours: our, Theirs: their})
	return nil
}

func compareOpen(ctx context.Context, b *harness.Bench, ours, theirs ways) error {
	streams := b.Of(40, 10)
	our, their, err := pairs(ctx, b, ours.echo, theirs.echo, func(ctx context.Context, w way) (float64, error) {
		return w.measureOpen(ctx, streams)
	})
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "stream_open_ratio", Goal: report.AtMost(0.5),
		Title:  fmt.Sprintf("from the upgrade to the session's first byte, p50 of %d (ms)", streams),
		Digits: 2, Peer: "websockify alone", Ours: our, Theirs: their})
	return nil
}

// pairs measures both ways in every round.
func pairs[T any](ctx context.Context, b *harness.Bench, ours, theirs way, measure func(context.Context, way) (T, error)) (our, their []T, err error) {
	return harness.Pairs(ctx, b.Of(9, 3),
		func(ctx context.Context) (T, error) { return measure(ctx, ours) },
		func(ctx context.Context) (T, error) { return measure(ctx, theirs) })
}
