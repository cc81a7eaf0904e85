package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

func pathActivity(id string) string { return pathSessions + "/" + id + "/activity" }

// runLimited launches ann's session with an idle timeout, and waits until it
// runs.
func (w *world) runLimited(id string) {
	w.t.Helper()
	w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"`+id+`","template":"desk","idleTimeout":"10m"}`)).want(http.StatusCreated)
	w.await(id, models.SessionRunning)
}

// awaitUse waits until the session was last used at a time.
func (w *world) awaitUse(id string, at time.Time) {
	w.t.Helper()
	w.eventually("its use is written", func() error {
		var session models.Session
		w.get(pathSessions+"/"+id, w.as("ann")).want(http.StatusOK).into(&session)
		if late := session.IdleAt.Sub(at.Add(10 * time.Minute)); late < 0 || late > time.Minute {
			return errNotYet
		}
		return nil
	})
}

func TestActivityIsReported(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.runLimited("desk-1")
	w.run("ann", "desk-2")
	var limited, free models.Session
	w.get(pathSessions+"/desk-1", w.as("ann")).want(http.StatusOK).into(&limited)
	w.get(pathSessions+"/desk-2", w.as("ann")).want(http.StatusOK).into(&free)
	if limited.IdleTimeout != "10m" || limited.OnLimit != models.OnLimitStop || limited.IdleAt == nil || limited.ExpiresAt != nil || free.IdleAt != nil {
		t.Errorf("they are %+v and %+v", limited, free)
	}
	w.advance(5 * time.Minute)
	w.post(pathActivity("desk-1"), w.as("ann")).want(http.StatusNoContent)
	w.awaitUse("desk-1", w.now().Add(-time.Second))
	w.post(pathActivity("desk-2"), w.as("ann")).want(http.StatusNoContent) // which has no limit
	w.get(pathSessions+"/desk-2", w.as("ann")).want(http.StatusOK).into(&free)
	if free.IdleAt != nil {
		t.Errorf("it ends at %v", free.IdleAt)
	}

	w.post(pathActivity("desk-1")).problem(http.StatusUnauthorized, models.CodeUnauthenticated)
	w.post(pathActivity("desk-1"), w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)
	w.post(pathActivity("desk-1"), w.as("root")).problem(http.StatusForbidden, models.CodeForbidden, "only its owner")
	w.post(pathActivity("nothing"), w.as("ann")).problem(http.StatusNotFound, models.CodeSessionUnknown)
	w.launch("ann", "slow-1")
	w.post(pathActivity("slow-1"), w.as("ann")).problem(http.StatusConflict, models.CodeSessionNotRunning, "pending")
}

// A viewer that does not report is use while it is there, one that does is not.
func TestViewersAreUse(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	for _, id := range []string{"quiet-1", "telling-1"} {
		w.runLimited(id)
	}
	quiet := w.view("quiet-1")
	var ticket api.Ticket
	w.post(pathSessions+"/telling-1/tickets", w.as("ann"), jsonBody(`{"reportsInput":true}`)).want(http.StatusCreated).into(&ticket)
	telling, err := w.client("ann").StreamWith(t.Context(), "telling-1", w.secret(ticket.Ticket))
	must(t, err)
	w.echoed(telling, "hello")
	w.echoed(quiet, "hello")
	opened := w.now()

	w.advance(5 * time.Minute)
	w.awaitUse("quiet-1", w.now().Add(-2*time.Second))
	var session models.Session
	w.get(pathSessions+"/telling-1", w.as("ann")).want(http.StatusOK).into(&session)
	if session.IdleAt.After(opened.Add(10*time.Minute + 10*time.Second)) {
		t.Errorf("a page that is left open counts as use until %v", session.IdleAt)
	}
	w.advance(time.Minute)
	must(t, telling.Close())
	w.awaitUse("telling-1", w.now().Add(-2*time.Second)) // when it goes it does
}
