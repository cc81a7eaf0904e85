package kubernetes

import "sync"

// changes wakes those who wait for something to happen to a pod. Safe for
// concurrent use.
type changes struct {
	mu      sync.Mutex
	waiting map[string]map[chan struct{}]struct{}
}

func newChanges() *changes { return &changes{waiting: map[string]map[chan struct{}]struct{}{}} }

// of gives a channel that holds a token once the pod has changed since the last
// one was taken, until leave is called.
func (c *changes) of(pod string) (changed <-chan struct{}, leave func()) {
	token := make(chan struct{}, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[pod] == nil {
		c.waiting[pod] = map[chan struct{}]struct{}{}
	}
	c.waiting[pod][token] = struct{}{}
	return token, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if delete(c.waiting[pod], token); len(c.waiting[pod]) == 0 {
			delete(c.waiting, pod)
		}
	}
}

// tell says that a pod has changed.
func (c *changes) tell(pod string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for token := range c.waiting[pod] {
		select {
		case token <- struct{}{}:
		default: // it knows already
		}
	}
}
