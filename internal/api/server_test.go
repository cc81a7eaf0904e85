package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

func TestNewNeedsItsParts(t *testing.T) {
	_, err := api.New(api.Config{})
	if err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("the error is %v", err)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if answer := w.get(path).want(http.StatusOK); string(answer.body) != "ok\n" || answer.header.Get("Content-Type") != "text/plain; charset=utf-8" {
			t.Errorf("%s answers %v %s", path, answer.header, answer.body)
		}
		w.exchange(http.MethodHead, path).want(http.StatusOK)
	}
	w.shutdown()
	if !w.get("/readyz").problem(http.StatusServiceUnavailable, models.CodeStopped, "stopping").Retryable {
		t.Error("a stopping process is said to be gone for good")
	}
	w.get("/healthz").want(http.StatusOK) // it must not be killed for stopping
}

func TestNotReadyWithoutTheDatabase(t *testing.T) {
	w := newWorld(t)
	must(t, w.database.Close())
	if !w.get("/readyz").problem(http.StatusServiceUnavailable, models.CodeUnavailable, "database", "log").Retryable {
		t.Error("a database that is away is said to be gone for good")
	}
	w.get("/healthz").want(http.StatusOK)
	problem := w.get("/api/v1/me", w.as("ann")).problem(http.StatusInternalServerError, models.CodeInternal, "log")
	if strings.Contains(problem.Detail, "sql") {
		t.Errorf("the caller is told %q", problem.Detail)
	}
	if !strings.Contains(problem.Detail, problem.RequestID) || !strings.Contains(w.log.String(), "database is closed") {
		t.Error("what is wrong cannot be found in the log")
	}
	if w.metric("streamspace_database_up") != 0 {
		t.Error("the metrics say that the database is up")
	}
}

// metric gives the value of a metric without labels.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	must(w.t, err)
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.get("/api/v1/sessions/desk-1", w.as("ann")).want(http.StatusOK)
	w.exchange(http.MethodGet, "/made/up", w.as("ann")).want(http.StatusNotFound)
	w.exchange("BREW", "/api/v1/sessions", w.as("ann")).want(http.StatusMethodNotAllowed)
	events := w.watch(w.as("ann"))
	events.snapshot()
	events.cancel()
	w.logged("path", "/api/v1/events") // it has been counted then, if it is
	problems, err := testutil.GatherAndLint(w.registry)
	must(t, err)
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	exposition := string(w.get("/metrics").want(http.StatusOK).body)
	for _, line := range []string{
		`streamspace_sessions{state="running"} 1`, `streamspace_sessions{state="failed"} 0`, `streamspace_agents{status="online"} 1`,
		`streamspace_commands{status="completed"} 1`, `streamspace_database_up 1`, `streamspace_tunnels_open 0`,
		`streamspace_dispatch_queue_length 0`, `streamspace_sessions_stuck{state="pending"} 0`,
		`streamspace_sessions_converge_seconds_count{state="pending"} 1`, `streamspace_reconciler_retries_total{state="waking"} 0`,
		`streamspace_reconciler_forced_ends_total{code="agent_unavailable"} 0`, `streamspace_orphans_stopped_total 0`,
		`streamspace_sessions_lost_total{outcome="restarted"} 0`, `streamspace_reconciler_pass_seconds_count 0`,
		`streamspace_http_request_duration_seconds_count{method="GET",route="/api/v1/sessions/{id}",status="200"} 1`,
		`streamspace_http_request_duration_seconds_count{method="POST",route="/api/v1/sessions",status="201"} 1`,
		`streamspace_http_request_duration_seconds_count{method="GET",route="other",status="404"} 1`,
		`streamspace_http_request_duration_seconds_count{method="other",route="other",status="405"} 1`,
	} {
		if !strings.Contains(exposition, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
	families, err := w.registry.Gather()
	must(t, err)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "streamspace_") {
			t.Errorf("a metric is called %s", family.GetName())
		}
		w.checkRoutes(family)
	}
	if strings.Contains(exposition, "/events") || strings.Contains(exposition, "/connect") {
		t.Error("connections that stay open count as requests")
	}
}

// checkRoutes tells of routes that are counted and not documented.
func (w *world) checkRoutes(family *dto.MetricFamily) {
	for _, metric := range family.GetMetric() {
		for _, label := range metric.GetLabel() {
			if label.GetName() == "route" && label.GetValue() != "other" && w.document.Paths[label.GetValue()] == nil {
				w.t.Errorf("the route %s is not in the OpenAPI document", label.GetValue())
			}
		}
	}
}

func TestARegistryServesOneAPI(t *testing.T) {
	w := newWorld(t)
	_, err := api.New(api.Config{Database: w.database, Hub: w.hub, Sessions: w.sessions, Broker: w.broker, Feed: w.feed, Auth: w.auth, Activity: w.activity,
		Registry: w.registry})
	if err == nil || !strings.Contains(err.Error(), "register metrics") {
		t.Errorf("the error is %v", err)
	}
	_, err = api.New(api.Config{Database: w.database, Hub: w.hub, Sessions: w.sessions, Broker: w.broker, Feed: w.feed, Auth: w.auth, Activity: w.activity,
		Registry: prometheus.NewRegistry()})
	must(t, err)
}

func TestTheDocument(t *testing.T) {
	w := newWorld(t)
	d := w.document
	if d.OpenAPI != "3.1.0" || d.Info.Title != "StreamSpace" || d.Info.Version != "1.2.3" {
		t.Errorf("the document is of %s %s %s", d.OpenAPI, d.Info.Title, d.Info.Version)
	}
	var routes []string
	ids := map[string]bool{}
	for path, operations := range d.Paths {
		for method, described := range operations {
			routes = append(routes, strings.ToUpper(method)+" "+path)
			if ids[described.OperationID] || !regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`).MatchString(described.OperationID) {
				t.Errorf("%s %s has the id %q", method, path, described.OperationID)
			}
			ids[described.OperationID] = true
			if described.Summary == "" || len(described.Tags) != 1 {
				t.Errorf("%s %s is not described", method, path)
			}
			d.checkOperation(t, method+" "+path, described)
		}
	}
	slices.Sort(routes)
	if got, want := strings.Join(routes, "\n"), strings.TrimSpace(everyRoute); got != want {
		t.Errorf("the routes are\n%s", got)
	}
}

const everyRoute = `
DELETE /api/v1/agents/{id}
DELETE /api/v1/sessions/{id}
DELETE /api/v1/templates/{name}
GET /api/v1/agents
GET /api/v1/agents/connect
GET /api/v1/agents/tunnel
GET /api/v1/agents/{id}
GET /api/v1/commands
GET /api/v1/commands/{id}
GET /api/v1/events
GET /api/v1/me
GET /api/v1/reconciler
GET /api/v1/sessions
GET /api/v1/sessions/{id}
GET /api/v1/sessions/{id}/commands
GET /api/v1/sessions/{id}/events
GET /api/v1/sessions/{id}/placement
GET /api/v1/sessions/{id}/stream
GET /api/v1/templates
GET /api/v1/templates/{name}
GET /api/v1/templates/{name}/manifest
GET /healthz
GET /login
GET /metrics
GET /openapi.json
GET /readyz
POST /api/v1/agents/register
POST /api/v1/agents/{id}/cordon
POST /api/v1/agents/{id}/drain
POST /api/v1/agents/{id}/keys
POST /api/v1/agents/{id}/uncordon
POST /api/v1/login-links
POST /api/v1/logout
POST /api/v1/placements/explain
POST /api/v1/sessions
POST /api/v1/sessions/{id}/activity
POST /api/v1/sessions/{id}/hibernate
POST /api/v1/sessions/{id}/tickets
POST /api/v1/sessions/{id}/wake
PUT /api/v1/templates/{name}
`

// checkOperation tells what is not plausible about an operation.
func (d *document) checkOperation(t *testing.T, name string, o operation) {
	t.Helper()
	has := func(status string) bool { _, there := o.Responses[status]; return there }
	succeeds := false
	for status, response := range o.Responses {
		if status[0] != '4' && status[0] != '5' {
			succeeds = true
			continue
		}
		problem := response.Content["application/problem+json"]
		if len(response.Content) != 1 || problem.Schema == nil || problem.Schema.Ref != "#/components/schemas/Problem" {
			t.Errorf("%s answers %s with no problem", name, status)
		}
	}
	if !succeeds || !has("500") || has("default") {
		t.Errorf("%s answers %v", name, o.Responses)
	}
	if authenticated := len(o.Security) > 0; authenticated != (has("401") || strings.HasSuffix(name, "/login")) && !strings.HasSuffix(name, "/login") {
		t.Errorf("%s is secured by %v and answers 401: %v", name, o.Security, has("401"))
	}
	for _, scheme := range o.schemes() {
		if d.Components.SecuritySchemes[scheme] == nil {
			t.Errorf("%s is secured by the unknown %s", name, scheme)
		}
	}
	if takesBody := o.RequestBody != nil; takesBody != has("413") || takesBody != has("415") || takesBody != has("408") {
		t.Errorf("%s takes a body: %v, and answers %v", name, takesBody, o.Responses)
	}
	inPath := 0
	for _, parameter := range o.Parameters {
		if parameter.Schema == nil {
			t.Errorf("%s: parameter %s has no schema", name, parameter.Name)
		}
		if parameter.In == "path" {
			inPath++
			if !strings.Contains(name, "{"+parameter.Name+"}") || !parameter.Required {
				t.Errorf("%s has the parameter %+v", name, parameter)
			}
		}
	}
	if inPath != strings.Count(name, "{") {
		t.Errorf("%s describes %d parameters of its path", name, inPath)
	}
	d.checkReferences(t, name, o)
}

// checkReferences finds schemas that are named and do not exist.
func (d *document) checkReferences(t *testing.T, name string, o operation) {
	t.Helper()
	encoded, err := json.Marshal(o)
	must(t, err)
	for _, found := range regexp.MustCompile(`#/components/schemas/([A-Za-z0-9]+)`).FindAllStringSubmatch(string(encoded), -1) {
		if d.Components.Schemas[found[1]] == nil {
			t.Errorf("%s names the unknown schema %s", name, found[1])
		}
	}
}

// partsOf names a type and all that it is made of.
func partsOf(kind reflect.Type) []string {
	switch kind.Kind() {
	case reflect.Pointer, reflect.Slice:
		return partsOf(kind.Elem())
	case reflect.Struct:
		names := []string{kind.Name()}
		for i := range kind.NumField() {
			names = append(names, partsOf(kind.Field(i).Type)...)
		}
		return names
	}
	return nil
}

func TestTheDocumentListsEveryState(t *testing.T) {
	w := newWorld(t)
	for at, want := range map[string][]string{
		"Session.state": words(models.SessionStates()), "Agent.status": models.AgentStates(), "AgentCommand.status": models.CommandStates(),
		"Session.desiredState": {"running", "hibernated", "terminated"}, "Session.protocol": {"vnc", "terminal", "http"}, "TemplateView.protocol": {"vnc", "terminal", "http"},
	} {
		owner, property, _ := strings.Cut(at, ".")
		var got []string
		for _, value := range w.document.Components.Schemas[owner].Properties[property].Enum {
			got = append(got, fmt.Sprint(value))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", at, got, want)
		}
	}
	asked := append(partsOf(reflect.TypeFor[models.Template]()), "LaunchBody", "DrainBody", "WakeBody", "TicketBody")
	for name, schema := range w.document.Components.Schemas {
		open := schema.AdditionalProperties != false
		if slices.Contains(asked, name) == open {
			t.Errorf("%s takes unknown keys: %v", name, open)
		}
		if strings.HasPrefix(name, "Error") {
			t.Errorf("the document has the foreign schema %s", name)
		}
	}
}

func words[T ~string](values []T) []string {
	var all []string
	for _, value := range values {
		all = append(all, string(value))
	}
	return all
}

func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	made := w.get("/healthz").header.Get("X-Request-Id")
	if len(made) < 16 || w.get("/healthz").header.Get("X-Request-Id") == made {
		t.Errorf("the request id is %q", made)
	}
	given := "proxy-0123456789"
	if got := w.get("/api/v1/me", header("X-Request-Id", given)).problem(http.StatusUnauthorized, models.CodeUnauthenticated).RequestID; got != given {
		t.Errorf("the proxy's id became %q", got)
	}
	if !strings.Contains(w.log.String(), `"request":"`+given+`"`) {
		t.Error("the log does not have the request's id")
	}
	for _, wrong := range []string{"short", strings.Repeat("a", 65), "with spaces", `quote"quote`, "ünïcödé-id"} {
		if got := w.get("/healthz", header("X-Request-Id", wrong)).header.Get("X-Request-Id"); got == wrong || got == "" {
			t.Errorf("the id %q became %q", wrong, got)
		}
	}
}

func TestTheLogTellsOfEveryRequest(t *testing.T) {
	w := newWorld(t)
	w.get("/api/v1/sessions?limit=7&cursor=&state=running", w.as("ann")).want(http.StatusOK)
	w.get("/login?token=nonsense-token&next=/private")
	line := w.logged("path", "/api/v1/sessions")
	if line["method"] != "GET" || line["status"] != 200.0 || line["user"] != "ann" || line["remote"] == "" || line["duration"] == nil ||
		line["query"] != "cursor=REDACTED&limit=7&state=running" {
		t.Errorf("the log has %v", line)
	}
	if line := w.logged("path", "/login"); line["query"] != "next=REDACTED&token=REDACTED" || line["status"] != 401.0 {
		t.Errorf("the log has %v", line)
	}
}

// logged finds the request in the log.
func (w *world) logged(key, value string) map[string]any {
	w.t.Helper()
	var found map[string]any
	w.eventually("the log has the request", func() error { // which is written after the answer
		for _, text := range strings.Split(w.log.String(), "\n") {
			var line map[string]any
			if json.Unmarshal([]byte(text), &line) == nil && line["msg"] == "request" && line[key] == value {
				found = line
				return nil
			}
		}
		return errNotYet
	})
	return found
}

func TestUnknownAddresses(t *testing.T) {
	console := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(rw, "console "+r.URL.Path) })
	w := newWorld(t, func(c *api.Config) { c.Console = console })
	for _, path := range []string{"/api", "/api/", "/api/v1", "/api/v1/nothing", "/api/v2/sessions", "/api/v1/sessions/desk/dance"} {
		w.exchange(http.MethodGet, path, w.as("ann")).problem(http.StatusNotFound, models.CodeNotFound, "/openapi.json")
	}
	for _, path := range []string{"/", "/sessions/desk-1", "/apiary", "/assets/x.js"} {
		if answer := w.exchange(http.MethodGet, path).want(http.StatusOK); string(answer.body) != "console "+path {
			t.Errorf("%s answers %s", path, answer.body)
		}
	}
	for _, request := range []struct{ method, path, allow string }{
		{http.MethodPut, "/api/v1/sessions", "GET, HEAD, POST"}, {http.MethodPatch, "/api/v1/sessions/desk-1", "DELETE, GET, HEAD"},
		{http.MethodPost, "/healthz", "GET, HEAD"}, {http.MethodDelete, "/login", "GET, HEAD"}, {http.MethodOptions, "/api/v1/me", "GET, HEAD"},
	} {
		answer := w.exchange(request.method, request.path, w.as("ann"))
		answer.problem(http.StatusMethodNotAllowed, models.CodeInvalidRequest, request.method, request.allow)
		if answer.header.Get("Allow") != request.allow {
			t.Errorf("%s allows %q", answer.request, answer.header.Get("Allow"))
		}
	}
	without := newWorld(t)
	without.exchange(http.MethodGet, "/").problem(http.StatusNotFound, models.CodeNotFound)
}

func TestAPanicIsAProblemAndNoEnd(t *testing.T) {
	console := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/half":
			rw.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(rw, "half")
			_ = http.NewResponseController(rw).Flush()
			panic("in the middle")
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		panic("at once")
	})
	w := newWorld(t, func(c *api.Config) { c.Console = console })
	problem := w.exchange(http.MethodGet, "/whole").problem(http.StatusInternalServerError, models.CodeInternal, "log")
	if !strings.Contains(w.log.String(), "at once") || !strings.Contains(problem.Detail, problem.RequestID) {
		t.Error("the log does not tell of the panic")
	}
	for _, path := range []string{"/half", "/abort"} {
		response, err := w.http.Get(w.url + path)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			_ = response.Body.Close()
		}
		if err == nil {
			t.Errorf("%s gave a whole answer", path)
		}
	}
	if strings.Count(w.log.String(), "request panicked") != 2 {
		t.Error("an answer that was given up counts as a panic")
	}
	w.get("/healthz").want(http.StatusOK)
}

func TestABodyThatBreaksOffIsNotOurFailure(t *testing.T) {
	w := newWorld(t)
	for name, sent := range map[string]string{
		"less than was promised": "Content-Length: 100\r\n\r\n{\"template\":",
		"broken chunks":          "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
		"chunks without an end":  "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"te\r\n",
	} {
		conn, err := net.Dial("tcp", w.host)
		must(t, err)
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = fmt.Fprintf(conn, "POST /api/v1/sessions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s",
			w.host, w.tokens["ann"], sent)
		must(t, err)
		must(t, conn.(*net.TCPConn).CloseWrite())
		got, err := io.ReadAll(conn)
		must(t, err)
		must(t, conn.Close())
		if !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || !bytes.Contains(got, []byte(`"code":"invalid_request"`)) ||
			!bytes.Contains(got, []byte("broke off")) {
			t.Errorf("%s: answered %s", name, got)
		}
	}
	if strings.Contains(w.log.String(), `"level":"ERROR"`) {
		t.Error("the log counts it as our failure")
	}
}
