// Package turns lets those that change the same thing go one after the other.
package turns

import (
	"context"
	"sync"
)

// Turns are those of many things. Safe for concurrent use.
type Turns struct {
	mu   sync.Mutex
	held map[string]*turn
}

// New makes Turns that nobody has.
func New() *Turns { return &Turns{held: map[string]*turn{}} }

// turn is one thing's. It exists while somebody has it or waits for it.
type turn struct {
	token   chan struct{}
	waiting int
}

// Take waits for the thing's turn, which release gives back.
func (t *Turns) Take(ctx context.Context, thing string) (release func(), err error) {
	t.mu.Lock()
	own := t.held[thing]
	if own == nil {
		own = &turn{token: make(chan struct{}, 1)}
		t.held[thing] = own
	}
	own.waiting++
	t.mu.Unlock()

	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.waiting--; own.waiting == 0 {
			delete(t.held, thing)
		}
	}
	select {
	case own.token <- struct{}{}:
		return func() { <-own.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
