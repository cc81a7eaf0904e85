// Package stream measures the way from a viewer to a session, through a control
// plane and an agent in processes of their own, against the bridge that is
// commonly put before a screen's server.
package stream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/websockify"
)

// Run measures bytes per second, processor time, the time of small messages and
// of opening, and an interactive stream beside busy ones over a slow link.
func Run(ctx context.Context, b *harness.Bench) (err error) {
	// Paths of unix sockets end at 107 bytes.
	sockets := filepath.Join(b.Dir, "sockets")
	if err := os.Mkdir(sockets, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	if _, err := startRole(ctx, b, b.Role("source", "-dir", sockets)); err != nil {
		return err
	}
	if err := compare(ctx, b, sockets); err != nil {
		return err
	}
	return slow(ctx, b, sockets)
}

// compare measures both sides on the loopback interface.
func compare(ctx context.Context, b *harness.Bench, sockets string) (err error) {
	relay, address, err := startRelay(ctx, b, source.Socket(sockets, source.Flood))
	if err != nil {
		return err
	}
	chained, err := websockify.ToTCP(ctx, b.Processes, address)
	if err != nil {
		return err
	}
	alone, err := websockify.ToUnix(ctx, b.Processes, source.Socket(sockets, source.Echo))
	if err != nil {
		return err
	}
	s, err := startSystem(ctx, b, layout{dir: b.Dir, sockets: sockets})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := compareBulk(ctx, b, s.floodWay(), bridgeWay(chained, relay)); err != nil {
		return err
	}
	messages, streams := b.Of(4000, 500), b.Of(40, 10)
	err = compareTimes(ctx, b, s.echoWay(), bridgeWay(alone),
		func(w way, ctx context.Context) (float64, error) { return w.measureEcho(ctx, messages) },
		report.Comparison{Metric: "stream_echo_ratio", Goal: report.AtMost(1), Digits: 3,
			Title: fmt.Sprintf("a message of %d bytes there and back, p50 of %d (ms)", messageSize, messages)})
	if err != nil {
		return err
	}
	return compareTimes(ctx, b, s.echoWay(), bridgeWay(alone),
		func(w way, ctx context.Context) (float64, error) { return w.measureOpen(ctx, streams) },
		report.Comparison{Metric: "stream_open_ratio", Goal: report.AtMost(0.5), Digits: 2,
			Title: fmt.Sprintf("from the upgrade to the session's first byte, p50 of %d (ms)", streams)})
}

// compareBulk compares ways of as many hops.
func compareBulk(ctx context.Context, b *harness.Bench, our, their way) error {
	const peer = "websockify and relay"
	wanted := uint64(b.Of(2<<30, 256<<20))
	measure := func(w way) func(context.Context) (bulk, error) {
		return func(ctx context.Context) (bulk, error) { return w.measureBulk(ctx, wanted) }
	}
	ours, theirs, err := harness.Pairs(ctx, b.Of(9, 3), measure(our), measure(their))
	if err != nil {
		return err
	}
	b.Report.Compare(report.Comparison{Metric: "stream_bytes_ratio", Goal: report.AtLeast(1),
		Title: "bytes per second, one stream (MB/s)", Peer: peer, Ours: megabytes(ours), Theirs: megabytes(theirs)})
	b.Report.Compare(report.Comparison{Metric: "stream_cpu_ratio", Goal: report.AtMost(1),
		Title: "processor time per gigabyte, all programs on the way (s)", Digits: 3, Peer: peer,
		Ours: cpuSeconds(ours), Theirs: cpuSeconds(theirs)})
	return nil
}

// compareTimes compares with the bridge alone, which has one hop less.
func compareTimes(ctx context.Context, b *harness.Bench, our, their way,
	measure func(way, context.Context) (float64, error), comparison report.Comparison) (err error) {
	of := func(w way) func(context.Context) (float64, error) {
		return func(ctx context.Context) (float64, error) { return measure(w, ctx) }
	}
	comparison.Peer = "websockify alone"
	comparison.Ours, comparison.Theirs, err = harness.Pairs(ctx, b.Of(9, 3), of(our), of(their))
	if err != nil {
		return err
	}
	b.Report.Compare(comparison)
	return nil
}
