package docker

import (
	"context"
	"time"

	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
)

// Stop implements driver.Driver.
func (d *Driver) Stop(ctx context.Context, ref driver.Ref) error {
	release, err := d.sessions.Take(ctx, ref.SessionID)
	if err != nil {
		return err
	}
	defer release()
	if err := d.stopUpTo(ctx, ref); err != nil {
		return err
	}
	if err := d.removeHomes(ctx, ref); err != nil {
		return err
	}
	d.noteEnd()
	return nil
}

// stopUpTo ends the session's containers of a generation and of those before.
// The caller has the session's turn.
func (d *Driver) stopUpTo(ctx context.Context, ref driver.Ref) error {
	all, err := d.of(ctx, ref.SessionID)
	if err != nil {
		return err
	}
	for _, one := range all {
		if refOf(one.Labels).Generation > ref.Generation {
			continue
		}
		seconds := int(d.config.StopGrace / time.Second)
		if _, err := d.engine.ContainerStop(ctx, one.ID, client.ContainerStopOptions{Timeout: &seconds}); err != nil && !missing(err) {
			return unreachable("stop a container", err)
		}
		if err := d.remove(ctx, one.ID, one.Labels); err != nil {
			return err
		}
	}
	return nil
}

// remove removes a container with whatever runs in it, and its home unless that
// is kept.
func (d *Driver) remove(ctx context.Context, id string, labels map[string]string) error {
	if _, err := d.engine.ContainerRemove(ctx, id, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true}); err != nil && !missing(err) {
		return unreachable("remove a container", err)
	}
	if home := labels[labelHome]; home != "" && labels[labelKept] == "" {
		if _, err := d.engine.VolumeRemove(ctx, home, client.VolumeRemoveOptions{Force: true}); err != nil && !missing(err) {
			return unreachable("remove a home", err)
		}
	}
	return nil
}
