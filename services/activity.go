package services

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// activityEvery is how often the use of one session is written at most. It
	// is shorter than the shortest idle timeout, so that what waits to be written
	// never comes too late.
	activityEvery = models.MinTimeLimit / 2
	// activityLook is how often there is a look for what is to be written.
	activityLook = time.Second
	// activityBatch bounds the sessions of one transaction.
	activityBatch = 500
	// activitySessions bounds those that are known at one time. The use of further
	// ones is refused until others have been quiet for activityEvery.
	activitySessions = 100_000
)

// ActivityOptions configure an ActivityKeeper. The zero value of a field means
// its default.
type ActivityOptions struct {
	// Look is the time between two looks for what is to be written; a second.
	Look time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written; time.Now.
	Now func() time.Time
}

// ActivityKeeper writes when sessions are used, of each session the first use
// at once, and what follows within 30 s together. Safe for concurrent use.
type ActivityKeeper struct {
	database *db.Database
	options  ActivityOptions
	loop     *loop
	wake     chan struct{}

	mu    sync.Mutex
	known map[string]*activity
}

// activity is the use of one session.
type activity struct {
	// last is the last use, written what the database has of it, and due when
	// the next write may be.
	last, written, due time.Time
	// viewers are those whose presence is use.
	viewers int
}

// NewActivityKeeper makes an ActivityKeeper.
func NewActivityKeeper(database *db.Database, options ActivityOptions) *ActivityKeeper {
	if options.Look <= 0 {
		options.Look = activityLook
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &ActivityKeeper{database: database, options: options, loop: newLoop(), wake: make(chan struct{}, 1), known: map[string]*activity{}}
}

// Used notes that somebody uses the session now. With too many sessions in use
// it gives models.CodeUnavailable.
func (k *ActivityKeeper) Used(sessionID string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err := k.use(sessionID)
	return err
}

// Viewed notes that a viewer has come, and when it goes, which gone says. In
// between the session counts as in use, unless the viewer says itself when
// somebody uses it.
func (k *ActivityKeeper) Viewed(sessionID string, reportsInput bool) (gone func(), err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	seen, err := k.use(sessionID)
	if err != nil {
		return nil, err
	}
	if !reportsInput {
		seen.viewers++
	}
	return func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !reportsInput {
			seen.viewers--
		}
		if _, err := k.use(sessionID); err != nil {
			k.options.Logger.Warn("a viewer's leaving is not noted", "session", sessionID, "error", err)
		}
	}, nil
}

// use notes a use under the lock, and has it written now if it may be.
func (k *ActivityKeeper) use(sessionID string) (*activity, error) {
	seen := k.known[sessionID]
	if seen == nil {
		if len(k.known) >= activitySessions {
			return nil, &models.Error{Code: models.CodeUnavailable, Retryable: true, Message: "more sessions are in use than can be kept account of; try again shortly"}
		}
		seen = &activity{}
		k.known[sessionID] = seen
	}
	seen.last = k.options.Now()
	if !seen.due.After(seen.last) {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
	return seen, nil
}

// Start writes until Stop, and then what is left. It blocks until that is done.
// After Stop it returns at once; further calls start nothing and only wait.
func (k *ActivityKeeper) Start() {
	k.loop.run(func() {
		for more := true; more; more = k.loop.pause(jittered(k.options.Look), k.wake) {
			k.write(false)
		}
		k.write(true)
	})
}

// Stop has what is left written. Calling it twice, or before Start, is safe.
func (k *ActivityKeeper) Stop() { k.loop.stop() }

// write writes what is due, or everything. What could not be written is tried
// again by the next look.
func (k *ActivityKeeper) write(everything bool) {
	for {
		batch := k.take(everything)
		if len(batch) == 0 {
			return
		}
		if err := k.database.NoteActivity(context.Background(), batch, k.options.Now()); err != nil {
			k.options.Logger.Error("note the use of sessions", "sessions", len(batch), "error", err)
			return
		}
		k.mu.Lock()
		for _, one := range batch {
			if seen := k.known[one.SessionID]; seen != nil {
				seen.written, seen.due = one.At, one.At.Add(activityEvery)
			}
		}
		k.mu.Unlock()
	}
}

// take gives some of what is to be written, and forgets what is written and
// quiet.
func (k *ActivityKeeper) take(everything bool) []db.Activity {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.options.Now()
	var batch []db.Activity
	for id, seen := range k.known {
		due := everything || !seen.due.After(now)
		if seen.viewers > 0 && due && !everything && seen.last.Before(now) {
			seen.last = now
		}
		switch {
		case !due || len(batch) == activityBatch:
		case seen.last.After(seen.written):
			batch = append(batch, db.Activity{SessionID: id, At: seen.last})
		case seen.viewers == 0:
			delete(k.known, id)
		}
	}
	return batch
}
