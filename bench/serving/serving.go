// Package serving serves plain connections for the programs of the benchmarks.
package serving

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Serve accepts connections and gives each to handle, in a goroutine of its
// own, until ctx ends. Then it closes the listener and every connection, waits
// for the handlers and returns nil. A connection is closed when its handler
// returns, too.
func Serve(ctx context.Context, listener net.Listener, handle func(context.Context, net.Conn)) error {
	var handling sync.WaitGroup
	defer handling.Wait()
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	defer func() { _ = listener.Close() }()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		handling.Go(func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			handle(ctx, conn)
		})
	}
}
