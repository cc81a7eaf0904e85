package services

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
)

const (
	// DefaultKeepCommands is long enough to look into what happened last week.
	DefaultKeepCommands = 7 * 24 * time.Hour
	// retentionEvery is how often old commands are looked for. At the rate of
	// 10,000 sessions an hour a sweep deletes a few thousand rows.
	retentionEvery = 5 * time.Minute
	// retentionPause is the rest between two pieces of a sweep, so that it takes
	// a small part of the database's time however much there is to delete.
	retentionPause = 100 * time.Millisecond
	// placementBatch bounds the explanations of one piece.
	placementBatch = 500
)

// RetentionOptions configure a Retention. The zero value of a field means its
// default.
type RetentionOptions struct {
	// Keep is for how long commands that have ended, and the explanations of
	// placements, are kept; DefaultKeepCommands.
	Keep time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock that ends are compared with; time.Now.
	Now func() time.Time
}

// Retention deletes commands that ended long ago, and the explanations of
// placements that are as old, in small pieces. Several
// replicas may do it at once.
type Retention struct {
	database *db.Database
	options  RetentionOptions
	stop     chan struct{}
	stopOnce sync.Once
	running  sync.WaitGroup
	mu       sync.Mutex
	begun    bool
}

// NewRetention makes a Retention.
func NewRetention(database *db.Database, options RetentionOptions) *Retention {
	if options.Keep <= 0 {
		options.Keep = DefaultKeepCommands
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Retention{database: database, options: options, stop: make(chan struct{})}
}

// Start sweeps at once and then again and again; it blocks until Stop.
func (r *Retention) Start() {
	r.mu.Lock()
	if r.begun {
		r.mu.Unlock()
		return
	}
	r.begun = true
	r.running.Add(1)
	r.mu.Unlock()
	defer r.running.Done()
	for {
		r.sweep()
		if !r.pause(jittered(retentionEvery)) {
			return
		}
	}
}

// Stop ends Start and waits for the piece in hand. Calling it twice, or before
// Start, is safe.
func (r *Retention) Stop() {
	r.mu.Lock()
	r.begun = true
	r.mu.Unlock()
	r.stopOnce.Do(func() { close(r.stop) })
	r.running.Wait()
}

// sweep deletes everything that is old enough.
func (r *Retention) sweep() {
	before := r.options.Now().Add(-r.options.Keep)
	total, place := 0, int64(0)
	for {
		deleted, next, err := r.database.DeleteFinishedCommands(context.Background(), before, place)
		if err != nil {
			r.options.Logger.Error("delete old commands", "error", err)
			return
		}
		total += deleted
		if place = next; place == 0 {
			break
		}
		if !r.pause(retentionPause) {
			return
		}
	}
	if total > 0 {
		r.options.Logger.Info("old commands were deleted", "commands", total, "endedBefore", before)
	}
	r.forgetPlacements(before)
}

// forgetPlacements removes why sessions that have ended, or were refused, were
// placed as they were.
func (r *Retention) forgetPlacements(before time.Time) {
	for {
		forgotten, err := r.database.ForgetPlacements(context.Background(), before, placementBatch)
		if err != nil {
			r.options.Logger.Error("forget old placements", "error", err)
			return
		}
		if forgotten < placementBatch || !r.pause(retentionPause) {
			return
		}
	}
}

// pause waits, and gives false when the retention stops.
func (r *Retention) pause(duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.stop:
		return false
	}
}
