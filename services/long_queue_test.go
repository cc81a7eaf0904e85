package services

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/websocket"
)

// line is a queue of sessions that want region full, whose agent has no room,
// and of a last one that wants region free.
type line struct {
	*Sessions
	t     *testing.T
	owner models.User
}

// newLine makes a line of so many sessions. Its last one is called last, the
// others b and their number.
func newLine(t *testing.T, database *db.Database, count int) *line {
	t.Helper()
	hub := websocket.NewAgentHub(database)
	l := &line{t: t, Sessions: NewSessions(database, NewAgentSelector(database.DB(), hub), NewCommandDispatcher(database, hub),
		SessionsOptions{})}
	now := time.Now()
	var err error
	l.owner, err = database.EnsureUser(t.Context(), "ann", models.RoleUser, now)
	l.must(err)
	for _, agent := range []models.Agent{
		{ID: "full", Region: "full", Capacity: map[string]any{"maxSessions": 1}}, {ID: "free", Region: "free"},
	} {
		agent.Platform = models.PlatformProcess
		_, _, err := database.RegisterAgent(t.Context(), agent, now)
		l.must(err)
		_, err = database.ConnectAgent(t.Context(), agent.ID, now)
		l.must(err)
	}
	var launches []db.Launch
	for i := range count + 1 {
		id, region := fmt.Sprint("b", i), "full"
		if i == count {
			id, region = "last", "free"
		}
		placement, err := json.Marshal(wish{Region: region})
		l.must(err)
		until := now.Add(time.Hour)
		session := models.Session{ID: id, UserID: l.owner.ID, Template: "desk", Protocol: models.ProtocolVNC, Placement: placement,
			RequestHash: id, WaitUntil: &until, Spec: models.Template{Metadata: models.TemplateMetadata{Name: "desk"}}}
		if i == 0 {
			session.ID, session.AgentID, session.WaitUntil = "runs", "full", nil
		}
		launches = append(launches, db.Launch{Session: session, Actor: "user:ann"})
		if len(launches) == placeBatch || i == count {
			written, err := database.LaunchSessions(t.Context(), launches, now.Add(time.Duration(i)*time.Microsecond))
			l.must(err)
			for _, one := range written {
				l.must(one.Err)
			}
			launches = nil
		}
	}
	return l
}

func (l *line) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *line) session(id string) models.Session {
	l.t.Helper()
	session, err := l.database.Session(l.t.Context(), id)
	l.must(err)
	return session
}

// Those whom no agent can take hold up nobody behind them, and each is told why.
func TestALongQueueHoldsUpNobody(t *testing.T) {
	const waiting = 1200
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		l := newLine(t, database, waiting)
		begun := time.Now()
		placed, err := l.PlaceWaiting(t.Context())
		l.must(err)
		t.Logf("a pass through %d waiting sessions took %v", waiting, time.Since(begun))
		if last := l.session("last"); placed != 1 || last.AgentID != "free" {
			t.Errorf("%d were placed, and the last one is on %q", placed, last.AgentID)
		}
		for _, id := range []string{"b1", fmt.Sprint("b", waitingBatch), fmt.Sprint("b", waiting-1)} {
			if session := l.session(id); !session.Waiting() || session.ReasonCode != models.CodeWaitingForAgent || session.Reason == "" {
				t.Errorf("%s is %+v", id, session)
			}
		}
		if count, err := database.CountWaiting(t.Context()); err != nil || count != waiting-1 {
			t.Errorf("%d wait still, %v", count, err)
		}
	})
}

// A queue that is too long for one pass is gone through in several, and its head
// in each.
func TestAPassIsBounded(t *testing.T) {
	const waiting = 1200
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		l := newLine(t, database, waiting)
		l.passBound = waitingBatch + 300 // three passes: to 800, 1,100 and 1,200
		for pass := range 3 {
			if last := l.session("last"); !last.Waiting() {
				t.Errorf("before pass %d the last one is on %q", pass, last.AgentID)
			}
			if pass == 2 {
				_, err := l.Stop(t.Context(), "runs", "user:ann")
				l.must(err)
				_, err = l.database.ForceEnd(t.Context(), db.ForcedEnd{SessionID: "runs", From: models.SessionTerminating, To: models.SessionTerminated}, time.Now())
				l.must(err)
			}
			_, err := l.PlaceWaiting(t.Context())
			l.must(err)
		}
		if first, last := l.session("b1"), l.session("last"); first.AgentID != "full" || last.AgentID != "free" {
			t.Errorf("after three passes the first one is on %q and the last one on %q", first.AgentID, last.AgentID)
		}
		if l.reached != 0 {
			t.Errorf("the next pass begins after %d", l.reached)
		}
	})
}

// Who queues up shares a pass that began later with others.
func TestOnePassForManyWhoQueueUp(t *testing.T) {
	l := newLine(t, dbtest.SQLite(t, db.Options{}), 1)
	begun := l.passes.Load()
	l.must(l.passAfter(t.Context(), begun))
	l.must(l.passAfter(t.Context(), begun))
	if passes := l.passes.Load() - begun; passes != 1 {
		t.Errorf("%d passes were made", passes)
	}
	if last := l.session("last"); last.AgentID != "free" {
		t.Errorf("the session is on %q", last.AgentID)
	}
}
