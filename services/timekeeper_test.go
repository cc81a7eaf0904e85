package services_test

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// looking is the test's clock for something that reads it at each look.
type looking struct {
	w     *world
	reads atomic.Int64
}

func (l *looking) Now() time.Time {
	l.reads.Add(1)
	return l.w.clock.Now()
}

// look returns when there was one more look, from beginning to end.
func (l *looking) look() {
	l.w.t.Helper()
	from := l.reads.Load()
	// The one that is under way, a whole one, and the beginning of the next; one
	// that finds something reads the clock twice.
	l.w.await("there was a look", func() bool { return l.reads.Load() >= from+6 })
}

// keeping runs something until the test ends.
func (w *world) keeping(start, stop func()) {
	var running sync.WaitGroup
	running.Go(start)
	w.t.Cleanup(func() { stop(); running.Wait() })
}

// timekeeper starts a Timekeeper that looks all the time.
func (w *world) timekeeper() *looking {
	l := &looking{w: w}
	keeper := services.NewTimekeeper(w.database, w.sessions, services.TimekeeperOptions{Every: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: l.Now})
	w.keeping(keeper.Start, keeper.Stop)
	return l
}

// activityKeeper starts an ActivityKeeper that looks all the time.
func (w *world) activityKeeper() (*services.ActivityKeeper, *looking) {
	l := &looking{w: w}
	keeper := services.NewActivityKeeper(w.database, services.ActivityOptions{Look: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Now: l.Now})
	w.keeping(keeper.Start, keeper.Stop)
	return keeper, l
}

// limitedTemplate saves a template whose sessions go unused for 10 minutes and
// run for an hour.
func (w *world) limitedTemplate(onLimit models.OnLimit) {
	w.t.Helper()
	w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{DisplayName: "Desk",
		VNC: models.VNC{Enabled: true}, PersistentHome: true, IdleTimeout: "10m", MaxDuration: "1h", OnLimit: onLimit}})
}

// awaitIdleAt waits until the session is unused at a time from the test's clock.
func (w *world) awaitIdleAt(id string, in time.Duration) {
	w.t.Helper()
	want := w.clock.Now().Add(in)
	w.await("the use of "+id+" is written", func() bool {
		session := w.session(id)
		return session.IdleAt != nil && session.IdleAt.Equal(want)
	})
}

func TestWhatNobodyUsesIsEnded(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.limitedTemplate(models.OnLimitStop)
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("s", agent)
		keeper := w.timekeeper()
		activity, _ := w.activityKeeper()
		w.saveTemplate(models.Template{Metadata: models.TemplateMetadata{Name: "desk"}}) // too late for this session

		w.clock.advance(10*time.Minute - time.Second)
		keeper.look()
		if err := activity.Used("s"); err != nil { // just in time
			t.Fatal(err)
		}
		w.awaitIdleAt("s", 10*time.Minute)
		w.clock.advance(10*time.Minute - time.Second)
		keeper.look()
		if session := w.session("s"); session.State != models.SessionRunning {
			t.Fatalf("it was used, and is %s", session.State)
		}
		w.clock.advance(time.Second)
		stop := agent.command()
		if stop.Action != models.ActionStopSession {
			t.Fatalf("the agent is told %+v", stop)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: stop.CommandID})
		session := w.awaitSession("s", models.SessionTerminated)
		if session.ReasonCode != models.CodeIdleTimeout || session.Reason != "nobody used it for 10m" {
			t.Errorf("in the end it is %+v", session)
		}
	})
}

// Several replicas keep a limit once, and the session is hibernated where its
// template says so.
func TestWhatRanForLongEnoughIsHibernatedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.limitedTemplate(models.OnLimitHibernate)
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("s", agent)
		first, second := w.timekeeper(), w.timekeeper()
		activity, _ := w.activityKeeper()
		gone, err := activity.Viewed("s", false) // nobody is thrown out for being idle then
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			w.awaitIdleAt("s", 10*time.Minute)
			w.clock.advance(9*time.Minute + 50*time.Second)
			if session := w.session("s"); session.State != models.SessionRunning {
				t.Fatalf("somebody views it, and it is %s: %s", session.State, session.Reason)
			}
		}
		w.clock.advance(time.Minute)
		hibernate := agent.command()
		if hibernate.Action != models.ActionHibernateSession {
			t.Fatalf("the agent is told %+v", hibernate)
		}
		first.look()
		second.look()
		agent.send(wire.TypeComplete, wire.Complete{CommandID: hibernate.CommandID})
		if session := w.awaitSession("s", models.SessionHibernated); session.ReasonCode != models.CodeMaxDuration || session.Generation != 2 {
			t.Errorf("in the end it is %+v", session)
		}
		if commands := w.sessionCommands("s"); len(commands) != 2 {
			t.Errorf("the session's commands are %+v", commands)
		}
		gone()
	})
}

// A launch shortens the limits of its template, and what it asks for is part of
// the request that its id stands for.
func TestALaunchHasItsOwnTimeLimits(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.limitedTemplate("")
	w.register(models.Agent{ID: "a"})
	w.negotiate("a")
	request := services.LaunchRequest{ID: "s", Template: "desk", Owner: w.owner, IdleTimeout: "5m"}
	session, _, err := w.sessions.Launch(t.Context(), request)
	if err != nil || session.TimeLimits != (models.TimeLimits{IdleTimeout: "5m", MaxDuration: "1h", OnLimit: models.OnLimitStop}) {
		t.Fatalf("launched %+v, %v", session.TimeLimits, err)
	}
	start := w.sessionCommands("s")[0]
	manifest := (*start.Payload)["templateManifest"].(map[string]any)["spec"].(map[string]any)
	if manifest["idleTimeout"] != "5m" || manifest["maxDuration"] != "1h" {
		t.Errorf("the agent is told %v", manifest)
	}
	if _, existed, err := w.sessions.Launch(t.Context(), request); err != nil || !existed {
		t.Errorf("a repeat gives %v, %v", existed, err)
	}
	request.IdleTimeout = "6m"
	_, _, err = w.sessions.Launch(t.Context(), request)
	mustCode(t, err, models.CodeSessionConflict)
	_, _, err = w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner, IdleTimeout: "11m"})
	mustCode(t, err, models.CodeInvalidRequest)
	_, err = w.sessions.ExplainLaunch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner, MaxDuration: "59s"})
	mustCode(t, err, models.CodeInvalidRequest)
}

// The use of a session is written at once, and then at most every 30 seconds, the
// last use of which there was one included.
func TestUseIsWrittenNowAndThen(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.limitedTemplate("")
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		w.run("s", agent)
		activity, looking := w.activityKeeper()
		use := func() {
			t.Helper()
			if err := activity.Used("s"); err != nil {
				t.Fatal(err)
			}
		}
		w.clock.advance(time.Minute)
		use()
		w.awaitIdleAt("s", 10*time.Minute)
		written := w.session("s").UpdatedAt
		for range 29 {
			w.clock.advance(time.Second)
			use()
		}
		looking.look()
		if session := w.session("s"); !session.UpdatedAt.Equal(written) {
			t.Errorf("it was written again after %v", session.UpdatedAt.Sub(written))
		}
		w.clock.advance(time.Second)
		w.awaitIdleAt("s", 10*time.Minute-time.Second)

		// What is left when the control plane stops is written.
		w.clock.advance(time.Second)
		use()
		activity.Stop()
		w.awaitIdleAt("s", 10*time.Minute)
	})
}
