package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/wire"
)

// stock is what the driver last said of its images. Safe for concurrent use.
type stock struct {
	mu sync.Mutex
	// names is nil while nothing is known.
	names   []string
	changed chan struct{}
}

func newStock() *stock { return &stock{changed: make(chan struct{})} }

// set replaces what is known.
func (s *stock) set(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append([]string{}, names...) // none are known as well
	close(s.changed)
	s.changed = make(chan struct{})
}

// get gives what is known, and what is closed when that is old.
func (s *stock) get() (names []string, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names, s.changed
}

// watchImages follows the driver's images, if it has any, until ctx ends.
func (a *Agent) watchImages(ctx context.Context) {
	holder, has := a.config.Driver.(driver.ImageHolder)
	if !has {
		return
	}
	for ctx.Err() == nil {
		lists, err := holder.Images(ctx)
		if err != nil {
			a.config.Logger.Warn("which images are here is not known, so placement does not go by it", "error", err)
		} else {
			for names := range lists {
				a.stock.set(names)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(repeatAfter):
		}
	}
}

// tellImages sends which images are here, whenever that is news on this
// connection.
func (a *Agent) tellImages(c *connection) {
	var told []string
	for {
		names, changed := a.stock.get()
		if names != nil && (told == nil || !slices.Equal(names, told)) {
			told = names
			c.send(wire.TypeImages, wire.Images{Names: names})
		}
		select {
		case <-c.over.Done():
			return
		case <-changed:
		}
	}
}
