package api

import (
	"sync"
	"time"
)

const (
	// recentFor is how long what was looked up may be used again. A page asks for
	// its parts at once.
	recentFor = time.Second
	// maxRecent bounds what is kept.
	maxRecent = 4096
)

// recent keeps what was looked up a moment ago. Safe for concurrent use.
type recent[T any] struct {
	now func() time.Time

	mu   sync.Mutex
	kept map[string]dated[T]
}

type dated[T any] struct {
	value T
	until time.Time
}

func newRecent[T any](now func() time.Time) *recent[T] {
	return &recent[T]{now: now, kept: map[string]dated[T]{}}
}

// get gives what is kept under key, or else what look finds, which is kept
// unless it fails.
func (r *recent[T]) get(key string, look func() (T, error)) (T, error) {
	now := r.now()
	r.mu.Lock()
	found, known := r.kept[key]
	r.mu.Unlock()
	if known && now.Before(found.until) {
		return found.value, nil
	}
	value, err := look()
	if err != nil {
		return value, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= maxRecent {
		clear(r.kept)
	}
	r.kept[key] = dated[T]{value, now.Add(recentFor)}
	return value, nil
}
