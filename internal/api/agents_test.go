package api_test

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/wire"
)

func TestAgentsAreShown(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	var agent models.Agent
	w.get("/api/v1/agents/laptop", w.as("ann")).want(http.StatusOK).into(&agent)
	if agent.ID != "laptop" || agent.Platform != "process" || agent.Region != "eu-1" || agent.Status != models.AgentOnline || agent.Epoch != 1 ||
		agent.Sessions != 1 || agent.Limit().Sessions != 1000 || agent.LastHeartbeat == nil || !reflect.DeepEqual(agent.Facilities, w.facilities()) {
		t.Errorf("the agent is %+v", agent)
	}
	w.get("/api/v1/agents/nobody", w.as("ann")).problem(http.StatusNotFound, models.CodeAgentUnknown, "nobody")
	w.get("/api/v1/agents/-x", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "an agent id")
	for query, want := range map[string]int{
		"": 1, "?platform=process": 1, "?platform=docker": 0, "?region=eu-1": 1, "?region=mars": 0, "?status=online": 1, "?status=offline": 0, "?clusterId=x": 0,
	} {
		if got := walk(w, "/api/v1/agents"+query, 10); len(got) != want {
			t.Errorf("%s gives %v", query, got)
		}
	}
	w.get("/api/v1/agents?status=happy", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "status", "draining")
}

func TestAnAgentThatKeepsFailingSaysSo(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	for _, id := range []string{"broken-1", "broken-2", "broken-3"} {
		w.launch("ann", id)
		w.await(id, models.SessionFailed)
	}
	var one models.Agent
	w.get("/api/v1/agents/laptop", w.as("ann")).want(http.StatusOK).into(&one)
	var all api.List[models.Agent]
	w.get("/api/v1/agents", w.as("ann")).want(http.StatusOK).into(&all)
	for _, agent := range append(all.Items, one) {
		if len(agent.Failing) != 1 || agent.Failing[0].Template != "desk" || agent.Failing[0].Failures != 3 {
			t.Errorf("it is %+v", agent)
		}
	}
	var explanation services.Explanation
	w.post("/api/v1/placements/explain", w.as("ann"), jsonBody(`{"template":"desk"}`)).want(http.StatusOK).into(&explanation)
	if explanation.Outcome != "waiting" || explanation.Agents[0].Rejections[0].Code != models.RejectedFailing {
		t.Errorf("the next one would be %+v", explanation)
	}
}

func TestAgentKeys(t *testing.T) {
	w := newWorld(t)
	var key api.AgentKey
	w.post("/api/v1/agents/edge-1/keys", w.as("root")).want(http.StatusCreated).into(&key)
	w.secret(key.Key)
	if key.AgentID != "edge-1" || !strings.HasPrefix(key.Key, "ssa_") {
		t.Errorf("the key is %+v", key)
	}
	var again api.AgentKey
	w.post("/api/v1/agents/edge-1/keys", w.as("root")).want(http.StatusCreated).into(&again)
	if w.secret(again.Key) == key.Key {
		t.Error("two keys are one")
	}
	for _, secret := range []string{key.Key, again.Key} {
		answer := w.post(wire.RegisterPath, header(wire.HeaderAgentKey, secret), jsonBody(`{"agentId":"edge-1","platform":"docker"}`))
		if answer.status >= 300 {
			t.Errorf("a key is refused: %s", answer.body)
		}
	}
	w.post("/api/v1/agents/a%2Fb/keys", w.as("root")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "an agent id")
}

func TestRegister(t *testing.T) {
	w := newWorld(t)
	key := header(wire.HeaderAgentKey, w.agentKey("edge-1"))
	var agent models.Agent
	// An agent of another maker, with more to say than we know.
	w.post(wire.RegisterPath, key, jsonBody(`{"agentId":"edge-1","platform":"kubernetes","region":"eu","clusterId":"c1","clusterName":"C","homeStore":"cellar","version":"9",
		"labels":{"a":"b"},"capacity":{"maxSessions":5,"gpu":[1]},"metadata":{"os":"linux"}}`)).want(http.StatusCreated).into(&agent)
	if agent.ID != "edge-1" || agent.Platform != "kubernetes" || agent.ClusterID != "c1" || agent.ClusterName != "C" || agent.HomeStore != "cellar" || agent.Limit().Sessions != 5 ||
		agent.Metadata["os"] != "linux" || agent.Status != models.AgentOffline {
		t.Errorf("registered %+v", agent)
	}
	w.post(wire.RegisterPath, key, jsonBody(`{"agentId":"edge-1","platform":"docker"}`)).want(http.StatusOK).into(&agent)
	if agent.Platform != "docker" {
		t.Errorf("updated to %+v", agent)
	}
	w.post(wire.RegisterPath, key, jsonBody(`{"agentId":"edge-2","platform":"docker"}`)).
		problem(http.StatusForbidden, models.CodeForbidden, "edge-2", "use the key that was made for it")
	for text, words := range map[string]string{
		`{"agentId":"edge-1"}`:                                                  "platform",
		`{"platform":"docker"}`:                                                 "agentId",
		`{"agentId":"","platform":"docker"}`:                                    "agentId",
		`{"agentId":"../edge-1","platform":"docker"}`:                           "agentId",
		`{"agentId":"edge-1","platform":"a\u0007b"}`:                            "control characters",
		`{"agentId":"edge-1","platform":"docker","metadata":{"a":["b\u0000"]}}`: "U+0000",
		`{"agentId":"edge-1","platform":"docker","capacity":{"\u0000":1}}`:      "U+0000",
		`{"agentId":"edge-1","platform":"docker","capacity":"lots"}`:            "capacity",
		`{"agentId":7,"platform":"docker"}`:                                     "agentId",
		`{`:                                                                     "not valid JSON",
	} {
		w.post(wire.RegisterPath, key, jsonBody(text)).problem(http.StatusBadRequest, models.CodeInvalidRequest, words)
	}
	w.post(wire.RegisterPath, key, body("text/plain", `{"agentId":"edge-1","platform":"docker"}`)).
		problem(http.StatusUnsupportedMediaType, models.CodeInvalidRequest)
	w.post(wire.RegisterPath, key, jsonBody(`{"agentId":"edge-1","platform":"docker","metadata":{"a":"`+strings.Repeat("a", 1<<20)+`"}}`)).
		problem(http.StatusRequestEntityTooLarge, models.CodeInvalidRequest)
}

func TestConnectIsRefused(t *testing.T) {
	w := newWorld(t)
	key := header(wire.HeaderAgentKey, w.agentKey("edge-1"))
	connect := wire.ConnectPath
	w.get(connect, key, upgrade()).problem(http.StatusBadRequest, models.CodeInvalidRequest, "agent_id")
	w.get(connect+"?agent_id=edge-2", key, upgrade()).problem(http.StatusForbidden, models.CodeForbidden, "edge-2")
	w.get(connect+"?agent_id=edge-1", key, upgrade()).problem(http.StatusNotFound, models.CodeAgentUnknown, "POST /api/v1/agents/register first")
	w.post(wire.RegisterPath, key, jsonBody(`{"agentId":"edge-1","platform":"docker"}`)).want(http.StatusCreated)
	w.get(connect+"?agent_id=edge-1", key).problem(http.StatusBadRequest, models.CodeInvalidRequest, "WebSocket")
	w.get(connect+"?agent_id=edge-1", key, upgrade(), header("Origin", "https://evil.example")).
		problem(http.StatusForbidden, models.CodeOriginForeign, "https://evil.example")
	w.hub.Stop()
	w.get(connect+"?agent_id=edge-1", key, upgrade()).problem(http.StatusServiceUnavailable, models.CodeUnavailable, "connect again")
}

func TestABasicAgentConnects(t *testing.T) {
	w := newWorld(t)
	key := w.agentKey("basic-1")
	w.post(wire.RegisterPath, header(wire.HeaderAgentKey, key), jsonBody(`{"agentId":"basic-1","platform":"process"}`)).want(http.StatusCreated)
	socket, response, err := ws.Dial(t.Context(), w.url+wire.ConnectPath+"?agent_id=basic-1", &ws.DialOptions{HTTPClient: w.http,
		HTTPHeader: http.Header{wire.HeaderAgentKey: {key}}})
	must(t, err)
	defer func() { _ = socket.CloseNow() }()
	if response.Header.Get(wire.HeaderProtocol) != "" {
		t.Error("more than the basic protocol was agreed on")
	}
	w.eventually("it is connected", func() error {
		if !w.hub.IsAgentConnected("basic-1") {
			return errNotYet
		}
		return nil
	})
	w.launch("ann", "desk-1")
	_, frame, err := socket.Read(t.Context())
	must(t, err)
	message, err := wire.Decode(frame)
	must(t, err)
	var command wire.Command
	must(t, message.Into(&command))
	reply, err := wire.Encode(wire.TypeComplete, wire.Complete{CommandID: command.CommandID})
	must(t, err)
	must(t, socket.Write(t.Context(), ws.MessageText, reply))
	w.await("desk-1", models.SessionRunning)
}

func TestTunnelsAreRefused(t *testing.T) {
	w := newWorld(t)
	key := header(wire.HeaderAgentKey, w.agentKey("edge-1"))
	asked := func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", wire.TunnelUpgrade)
	}
	path := wire.TunnelPath + "?tunnel_id=x&agent_id="
	w.get(wire.TunnelPath, key, asked).problem(http.StatusBadRequest, models.CodeInvalidRequest, "agent_id")
	w.get(path+"edge-2", key, asked).problem(http.StatusForbidden, models.CodeForbidden, "edge-2")
	w.get(path+"edge-1", key, asked).problem(http.StatusNotFound, models.CodeNotFound, "nobody waits")
	w.get(path+"edge-1", key).problem(http.StatusBadRequest, models.CodeInvalidRequest, wire.TunnelUpgrade)
}

func TestTemplates(t *testing.T) {
	w := newWorld(t)
	show := func(name string) api.TemplateView {
		t.Helper()
		var view api.TemplateView
		w.get("/api/v1/templates/"+name, w.as("ann")).want(http.StatusOK).into(&view)
		var list api.List[api.TemplateView]
		w.get("/api/v1/templates", w.as("ann")).want(http.StatusOK).into(&list)
		for _, listed := range list.Items {
			if listed.Name == name && !reflect.DeepEqual(listed, view) {
				t.Errorf("listed as %+v, shown as %+v", listed, view)
			}
		}
		return view
	}
	unavailable := func(name, words string) api.TemplateView {
		t.Helper()
		view := show(name)
		if view.Available || !strings.Contains(view.Reason, words) {
			t.Errorf("%s is %+v, want a reason with %q", name, view, words)
		}
		return view
	}
	unavailable("desk", "streamspace agent")
	laptop := w.agent("laptop")
	got := show("desk")
	if got.UpdatedAt.IsZero() {
		t.Error("nothing says when the template was read")
	}
	got.UpdatedAt = time.Time{}
	if want := (api.TemplateView{Name: "desk", DisplayName: "Desk", Description: "A desktop", Icon: "desktop", Protocol: "vnc",
		Platforms: []string{"process"}, Resources: models.Resources{CPU: "1", Memory: "1Gi"}, Available: true, Source: models.SourceFile}); !reflect.DeepEqual(got, want) {
		t.Errorf("shown %+v, want %+v", got, want)
	}
	if shell := show("shell"); shell.DisplayName != "shell" || shell.Protocol != "terminal" || shell.Platforms == nil || !shell.Available {
		t.Errorf("shown %+v", shell)
	}
	if !show("web").Available {
		t.Error("web is not available")
	}
	unavailable("moon", "kubernetes")
	w.get("/api/v1/templates/nothing", w.as("ann")).problem(http.StatusNotFound, models.CodeTemplateUnknown, "nothing")
	w.get("/api/v1/templates/NOTHING", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "lower case")

	laptop.disconnect()
	laptop.connect([]string{})
	if web := unavailable("web", "laptop lacks Xvnc, chromium"); !reflect.DeepEqual(web.Missing, []models.Need{
		{Command: "Xvnc", Install: "tigervnc-standalone-server"}, {Command: "chromium", Install: "chromium"}}) {
		t.Errorf("missing are %+v", web.Missing)
	}
	laptop.disconnect()
	laptop.connect([]string{"Xvnc"})
	if web := unavailable("web", "laptop lacks chromium"); len(web.Missing) != 1 || web.Missing[0].Install != "chromium" {
		t.Errorf("missing are %+v", web.Missing)
	}
	// Of several agents, what is nearest to being able is told.
	for _, id := range []string{"a-bare-one", "z-bare-one"} {
		bare := w.agent(id)
		bare.disconnect()
		bare.connect([]string{})
		unavailable("web", "laptop lacks chromium")
		bare.disconnect()
	}
	laptop.disconnect()
	w.eventually("the agent is offline", func() error {
		if agent, err := w.database.Agent(t.Context(), "laptop"); err != nil || agent.Status != models.AgentOffline {
			return errNotYet
		}
		return nil
	})
	unavailable("web", "no agent is online")
}

func TestCommands(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.launch("ann", "broken-1")
	w.await("broken-1", models.SessionFailed)
	var list api.List[models.AgentCommand]
	w.get("/api/v1/commands?sessionId=broken-1", w.as("root")).want(http.StatusOK).into(&list)
	if len(list.Items) != 1 || list.Items[0].Status != models.CommandFailed || !strings.Contains(list.Items[0].ErrorMessage, "the disk is full") {
		t.Fatalf("the commands are %+v", list.Items)
	}
	var command models.AgentCommand
	w.get("/api/v1/commands/"+list.Items[0].CommandID, w.as("root")).want(http.StatusOK).into(&command)
	if !reflect.DeepEqual(command, list.Items[0]) {
		t.Errorf("listed as %+v, shown as %+v", list.Items[0], command)
	}
	for query, want := range map[string]int{"": 2, "?status=completed": 1, "?status=failed": 1, "?agentId=laptop": 2, "?agentId=nobody": 0, "?sessionId=desk-1": 1} {
		if got := walk(w, "/api/v1/commands"+query, 10); len(got) != want {
			t.Errorf("%s gives %v", query, got)
		}
	}
	w.get("/api/v1/commands?status=happy", w.as("root")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "status")
	w.get("/api/v1/commands/nothing", w.as("root")).problem(http.StatusNotFound, models.CodeCommandUnknown, "nothing")
	w.get("/api/v1/commands/%00", w.as("root")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "a command id")
}
