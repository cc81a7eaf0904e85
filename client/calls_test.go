package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

// call is one method of the client and the request that it must make.
type call struct {
	name string
	make func(context.Context, *client.Client) (any, error)
	// request is the method and the address, escaped.
	request string
	body    string
	// repeatable tells whether the client may make it again by itself.
	repeatable bool
	status     int
	answer     any
}

func calls() []call {
	session := client.Session{ID: "desk", State: models.SessionRunning, Generation: 1}
	page := client.Page{Cursor: "after this", Limit: 7}
	return []call{
		{"launch with an id", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Launch(ctx, client.LaunchRequest{ID: "desk", Template: "desktop", Name: "Büro", Region: "eu", ClusterID: "c", Platform: "process",
				Resources: &client.Resources{CPU: "1", Memory: "1Gi"}})
		}, "POST /api/v1/sessions", `{"id":"desk","template":"desktop","name":"Büro","region":"eu","clusterId":"c","platform":"process","resources":{"cpu":"1","memory":"1Gi"}}`,
			true, http.StatusCreated, session},
		{"launch without an id", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Launch(ctx, client.LaunchRequest{Template: "desktop"})
		}, "POST /api/v1/sessions", `{"template":"desktop"}`, false, http.StatusCreated, session},
		{"explain session", func(ctx context.Context, c *client.Client) (any, error) { return c.ExplainSession(ctx, "desk") },
			"GET /api/v1/sessions/desk/placement", "", true, http.StatusOK, client.Explanation{SessionID: "desk", Outcome: "placed", AgentID: "a",
				Agents: []client.Verdict{{AgentID: "a", Score: &client.Score{Total: 1, Parts: map[string]float64{"load": 1}}}}}},
		{"explain launch", func(ctx context.Context, c *client.Client) (any, error) {
			return c.ExplainLaunch(ctx, client.LaunchRequest{Template: "desktop", Labels: "gpu", SpreadOver: "region"})
		}, "POST /api/v1/placements/explain", `{"template":"desktop","labels":"gpu","spreadOver":"region"}`, true, http.StatusOK,
			client.Explanation{Outcome: "refused", Agents: []client.Verdict{{AgentID: "a", Rejections: []models.Rejection{{Code: models.RejectedLabels, Detail: "no"}}}}}},
		{"session", func(ctx context.Context, c *client.Client) (any, error) { return c.Session(ctx, "desk") },
			"GET /api/v1/sessions/desk", "", true, http.StatusOK, session},
		{"sessions", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Sessions(ctx, client.SessionFilter{States: []models.SessionState{models.SessionPending, models.SessionRunning}, Page: page})
		}, "GET /api/v1/sessions?cursor=after+this&limit=7&state=pending%2Crunning", "", true, http.StatusOK,
			client.List[client.Session]{Items: []client.Session{session}, NextCursor: "more"}},
		{"all sessions", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Sessions(ctx, client.SessionFilter{})
		},
			"GET /api/v1/sessions", "", true, http.StatusOK, client.List[client.Session]{Items: []client.Session{}}},
		{"stop", func(ctx context.Context, c *client.Client) (any, error) { return c.Stop(ctx, "desk") },
			"DELETE /api/v1/sessions/desk", "", true, http.StatusAccepted, session},
		{"hibernate", func(ctx context.Context, c *client.Client) (any, error) { return c.Hibernate(ctx, "desk") },
			"POST /api/v1/sessions/desk/hibernate", "", true, http.StatusAccepted, session},
		{"wake", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Wake(ctx, "desk", client.WakeRequest{Elsewhere: true})
		}, "POST /api/v1/sessions/desk/wake", `{"elsewhere":true}`, true, http.StatusAccepted, session},
		{"session commands", func(ctx context.Context, c *client.Client) (any, error) { return c.SessionCommands(ctx, "desk", page) },
			"GET /api/v1/sessions/desk/commands?cursor=after+this&limit=7", "", true, http.StatusOK,
			client.List[client.Command]{Items: []client.Command{{CommandID: "c1"}}}},
		{"session events", func(ctx context.Context, c *client.Client) (any, error) { return c.SessionEvents(ctx, "desk", page) },
			"GET /api/v1/sessions/desk/events?cursor=after+this&limit=7", "", true, http.StatusOK,
			client.List[client.Event]{Items: []client.Event{{ID: 3}}}},
		{"ticket", func(ctx context.Context, c *client.Client) (any, error) { return c.Ticket(ctx, "desk") },
			"POST /api/v1/sessions/desk/tickets", "", true, http.StatusCreated, client.Ticket{Ticket: "sst_x"}},
		{"agents", func(ctx context.Context, c *client.Client) (any, error) { return c.Agents(ctx, page) },
			"GET /api/v1/agents?cursor=after+this&limit=7", "", true, http.StatusOK,
			client.List[client.Agent]{Items: []client.Agent{{ID: "laptop"}}}},
		{"agent", func(ctx context.Context, c *client.Client) (any, error) { return c.Agent(ctx, "laptop") },
			"GET /api/v1/agents/laptop", "", true, http.StatusOK, client.Agent{ID: "laptop"}},
		{"agent key", func(ctx context.Context, c *client.Client) (any, error) { return c.CreateAgentKey(ctx, "laptop") },
			"POST /api/v1/agents/laptop/keys", "", false, http.StatusCreated, client.AgentKey{AgentID: "laptop", Key: "ssa_x"}},
		{"remove agent", func(ctx context.Context, c *client.Client) (any, error) { return c.RemoveAgent(ctx, "laptop", false) },
			"DELETE /api/v1/agents/laptop", "", false, http.StatusOK, client.Removed{AgentID: "laptop", Sessions: []client.Session{}}},
		{"remove agent all the same", func(ctx context.Context, c *client.Client) (any, error) { return c.RemoveAgent(ctx, "laptop", true) },
			"DELETE /api/v1/agents/laptop?force=true", "", false, http.StatusOK, client.Removed{AgentID: "laptop", Sessions: []client.Session{session}}},
		{"cordon agent", func(ctx context.Context, c *client.Client) (any, error) { return c.CordonAgent(ctx, "laptop") },
			"POST /api/v1/agents/laptop/cordon", "", true, http.StatusOK, client.Agent{ID: "laptop", Cordoned: true}},
		{"uncordon agent", func(ctx context.Context, c *client.Client) (any, error) { return c.UncordonAgent(ctx, "laptop") },
			"POST /api/v1/agents/laptop/uncordon", "", true, http.StatusOK, client.Agent{ID: "laptop"}},
		{"drain agent", func(ctx context.Context, c *client.Client) (any, error) {
			return c.DrainAgent(ctx, "laptop", client.DrainRequest{})
		}, "POST /api/v1/agents/laptop/drain", "{}", true, http.StatusOK, client.Agent{ID: "laptop", Status: models.AgentDraining}},
		{"drain agent at once", func(ctx context.Context, c *client.Client) (any, error) {
			return c.DrainAgent(ctx, "laptop", client.DrainRequest{DeadlineSeconds: new(int64)})
		}, "POST /api/v1/agents/laptop/drain", `{"deadlineSeconds":0}`, true, http.StatusOK,
			client.Agent{ID: "laptop", Status: models.AgentDraining}},
		{"templates", func(ctx context.Context, c *client.Client) (any, error) { return c.Templates(ctx, page) },
			"GET /api/v1/templates?cursor=after+this&limit=7", "", true, http.StatusOK,
			client.List[client.Template]{Items: []client.Template{{Name: "desktop", Missing: []models.Need{{Command: "Xvnc"}}}}}},
		{"template", func(ctx context.Context, c *client.Client) (any, error) { return c.Template(ctx, "desktop") },
			"GET /api/v1/templates/desktop", "", true, http.StatusOK, client.Template{Name: "desktop", Available: true}},
		{"template manifest", func(ctx context.Context, c *client.Client) (any, error) { return c.TemplateManifest(ctx, "desktop") },
			"GET /api/v1/templates/desktop/manifest", "", true, http.StatusOK, models.Template{Metadata: models.TemplateMetadata{Name: "desktop"}}},
		{"apply template", func(ctx context.Context, c *client.Client) (any, error) {
			return c.ApplyTemplate(ctx, models.Template{Kind: "Template", Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{DisplayName: "Desk"}})
		}, "PUT /api/v1/templates/desk", `{"kind":"Template","metadata":{"name":"desk"},"spec":{"displayName":"Desk","defaultResources":{},"vnc":{"enabled":false}}}`,
			true, http.StatusOK, client.Template{Name: "desk", Source: models.SourceApplied, AppliedBy: "ann"}},
		{"delete template", func(ctx context.Context, c *client.Client) (any, error) { return c.DeleteTemplate(ctx, "desk") },
			"DELETE /api/v1/templates/desk", "", false, http.StatusOK, client.DeletedTemplate{Name: "desk", Uncovered: models.SourceFile}},
		{"commands", func(ctx context.Context, c *client.Client) (any, error) {
			return c.Commands(ctx, client.CommandFilter{AgentID: "laptop", SessionID: "desk", Status: models.CommandSent, Page: page})
		}, "GET /api/v1/commands?agentId=laptop&cursor=after+this&limit=7&sessionId=desk&status=sent", "", true, http.StatusOK,
			client.List[client.Command]{Items: []client.Command{{CommandID: "c1"}}}},
		{"command", func(ctx context.Context, c *client.Client) (any, error) { return c.Command(ctx, "c1") },
			"GET /api/v1/commands/c1", "", true, http.StatusOK, client.Command{CommandID: "c1"}},
		{"reconciler", func(ctx context.Context, c *client.Client) (any, error) { return c.Reconciler(ctx) },
			"GET /api/v1/reconciler", "", true, http.StatusOK, client.ReconcilerStatus{Holder: "one", Here: true, Stuck: map[string]int{"pending": 2}}},
		{"login link", func(ctx context.Context, c *client.Client) (any, error) { return c.LoginLink(ctx) },
			"POST /api/v1/login-links", "", false, http.StatusCreated, client.LoginLink{URL: "http://x/login?token=y"}},
		{"me", func(ctx context.Context, c *client.Client) (any, error) { return c.Me(ctx) },
			"GET /api/v1/me", "", true, http.StatusOK, client.Me{ID: "1", Name: "ann", Role: models.RoleUser}},
	}
}

func TestCallsMakeTheirRequests(t *testing.T) {
	for _, call := range calls() {
		t.Run(call.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if request := r.Method + " " + r.URL.RequestURI(); request != call.request {
					t.Errorf("requested %s, want %s", request, call.request)
				}
				body, err := io.ReadAll(r.Body)
				if err != nil || string(body) != call.body {
					t.Errorf("the body is %s (%v), want %s", body, err, call.body)
				}
				if sent := r.Header.Get("Content-Type"); (sent == "application/json") != (call.body != "") {
					t.Errorf("the content type is %q", sent)
				}
				if r.Header.Get("Authorization") != "Bearer ssp_test" || r.Header.Get("User-Agent") != "streamspace-client" {
					t.Errorf("the headers are %v", r.Header)
				}
				writeJSON(w, call.status, call.answer)
			})
			answer, err := call.make(t.Context(), c)
			must(t, err)
			if !reflect.DeepEqual(answer, call.answer) {
				t.Errorf("answered %+v, want %+v", answer, call.answer)
			}
		})
	}
}

func TestEveryCallIsTested(t *testing.T) {
	tested := map[string]bool{"Stream": true, "StreamWith": true, "Watch": true}
	for _, call := range calls() {
		tested[strings.ToLower(strings.ReplaceAll(call.name, " ", ""))] = true
	}
	of := reflect.TypeFor[*client.Client]()
	for i := range of.NumMethod() {
		name := of.Method(i).Name
		if !tested[name] && !tested[strings.ToLower(name)] && !tested[strings.ToLower(strings.TrimPrefix(name, "Create"))] &&
			name != "Launch" {
			t.Errorf("no test makes %s", name)
		}
	}
}

func TestIDsAreEscaped(t *testing.T) {
	for id, path := range map[string]string{
		"a/b": "a%2Fb", "a b": "a%20b", "a?b#c": "a%3Fb%23c", "50%": "50%25", "%2e%2e": "%252e%252e", "ä": "%C3%A4", "...": "...",
	} {
		var got string
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.RequestURI
			writeJSON(w, http.StatusOK, client.Session{})
		})
		_, err := c.Session(t.Context(), id)
		must(t, err)
		if want := "/api/v1/sessions/" + path; got != want {
			t.Errorf("id %q is requested as %s, want %s", id, got, want)
		}
	}
	c := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was made") })
	for _, id := range []string{"", ".", ".."} {
		if _, err := c.Session(t.Context(), id); err == nil {
			t.Errorf("%q went as an id", id)
		}
		if _, err := c.StreamWith(t.Context(), id, "sst_x"); err == nil {
			t.Errorf("%q went as an id", id)
		}
	}
}

func TestAddresses(t *testing.T) {
	var got string
	address := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.RequestURI
		writeJSON(w, http.StatusOK, client.Me{})
	})
	for suffix, want := range map[string]string{"": "/api/v1/me", "/": "/api/v1/me", "//": "/api/v1/me", "/below/here/": "/below/here/api/v1/me"} {
		_, err := clientOf(t, address+suffix, "").Me(t.Context())
		must(t, err)
		if got != want {
			t.Errorf("below %q it requested %s, want %s", suffix, got, want)
		}
	}
	for _, wrong := range []string{"", "127.0.0.1:8080", "localhost:8080", "ftp://host", "http://", "http://host:port", "/path", "\x00"} {
		c := clientOf(t, wrong, "")
		_, err := c.Me(t.Context())
		_, streamErr := c.StreamWith(t.Context(), "desk", "sst_x")
		watchErr := c.Watch(t.Context(), func(client.Change) error { return nil })
		for _, err := range []error{err, streamErr, watchErr} {
			if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:8080") {
				t.Errorf("address %q gives the error %v, which shows no right one", wrong, err)
			}
		}
	}
}

func TestWithoutATokenNoneIsSent(t *testing.T) {
	address := serverOf(t, func(w http.ResponseWriter, r *http.Request) {
		if _, sent := r.Header["Authorization"]; sent {
			t.Error("an Authorization header was sent")
		}
		writeJSON(w, http.StatusOK, client.Me{})
	})
	_, err := clientOf(t, address, "").Me(t.Context())
	must(t, err)
}

func TestAllReadsEveryPart(t *testing.T) {
	const total = 1234
	requests := &counter{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests.next()
		begin, _ := strconv.Atoi(r.URL.Query().Get("cursor")) // empty is the beginning
		limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
		if err != nil || limit != 500 {
			t.Errorf("the limit is %q", r.URL.Query().Get("limit"))
		}
		part := client.List[client.Agent]{}
		for i := begin; i < min(begin+limit, total); i++ {
			part.Items = append(part.Items, client.Agent{ID: fmt.Sprint(i)})
		}
		if begin+limit < total {
			part.NextCursor = strconv.Itoa(begin + limit)
		}
		writeJSON(w, http.StatusOK, part)
	})
	agents, err := client.All(t.Context(), c.Agents)
	must(t, err)
	if len(agents) != total || agents[total-1].ID != strconv.Itoa(total-1) || requests.count() != 3 {
		t.Errorf("read %d agents with %d requests", len(agents), requests.count())
	}
}

func TestAllEndsWhereAListGoesRoundInCircles(t *testing.T) {
	requests := &counter{}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		requests.next()
		writeJSON(w, http.StatusOK, client.List[client.Agent]{Items: []client.Agent{{}}, NextCursor: "here"})
	})
	agents, err := client.All(t.Context(), c.Agents)
	must(t, err)
	if len(agents) != 2 || requests.count() != 2 {
		t.Errorf("read %d agents with %d requests", len(agents), requests.count())
	}
}

func TestAllFailsWithAnyPart(t *testing.T) {
	requests := &counter{}
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if requests.next() == 2 {
			writeProblem(w, http.StatusInternalServerError, models.CodeInternal)
			return
		}
		writeJSON(w, http.StatusOK, client.List[client.Agent]{Items: []client.Agent{{}}, NextCursor: "more"})
	})
	agents, err := client.All(t.Context(), c.Agents)
	if client.CodeOf(err) != models.CodeInternal || agents != nil {
		t.Errorf("read %v with error %v", agents, err)
	}
}

func TestAnswersAreReadToTheEnd(t *testing.T) {
	answer := &chunks{left: [][]byte{[]byte(`{"items":[]`), []byte("}"), []byte("\n")}}
	c := overNothing(func(*http.Request) (*http.Response, error) {
		return respond(http.StatusOK, "application/json", answer), nil
	}, client.Options{})
	_, err := c.Agents(t.Context(), client.Page{})
	must(t, err)
	if len(answer.left) != 0 {
		t.Errorf("%q was left, and the connection is lost with it", answer.left)
	}
}
