package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// simDriver is the driver of one run of an agent. It behaves as driver.Driver
// says, and as badly as that allows: it is slow, fails, hangs until it is
// cancelled, or does not hear that it is.
type simDriver struct {
	run *agentRun
}

// Platform implements driver.Driver.
func (d simDriver) Platform() string { return models.PlatformProcess }

// Facilities implements driver.Driver.
func (d simDriver) Facilities(_ context.Context, needs []string) ([]string, error) {
	if d.run.life.over() {
		return nil, errCrashed
	}
	return needs, nil
}

// wait passes time, and fails when ctx or the run ends first. A deaf wait does
// not hear of ctx.
func (d simDriver) wait(ctx context.Context, duration time.Duration, deaf bool) error {
	done := ctx.Done()
	if deaf {
		done = nil
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-done:
		return ctx.Err()
	case <-d.run.life.ended:
		return errCrashed
	}
}

// hang lasts until ctx or the run ends, or all faults do.
func (d simDriver) hang(ctx context.Context) error {
	select {
	case <-d.run.world.healed:
		return models.Errorf(models.CodeCommandFailed, "the platform did not answer")
	case <-ctx.Done():
		return ctx.Err()
	case <-d.run.life.ended:
		return errCrashed
	}
}

// Start implements driver.Driver.
func (d simDriver) Start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	started, err := d.start(ctx, spec)
	if err != nil && !d.run.life.over() {
		// An earlier run of the agent may have left one, of which nothing is left
		// either.
		d.run.machine.undo(d.run.number, spec.Ref)
	}
	return started, err
}

func (d simDriver) start(ctx context.Context, spec driver.Spec) (driver.Runtime, error) {
	c, strikes := d.run.chance, d.run.world.faults.strikes
	deaf := strikes(EffectDeaf, c, 0.15)
	before, after := c.between(20*time.Millisecond, 800*time.Millisecond), c.between(5*time.Millisecond, 300*time.Millisecond)
	if c.happens(0.3) { // within the time in which news of a command gathers
		before, after = c.between(0, 5*time.Millisecond), c.between(0, 2*time.Millisecond)
	}
	if deaf {
		before += c.between(time.Second, 6*time.Second)
	}
	if err := d.wait(ctx, before, deaf); err != nil {
		return driver.Runtime{}, err
	}
	switch {
	case strikes(EffectHung, c, 0.04):
		return driver.Runtime{}, d.hang(ctx)
	case strikes(EffectFailed, c, 0.06):
		return driver.Runtime{}, &models.Error{Code: models.CodeCommandFailed, Message: "the platform refused", Retryable: true}
	}
	d.run.mayCrash()
	if d.run.life.over() {
		return driver.Runtime{}, errCrashed
	}
	since := d.run.machine.begin(d.run.number, spec.Ref)
	d.run.mayCrash()
	// From here on the runtime is there, so cancelling comes too late.
	if err := d.wait(ctx, after, true); err != nil {
		return driver.Runtime{}, err
	}
	if strikes(RuntimeExit, c, 0.15) {
		d.run.world.later(c.between(10*time.Millisecond, 5*time.Second), func() {
			if d.run.world.faults.may(RuntimeExit) { // nothing happens after the last fault
				d.run.machine.expire(spec.Ref)
			}
		})
	}
	return driver.Runtime{Ref: spec.Ref, Protocol: models.ProtocolVNC, StartedAt: since}, nil
}

// Stop implements driver.Driver.
func (d simDriver) Stop(ctx context.Context, ref driver.Ref) error {
	c, strikes := d.run.chance, d.run.world.faults.strikes
	before := c.between(10*time.Millisecond, 500*time.Millisecond)
	if c.happens(0.3) {
		before = c.between(0, 5*time.Millisecond)
	}
	if err := d.wait(ctx, before, false); err != nil {
		return err
	}
	// A stop that fails is tried again by reconciliation, after its own time.
	if hasty := d.run.world.plan.Hasty; hasty && strikes(EffectHung, c, 0.03) {
		return d.hang(ctx)
	} else if hasty && strikes(EffectFailed, c, 0.05) {
		return errors.New("sim: the platform refused to stop")
	}
	d.run.mayCrash()
	if d.run.life.over() {
		return errCrashed
	}
	d.run.machine.finish(d.run.number, ref)
	d.run.mayCrash()
	return d.wait(ctx, c.between(time.Millisecond, 50*time.Millisecond), true)
}

// Inventory implements driver.Driver.
func (d simDriver) Inventory(ctx context.Context) ([]driver.Runtime, error) {
	if d.run.life.over() {
		return nil, errCrashed
	}
	var list []driver.Runtime
	for _, ref := range d.run.machine.list() {
		list = append(list, driver.Runtime{Ref: ref, Protocol: models.ProtocolVNC})
	}
	// What has been looked at takes a while to be told.
	return list, d.wait(ctx, d.run.chance.between(time.Millisecond, 400*time.Millisecond), false)
}

// Exits implements driver.Driver.
func (d simDriver) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	out := make(chan driver.Exit)
	d.run.running.Go(func() {
		defer close(out)
		for {
			var exit driver.Exit
			select {
			case exit = <-d.run.exits:
			case <-ctx.Done():
				return
			}
			select {
			case out <- exit:
			case <-ctx.Done():
				return
			}
		}
	})
	return out, nil
}

// Dial implements driver.Driver. No stream is opened in a simulation.
func (d simDriver) Dial(_ context.Context, ref driver.Ref) (net.Conn, error) {
	return nil, fmt.Errorf("sim: session %s has no stream", ref.SessionID)
}
