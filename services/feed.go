package services

import (
	"context"
	"sync"
)

// feedPending bounds what one subscriber has not read yet. Beyond it the ids
// give way to one hint to read everything.
const feedPending = 256

// Feed tells subscribers which sessions changed. It carries hints: what changed
// is in the database, and a subscriber that must miss nothing polls as well.
// Safe for concurrent use.
type Feed struct {
	mu          sync.Mutex
	subscribers map[*subscriber]struct{}
}

// NewFeed makes a feed without subscribers.
func NewFeed() *Feed {
	return &Feed{subscribers: map[*subscriber]struct{}{}}
}

// Publish tells every subscriber that the session changed. It never blocks.
func (f *Feed) Publish(sessionID string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subscribers {
		s.add(sessionID)
	}
}

// Subscribe gives the ids of sessions that change from now on. Changes of one
// session that nobody has read yet come as one. The empty id stands for more
// changes than are kept: read everything again. The channel is closed soon
// after ctx has ended, and until then the subscription is kept.
func (f *Feed) Subscribe(ctx context.Context) <-chan string {
	s := &subscriber{waiting: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	f.mu.Lock()
	f.subscribers[s] = struct{}{}
	f.mu.Unlock()
	out := make(chan string)
	go func() {
		defer close(out)
		defer f.forget(s)
		s.deliver(ctx, out)
	}()
	return out
}

func (f *Feed) forget(s *subscriber) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.subscribers, s)
}

// subscriber is what one reader has not read yet.
type subscriber struct {
	wake chan struct{}

	mu      sync.Mutex
	order   []string
	waiting map[string]struct{}
	lost    bool
}

func (s *subscriber) add(sessionID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, waits := s.waiting[sessionID]; waits || s.lost {
		return
	}
	if len(s.order) == feedPending {
		s.lost, s.order = true, nil
		clear(s.waiting)
	} else {
		s.order = append(s.order, sessionID)
		s.waiting[sessionID] = struct{}{}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *subscriber) next() (sessionID string, some bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost {
		s.lost = false
		return "", true
	}
	if len(s.order) == 0 {
		return "", false
	}
	sessionID, s.order = s.order[0], s.order[1:]
	delete(s.waiting, sessionID)
	return sessionID, true
}

func (s *subscriber) deliver(ctx context.Context, out chan<- string) {
	for {
		sessionID, some := s.next()
		if !some {
			select {
			case <-s.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		select {
		case out <- sessionID:
		case <-ctx.Done():
			return
		}
	}
}
