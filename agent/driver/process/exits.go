package process

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/agent/driver/process/internal/runtimedir"
)

const (
	// forgetWithin bounds the removal of a runtime whose end has been told.
	forgetWithin = 15 * time.Second
	// retryAfter is the pause before an end that could not be dealt with is
	// tried again.
	retryAfter = 5 * time.Second
)

// watch is one call of Exits.
type watch struct {
	ctx   context.Context
	exits chan driver.Exit
	// running counts the goroutines that follow a runtime each. Add is called
	// under the driver's lock, and not after over.
	running sync.WaitGroup
	over    bool
	// followed are the runtimes that have such a goroutine. The value tells
	// that the runtime was started anew meanwhile, and is to be followed again.
	followed map[string]bool
	spares   spares
}

// Exits implements driver.Driver. A runtime that ended while nobody asked is
// delivered too. What is left of a runtime is removed once its end has been
// taken from the channel, and what is left of starts that have failed at once.
func (d *Driver) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	w := &watch{ctx: ctx, exits: make(chan driver.Exit), followed: map[string]bool{},
		spares: spares{geometry: defaultGeometry, taken: make(chan struct{}, 1)}}
	d.mu.Lock()
	if d.watch != nil {
		d.mu.Unlock()
		return nil, errors.New("exits are already being delivered to another caller")
	}
	d.watch = w
	d.mu.Unlock()
	// Those that start from here on are followed by their Start.
	all, err := d.list()
	for _, candidate := range all {
		d.follow(candidate.name)
	}
	if err != nil {
		d.endWatch(w)
		return nil, err
	}
	go func() {
		d.keepSpares(ctx, &w.spares)
		d.endWatch(w)
	}()
	return w.exits, nil
}

func (d *Driver) endWatch(w *watch) {
	d.mu.Lock()
	d.watch, w.over = nil, true
	d.mu.Unlock()
	w.running.Wait()
	close(w.exits)
}

// follow waits for the runtime's end, if somebody wants to know of it.
func (d *Driver) follow(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watch
	if w == nil || w.over {
		return
	}
	if _, already := w.followed[name]; already {
		w.followed[name] = true
		return
	}
	w.followed[name] = false
	w.running.Go(func() {
		for again := true; again; again = d.followAgain(w, name) {
			d.followToTheEnd(w, name)
		}
	})
}

// followToTheEnd deals with one end of the runtime, trying again while that
// fails.
func (d *Driver) followToTheEnd(w *watch, name string) {
	for {
		err := d.followOnce(w, name)
		if err == nil || w.ctx.Err() != nil {
			return
		}
		d.config.Logger.Error("a session's end cannot be dealt with yet", "runtime", name, "error", err)
		select {
		case <-w.ctx.Done():
			return
		case <-time.After(retryAfter):
		}
	}
}

// followAgain tells whether there is something to follow still.
func (d *Driver) followAgain(w *watch, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	again := w.followed[name] && w.ctx.Err() == nil
	if again {
		w.followed[name] = false
	} else {
		delete(w.followed, name)
	}
	return again
}

func (d *Driver) followOnce(w *watch, name string) error {
	alive, err := d.connect(w.ctx, name)
	if err != nil {
		return err
	}
	if alive != nil {
		err := alive.ended(w.ctx)
		if err == nil {
			err = alive.handle.Wait(w.ctx)
		}
		alive.close()
		if err != nil {
			return err
		}
	}
	exit, err := d.settle(w.ctx, name)
	switch {
	case err != nil:
		return err
	case exit == nil && exists(d.dir(name)):
		// It was not followed yet, or not any more: its supervisor came up between the
		// first look and the second.
		return d.followOnce(w, name)
	case exit == nil:
		return nil
	}
	select {
	case w.exits <- *exit:
	case <-w.ctx.Done():
		return nil // it is told again to the next caller
	}
	// Once told it is not told again, also if nobody listens any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), forgetWithin)
	defer cancel()
	return d.forget(ctx, name)
}

// settle gives the end of a runtime that is to be told. What is not worth
// telling is removed.
func (d *Driver) settle(ctx context.Context, name string) (*driver.Exit, error) {
	ref, _ := runtimedir.Parse(name)
	release, err := d.turns.Take(ctx, ref.SessionID)
	if err != nil {
		return nil, err
	}
	defer release()
	state, ended, err := d.ended(ctx, name)
	if err != nil || !ended {
		return nil, err
	}
	if !state.Ready || stopping(d.dir(name)) {
		return nil, d.remove(ctx, name, state)
	}
	// Nothing of it may run once its end is told.
	if err := d.endProcesses(ctx, name, state); err != nil {
		return nil, err
	}
	end := d.lastWords(state)
	return &driver.Exit{Ref: ref, Clean: end.Clean, Lost: lost(state), Reason: end.Reason}, nil
}

// forget removes a runtime whose end has been told.
func (d *Driver) forget(ctx context.Context, name string) error {
	ref, _ := runtimedir.Parse(name)
	release, err := d.turns.Take(ctx, ref.SessionID)
	if err != nil {
		return err
	}
	defer release()
	state, ended, err := d.ended(ctx, name)
	if err != nil || !ended {
		return err
	}
	return d.remove(ctx, name, state)
}

// ended tells whether the runtime is there and has no supervisor any more. The
// caller has the session's turn: while it waited for that, the runtime may have
// been removed, or started again.
func (d *Driver) ended(ctx context.Context, name string) (state runtimedir.State, ended bool, err error) {
	if !exists(d.dir(name)) {
		return state, false, nil
	}
	alive, err := d.connect(ctx, name)
	if err != nil {
		return state, false, err
	}
	if alive != nil {
		alive.close()
		return state, false, nil
	}
	state, err = runtimedir.Read(d.dir(name))
	return state, err == nil, err
}

// lost tells that nothing says why the supervisor has ended.
func lost(state runtimedir.State) bool { return state.End == nil && state.Group.MemoryKills() == 0 }

// lastWords is how a runtime has ended. A supervisor that was killed could not
// say.
func (d *Driver) lastWords(state runtimedir.State) runtimedir.End {
	switch {
	case state.End != nil:
		return *state.End
	case lost(state):
		return runtimedir.End{Reason: "the session's supervisor was killed, or the agent's machine was restarted"}
	}
	return runtimedir.End{Reason: runtimedir.OutOfMemory(state)}
}
