package stream

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/processes"
	"github.com/streamspace/streamspace/bench/product"
	"github.com/streamspace/streamspace/bench/source"
	"github.com/streamspace/streamspace/bench/websockify"
)

// way is one way from a viewer to a socket of the source.
type way struct {
	// prepare does what a viewer does in advance, and gives what opens one
	// stream then. The stream ends with open's context.
	prepare func(ctx context.Context) (open func(context.Context) (net.Conn, error), err error)
	// programs are all that work on the way.
	programs []*processes.Process
}

// productWay is the product's to one session: a ticket, then the stream.
func productWay(plane *product.ControlPlane, agent *processes.Process, sessionID string) way {
	return way{
		prepare: func(ctx context.Context) (func(context.Context) (net.Conn, error), error) {
			ticket, err := plane.API.Ticket(ctx, sessionID)
			if err != nil {
				return nil, fmt.Errorf("get a ticket: %w", err)
			}
			return func(ctx context.Context) (net.Conn, error) {
				return plane.API.StreamWith(ctx, sessionID, ticket.Ticket)
			}, nil
		},
		programs: []*processes.Process{plane.Process, agent},
	}
}

// bridgeWay is the peer's, with the further programs behind the bridge.
func bridgeWay(bridge *websockify.Bridge, behind ...*processes.Process) way {
	return way{
		prepare: func(context.Context) (func(context.Context) (net.Conn, error), error) {
			return bridge.Open, nil
		},
		programs: append([]*processes.Process{bridge.Process}, behind...),
	}
}

// plainWay is one of plain TCP.
func plainWay(dial func(context.Context) (net.Conn, error)) way {
	return way{prepare: func(context.Context) (func(context.Context) (net.Conn, error), error) {
		return func(ctx context.Context) (net.Conn, error) {
			conn, err := dial(ctx)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		}, nil
	}}
}

// ways are those to both sockets.
type ways struct{ echo, flood way }

// startRelay runs a relay and gives its address.
func startRelay(ctx context.Context, b *harness.Bench, in func(processes.Command) processes.Command, arguments ...string) (*processes.Process, string, error) {
	command := b.Role(append([]string{"relay"}, arguments...)...)
	if in != nil {
		command = in(command)
	}
	process, err := startRole(ctx, b, command)
	if err != nil {
		return nil, "", err
	}
	line, err := process.Line(ctx, ready)
	return process, strings.TrimPrefix(line, ready+" "), err
}

// open opens a stream and waits for its first byte.
func (w way) open(ctx context.Context) (net.Conn, error) {
	open, err := w.prepare(ctx)
	if err != nil {
		return nil, err
	}
	return greeted(ctx, open)
}

func greeted(ctx context.Context, open func(context.Context) (net.Conn, error)) (net.Conn, error) {
	conn, err := open(ctx)
	if err != nil {
		return nil, err
	}
	if err := source.Greet(conn); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// cpu is the processor time of all programs of the way so far.
func (w way) cpu() (time.Duration, error) {
	var total time.Duration
	for _, program := range w.programs {
		taken, err := program.CPU()
		if err != nil {
			return 0, err
		}
		total += taken
	}
	return total, nil
}
