package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

const pathSessions = "/api/v1/sessions"

func TestLaunch(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	var session models.Session
	answer := w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"desk-1","template":"desk","name":"Büro 1","region":"eu-1","platform":"process",
		"resources":{"cpu":"500m"}}`)).want(http.StatusCreated)
	answer.into(&session)
	if answer.header.Get("Location") != pathSessions+"/desk-1" {
		t.Errorf("the location is %q", answer.header.Get("Location"))
	}
	if session.ID != "desk-1" || session.Name != "Büro 1" || session.User != "ann" || session.Template != "desk" || session.Generation != 1 ||
		session.State != models.SessionPending || session.DesiredState != models.DesiredRunning || session.AgentID != "laptop" ||
		session.Protocol != models.ProtocolVNC || session.Resources != (models.Resources{CPU: "500m", Memory: "1Gi"}) {
		t.Errorf("launched %+v", session)
	}
	w.await("desk-1", models.SessionRunning)
	w.get(pathSessions+"/desk-1", w.as("ann")).want(http.StatusOK).into(&session)
	if session.State != models.SessionRunning || session.Reason != "" {
		t.Errorf("it became %+v", session)
	}

	// Without an id one is made up, and without a name the template gives it.
	w.post(pathSessions, w.as("ann"), jsonBody(`{"template":"shell"}`)).want(http.StatusCreated).into(&session)
	if session.ID == "" || session.Name != "shell" || session.Protocol != models.ProtocolTerminal {
		t.Errorf("launched %+v", session)
	}
	w.await(session.ID, models.SessionRunning)
}

func TestLaunchIsSafeToRepeat(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	request := jsonBody(`{"id":"slow-1","template":"desk"}`)
	var first, again models.Session
	w.post(pathSessions, w.as("ann"), request).want(http.StatusCreated).into(&first)
	answer := w.post(pathSessions, w.as("ann"), jsonBody(`{"template":"desk","id":"slow-1","name":""}`)).want(http.StatusOK)
	answer.into(&again)
	if again.ID != first.ID || again.CreatedAt != first.CreatedAt || answer.header.Get("Location") != pathSessions+"/slow-1" {
		t.Errorf("repeated as %+v, first %+v", again, first)
	}
	var commands api.List[models.AgentCommand]
	w.get(pathSessions+"/slow-1/commands", w.as("ann")).want(http.StatusOK).into(&commands)
	if len(commands.Items) != 1 {
		t.Errorf("there are %d commands", len(commands.Items))
	}
	// Also when no agent could take it now, and when it has ended.
	agent.finish("slow-1")
	w.await("slow-1", models.SessionRunning)
	agent.disconnect()
	w.post(pathSessions, w.as("ann"), request).want(http.StatusOK)
	w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"other","template":"desk","waitSeconds":0}`)).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent)

	for name, other := range map[string]string{
		"another template": `{"id":"slow-1","template":"shell"}`,
		"another name":     `{"id":"slow-1","template":"desk","name":"x"}`,
		"another region":   `{"id":"slow-1","template":"desk","region":"eu-1"}`,
	} {
		problem := w.post(pathSessions, w.as("ann"), jsonBody(other)).problem(http.StatusConflict, models.CodeSessionConflict, "slow-1", "choose another id")
		if problem.Retryable {
			t.Errorf("%s may be tried again", name)
		}
	}
	// Somebody else's id tells nothing of the session.
	problem := w.post(pathSessions, w.as("bob"), request).problem(http.StatusConflict, models.CodeSessionConflict, "choose another id")
	if strings.Contains(problem.Detail, "ann") {
		t.Errorf("bob is told %q", problem.Detail)
	}
}

func TestLaunchIsRefusedWithReasons(t *testing.T) {
	w := newWorld(t)
	launch := func(text string) *answer { return w.post(pathSessions, w.as("ann"), jsonBody(text)) }
	if !launch(`{"template":"desk"}`).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent, "no agent has registered", "streamspace agent").Retryable {
		t.Error("waiting for an agent is said to be in vain")
	}
	agent := w.agent("laptop")
	launch(`{"template":"nothing"}`).problem(http.StatusNotFound, models.CodeTemplateUnknown, "nothing")
	launch(`{"template":"moon"}`).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent, "laptop", "kubernetes", "start an agent of that platform")
	launch(`{"template":"desk","platform":"docker"}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "does not run on platform", "process")
	launch(`{"template":"desk","region":"mars"}`).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent, "mars", "choose another region")
	launch(`{"template":"desk","resources":{"cpu":"lots"}}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "cpu", "lots", "500m")
	launch(`{"template":"desk","resources":{"memory":"-1"}}`).problem(http.StatusBadRequest, models.CodeInvalidRequest, "memory", "1Gi")
	agent.disconnect()
	agent.connect([]string{"Xvnc"})
	launch(`{"template":"web"}`).problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent, "laptop", "lacks chromium", "install")
	var list api.List[models.Session]
	w.get(pathSessions, w.as("root")).want(http.StatusOK).into(&list)
	if len(list.Items) != 0 {
		t.Errorf("refused launches left %+v", list.Items)
	}
}

func TestLaunchThatFailsSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.launch("ann", "broken-1")
	w.await("broken-1", models.SessionFailed)
	var session models.Session
	w.get(pathSessions+"/broken-1", w.as("ann")).want(http.StatusOK).into(&session)
	if !strings.Contains(session.Reason, "the disk is full") || session.ReasonCode != models.CodeCommandFailed {
		t.Errorf("it is %+v", session)
	}
}

func TestLaunchRefusesWrongBodies(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	for name, test := range map[string]struct {
		text     string
		location string // of the field error
		words    string
	}{
		"no JSON":                     {`{"template":`, "body", "not valid JSON"},
		"text":                        {`hello`, "body", "not valid JSON"},
		"two documents":               {`{"template":"desk"}{"template":"desk"}`, "body", "not valid JSON"},
		"nothing":                     {``, "", "body"},
		"null":                        {`null`, "body", "expected object"},
		"a list":                      {`[]`, "body", "expected object"},
		"a number":                    {`1`, "body", "expected object"},
		"no template":                 {`{}`, "body", "template"},
		"an empty template":           {`{"template":""}`, "body.template", ""},
		"a template of null":          {`{"template":null}`, "body.template", "string"},
		"a template that is a number": {`{"template":7}`, "body.template", "string"},
		"a template with slashes":     {`{"template":"../desk"}`, "body.template", "lower case"},
		"a long template":             {`{"template":"` + strings.Repeat("a", 64) + `"}`, "body.template", "63"},
		"an unknown key":              {`{"template":"desk","gpu":1}`, "body.gpu", "unexpected"},
		"an unknown key further down": {`{"template":"desk","resources":{"gpu":1}}`, "body.resources.gpu", "unexpected"},
		"an id in upper case":         {`{"template":"desk","id":"Desk"}`, "body.id", "lower case"},
		"an id beginning with a dash": {`{"template":"desk","id":"-desk"}`, "body.id", "dash"},
		"a long id":                   {`{"template":"desk","id":"` + strings.Repeat("a", 64) + `"}`, "body.id", "63"},
		"an id with a line break":     {`{"template":"desk","id":"desk\n"}`, "body.id", "lower case"},
		"a long name":                 {`{"template":"desk","name":"` + strings.Repeat("a", 101) + `"}`, "body.name", "100"},
		"a name with a zero byte":     {`{"template":"desk","name":"a\u0000b"}`, "body.name", "control"},
		"a name that is a list":       {`{"template":"desk","name":["a"]}`, "body.name", "string"},
		"resources that are text":     {`{"template":"desk","resources":"1"}`, "body.resources", "object"},
	} {
		t.Log(name)
		problem := w.post(pathSessions, w.as("ann"), jsonBody(test.text)).problem(http.StatusBadRequest, models.CodeInvalidRequest, test.words)
		if test.location != "" && !slices.ContainsFunc(problem.Errors, func(e api.FieldError) bool { return e.Location == test.location && e.Message != "" }) {
			t.Errorf("no field error is at %s: %+v", test.location, problem.Errors)
		}
		if problem.Retryable {
			t.Error("the same may be tried again")
		}
	}
	// Everything that is wrong is told at once.
	problem := w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"-","name":7,"gpu":1}`)).problem(http.StatusBadRequest, models.CodeInvalidRequest)
	if len(problem.Errors) != 4 {
		t.Errorf("told of %+v", problem.Errors)
	}
	// A control character that only Unicode knows.
	w.post(pathSessions, w.as("ann"), jsonBody(`{"template":"desk","name":"a\u0085b"}`)).problem(http.StatusBadRequest, models.CodeInvalidRequest, "control characters")
}

func TestLaunchTakesAllThatIsAllowed(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	for name, text := range map[string]string{
		"a long id":                `{"template":"desk","id":"` + strings.Repeat("a", 63) + `"}`,
		"a long name of wide ones": `{"template":"desk","name":"` + strings.Repeat("ü", 100) + `"}`,
		"empty restrictions":       `{"template":"desk","region":"","platform":"","clusterId":"","id":"empty-1"}`,
		"no resources":             `{"template":"desk","resources":null}`,
		"spaces around":            " \n{\"template\":\"desk\"}\n ",
	} {
		t.Log(name)
		w.post(pathSessions, w.as("ann"), jsonBody(text)).want(http.StatusCreated)
	}
	w.post(pathSessions, w.as("ann"), body("application/json; charset=utf-8", `{"template":"desk"}`)).want(http.StatusCreated)
}

func TestLaunchRefusesOtherContentTypes(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/cbor", "application/yaml", "nonsense"} {
		w.post(pathSessions, w.as("ann"), body(kind, `{"template":"desk"}`)).
			problem(http.StatusUnsupportedMediaType, models.CodeInvalidRequest, "Content-Type: application/json")
	}
}

func TestLaunchRefusesLargeBodies(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	request := func(length int) part {
		text := `{"template":"desk"}`
		return jsonBody(text + strings.Repeat(" ", length-len(text)))
	}
	w.post(pathSessions, w.as("ann"), request(1<<20)).want(http.StatusCreated)
	w.post(pathSessions, w.as("ann"), request(1<<20+1)).problem(http.StatusRequestEntityTooLarge, models.CodeInvalidRequest, "1048576 bytes")
}

func TestStop(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	var session models.Session
	w.delete(pathSessions+"/desk-1", w.as("ann")).want(http.StatusAccepted).into(&session)
	if session.DesiredState != models.DesiredTerminated || session.Generation != 2 {
		t.Errorf("it is %+v", session)
	}
	w.await("desk-1", models.SessionTerminated)
	w.delete(pathSessions+"/desk-1", w.as("ann")).want(http.StatusAccepted).into(&session) // once more
	if session.State != models.SessionTerminated || session.Generation != 2 {
		t.Errorf("stopping twice made %+v of it", session)
	}
	w.delete(pathSessions+"/nothing", w.as("ann")).problem(http.StatusNotFound, models.CodeSessionUnknown, "nothing", "/api/v1/sessions")

	// An admin may stop everybody's, and the history tells who it was.
	w.run("ann", "desk-2")
	w.delete(pathSessions+"/desk-2", w.as("root")).want(http.StatusAccepted)
	w.await("desk-2", models.SessionTerminated)
	var events api.List[models.Event]
	w.get(pathSessions+"/desk-2/events", w.as("ann")).want(http.StatusOK).into(&events)
	if !slices.ContainsFunc(events.Items, func(e models.Event) bool { return e.To == string(models.SessionTerminating) && e.Actor == "user:root" }) {
		t.Errorf("the history is %+v", events.Items)
	}
}

func TestOtherUsersSessionsAreInvisible(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	for _, request := range []struct{ method, path string }{
		{http.MethodGet, ""}, {http.MethodDelete, ""}, {http.MethodGet, "/commands"}, {http.MethodGet, "/events"}, {http.MethodPost, "/tickets"},
	} {
		hidden := w.do(request.method, pathSessions+"/desk-1"+request.path, w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)
		absent := w.do(request.method, pathSessions+"/desk-9"+request.path, w.as("bob")).problem(http.StatusNotFound, models.CodeSessionUnknown)
		if strings.ReplaceAll(hidden.Detail, "desk-1", "desk-9") != absent.Detail || hidden.Title != absent.Title {
			t.Errorf("%s %s tells one from the other: %q and %q", request.method, request.path, hidden.Detail, absent.Detail)
		}
	}
	var list api.List[models.Session]
	w.get(pathSessions, w.as("bob")).want(http.StatusOK).into(&list)
	if len(list.Items) != 0 {
		t.Errorf("bob sees %+v", list.Items)
	}
	for _, user := range []string{"ann", "root"} {
		w.get(pathSessions, w.as(user)).want(http.StatusOK).into(&list)
		if len(list.Items) != 1 {
			t.Errorf("%s sees %+v", user, list.Items)
		}
		w.get(pathSessions+"/desk-1", w.as(user)).want(http.StatusOK)
	}
	if w.await("desk-1", models.SessionRunning).DesiredState != models.DesiredRunning {
		t.Error("bob stopped it")
	}
}

func TestSessionsByState(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.launch("ann", "slow-1")
	w.launch("ann", "broken-1")
	w.await("broken-1", models.SessionFailed)
	for query, want := range map[string]string{
		"": "broken-1 slow-1 desk-1", "?state=running": "desk-1", "?state=running,failed": "broken-1 desk-1", "?state=terminated": "",
	} {
		var list api.List[models.Session]
		w.get(pathSessions+query, w.as("ann")).want(http.StatusOK).into(&list)
		var ids []string
		for _, session := range list.Items {
			ids = append(ids, session.ID)
		}
		if strings.Join(ids, " ") != want {
			t.Errorf("%s gives %v, want %s", query, ids, want)
		}
	}
	w.get(pathSessions+"?state=dancing", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "state", "running")
	w.get(pathSessions+"?status=running", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "status")
	w.get(pathSessions+"/DESK", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "a session id")
}

func TestHistoryOfASession(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.delete(pathSessions+"/desk-1", w.as("ann")).want(http.StatusAccepted)
	w.await("desk-1", models.SessionTerminated)
	var events api.List[models.Event]
	w.get(pathSessions+"/desk-1/events", w.as("ann")).want(http.StatusOK).into(&events)
	var steps []string
	for _, event := range events.Items {
		steps = append(steps, fmt.Sprintf("%s>%s", event.From, event.To))
	}
	want := []string{"terminating>terminated", "running>terminating", "pending>running", ">pending"}
	if !slices.Equal(steps, want) {
		slices.Reverse(want)
		if !slices.Equal(steps, want) {
			t.Errorf("the history is %v", steps)
		}
	}
	var commands api.List[models.AgentCommand]
	w.get(pathSessions+"/desk-1/commands", w.as("ann")).want(http.StatusOK).into(&commands)
	if len(commands.Items) != 2 || commands.Items[0].Status != models.CommandCompleted {
		t.Errorf("the commands are %+v", commands.Items)
	}
}
