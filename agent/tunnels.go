package agent

import (
	"context"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/wire"
)

// tunnelWithin bounds the opening of both ends of a tunnel. Somebody is
// watching an empty window for that long.
const tunnelWithin = 10 * time.Second

// tunnels join the sessions' streams with the control plane's. They end with
// their stream on either side, with their session, and with ctx; not with the
// command connection, whose end the control plane makes theirs. Safe for
// concurrent use.
type tunnels struct {
	ctx    context.Context
	driver driver.Driver
	dial   tunnel.DialOptions
	max    int

	running sync.WaitGroup
	mu      sync.Mutex
	joined  map[*joined]struct{}
}

// joined is one tunnel.
type joined struct {
	ref    driver.Ref
	cancel context.CancelFunc
}

func newTunnels(ctx context.Context, config Config) *tunnels {
	return &tunnels{
		ctx: ctx, driver: config.Driver, max: config.MaxTunnels, joined: map[*joined]struct{}{},
		dial: tunnel.DialOptions{Server: config.Server, Key: config.Key, AgentID: config.AgentID},
	}
}

// open begins a tunnel and does not wait for it. failed is told why it did not
// come about, unless that is because it is not wanted any more.
func (t *tunnels) open(wanted wire.OpenTunnel, failed func(error)) {
	ctx, cancel := context.WithCancel(t.ctx)
	one := &joined{ref: driver.Ref{SessionID: wanted.SessionID, Generation: wanted.Generation}, cancel: cancel}
	t.mu.Lock()
	full := len(t.joined) >= t.max
	if !full {
		t.joined[one] = struct{}{}
	}
	t.mu.Unlock()
	if full {
		cancel()
		failed(models.Errorf(models.CodeTunnelFailed, "the agent has %d streams open and takes no more", t.max))
		return
	}
	t.running.Go(func() {
		defer t.forget(one)
		session, stream, err := t.connect(ctx, one.ref, wanted.TunnelID)
		if err != nil {
			stillWanted := ctx.Err() == nil
			t.forget(one) // whoever hears of it may open another at once
			if stillWanted {
				failed(err)
			}
			return
		}
		// Which side broke, and how, means nothing to the other one.
		_ = tunnel.Join(ctx, session, stream)
	})
}

// connect dials both ends at once, which saves a round trip. When it fails
// neither is left open, and the error is the first one.
func (t *tunnels) connect(ctx context.Context, ref driver.Ref, tunnelID string) (session, stream net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, tunnelWithin)
	defer cancel()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		session, err = t.driver.Dial(ctx, ref)
		return err
	})
	both.Go(func() (err error) {
		options := t.dial
		options.TunnelID = tunnelID
		stream, err = tunnel.Dial(ctx, options)
		return err
	})
	if err = both.Wait(); err == nil {
		return session, stream, nil
	}
	for _, conn := range []net.Conn{session, stream} {
		if conn != nil {
			_ = conn.Close()
		}
	}
	return nil, nil, err
}

func (t *tunnels) forget(one *joined) {
	one.cancel()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.joined, one)
}

// viewed gives the runtimes that have a tunnel.
func (t *tunnels) viewed() map[driver.Ref]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	refs := make(map[driver.Ref]bool, len(t.joined))
	for one := range t.joined {
		refs[one.ref] = true
	}
	return refs
}

// cut ends the tunnels of a session up to ref's generation.
func (t *tunnels) cut(ref driver.Ref) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for one := range t.joined {
		if one.ref.SessionID == ref.SessionID && one.ref.Generation <= ref.Generation {
			one.cancel()
		}
	}
}

// wait returns when every tunnel is over, which ctx's end makes them.
func (t *tunnels) wait() { t.running.Wait() }
