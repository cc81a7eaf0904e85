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
	// queueAgain is the least rest between two passes, however much happens; it
	// lasts as long as the pass before, and queueEvery at most.
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
	loop     *loop
}

// NewQueue makes a Queue.
func NewQueue(sessions *Sessions, options QueueOptions) *Queue {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Queue{sessions: sessions, options: options, wake: make(chan struct{}, 1), loop: newLoop()}
}

// Wake says that there may be room. It never blocks.
func (q *Queue) Wake() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Start looks through the queue at once, at each Wake and now and then. It
// blocks until Stop and the end of the pass in hand. After Stop it returns at
// once; further calls start nothing and only wait.
func (q *Queue) Start() {
	q.loop.run(func() {
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
		var took time.Duration
		for more := true; more; more = q.loop.pause(max(queueAgain, min(took, queueEvery)), nil) && q.loop.pause(jittered(queueEvery), q.wake) {
			begun := time.Now()
			if _, err := q.sessions.PlaceWaiting(context.Background()); err != nil {
				q.options.Logger.Error("place sessions that wait for an agent", "error", err)
			}
			took = time.Since(begun)
		}
	})
}

// Stop ends Start and waits for the pass in hand. Calling it twice, or before
// Start, is safe.
func (q *Queue) Stop() { q.loop.stop() }
