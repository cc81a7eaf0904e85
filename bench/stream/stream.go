// Package stream measures the way from a viewer to a session, through a control
// plane and an agent in processes of their own, against the bridge that is
// commonly put before a screen's server.
package stream

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/streamspace/streamspace/bench/harness"
)

// The parts.
const (
	Bulk = "bulk"
	Echo = "echo"
	Open = "open"
	Slow = "slow"
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
	if b.Wants(Bulk) || b.Wants(Echo) || b.Wants(Open) {
		if err := compare(ctx, b, sockets); err != nil {
			return err
		}
	}
	if !b.Wants(Slow) {
		return nil
	}
	return slow(ctx, b, sockets)
}
