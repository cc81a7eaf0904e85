package services

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

const (
	// DefaultDrainEvery is how often drains are looked at, and so how late a
	// deadline may be kept.
	DefaultDrainEvery = 5 * time.Second
	// DefaultMoveFor is for how long an agent is looked for that can take a
	// session which a drain has hibernated.
	DefaultMoveFor = 10 * time.Minute
	// drainSoon is when drains are looked at again while something hibernates that
	// is to be moved then.
	drainSoon = time.Second
	// drainBatch bounds what is read at a time.
	drainBatch = 500
	// drainActor is whom the history names for what drains do.
	drainActor = "drain"
)

// DrainerOptions configure a Drainer. The zero value of a field means its
// default.
type DrainerOptions struct {
	// Every is the time between two looks, give or take a tenth;
	// DefaultDrainEvery.
	Every time.Duration
	// MoveFor is for how long an agent is looked for that has the home of a
	// session and can take it; DefaultMoveFor. After that the session hibernates
	// until somebody wakes it.
	MoveFor time.Duration
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock that deadlines are compared with; time.Now.
	Now func() time.Time
}

// Drainer keeps the deadlines of agents that are being drained: of the sessions
// that are left there it has those hibernate that keep a home, and wakes them on
// another agent that has it, and stops the others. All that it goes by is in the
// database, so it goes on after a restart. Several replicas may do it at once: a
// session is stopped, hibernated and woken once.
type Drainer struct {
	database *db.Database
	sessions *Sessions
	options  DrainerOptions
	loop     *loop
}

// NewDrainer makes a Drainer that acts through sessions.
func NewDrainer(database *db.Database, sessions *Sessions, options DrainerOptions) *Drainer {
	if options.Every <= 0 {
		options.Every = DefaultDrainEvery
	}
	if options.MoveFor <= 0 {
		options.MoveFor = DefaultMoveFor
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
		for more := true; more; {
			d.empty(context.Background())
			wait := d.options.Every
			if d.move(context.Background()) {
				wait = min(wait, drainSoon)
			}
			more = d.loop.pause(jittered(wait), nil)
		}
	})
}

// Stop ends Start and waits for the look in hand, which goes no further than
// the session it is at. Calling it twice, or before Start, is safe.
func (d *Drainer) Stop() { d.loop.stop() }

// departure is how a session leaves an agent that drains.
type departure int

const (
	// remain: it starts or wakes, and can hibernate once it runs.
	remain departure = iota
	hibernate
	stop
)

// departs decides how a session leaves that is left past a drain's deadline.
func departs(overdue db.Overdue) departure {
	switch {
	case !overdue.KeepsHome:
		return stop
	case overdue.State == models.SessionRunning:
		return hibernate
	}
	return remain
}

// empty has all leave that is left past its deadline. What could not be made to
// is tried again by the next pass.
func (d *Drainer) empty(ctx context.Context) {
	var last db.Overdue
	for more := true; more; {
		now := d.options.Now()
		overdue, err := d.database.OverdueSessions(ctx, last, drainBatch, now)
		if err != nil {
			d.options.Logger.Error("look for sessions past a drain's deadline", "error", err)
			return
		}
		for _, last = range overdue {
			if d.loop.isStopped() {
				return
			}
			if err := d.sessions.depart(ctx, last, now.Add(d.options.MoveFor)); err != nil {
				d.options.Logger.Error("end a session past a drain's deadline", "session", last.SessionID, "agent", last.AgentID, "error", err)
			}
		}
		more = len(overdue) == drainBatch
	}
}

// move wakes what has hibernated for a drain where somebody has its home and
// room. soon tells that something is about to hibernate.
func (d *Drainer) move(ctx context.Context) (soon bool) {
	var last db.Moving
	for more := true; more; {
		moving, err := d.database.MovingSessions(ctx, last, drainBatch, d.options.Now())
		if err != nil {
			d.options.Logger.Error("look for sessions that drains move", "error", err)
			return soon
		}
		for _, last = range moving {
			if d.loop.isStopped() {
				return false
			}
			if last.State == models.SessionHibernating {
				soon = true
				continue
			}
			reason := fmt.Sprintf("it had to hibernate when agent %q was taken out of service", last.AgentID)
			if last.Removed {
				reason = "its agent was removed, and others have its home"
			}
			_, err := d.sessions.Wake(ctx, WakeRequest{SessionID: last.SessionID, Actor: drainActor, moves: true, reason: reason})
			switch models.CodeOf(err) {
			case "", models.CodeNoSuitableAgent, models.CodeSessionNotRunning, models.CodeTransitionIllegal: // later, or somebody else has changed it
			default:
				d.options.Logger.Error("move a session away from an agent that drains", "session", last.SessionID, "agent", last.AgentID, "error", err)
			}
		}
		more = len(moving) == drainBatch
	}
	return soon
}

// depart ends a session that is left on its agent past the deadline of the
// agent's drain, if it still is when it comes to writing. One that keeps a home
// hibernates, and is to be moved until a time if others have that home.
func (s *Sessions) depart(ctx context.Context, overdue db.Overdue, moveUntil time.Time) error {
	reason := fmt.Sprintf("agent %q is being taken out of service, and the time it gave its sessions is over", overdue.AgentID)
	switch departs(overdue) {
	case stop:
		_, err := s.stop(ctx, db.Stop{SessionID: overdue.SessionID, Actor: drainActor, Draining: overdue.AgentID, Reason: reason})
		return err
	case hibernate:
		_, err := s.hibernate(ctx, db.Hibernation{SessionID: overdue.SessionID, Actor: drainActor, Draining: overdue.AgentID, Reason: reason,
			MoveUntil: moveUntil})
		if models.CodeOf(err) != models.CodeSessionNotRunning { // it is looked at again
			return err
		}
	}
	return nil
}
