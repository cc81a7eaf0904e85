package docker

import (
	"context"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// homeOf names the volume that is a session's home: one of its own, or the one
// of its user and template.
func (d *Driver) homeOf(spec driver.Spec) string {
	if spec.PersistentHome {
		return name("home", d.config.AgentID, spec.User, spec.Template.Metadata.Name)
	}
	return name("scratch", d.config.AgentID, strconv.FormatInt(spec.Generation, 10), spec.SessionID)
}

// over tells that a container in the state uses nothing any more, though it may
// still be there.
func over(state container.ContainerState) bool {
	return state == container.StateExited || state == container.StateDead || state == container.StateRemoving
}

// takeHome makes the session's home if it is not there. A persistent one that
// another session has is an error. Until release is called nobody else decides
// about it.
func (d *Driver) takeHome(ctx context.Context, spec driver.Spec) (release func(), err error) {
	home := d.homeOf(spec)
	turn, err := d.homes.Take(ctx, home)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			turn()
		}
	}()
	if spec.PersistentHome {
		all, err := d.containers(ctx)
		if err != nil {
			return nil, err
		}
		for _, one := range all {
			if other := one.Labels[labelSession]; one.Labels[labelHome] == home && other != spec.SessionID && !over(one.State) {
				return nil, &models.Error{Code: models.CodeUnavailable, Retryable: true,
					Message: "the persistent home of this user and template is in use by session " + other + "; stop that one first"}
			}
		}
	}
	labels := map[string]string{labelAgent: d.config.AgentID, labelUser: spec.User, labelTemplate: spec.Template.Metadata.Name}
	if !spec.PersistentHome {
		labels[labelSession], labels[labelGeneration] = spec.SessionID, strconv.FormatInt(spec.Generation, 10)
	}
	_, err = d.engine.VolumeCreate(context.WithoutCancel(ctx), client.VolumeCreateOptions{Name: home, Labels: labels})
	if err != nil {
		return nil, unreachable("make a home", err)
	}
	return turn, nil
}

// removeHomes removes homes that were made for the session alone, up to ref's
// generation, and have no container: its agent was killed between the two.
func (d *Driver) removeHomes(ctx context.Context, ref driver.Ref) error {
	found, err := d.engine.VolumeList(ctx, client.VolumeListOptions{Filters: d.mine()})
	if err != nil {
		return unreachable("list homes", err)
	}
	for _, one := range found.Items {
		if home := refOf(one.Labels); home.SessionID != ref.SessionID || home.Generation > ref.Generation {
			continue
		}
		if _, err := d.engine.VolumeRemove(ctx, one.Name, client.VolumeRemoveOptions{Force: true}); err != nil && !missing(err) {
			return unreachable("remove a home", err)
		}
	}
	return nil
}
