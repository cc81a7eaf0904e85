package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

func TestAgentsAreTakenOutOfService(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	const path = "/api/v1/agents/laptop"
	post := func(change string, parts ...part) (agent models.Agent) {
		t.Helper()
		w.post(path+change, append(parts, w.as("root"))...).want(http.StatusOK).into(&agent)
		var shown models.Agent
		w.get(path, w.as("ann")).want(http.StatusOK).into(&shown)
		if shown.Status != agent.Status || shown.Cordoned != agent.Cordoned || shown.DrainedBy != agent.DrainedBy || shown.Sessions != 1 {
			t.Errorf("%s answers %+v, shown is %+v", change, agent, shown)
		}
		return agent
	}
	for range 2 {
		if agent := post("/cordon"); agent.Status != models.AgentOnline || !agent.Cordoned {
			t.Errorf("cordoned it is %+v", agent)
		}
	}
	var template api.TemplateView
	w.get("/api/v1/templates/desk", w.as("ann")).want(http.StatusOK).into(&template)
	if template.Available || !strings.Contains(template.Reason, "streamspace agents uncordon AGENT") {
		t.Errorf("without an agent that takes sessions the template is %+v", template)
	}
	if exposed := string(w.get("/metrics").want(http.StatusOK).body); !strings.Contains(exposed, "\nstreamspace_agents_cordoned 1\n") {
		t.Errorf("the metrics are %s", exposed)
	}
	for range 2 {
		if agent := post("/uncordon"); agent.Status != models.AgentOnline || agent.Cordoned {
			t.Errorf("uncordoned it is %+v", agent)
		}
	}

	before := w.now()
	agent := post("/drain", jsonBody(`{"deadlineSeconds":600}`))
	if agent.Status != models.AgentDraining || agent.DrainedBy != "user:root" || agent.DrainDeadline == nil ||
		agent.DrainDeadline.Sub(before).Round(time.Minute) != 10*time.Minute {
		t.Errorf("drained it is %+v", agent)
	}
	for _, parts := range [][]part{{jsonBody(`{}`)}, nil} {
		if agent := post("/drain", parts...); agent.Status != models.AgentDraining || agent.DrainDeadline != nil {
			t.Errorf("drained for ever it is %+v", agent)
		}
	}
	if agent := post("/drain", jsonBody(`{"deadlineSeconds":0}`)); agent.DrainDeadline == nil || agent.DrainDeadline.After(w.now()) {
		t.Errorf("drained now it is %+v", agent)
	}
	for body, words := range map[string]string{
		`{"deadlineSeconds":-1}`: "deadlineSeconds", `{"deadlineSeconds":2592001}`: "deadlineSeconds",
		`{"deadlineSeconds":1e30}`: "deadlineSeconds", `{"deadlineSeconds":1.5}`: "deadlineSeconds",
		`{"deadlineSeconds":"1h"}`: "deadlineSeconds", `{"deadline":5}`: "deadline", `{`: "not valid JSON",
	} {
		w.post(path+"/drain", w.as("root"), jsonBody(body)).problem(http.StatusBadRequest, models.CodeInvalidRequest, words)
	}
	if agent := post("/uncordon"); agent.Status != models.AgentOnline || agent.DrainDeadline != nil || agent.DrainedBy != "" {
		t.Errorf("uncordoned it is %+v", agent)
	}
	for _, change := range []string{"/cordon", "/uncordon", "/drain"} {
		w.post("/api/v1/agents/nobody"+change, w.as("root")).problem(http.StatusNotFound, models.CodeAgentUnknown, "nobody", "agents list")
		w.post("/api/v1/agents/-x"+change, w.as("root")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "an agent id")
	}
}

// The typed client speaks of the same as the API.
func TestTheClientTakesAgentsOutOfService(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	root := w.client("root")
	seconds := int64(60)
	agent, err := root.DrainAgent(t.Context(), "laptop", client.DrainRequest{DeadlineSeconds: &seconds})
	must(t, err)
	if agent.Status != models.AgentDraining || agent.DrainDeadline == nil {
		t.Errorf("drained it is %+v", agent)
	}
	if agent, err = root.CordonAgent(t.Context(), "laptop"); err != nil || !agent.Cordoned {
		t.Errorf("cordoned it is %+v, %v", agent, err)
	}
	if agent, err = root.UncordonAgent(t.Context(), "laptop"); err != nil || agent.Cordoned || agent.Status != models.AgentOnline {
		t.Errorf("uncordoned it is %+v, %v", agent, err)
	}
}
