package docker

import (
	"context"
	"slices"
	"time"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"

	"github.com/streamspace/streamspace/models"
)

const (
	// maxImages bounds the names that are told, those of the newest images first.
	maxImages = 500
	// settleFor is for how long more changes are waited for: pulls and removals of
	// many images come together.
	settleFor = 500 * time.Millisecond
)

// Images implements driver.ImageHolder: by the engine's events, and once
// whenever listening begins.
func (d *Driver) Images(ctx context.Context) (<-chan []string, error) {
	lists := make(chan []string)
	go func() {
		defer close(lists)
		for ctx.Err() == nil {
			if err := d.watchImages(ctx, lists); err != nil && ctx.Err() == nil {
				d.config.Logger.Debug("the engine's images are not heard of, and listened to again", "error", err)
			}
			select {
			case <-time.After(watchAgain):
			case <-ctx.Done():
			}
		}
	}()
	return lists, nil
}

// watchImages delivers lists until the engine is not heard any more.
func (d *Driver) watchImages(ctx context.Context, lists chan<- []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filters := make(client.Filters).Add("type", "image")
	for _, change := range []string{"pull", "load", "import", "tag", "untag", "delete"} {
		filters.Add("event", change)
	}
	events := d.engine.Events(ctx, client.EventsListOptions{Filters: filters})
	due := time.NewTimer(0)
	defer due.Stop()
	for {
		select {
		case <-events.Messages:
			due.Reset(settleFor)
		case err := <-events.Err:
			return err
		case <-due.C:
			names, err := d.images(ctx)
			if err != nil {
				return err
			}
			select {
			case lists <- names:
			case <-ctx.Done():
				return ctx.Err()
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// images names what the engine has, sorted.
func (d *Driver) images(ctx context.Context) ([]string, error) {
	found, err := d.engine.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return nil, unreachable("list images", err)
	}
	slices.SortStableFunc(found.Items, func(a, b image.Summary) int { return int(min(1, max(-1, b.Created-a.Created))) })
	names := []string{}
	for _, one := range found.Items {
		for _, name := range append(slices.Clone(one.RepoTags), one.RepoDigests...) {
			if len(names) < maxImages && name != "<none>:<none>" && name != "<none>@<none>" {
				names = append(names, models.ImageName(name))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}
