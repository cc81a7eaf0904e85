package services

import (
	"context"
	"log/slog"
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
	loop     *loop
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
	return &Retention{database: database, options: options, loop: newLoop()}
}

// Start sweeps at once and then again and again. It blocks until Stop and the
// end of the piece in hand. After Stop it returns at once; further calls start
// nothing and only wait.
func (r *Retention) Start() {
	r.loop.run(func() {
		for more := true; more; more = r.loop.pause(jittered(retentionEvery), nil) {
			r.sweep()
		}
	})
}

// Stop ends Start and waits for the piece in hand. Calling it twice, or before
// Start, is safe.
func (r *Retention) Stop() { r.loop.stop() }

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
		if !r.loop.pause(retentionPause, nil) {
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
		if forgotten < placementBatch || !r.loop.pause(retentionPause, nil) {
			return
		}
	}
}
