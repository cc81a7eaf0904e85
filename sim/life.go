package sim

import "sync"

// life is how long one run of a process lasts. What a process does after its
// life has no effect: its connections are reset, and its calls of the database
// or the driver fail. So its goroutines, which Go cannot end, find their way
// out without touching the world.
type life struct {
	once  sync.Once
	ended chan struct{}
}

func newLife() *life { return &life{ended: make(chan struct{})} }

func (l *life) end() { l.once.Do(func() { close(l.ended) }) }

func (l *life) over() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}
