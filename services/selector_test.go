package services_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

func TestSelectAgentTakesTheLeastLoadedOfTheFit(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		for _, id := range []string{"a", "b", "away"} {
			w.register(models.Agent{ID: id, Region: "eu", ClusterID: "c-" + id})
		}
		w.connect("a")
		w.connect("b")
		w.launch("one")
		w.launch("two")
		if one, two := w.session("one"), w.session("two"); one.AgentID == two.AgentID {
			t.Fatalf("both sessions are on %s while the other agent idles", one.AgentID)
		}
		w.launch("three")
		crowded := w.session("three").AgentID
		for range 20 {
			agent, err := w.selector.SelectAgent(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if agent.AgentID == crowded || agent.AgentID == "away" || agent.SessionCount != 1 || !agent.IsConnected {
				t.Fatalf("selected %+v", agent)
			}
		}
		seen := map[string]bool{}
		for i := range 200 { // load apart, both are as good
			agent, err := w.selector.SelectAgent(t.Context(), &services.SelectionCriteria{IgnoreLoad: true, SessionID: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			seen[agent.AgentID] = true
		}
		if len(seen) != 2 {
			t.Errorf("without regard to load only %v were selected", seen)
		}
	})
}

func TestSelectAgentRefusesAgentsWithoutARecentHeartbeat(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	agent := w.negotiate("a")
	w.clock.advance(wire.StaleAfter)
	if _, err := w.selector.SelectAgent(t.Context(), nil); err != nil {
		t.Fatalf("at 45 s: %v", err)
	}
	w.clock.advance(time.Second)
	_, err := w.selector.SelectAgent(t.Context(), nil)
	mustCode(t, err, models.CodeNoSuitableAgent)
	agent.send(wire.TypeHeartbeat, wire.Heartbeat{Status: models.AgentOnline})
	w.await("the heartbeat makes it fit", func() bool {
		_, err := w.selector.SelectAgent(t.Context(), nil)
		return err == nil
	})
}

func TestSelectAgentTakesAgentsThatAreConnectedToAnyReplica(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		other := websocket.NewAgentHub(database)
		t.Cleanup(other.Stop)
		elsewhere := services.NewAgentSelectorWith(database.DB(), other, services.SelectorOptions{Now: w.clock.Now})
		w.register(models.Agent{ID: "a"})
		agent := w.negotiate("a")
		for name, selector := range map[string]*services.AgentSelector{"its replica": w.selector, "another one": elsewhere} {
			if selected, err := selector.SelectAgent(t.Context(), nil); err != nil || !selected.IsConnected {
				t.Fatalf("%s: %+v, %v", name, selected, err)
			}
		}
		w.disconnect(agent)
		for name, selector := range map[string]*services.AgentSelector{"its replica": w.selector, "another one": elsewhere} {
			_, err := selector.SelectAgent(t.Context(), &services.SelectionCriteria{RequireConnected: false})
			mustCode(t, err, models.CodeNoSuitableAgent)
			if info, err := selector.GetAgentInfo(t.Context(), "a"); err != nil || info.IsConnected {
				t.Errorf("%s: %+v, %v", name, info, err)
			}
		}
	})
}

// A row that says online is not enough, as when a person wrote it.
func TestAllowDisconnectedTakesAnAgentThatIsOnlineAndNotConnected(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	if _, err := w.database.DB().ExecContext(t.Context(), "UPDATE agents SET status = 'online', last_heartbeat = $1",
		w.clock.Now().Format("2006-01-02T15:04:05.000000Z")); err != nil {
		t.Fatal(err)
	}
	_, err := w.selector.SelectAgent(t.Context(), &services.SelectionCriteria{RequireConnected: false})
	mustCode(t, err, models.CodeNoSuitableAgent)
	agent, err := w.selector.SelectAgent(t.Context(), &services.SelectionCriteria{AllowDisconnected: true})
	if err != nil || agent.IsConnected {
		t.Fatalf("%+v, %v", agent, err)
	}
}

func TestExplainGivesAVerdictOnEveryAgent(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		w.register(models.Agent{ID: "small", Capacity: map[string]interface{}{"cpu": "500m"}})
		w.register(models.Agent{ID: "busy", Capacity: map[string]interface{}{"cpu": "4"}})
		w.register(models.Agent{ID: "idle", Region: "eu", Labels: map[string]string{"disk": "ssd"}})
		w.register(models.Agent{ID: "away"})
		for _, id := range []string{"small", "busy", "idle"} {
			w.connect(id)
		}
		if _, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner,
			Resources: models.Resources{CPU: "3"}, Platform: "process", ID: "one"}); err != nil {
			t.Fatal(err)
		}
		placed := w.session("one").AgentID
		criteria := services.SelectionCriteria{Reserve: models.Amount{CPU: 1000}}
		verdicts, err := w.selector.Explain(t.Context(), &criteria)
		if err != nil || len(verdicts) != 4 {
			t.Fatalf("%+v, %v", verdicts, err)
		}
		told := map[string]services.Verdict{}
		for _, v := range verdicts {
			told[v.AgentID] = v
		}
		if v := told["small"]; v.Score != nil || v.Rejections[0].Code != models.RejectedSize {
			t.Errorf("the small agent: %+v", v)
		}
		if v := told["away"]; v.Score != nil || v.Rejections[0].Code != models.RejectedOffline {
			t.Errorf("the agent that is away: %+v", v)
		}
		if best := verdicts[0]; best.AgentID == placed || best.Score == nil || best.Score.Parts["load"] != 1 {
			t.Errorf("the best is %+v, and the session is on %s", best, placed)
		}
		// Explaining selects as selecting does.
		criteria.Labels, criteria.SessionID = models.Selector{{Key: "disk", Operator: models.LabelNotExists}}, "s"
		criteria.Preferences = models.Preferences{Regions: []string{"eu"}}
		verdicts, err = w.selector.Explain(t.Context(), &criteria)
		if err != nil {
			t.Fatal(err)
		}
		agent, err := w.selector.SelectAgent(t.Context(), &criteria)
		if err != nil || agent.AgentID != "busy" || verdicts[0].AgentID != "busy" {
			t.Errorf("%+v, %v was selected, of %+v", agent, err, verdicts)
		}
	})
}

func TestSelectAgentRefusesWhatIsNotValid(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	for name, criteria := range map[string]services.SelectionCriteria{
		"labels":      {Labels: models.Selector{{Key: "a b", Operator: models.LabelExists}}},
		"preferences": {Preferences: models.Preferences{Strategy: "random"}},
	} {
		if _, err := w.selector.SelectAgent(t.Context(), &criteria); models.CodeOf(err) != models.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.selector.Explain(t.Context(), &criteria); models.CodeOf(err) != models.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	selector := services.NewAgentSelectorWith(w.database.DB(), w.hub, services.SelectorOptions{Weights: services.Weights{Load: -1}})
	_, err := selector.SelectAgent(t.Context(), nil)
	mustCode(t, err, models.CodeInvalidRequest)
}

// Weights of one's own take the place of the defaults.
func TestWeightsOfOnesOwn(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a", Region: "eu"})
	w.register(models.Agent{ID: "b", Region: "us"})
	w.connect("a")
	w.connect("b")
	if _, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Region: "eu", Owner: w.owner}); err != nil {
		t.Fatal(err)
	}
	criteria := services.SelectionCriteria{Preferences: models.Preferences{Regions: []string{"eu"}}}
	for want, weights := range map[string]services.Weights{"a": {Load: 1, PreferredRegion: 2}, "b": {Load: 1, PreferredRegion: 0.25}} {
		selector := services.NewAgentSelectorWith(w.database.DB(), w.hub, services.SelectorOptions{Now: w.clock.Now, Weights: weights})
		if agent, err := selector.SelectAgent(t.Context(), &criteria); err != nil || agent.AgentID != want {
			t.Errorf("%+v: %+v, %v", weights, agent, err)
		}
	}
}

// Launches select as the selector does, by what the session takes and with the
// same weights, whether they are placed at once or have waited.
func TestLaunchesSelectByWhatTheyTake(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "small", Capacity: map[string]interface{}{"cpu": "500m"}})
	w.connect("small")
	large := services.LaunchRequest{Template: "desk", Owner: w.owner, Resources: models.Resources{CPU: "2"}}
	_, _, err := w.sessions.Launch(t.Context(), large)
	mustCode(t, err, models.CodeNoSuitableAgent)
	if !strings.Contains(err.Error(), `"small", is too small: 2 cores wanted and 0.5 there`) {
		t.Errorf("it is refused with %v", err)
	}
	w.register(models.Agent{ID: "large", Capacity: map[string]interface{}{"cpu": "3"}})
	w.connect("large")
	for _, id := range []string{"one", "two"} {
		large.ID = id
		if _, _, err := w.sessions.Launch(t.Context(), large); err != nil {
			t.Fatal(err)
		}
	}
	if agent := w.session("one").AgentID; agent != "large" {
		t.Errorf("it is on %q", agent)
	}
	w.register(models.Agent{ID: "tiny", Capacity: map[string]interface{}{"cpu": "100m"}})
	w.connect("tiny")
	want := `none of 3 agents can take this session: 2 are too small (cpu), 1 is full (cpu); ask for less, stop a session, or start another agent`
	if _, err := w.sessions.PlaceWaiting(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waits := w.session("two"); waits.AgentID != "" || waits.Reason != want {
		t.Errorf("the second is on %q, for %q", waits.AgentID, waits.Reason)
	}
}

func TestLaunchesWeighAsTheSelectorDoes(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	w.connect("a")
	selector := services.NewAgentSelectorWith(w.database.DB(), w.hub, services.SelectorOptions{Now: w.clock.Now, Weights: services.Weights{Load: -1}})
	sessions := services.NewSessions(w.database, selector, w.dispatcher, services.SessionsOptions{Now: w.clock.Now})
	_, _, err := sessions.Launch(t.Context(), services.LaunchRequest{Template: "desk", Owner: w.owner})
	mustCode(t, err, models.CodeInvalidRequest)
}

func TestAgentInfoSpeaksTheDocumentedJSON(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a", ClusterID: "c", ClusterName: "C", Region: "eu",
		Capacity: map[string]interface{}{"maxSessions": 4}})
	info, err := w.selector.GetAgentInfo(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"agent_id":"a","cluster_id":"c","cluster_name":"C","platform":"process","region":"eu","status":"offline",` +
		`"session_count":0,"capacity":{"maxSessions":4},"is_connected":false}`
	if string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	_, err = w.selector.GetAgentInfo(t.Context(), "nobody")
	mustCode(t, err, models.CodeAgentUnknown)
	if !strings.Contains(fmt.Sprint(err), "nobody") {
		t.Errorf("%v does not name the agent", err)
	}
}
