package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/slowlink"
	"github.com/streamspace/streamspace/bench/statistics"
)

// The slow link: 100 Mbit/s each way with a queue that delays by 50 ms when it
// is full, and drops. The burst is what the kernel hands over at once.
const (
	linkRate    = "100mbit"
	linkBurst   = "64kb"
	linkLatency = "50ms"
	// linkFilled is the least that the floods must carry, in Mbit/s, for the
	// link to have been the bottleneck.
	linkFilled = 80
)

const (
	// settleFor is how long the floods run before the interactive stream
	// counts: their rates have settled then.
	settleFor = time.Second
	// interactiveGoal is in milliseconds: with it and the 16 to 18 ms that a
	// screen takes to show a key, hands notice no delay.
	interactiveGoal = 20
	serverPort      = "8080"
)

// The places of the chain.
const (
	viewers = iota
	server
	machines
	places
)

// links are where the slow link may be, by the index of the link.
func links() []string {
	return []string{viewers: "viewers and control plane", server: "control plane and agent"}
}

// slow measures an interactive stream beside floods over a slow link. A machine
// that gives no network namespaces gets a word and no result.
func slow(ctx context.Context, b *harness.Bench, sockets string) (err error) {
	chain, err := slowlink.NewChain(ctx, places)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.Report.Skippedf("the interactive stream over a slow link, as this machine gives no network namespaces (root has them): %v", err)
		return nil
	}
	defer func() { err = errors.Join(err, chain.Close()) }()
	dir := filepath.Join(b.Dir, "slow")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	s, err := startSystem(ctx, b, layout{
		dir: dir, sockets: sockets, listen: "0.0.0.0:" + serverPort,
		viewerURL: "http://" + chain.Address(0, server) + ":" + serverPort,
		agentURL:  "http://" + chain.Address(1, server) + ":" + serverPort,
		inServer:  chain.Places[server].In, inAgent: chain.Places[machines].In,
		http: &http.Client{Transport: &http.Transport{DialContext: chain.Places[viewers].DialContext}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	worst := 0.0
	for link, between := range links() {
		p50, err := s.beside(ctx, b, chain, link, between)
		if err != nil {
			return err
		}
		worst = max(worst, p50)
	}
	b.Report.Result("interactive_p50_ms", worst, report.AtMost(interactiveGoal))
	return nil
}

// beside measures with one link slow, and gives the median of the rounds' p50.
func (s *system) beside(ctx context.Context, b *harness.Bench, chain *slowlink.Chain, link int, between string) (float64, error) {
	if err := chain.Shape(ctx, link, linkRate, linkBurst, linkLatency); err != nil {
		return 0, err
	}
	messages := b.Of(1500, 400)
	var alone, p50s, p99s, rates []float64
	for range b.Of(5, 1) {
		idle, err := s.echoWay().measureInteractive(ctx, messages/4)
		if err != nil {
			return 0, err
		}
		times, rate, err := s.crowded(ctx, messages)
		if err != nil {
			return 0, err
		}
		if rate < linkFilled {
			return 0, fmt.Errorf("the floods carried %.0f Mbit/s of the link's %s: it was not full, so this measures nothing", rate, linkRate)
		}
		alone, rates = append(alone, statistics.Median(idle)), append(rates, rate)
		p50s, p99s = append(p50s, statistics.Median(times)), append(p99s, statistics.Quantile(times, 0.99))
	}
	b.Report.Spread(fmt.Sprintf("interactive stream beside %d full ones, %s between %s", floods, linkRate, between),
		report.Row{Name: "alone, p50 (ms)", Digits: 2, Sample: alone},
		report.Row{Name: "beside, p50 (ms)", Digits: 2, Sample: p50s},
		report.Row{Name: "beside, p99 (ms)", Digits: 2, Sample: p99s},
		report.Row{Name: "the full ones (Mbit/s)", Digits: 1, Sample: rates})
	return statistics.Median(p50s), chain.Unshape(ctx, link)
}

// crowded gives the times of the interactive stream's messages, and what the
// floods carried meanwhile, in Mbit/s.
func (s *system) crowded(ctx context.Context, messages int) (times []float64, rate float64, err error) {
	crowd, err := s.floodWay().flood(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer crowd.close()
	select {
	case <-time.After(settleFor):
	case <-ctx.Done():
		return nil, 0, ctx.Err()
	}
	bytes, begun := crowd.bytes.Load(), time.Now()
	if times, err = s.echoWay().measureInteractive(ctx, messages); err != nil {
		return nil, 0, err
	}
	return times, float64(crowd.bytes.Load()-bytes) * 8 / mega / time.Since(begun).Seconds(), nil
}
