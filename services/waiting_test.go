package services_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

// ask launches a session for a user.
func (w *world) ask(id string, owner models.User, change ...func(*services.LaunchRequest)) models.Session {
	w.t.Helper()
	request := services.LaunchRequest{ID: id, Template: "desk", Owner: owner}
	for _, one := range change {
		one(&request)
	}
	session, _, err := w.sessions.Launch(w.t.Context(), request)
	if err != nil {
		w.t.Fatal(err)
	}
	return session
}

func (w *world) placeWaiting() int {
	w.t.Helper()
	placed, err := w.sessions.PlaceWaiting(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return placed
}

// waiting gives the sessions that wait, in their order.
func (w *world) waiting() []models.Session {
	w.t.Helper()
	ids, err := w.database.WaitingIDs(w.t.Context(), 0, 0, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	sessions, err := w.database.WaitingSessions(w.t.Context(), ids)
	if err != nil {
		w.t.Fatal(err)
	}
	return sessions
}

func (w *world) user(name string) models.User {
	w.t.Helper()
	user, err := w.database.EnsureUser(w.t.Context(), name, models.RoleUser, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return user
}

// A session that no agent can take now waits with a reason, and is started once
// there is room.
func TestASessionWaitsForRoom(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.start()
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		agent := w.connect("a")
		w.run("runs", agent)
		waits := w.ask("waits", w.owner)
		if waits.State != models.SessionPending || waits.AgentID != "" || waits.WaitUntil == nil ||
			!waits.WaitUntil.Equal(w.clock.Now().Add(services.DefaultWaitFor)) || !strings.Contains(waits.Reason, `"a", is full`) {
			t.Errorf("it is %+v", waits)
		}
		if again := w.ask("waits", w.owner); again.ID != "waits" || again.AgentID != "" {
			t.Errorf("the same request gives %+v", again)
		}
		if _, err := w.sessions.Stop(t.Context(), "runs", "user:ann"); err != nil {
			t.Fatal(err)
		}
		agent.send(wire.TypeComplete, wire.Complete{CommandID: agent.command().CommandID})
		w.awaitSession("runs", models.SessionTerminated)
		if placed := w.placeWaiting(); placed != 1 {
			t.Fatalf("%d were placed", placed)
		}
		start := agent.command()
		if (*start.Payload)["sessionId"] != "waits" || (*start.Payload)["generation"] != 1.0 {
			t.Errorf("the agent is told %+v", start)
		}
		if placed := w.session("waits"); placed.Attempts != 1 || placed.Reason != "" || placed.ReasonCode != "" || placed.Platform != "process" {
			t.Errorf("the placed session is %+v", placed)
		}
	})
}

// What could never run is refused at once.
func TestWaitingThatWouldNotHelp(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	for name, agent := range map[string]models.Agent{
		"region": {ID: "elsewhere", Region: "us"},
		"needs":  {ID: "bare"},
	} {
		w.register(agent)
		w.connect(agent.ID)
		_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: name, Template: "desk", Region: "eu", Owner: w.owner})
		mustCode(t, err, models.CodeNoSuitableAgent)
		if _, err := w.database.Session(t.Context(), name); models.CodeOf(err) != models.CodeSessionUnknown {
			t.Errorf("%s: the session is kept: %v", name, err)
		}
	}
}

// Among users whoever has the least comes first, and among the sessions of one
// the oldest, unless a priority says otherwise.
func TestTheQueueIsFair(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		w.connect("a")
		ann, bob := w.user("ann"), w.user("bob")
		w.ask("runs", ann)
		for i := range 3 {
			w.clock.advance(time.Second)
			w.ask(fmt.Sprintf("ann-%d", i), ann)
		}
		for i := range 2 {
			w.clock.advance(time.Second)
			w.ask(fmt.Sprintf("bob-%d", i), bob)
		}
		w.clock.advance(time.Second)
		w.ask("urgent", ann, func(r *services.LaunchRequest) { r.Priority = 5 })
		waiting := w.waiting()
		var order []string
		for _, session := range waiting {
			order = append(order, session.ID)
			if session.ReasonCode != models.CodeWaitingForAgent || !strings.Contains(session.Reason, "full") {
				t.Errorf("%s waits because %q (%s)", session.ID, session.Reason, session.ReasonCode)
			}
		}
		// Ann has one that runs, and one before hers in the queue.
		if got := strings.Join(order, " "); got != "urgent bob-0 bob-1 ann-0 ann-1 ann-2" {
			t.Errorf("the order is %s", got)
		}
		places, all, err := database.WaitingPlaces(t.Context(), []string{"bob-1", "ann-2", "runs"})
		if err != nil || len(places) != 2 || places["bob-1"] != 3 || places["ann-2"] != 6 || all != 6 {
			t.Errorf("the places are %v of %d, %v", places, all, err)
		}
		if placed := w.placeWaiting(); placed != 0 {
			t.Errorf("%d were placed on a full agent", placed)
		}
		for i, next := range order {
			w.exec(fmt.Sprintf(`UPDATE agents SET capacity = '{"maxSessions": %d}'`, 2+i))
			if placed := w.placeWaiting(); placed != 1 || w.session(next).AgentID != "a" {
				t.Fatalf("%d were placed on room for one, and %s is on %q", placed, next, w.session(next).AgentID)
			}
		}
	})
}

func TestWaitingEndsInTime(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		w.connect("a")
		w.ask("runs", w.owner)
		minute := time.Minute
		w.ask("short", w.owner, func(r *services.LaunchRequest) { r.Wait = &minute })
		w.ask("long", w.owner)
		w.ask("stopped", w.owner)
		if _, err := w.sessions.Stop(t.Context(), "stopped", "user:ann"); err != nil {
			t.Fatal(err)
		}
		if state := w.session("stopped").State; state != models.SessionTerminated {
			t.Errorf("a waiting session that is stopped is %s", state)
		}
		w.clock.advance(59 * time.Second)
		w.placeWaiting()
		if state := w.session("short").State; state != models.SessionPending {
			t.Errorf("before its time it is %s", state)
		}
		w.clock.advance(2 * time.Second)
		w.placeWaiting()
		if session := w.session("short"); session.State != models.SessionFailed || session.ReasonCode != models.CodeWaitTimeout ||
			!session.Retryable || !strings.Contains(session.Reason, "within 1m0s") {
			t.Errorf("after its time it is %+v", session)
		}
		if state := w.session("long").State; state != models.SessionPending {
			t.Errorf("the other one is %s", state)
		}
		// Nobody else ends what waits.
		w.clock.advance(8 * time.Minute)
		w.reconcile().Stop()
		if state := w.session("long").State; state != models.SessionPending {
			t.Errorf("the reconciler made it %s", state)
		}
	})
}

// Many passes at once place each session once, on room that there is.
func TestPassesAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		w.connect("a")
		w.ask("runs", w.owner)
		for i := range 20 {
			w.ask(fmt.Sprint("w", i), w.owner)
		}
		w.register(models.Agent{ID: "b", Capacity: map[string]interface{}{"maxSessions": 12}})
		w.connect("b")
		other := services.NewSessions(database, services.NewAgentSelectorWith(database.DB(), w.hub, services.SelectorOptions{Now: w.clock.Now}),
			w.dispatcher, services.SessionsOptions{Now: w.clock.Now})
		var passes sync.WaitGroup
		for i := range 8 {
			sessions := []*services.Sessions{w.sessions, other}[i%2]
			passes.Go(func() {
				if _, err := sessions.PlaceWaiting(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		passes.Wait()
		w.placeWaiting()
		agents, err := database.Candidates(t.Context(), db.AgentFilter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, agent := range agents {
			if int64(agent.Sessions) != agent.Limit().Sessions {
				t.Errorf("agent %s has %d sessions of %d", agent.ID, agent.Sessions, agent.Limit().Sessions)
			}
		}
		if waiting := w.waiting(); len(waiting) != 8 {
			t.Errorf("%d wait still", len(waiting))
		}
		for i := range 20 {
			if commands := w.sessionCommands(fmt.Sprint("w", i)); len(commands) > 1 {
				t.Errorf("w%d has %d commands", i, len(commands))
			}
		}
	})
}

// A session that has waited for long is not stuck, neither while it waits nor
// once it is placed.
func TestTimeSpentWaitingIsNotTimeSpentStarting(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "a", Capacity: map[string]interface{}{"maxSessions": 1}})
		agent := w.connect("a")
		w.ask("runs", w.owner)
		long := 3 * time.Hour
		w.ask("waits", w.owner, func(r *services.LaunchRequest) { r.Wait = &long })
		w.exec("UPDATE sessions SET state = 'running' WHERE id = 'runs'")
		w.clock.advance(2 * time.Hour)
		stuck, err := database.StuckSessions(t.Context(), models.SessionPending, w.clock.Now(), 10)
		if err != nil || len(stuck) != 0 {
			t.Errorf("%d sessions are stuck, %v", len(stuck), err)
		}
		counts, err := database.CountStuck(t.Context(), map[models.SessionState]time.Time{models.SessionPending: w.clock.Now()})
		if err != nil || counts[models.SessionPending] != 0 {
			t.Errorf("stuck are %v, %v", counts, err)
		}
		w.disconnect(agent)
		w.connect("a")
		w.exec("UPDATE sessions SET state = 'terminated' WHERE id = 'runs'")
		if placed := w.placeWaiting(); placed != 1 {
			t.Fatalf("%d were placed", placed)
		}
		w.reconcile().Stop()
		if session := w.session("waits"); session.State != models.SessionPending || !session.StateSince.Equal(w.clock.Now().UTC().Truncate(time.Microsecond)) {
			t.Errorf("it is %+v", session)
		}
		w.clock.advance(services.DefaultGiveUpAfter) // from now on it counts
		stuck, err = database.StuckSessions(t.Context(), models.SessionPending, w.clock.Now(), 10)
		if err != nil || len(stuck) != 1 {
			t.Errorf("%d sessions are stuck, %v", len(stuck), err)
		}
	})
}
