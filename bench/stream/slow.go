package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/slowlink"
	"github.com/streamspace/streamspace/bench/source"
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
	relays, err := startRelays(ctx, b, chain, sockets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relays.close()) }()
	worst := 0.0
	for link, between := range links() {
		p50, err := beside(ctx, b, chain, link, between, s.ways(), relays.ways)
		if err != nil {
			return err
		}
		worst = max(worst, p50)
	}
	b.Report.Result("interactive_p50_ms", worst, report.AtMost(interactiveGoal))
	return nil
}

// beside measures with one link slow, and gives the median of the rounds' p50.
// The relays show how much of the time is the link's own.
func beside(ctx context.Context, b *harness.Bench, chain *slowlink.Chain, link int, between string, ours, relays ways) (p50 float64, err error) {
	if err := chain.Shape(ctx, link, linkRate, linkBurst, linkLatency); err != nil {
		return 0, err
	}
	messages := b.Of(1500, 300)
	measure := func(w ways) func(context.Context) (interactive, error) {
		return func(ctx context.Context) (interactive, error) { return w.measureBeside(ctx, messages) }
	}
	our, relayed, err := harness.Pairs(ctx, b.Of(5, 1), measure(ours), measure(relays))
	if err != nil {
		return 0, err
	}
	row := func(name string, all []interactive, of func(interactive) float64) report.Row {
		return report.Row{Name: name, Digits: 2, Sample: figures(all, of)}
	}
	p50s := row("p50 beside (ms)", our, func(one interactive) float64 { return one.p50 })
	b.Report.Spread(fmt.Sprintf("interactive stream beside %d full ones, %s between %s", floods, linkRate, between),
		row("p50 alone (ms)", our, func(one interactive) float64 { return one.alone }), p50s,
		row("p99 beside (ms)", our, func(one interactive) float64 { return one.p99 }),
		row("the full ones (Mbit/s)", our, func(one interactive) float64 { return one.filled }),
		row("two plain relays: p50 alone (ms)", relayed, func(one interactive) float64 { return one.alone }),
		row("p50 beside (ms)", relayed, func(one interactive) float64 { return one.p50 }),
		row("p99 beside (ms)", relayed, func(one interactive) float64 { return one.p99 }))
	return statistics.Median(p50s.Sample), chain.Unshape(ctx, link)
}

// interactive is one measurement: the times in milliseconds of the interactive
// stream's messages, and what the floods carried beside it, in Mbit/s.
type interactive struct {
	alone, p50, p99, filled float64
}

// measureBeside measures the interactive stream alone, then beside the floods.
func (w ways) measureBeside(ctx context.Context, messages int) (interactive, error) {
	alone, err := w.echo.measureInteractive(ctx, messages/4)
	if err != nil {
		return interactive{}, err
	}
	crowd, err := w.flood.flood(ctx)
	if err != nil {
		return interactive{}, err
	}
	defer crowd.close()
	select {
	case <-time.After(settleFor):
	case <-ctx.Done():
		return interactive{}, ctx.Err()
	}
	bytes, begun := crowd.bytes.Load(), time.Now()
	times, err := w.echo.measureInteractive(ctx, messages)
	if err != nil {
		return interactive{}, err
	}
	filled := float64(crowd.bytes.Load()-bytes) * 8 / mega / time.Since(begun).Seconds()
	if filled < linkFilled {
		return interactive{}, fmt.Errorf("the floods carried %.0f Mbit/s of the link's %s: it was not full, so this measures nothing", filled, linkRate)
	}
	return interactive{alone: statistics.Median(alone), p50: statistics.Median(times),
		p99: statistics.Quantile(times, 0.99), filled: filled}, nil
}

// relays are a plain relay in the control plane's place and one in the
// agent's, for each socket.
type relays struct {
	ways
	running []*processes.Process
}

func startRelays(ctx context.Context, b *harness.Bench, chain *slowlink.Chain, sockets string) (_ *relays, err error) {
	r := &relays{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	for name, to := range map[string]*way{source.Echo: &r.echo, source.Flood: &r.flood} {
		near, err := r.start(ctx, b, chain, name, sockets)
		if err != nil {
			return nil, err
		}
		*to = plainWay(func(ctx context.Context) (net.Conn, error) {
			return chain.Places[viewers].DialContext(ctx, "tcp", near)
		})
	}
	return r, nil
}

// start runs the two relays to a socket, and gives the address for viewers.
func (r *relays) start(ctx context.Context, b *harness.Bench, chain *slowlink.Chain, name, sockets string) (string, error) {
	far, farAddress, err := startRelay(ctx, b, chain.Places[machines].In,
		"-listen", chain.Address(1, machines)+":0", "-to", source.Socket(sockets, name))
	if err != nil {
		return "", err
	}
	r.running = append(r.running, far)
	near, nearAddress, err := startRelay(ctx, b, chain.Places[server].In,
		"-listen", chain.Address(0, server)+":0", "-network", "tcp", "-to", farAddress)
	if err != nil {
		return "", err
	}
	r.running = append(r.running, near)
	return nearAddress, nil
}

func (r *relays) close() error {
	var errs []error
	for _, relay := range r.running {
		errs = append(errs, relay.Stop())
	}
	return errors.Join(errs...)
}
