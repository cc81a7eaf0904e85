// Package launch measures the time from the wish for a desktop to its first
// picture, against the same desktop started by hand.
package launch

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/rfb"
	"github.com/streamspace/streamspace/bench/statistics"
)

const (
	// template is what is launched.
	template = "desktop"
	// goal leaves a seventh of the time that the screen itself takes for all
	// that the product does before it starts: two writes to disk, and the way
	// through control plane, agent and supervisor.
	goal = 1.15
	// restFor goes before each measurement. A desktop that was ended is busy for
	// a while with going away, and an agent prepares for the next start only
	// then: desktops are seldom launched in the same second.
	restFor = time.Second
	// pictureWithin bounds the wait for a picture on a stream that is open.
	pictureWithin = 30 * time.Second
)

// Run measures launches by turns with starts by hand.
func Run(ctx context.Context, b *harness.Bench) error {
	for command, install := range map[string]string{"Xvnc": "apt-get install tigervnc-standalone-server", "icewm": "apt-get install icewm"} {
		if _, err := harness.Need(command, install); err != nil {
			return err
		}
	}
	plane, err := product.StartUp(ctx, b.Processes, product.Options{Program: b.Program, DataDir: filepath.Join(b.Dir, "data")})
	if err != nil {
		return err
	}
	watcher, err := product.Watch(ctx, plane.API)
	if err != nil {
		return err
	}
	defer watcher.Close()
	ours := &launcher{plane: plane, watcher: watcher}
	theirs, err := prepareByHand(ctx, b, ours)
	if err != nil {
		return err
	}
	if _, err := ours.measure(ctx); err != nil { // warms up, like the one by hand
		return err
	}
	ours.steps = nil
	our, their, err := harness.Pairs(ctx, b.Of(15, 5), rested(ours.measure), rested(theirs.measure))
	if err != nil {
		return err
	}
	b.Report.Spread("a launch: from the wish until (ms)", ours.rows()...)
	const peer = "Xvnc by hand"
	b.Report.Compare(report.Comparison{Title: "from the wish for a desktop until something is drawn on it (ms)", Digits: 1,
		Peer: peer, Ours: milliseconds(our, func(p picture) time.Duration { return p.drawn }),
		Theirs: milliseconds(their, func(p picture) time.Duration { return p.drawn })})
	b.Report.Compare(report.Comparison{Metric: "launch_ratio", Goal: report.AtMost(goal),
		Title: "from the wish for a desktop to its first framebuffer bytes (ms)", Digits: 1,
		Peer: peer, Ours: milliseconds(our, func(p picture) time.Duration { return p.first }),
		Theirs: milliseconds(their, func(p picture) time.Duration { return p.first })})
	return nil
}

// rested measures on a machine that has come to rest.
func rested(measure func(context.Context) (picture, error)) func(context.Context) (picture, error) {
	return func(ctx context.Context) (picture, error) {
		select {
		case <-time.After(restFor):
		case <-ctx.Done():
			return picture{}, ctx.Err()
		}
		return measure(ctx)
	}
}

// picture is when a screen is seen, since the wish for it.
type picture struct {
	// first is when the first bytes of a picture come, drawn when the picture
	// is not blank any more.
	first, drawn time.Duration
}

// milliseconds gives one moment of each measurement.
func milliseconds[T any](all []T, of func(T) time.Duration) []float64 {
	values := make([]float64, len(all))
	for i, one := range all {
		values[i] = statistics.Milliseconds(of(one))
	}
	return values
}

// launcher launches sessions as a program does that uses the API.
type launcher struct {
	plane   *product.ControlPlane
	watcher *product.Watcher
	steps   []steps
}

// steps are the moments of one launch before its picture, since the wish.
type steps struct {
	running, ticket, stream time.Duration
}

// measure launches a desktop, looks at it and stops it.
func (l *launcher) measure(ctx context.Context) (picture, error) {
	begun := time.Now()
	session, err := l.watcher.Launch(ctx, template)
	if err != nil {
		return picture{}, err
	}
	taken := steps{running: time.Since(begun)}
	ticket, err := l.plane.API.Ticket(ctx, session.ID)
	if err != nil {
		return picture{}, fmt.Errorf("get a ticket: %w", err)
	}
	taken.ticket = time.Since(begun)
	streaming, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := l.plane.API.StreamWith(streaming, session.ID, ticket.Ticket)
	if err != nil {
		return picture{}, err
	}
	defer func() { _ = stream.Close() }()
	taken.stream = time.Since(begun)
	seen, err := look(stream, begun)
	if err != nil {
		return picture{}, err
	}
	l.steps = append(l.steps, taken)
	return seen, l.watcher.Stop(ctx, session.ID)
}

// rows tell where the time before the picture goes.
func (l *launcher) rows() []report.Row {
	return []report.Row{
		{Name: "it is seen to run", Digits: 1, Sample: milliseconds(l.steps, func(s steps) time.Duration { return s.running })},
		{Name: "the ticket is there", Digits: 1, Sample: milliseconds(l.steps, func(s steps) time.Duration { return s.ticket })},
		{Name: "the stream is open", Digits: 1, Sample: milliseconds(l.steps, func(s steps) time.Duration { return s.stream })},
	}
}

// look views a screen until something is drawn on it.
func look(conn net.Conn, begun time.Time) (picture, error) {
	if err := conn.SetDeadline(time.Now().Add(pictureWithin)); err != nil {
		return picture{}, fmt.Errorf("bound the wait for a picture: %w", err)
	}
	view, err := rfb.Open(conn)
	if err != nil {
		return picture{}, err
	}
	if err := view.FirstBytes(); err != nil {
		return picture{}, err
	}
	seen := picture{first: time.Since(begun)}
	err = view.FirstDrawing()
	seen.drawn = time.Since(begun)
	return seen, err
}
