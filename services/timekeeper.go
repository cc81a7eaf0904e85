package services

import (
	"context"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
)

const (
	// DefaultTimekeepEvery is how often time limits are looked at, and so how
	// late one may be kept.
	DefaultTimekeepEvery = 5 * time.Second
	// timekeepBatch bounds the sessions of one transaction.
	timekeepBatch = 500
	// timekeepActor is whom the history names for what a time limit ends.
	timekeepActor = "timekeeper"
)

// TimekeeperOptions configure a Timekeeper. The zero value of a field means its
// default.
type TimekeeperOptions struct {
	// Every is the time between two looks, give or take a tenth;
	// DefaultTimekeepEvery.
	Every time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock that limits are compared with; time.Now.
	Now func() time.Time
}

// Timekeeper keeps the time limits of sessions: it stops or hibernates those
// that ran for as long as they may, or that nobody used for too long. All that
// it goes by is in the database, so it goes on after a restart. Several replicas
// may do it at once: a session is ended once.
type Timekeeper struct {
	database *db.Database
	sessions *Sessions
	options  TimekeeperOptions
	loop     *loop
}

// NewTimekeeper makes a Timekeeper that ends sessions through sessions.
func NewTimekeeper(database *db.Database, sessions *Sessions, options TimekeeperOptions) *Timekeeper {
	if options.Every <= 0 {
		options.Every = DefaultTimekeepEvery
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Timekeeper{database: database, sessions: sessions, options: options, loop: newLoop()}
}

// Start looks at once and then again and again. It blocks until Stop and the
// end of the look in hand. After Stop it returns at once; further calls start
// nothing and only wait.
func (k *Timekeeper) Start() {
	k.loop.run(func() {
		for more := true; more; more = k.loop.pause(jittered(k.options.Every), nil) {
			k.pass(context.Background())
		}
	})
}

// Stop ends Start and waits for the look in hand, which goes no further than
// the transaction it is at. Calling it twice, or before Start, is safe.
func (k *Timekeeper) Stop() { k.loop.stop() }

// pass ends all that is past a limit. What could not be ended is tried again by
// the next pass.
func (k *Timekeeper) pass(ctx context.Context) {
	for more := true; more && !k.loop.isStopped(); {
		past, err := k.database.PastTimeLimits(ctx, timekeepBatch, k.options.Now())
		if err == nil && len(past) > 0 {
			err = k.sessions.endAtTimeLimits(ctx, past, k.options.Now())
		}
		if err != nil {
			k.options.Logger.Error("end sessions at their time limits", "error", err)
			return
		}
		more = len(past) == timekeepBatch
	}
}

// endAtTimeLimits ends those of the sessions that are past a time limit still,
// and has the commands sent.
func (s *Sessions) endAtTimeLimits(ctx context.Context, ids []string, now time.Time) error {
	ended, err := s.database.EndAtTimeLimits(ctx, ids, timekeepActor, s.options.NewCommandID, now.Add(s.options.CommandDeadline), now)
	for _, one := range ended {
		s.dispatcher.expect(one.Command)
		s.options.Logger.Info("session ends at a time limit", "session", one.Session.ID, "agent", one.Session.AgentID,
			"state", one.Session.State, "limit", one.Session.ReasonCode)
	}
	return err
}
