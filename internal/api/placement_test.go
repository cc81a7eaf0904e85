package api_test

import (
	"net/http"
	"testing"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

func TestPlacementsAreExplained(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.launch("ann", "desk-1")
	var explanation services.Explanation
	w.get(pathSessions+"/desk-1/placement", w.as("ann")).want(http.StatusOK).into(&explanation)
	if explanation.Outcome != "placed" || explanation.AgentID != "laptop" || len(explanation.Agents) != 1 || explanation.Agents[0].Score.Total <= 0 {
		t.Errorf("explained as %+v", explanation)
	}
	w.get(pathSessions+"/desk-1/placement", w.as("root")).want(http.StatusOK)
	w.get(pathSessions+"/desk-1/placement", w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)
	w.get(pathSessions+"/none/placement", w.as("ann")).problem(http.StatusNotFound, models.CodeSessionUnknown)

	// A refused launch is none, and its user may ask about it all the same.
	w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"far","template":"desk","region":"mars"}`)).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent)
	w.get(pathSessions+"/far/placement", w.as("ann")).want(http.StatusOK).into(&explanation)
	if explanation.Outcome != "refused" || explanation.Agents[0].Rejections[0].Code != models.RejectedRegion {
		t.Errorf("explained as %+v", explanation)
	}
	w.get(pathSessions+"/far/placement", w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)
	// Somebody else's launch of that id does not take it over.
	w.post(pathSessions, w.as("bob"), jsonBody(`{"id":"far","template":"desk","region":"moon"}`)).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent)
	w.get(pathSessions+"/far/placement", w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)

	explain := func(body string) *answer { return w.post("/api/v1/placements/explain", w.as("ann"), jsonBody(body)) }
	explain(`{"template":"desk","labels":"disk=ssd"}`).want(http.StatusOK).into(&explanation)
	if explanation.Outcome != "refused" || explanation.Agents[0].Rejections[0].Code != models.RejectedLabels {
		t.Errorf("explained as %+v", explanation)
	}
	explain(`{"template":"desk","preferredRegions":["eu"],"strategy":"bin-pack","spreadOver":"region"}`).want(http.StatusOK).into(&explanation)
	if explanation.Outcome != "placed" || explanation.AgentID != "laptop" {
		t.Errorf("explained as %+v", explanation)
	}
	explain(`{"template":"desk","labels":"disk in ("}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "disk in (")
	explain(`{"template":"desk","strategy":"best"}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "strategy")
	explain(`{"template":"none"}`).problem(http.StatusNotFound, models.CodeTemplateUnknown)
	explain(`{"template":"desk","waitSeconds":-1}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "waitSeconds")
}

func TestAWaitingSessionShowsItsPlace(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	agent.disconnect()
	for _, id := range []string{"one", "two"} {
		w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"`+id+`","template":"desk"}`)).want(http.StatusCreated)
	}
	var session models.Session
	w.get(pathSessions+"/two", w.as("ann")).want(http.StatusOK).into(&session)
	if session.State != models.SessionPending || session.ReasonCode != models.CodeWaitingForAgent || session.WaitUntil == nil ||
		session.Queue == nil || *session.Queue != (models.QueuePlace{Place: 2, Of: 2}) {
		t.Errorf("it is %+v, at %+v", session, session.Queue)
	}
}
