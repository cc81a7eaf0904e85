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

func TestAllowDisconnectedTakesAnAgentOfAnotherReplica(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a"})
	if _, err := w.database.ConnectAgent(t.Context(), "a", w.clock.Now()); err != nil { // as another replica would
		t.Fatal(err)
	}
	_, err := w.selector.SelectAgent(t.Context(), &services.SelectionCriteria{RequireConnected: false})
	mustCode(t, err, models.CodeNoSuitableAgent)
	agent, err := w.selector.SelectAgent(t.Context(), &services.SelectionCriteria{AllowDisconnected: true})
	if err != nil || agent.IsConnected {
		t.Fatalf("%+v, %v", agent, err)
	}
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
