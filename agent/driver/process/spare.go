package process

import (
	"context"
	"time"
)

// spareAfter is how long the machine is left to a session that has just
// started before the next supervisor is made ready.
const spareAfter = 250 * time.Millisecond

// spare keeps one supervisor that waits for a session while Exits is called,
// which is as long as the agent runs. Starting a Go program of this size takes
// some 5 ms, an X server 35: a start should not wait for both. A spare that
// loses its agent ends by itself.
type spare struct {
	// waiting is nil when there is none; the driver's lock guards it.
	waiting *child
	// taken asks for another one.
	taken chan struct{}
}

// keepSpare has a spare ready until ctx ends.
func (d *Driver) keepSpare(ctx context.Context, s *spare) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			d.dismissSpare(s)
			return
		case <-s.taken:
			timer.Reset(spareAfter)
		case <-timer.C:
			started, err := d.spawn(d.isolates())
			if err != nil {
				// Starts will say so when it matters.
				d.config.Logger.Debug("no supervisor can be made ready", "error", err)
				continue
			}
			d.mu.Lock()
			s.waiting = started
			d.mu.Unlock()
		}
	}
}

// supervisor gives one that waits for its assignment.
func (d *Driver) supervisor(isolated bool) (*child, error) {
	if ready := d.takeSpare(); ready != nil {
		if ready.isolated == isolated && !ready.handle.Ended() {
			return ready, nil
		}
		ready.discard()
	}
	return d.spawn(isolated)
}

func (d *Driver) takeSpare() *child {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch == nil {
		return nil
	}
	s := &d.watch.spare
	ready := s.waiting
	s.waiting = nil
	select {
	case s.taken <- struct{}{}:
	default:
	}
	return ready
}

func (d *Driver) dismissSpare(s *spare) {
	d.mu.Lock()
	ready := s.waiting
	s.waiting = nil
	d.mu.Unlock()
	if ready != nil {
		ready.discard()
	}
}

// discard ends a supervisor that has no assignment.
func (c *child) discard() {
	_ = c.handle.Kill() // it has nothing to clean up
	c.reap()
}
