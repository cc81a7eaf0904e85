package services

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// queueEvery is how often the queue is looked through although nothing tells
	// of room: an agent of another replica may have come, or become free.
	queueEvery = time.Second
	// queueAgain is the rest between two passes, however much happens.
	queueAgain = 50 * time.Millisecond
)

// QueueOptions configure a Queue. The zero value of a field means its default.
type QueueOptions struct {
	// Feed tells of sessions that change, and so of room; without it the queue
	// is only looked through now and then.
	Feed *Feed
	// Logger discards by default.
	Logger *slog.Logger
}

// Queue has sessions that wait for an agent placed when there is room. Several
// replicas may do it at once: each session is placed once.
type Queue struct {
	sessions *Sessions
	options  QueueOptions
	wake     chan struct{}
	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
	mu       sync.Mutex
	begun    bool
}

// NewQueue makes a Queue.
func NewQueue(sessions *Sessions, options QueueOptions) *Queue {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queue{sessions: sessions, options: options, wake: make(chan struct{}, 1), stop: make(chan struct{})}
}

// Wake says that there may be room. It never blocks.
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Start looks through the queue at once, at each Wake and now and then; it
// blocks until Stop.
func (q *Queue) Start() {
	q.mu.Lock()
	if q.begun {
		q.mu.Unlock()
		return
	}
	q.begun = true
	q.running.Add(1)
	q.mu.Unlock()
	defer q.running.Done()
	following, cancel := context.WithCancel(context.Background())
	var follower sync.WaitGroup
	defer follower.Wait()
	defer cancel()
	if q.options.Feed != nil {
		changes := q.options.Feed.Subscribe(following)
		follower.Go(func() {
			for range changes {
				q.Wake()
			}
		})
	}
	for {
		if _, err := q.sessions.PlaceWaiting(context.Background()); err != nil {
			q.options.Logger.Error("place sessions that wait for an agent", "error", err)
		}
		if !q.rest(queueAgain, nil) || !q.rest(jittered(queueEvery), q.wake) {
			return
		}
	}
}

// rest waits, for less when early comes, and gives false when the queue stops.
func (q *Queue) rest(duration time.Duration, early <-chan struct{}) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-q.stop:
		return false
	}
	return true
}

// Stop ends Start and waits for the pass in hand. Calling it twice, or before
// Start, is safe.
func (q *Queue) Stop() {
	q.mu.Lock()
	q.begun = true
	q.mu.Unlock()
	q.stopOnce.Do(func() { close(q.stop) })
	q.running.Wait()
}
