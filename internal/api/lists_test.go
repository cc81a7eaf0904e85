package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

// TestListsArePaged walks every list with every size of part.
func TestListsArePaged(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	const count = 5
	for i := range count {
		w.run("ann", fmt.Sprintf("desk-%d", i))
		key := w.agentKey(fmt.Sprintf("away-%d", i))
		w.post("/api/v1/agents/register", header("X-Agent-API-Key", key), jsonBody(fmt.Sprintf(`{"agentId":"away-%d","platform":"docker"}`, i))).
			want(http.StatusCreated)
	}
	w.delete(pathSessions+"/desk-0", w.as("ann")).want(http.StatusAccepted)
	w.await("desk-0", models.SessionTerminated)
	for path, want := range map[string]int{
		"/api/v1/sessions":                 count,
		"/api/v1/sessions?state=running":   count - 1,
		"/api/v1/sessions/desk-0/events":   4,
		"/api/v1/sessions/desk-0/commands": 2,
		"/api/v1/agents":                   count + 1,
		"/api/v1/agents?platform=docker":   count,
		"/api/v1/templates":                len(templates()),
		"/api/v1/commands":                 count + 1,
		"/api/v1/commands?agentId=laptop":  count + 1,
	} {
		for _, size := range []int{1, 2, 3, want, want + 1, 500} {
			if got := walk(w, path, size); len(got) != want {
				t.Errorf("%s in parts of %d gives %d items, want %d", path, size, len(got), want)
			}
		}
		separator := separator(path)
		for query, words := range map[string]string{
			"limit=0": "limit", "limit=501": "500", "limit=-1": "limit", "limit=many": "limit", "limit=1.5": "limit",
			"cursor=nonsense": "cursor", "cursor=%00": "cursor", "cursor=e30": "cursor",
		} {
			w.get(path+separator+query, w.as("root")).problem(http.StatusBadRequest, models.CodeInvalidRequest, words)
		}
	}
}

// walk follows nextCursor to the end, and gives the items' JSON.
func walk(w *world, path string, size int) []string {
	w.t.Helper()
	var all []string
	seen := map[string]bool{}
	cursor := ""
	for {
		var part api.List[any]
		query := fmt.Sprintf("%slimit=%d", separator(path), size)
		if cursor != "" {
			query += "&cursor=" + cursor
		}
		w.get(path+query, w.as("root")).want(http.StatusOK).into(&part)
		if part.Items == nil || len(part.Items) > size {
			w.t.Fatalf("%s%s gives %d items", path, query, len(part.Items))
		}
		for _, item := range part.Items {
			text := fmt.Sprint(item)
			if seen[text] {
				w.t.Errorf("%s%s gives %s again", path, query, text)
			}
			seen[text] = true
			all = append(all, text)
		}
		if part.NextCursor == "" {
			return all
		}
		if len(part.Items) != size {
			w.t.Errorf("%s%s is not the end and gives %d items", path, query, len(part.Items))
		}
		cursor = part.NextCursor
	}
}

func separator(path string) string {
	for _, c := range path {
		if c == '?' {
			return "&"
		}
	}
	return "?"
}

func TestEmptyListsAreLists(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/api/v1/sessions", "/api/v1/agents", "/api/v1/commands"} {
		answer := w.get(path, w.as("root")).want(http.StatusOK)
		if string(answer.body) != "{\"items\":[],\"nextCursor\":\"\"}\n" {
			t.Errorf("%s answers %s", path, answer.body)
		}
	}
}

// TestTheClientUnderstandsEverything holds our own client to the real API.
func TestTheClientUnderstandsEverything(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	ann, root := w.client("ann"), w.client("root")
	session, err := ann.Launch(t.Context(), client.LaunchRequest{ID: "desk-1", Template: "desk", Name: "Desk", Region: "eu-1", Platform: "process",
		Resources: &client.Resources{CPU: "1", Memory: "1Gi"}})
	must(t, err)
	if session.ID != "desk-1" || session.State != models.SessionPending {
		t.Errorf("launched %+v", session)
	}
	w.await("desk-1", models.SessionRunning)
	if session, err = ann.Session(t.Context(), "desk-1"); err != nil || session.State != models.SessionRunning {
		t.Errorf("shown as %+v (%v)", session, err)
	}
	sessions, err := client.All(t.Context(), func(ctx context.Context, page client.Page) (client.List[client.Session], error) {
		return ann.Sessions(ctx, client.SessionFilter{States: []models.SessionState{models.SessionPending, models.SessionRunning}, Page: page})
	})
	if err != nil || len(sessions) != 1 {
		t.Errorf("the sessions are %+v (%v)", sessions, err)
	}
	agents, err := client.All(t.Context(), ann.Agents)
	if err != nil || len(agents) != 1 || agents[0].ID != "laptop" {
		t.Errorf("the agents are %+v (%v)", agents, err)
	}
	agent, err := ann.Agent(t.Context(), "laptop")
	if err != nil || agent.Sessions != 1 {
		t.Errorf("the agent is %+v (%v)", agent, err)
	}
	all, err := client.All(t.Context(), ann.Templates)
	if err != nil || len(all) != len(templates()) {
		t.Errorf("the templates are %+v (%v)", all, err)
	}
	template, err := ann.Template(t.Context(), "desk")
	if err != nil || !template.Available || template.DisplayName != "Desk" {
		t.Errorf("the template is %+v (%v)", template, err)
	}
	commands, err := root.Commands(t.Context(), client.CommandFilter{SessionID: "desk-1", AgentID: "laptop", Status: models.CommandCompleted})
	if err != nil || len(commands.Items) != 1 {
		t.Fatalf("the commands are %+v (%v)", commands, err)
	}
	command, err := root.Command(t.Context(), commands.Items[0].CommandID)
	if err != nil || command.SessionID != "desk-1" {
		t.Errorf("the command is %+v (%v)", command, err)
	}
	if own, err := ann.SessionCommands(t.Context(), "desk-1", client.Page{}); err != nil || len(own.Items) != 1 {
		t.Errorf("the session's commands are %+v (%v)", own, err)
	}
	if events, err := ann.SessionEvents(t.Context(), "desk-1", client.Page{}); err != nil || len(events.Items) != 2 {
		t.Errorf("the events are %+v (%v)", events, err)
	}
	key, err := root.CreateAgentKey(t.Context(), "new")
	must(t, err)
	if w.secret(key.Key); key.AgentID != "new" {
		t.Errorf("the key is of %q", key.AgentID)
	}
	link, err := ann.LoginLink(t.Context())
	must(t, err)
	w.secret(secretOf(t, link.URL))
	if me, err := ann.Me(t.Context()); err != nil || me.Name != "ann" || me.Role != models.RoleUser {
		t.Errorf("ann is %+v (%v)", me, err)
	}
	if _, err := ann.Commands(t.Context(), client.CommandFilter{}); client.CodeOf(err) != models.CodeForbidden {
		t.Errorf("ann lists commands: %v", err)
	}
	if stopped, err := ann.Stop(t.Context(), "desk-1"); err != nil || stopped.DesiredState != models.DesiredTerminated {
		t.Errorf("stopped %+v (%v)", stopped, err)
	}
}
