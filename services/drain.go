package services

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
)

const (
	// DefaultDrainEvery is how often drains are looked at, and so how late a
	// deadline may be kept.
	DefaultDrainEvery = 5 * time.Second
	// drainBatch bounds what is read at a time.
	drainBatch = 500
	// drainActor is whom the history names for what a deadline stops.
	drainActor = "drain"
)

// DrainerOptions configure a Drainer. The zero value of a field means its
// default.
type DrainerOptions struct {
	// Every is the time between two looks, give or take a tenth;
	// DefaultDrainEvery.
	Every time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock that deadlines are compared with; time.Now.
	Now func() time.Time
}

// Drainer keeps the deadlines of agents that are being drained: it stops the
// sessions that are left there. All that it goes by is in the database, so it
// goes on after a restart. Several replicas may do it at once: a session is
// stopped once.
type Drainer struct {
	database *db.Database
	sessions *Sessions
	options  DrainerOptions
	loop     *loop
}

// NewDrainer makes a Drainer that stops sessions through sessions.
func NewDrainer(database *db.Database, sessions *Sessions, options DrainerOptions) *Drainer {
	if options.Every <= 0 {
		options.Every = DefaultDrainEvery
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Drainer{database: database, sessions: sessions, options: options, loop: newLoop()}
}

// Start looks at once and then again and again. It blocks until Stop and the
// end of the look in hand. After Stop it returns at once; further calls start
// nothing and only wait.
func (d *Drainer) Start() {
	d.loop.run(func() {
		for more := true; more; more = d.loop.pause(jittered(d.options.Every), nil) {
			d.pass(context.Background())
		}
	})
}

// Stop ends Start and waits for the look in hand, which goes no further than
// the session it is at. Calling it twice, or before Start, is safe.
func (d *Drainer) Stop() { d.loop.stop() }

// pass stops all that is left past its deadline. What could not be stopped is
// tried again by the next pass.
func (d *Drainer) pass(ctx context.Context) {
	for {
		overdue, err := d.database.OverdueSessions(ctx, drainBatch, d.options.Now())
		if err != nil {
			d.options.Logger.Error("look for sessions past a drain's deadline", "error", err)
			return
		}
		failed := 0
		for _, one := range overdue {
			if d.loop.isStopped() {
				return
			}
			if err := d.sessions.stopOverdue(ctx, one); err != nil {
				failed++
				d.options.Logger.Error("stop a session past a drain's deadline", "session", one.SessionID, "agent", one.AgentID, "error", err)
			}
		}
		if len(overdue) < drainBatch || failed > 0 {
			return
		}
	}
}

// stopOverdue is Stop for a session that is left on its agent past the deadline
// of the agent's drain, if it still is when it comes to writing.
func (s *Sessions) stopOverdue(ctx context.Context, overdue db.Overdue) error {
	_, err := s.stop(ctx, db.Stop{SessionID: overdue.SessionID, Actor: drainActor, Draining: overdue.AgentID,
		Reason: fmt.Sprintf("agent %q is being taken out of service, and the time it gave its sessions is over", overdue.AgentID)})
	return err
}
