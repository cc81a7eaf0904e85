// Package relay is a plain relay between connections: what a stream's hop costs
// when nothing is done but copying.
package relay

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/streamspace/streamspace/bench/serving"
)

// Serve carries bytes between each connection to the listener and one that it
// makes to the target, until ctx ends. network is tcp or unix.
func Serve(ctx context.Context, listener net.Listener, network, target string) error {
	return serving.Serve(ctx, listener, func(ctx context.Context, near net.Conn) {
		far, err := (&net.Dialer{}).DialContext(ctx, network, target)
		if err != nil {
			return // the near end sees that there is nothing
		}
		defer context.AfterFunc(ctx, func() { _ = far.Close() })()
		var directions sync.WaitGroup
		copyAll := func(to, from net.Conn) {
			_, _ = io.Copy(to, from) // either end may leave at any time
			_, _ = to.Close(), from.Close()
		}
		directions.Go(func() { copyAll(near, far) })
		directions.Go(func() { copyAll(far, near) })
		directions.Wait()
	})
}
