package docker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// watchAgain is the pause before the engine is listened to again.
const watchAgain = time.Second

// unknown is the exit status that an engine gives containers that are gone when it
// starts.
const unknown = 255

// Exits implements driver.Driver. The engine's events say when a container has
// ended; those that ended while nobody listened are looked for whenever that
// begins. A container is removed once its end was taken from the channel.
func (d *Driver) Exits(ctx context.Context) (<-chan driver.Exit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watched {
		return nil, errors.New("exits are already being delivered to another caller")
	}
	d.watched = true
	exits := make(chan driver.Exit)
	go func() {
		defer close(exits)
		defer func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.watched = false
		}()
		for ctx.Err() == nil {
			if err := d.watch(ctx, exits); err != nil && ctx.Err() == nil {
				d.config.Logger.Warn("the Docker engine is not heard, and listened to again", "error", err)
			}
			select {
			case <-time.After(watchAgain):
			case <-ctx.Done():
			}
		}
	}()
	return exits, nil
}

// watch delivers ends until the engine is not heard any more.
func (d *Driver) watch(ctx context.Context, exits chan<- driver.Exit) error {
	ctx, cancel := context.WithCancel(ctx)
	// One whose session has another generation starting waits for that, which may
	// take as long as an image does; the others do not wait for it.
	var telling sync.WaitGroup
	defer telling.Wait()
	defer cancel()
	failed := make(chan error, 1)
	tell := func(id string, heard bool) {
		telling.Go(func() {
			if err := d.tell(ctx, id, heard, exits); err != nil {
				select {
				case failed <- err:
				default: // one is enough for all to be looked at again
				}
			}
		})
	}
	// Listening begins before looking, so that nothing falls between.
	events := d.engine.Events(ctx, client.EventsListOptions{Filters: d.mine().Add("type", "container").Add("event", "die")})
	all, err := d.containers(ctx)
	if err != nil {
		return err
	}
	idle := time.NewTimer(networkFor)
	defer idle.Stop()
	listed := map[string]bool{} // which may be heard of besides
	for _, one := range all {
		if one.State == container.StateExited || one.State == container.StateDead {
			listed[one.ID] = true
			tell(one.ID, false)
		}
	}
	for {
		select {
		case event := <-events.Messages:
			if !listed[event.Actor.ID] {
				tell(event.Actor.ID, true)
			}
		case <-d.ended:
			idle.Reset(networkFor)
		case <-idle.C:
			d.leaveNetwork(ctx)
		case err := <-failed:
			return err
		case err := <-events.Err:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tell delivers the end of a container, which was heard of when it came or found
// afterwards, unless it was stopped or never came up:
// whoever did that has its session's turn until it is gone.
func (d *Driver) tell(ctx context.Context, id string, heard bool, exits chan<- driver.Exit) error {
	found, err := d.inspect(ctx, id)
	if models.CodeOf(err) == models.CodeSessionNotRunning {
		return nil
	}
	if err != nil {
		return err
	}
	labels := found.Config.Labels
	release, err := d.sessions.Take(ctx, labels[labelSession])
	if err != nil {
		return err
	}
	found, err = d.inspect(ctx, id)
	release()
	if models.CodeOf(err) == models.CodeSessionNotRunning {
		return nil
	}
	if err != nil || found.State.Status != container.StateExited && found.State.Status != container.StateDead {
		return err
	}
	exit := end(found)
	if !heard && !found.State.OOMKilled && (found.State.ExitCode == 128+int(syscall.SIGKILL) || found.State.ExitCode == unknown) {
		exit.Lost, exit.Reason = true, "the session's container was ended while the agent did not hear the Docker engine, as when that or the machine is restarted"
	}
	if !exit.Clean && !exit.Lost {
		if words := d.lastWords(ctx, found); words != "" {
			exit.Reason += ". Its last words: " + words
		}
	}
	select {
	case exits <- exit:
	case <-ctx.Done():
		return ctx.Err() // it is told again to the next caller
	}
	// Once told it is not told again, also if nobody listens any more.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWithin)
	defer cancel()
	release, err = d.sessions.Take(ctx, labels[labelSession])
	if err != nil {
		return err
	}
	defer release()
	if err := d.remove(ctx, id, labels); err != nil {
		return err
	}
	d.noteEnd()
	return nil
}

// end says how a container has ended.
func end(found container.InspectResponse) driver.Exit {
	state, labels := found.State, found.Config.Labels
	exit := driver.Exit{Ref: refOf(labels), Clean: state.ExitCode == 0 && !state.OOMKilled && state.Error == ""}
	switch {
	case state.OOMKilled && labels[labelMemory] != "":
		exit.Reason = fmt.Sprintf("the session ran out of memory: its limit is %s. Launch it with more", labels[labelMemory])
	case state.OOMKilled:
		exit.Reason = "the session ran out of memory"
	case state.Error != "":
		exit.Reason = "the session's container failed: " + state.Error
	case state.ExitCode > 128:
		exit.Reason = fmt.Sprintf("the session's program was ended by signal %d", state.ExitCode-128)
	default:
		exit.Reason = fmt.Sprintf("the session's program ended with exit status %d", state.ExitCode)
	}
	return exit
}
