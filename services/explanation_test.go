package services_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// explain says why a session is where it is.
func (w *world) explain(id string) services.Explanation {
	w.t.Helper()
	explanation, owner, err := w.sessions.Explain(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	if owner != w.owner.ID {
		w.t.Errorf("%s is %q's", id, owner)
	}
	return explanation
}

// codes are the main reasons by agent; a fit one has none.
func codes(explanation services.Explanation) map[string]models.RejectionCode {
	all := map[string]models.RejectionCode{}
	for _, verdict := range explanation.Agents {
		all[verdict.AgentID] = ""
		if verdict.Score == nil {
			all[verdict.AgentID] = verdict.Rejections[0].Code
		}
	}
	return all
}

func TestPlacementsAreExplained(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		w := newWorld(t, database, services.DispatcherOptions{})
		one := map[string]interface{}{"maxSessions": 1}
		w.register(models.Agent{ID: "a", Capacity: one, Labels: map[string]string{"disk": "ssd"}})
		w.register(models.Agent{ID: "b", Capacity: one, Region: "eu"})
		w.connect("a")
		b := w.connect("b")
		fast := models.Selector{{Key: "disk", Operator: models.LabelIn, Values: []string{"ssd"}}}

		w.ask("placed", w.owner, func(r *services.LaunchRequest) { r.Labels = fast })
		placed := w.explain("placed")
		if placed.Outcome != "placed" || placed.AgentID != "a" || placed.Agents[0].Score == nil || placed.Agents[0].Score.Parts["load"] != 1 ||
			codes(placed)["b"] != models.RejectedLabels || placed.Left != 0 || !placed.At.Equal(w.clock.Now()) {
			t.Errorf("placed: %+v", placed)
		}

		w.ask("waits", w.owner, func(r *services.LaunchRequest) { r.Labels = fast })
		if waits := w.explain("waits"); waits.Outcome != "waiting" || waits.AgentID != "" || codes(waits)["a"] != models.RejectedFull {
			t.Errorf("waiting: %+v", waits)
		}

		_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: "refused", Template: "desk", Region: "mars", Owner: w.owner})
		mustCode(t, err, models.CodeNoSuitableAgent)
		if refused := w.explain("refused"); refused.Outcome != "refused" || codes(refused)["a"] != models.RejectedRegion || codes(refused)["b"] != models.RejectedRegion {
			t.Errorf("refused: %+v", refused)
		}
		_, _, err = w.sessions.Explain(t.Context(), "nothing")
		mustCode(t, err, models.CodeSessionUnknown)

		// What waits is explained as things are now, what was placed as they were.
		w.disconnect(b)
		if waits := w.explain("waits"); codes(waits)["b"] != models.RejectedLabels || len(waits.Agents) != 2 {
			t.Errorf("waiting: %+v", waits)
		}
		if again := w.explain("placed"); codes(again)["a"] != "" || codes(again)["b"] != models.RejectedLabels {
			t.Errorf("placed, later: %+v", again)
		}

		// A repeat of the request that is refused and comes late explains nothing.
		err = database.SavePlacement(t.Context(), db.Placement{SessionID: "placed", UserID: w.owner.ID, Outcome: db.PlacementRefused,
			Verdicts: []byte(`{"groups":[]}`), At: w.clock.Now()})
		if again := w.explain("placed"); err != nil || again.Outcome != "placed" || again.AgentID != "a" {
			t.Errorf("placed, after a late refusal: %+v (%v)", again, err)
		}
	})
}

// Not all agents of a large fleet are looked at for what is kept.
func TestAPlacementInALargeFleetTellsOfTheBest(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	for i := range 201 {
		w.register(models.Agent{ID: fmt.Sprintf("a%03d", i), Region: []string{"eu", "us"}[i%2]})
	}
	for _, id := range []string{"a000", "a001", "a002"} {
		w.connect(id)
	}
	w.ask("placed", w.owner, func(r *services.LaunchRequest) { r.Preferences.Regions = []string{"us"} })
	placed := w.explain("placed")
	if placed.AgentID != "a001" || len(placed.Agents) != 3 || placed.Agents[0].AgentID != "a001" || placed.Left != 198 {
		t.Fatalf("placed: %+v", placed)
	}
	for _, verdict := range placed.Agents {
		if verdict.Score == nil || verdict.Score.Total > placed.Agents[0].Score.Total {
			t.Errorf("%+v", verdict)
		}
	}
	_, _, err := w.sessions.Launch(t.Context(), services.LaunchRequest{ID: "refused", Template: "desk", Region: "mars", Owner: w.owner})
	mustCode(t, err, models.CodeNoSuitableAgent)
	if refused := w.explain("refused"); len(refused.Agents) != 200 || refused.Left != 1 || refused.Agents[199].AgentID != "a199" {
		t.Errorf("refused: %d agents, %d left", len(refused.Agents), refused.Left)
	}
}

func TestLaunchesAreExplainedBeforehand(t *testing.T) {
	w := newWorld(t, dbtest.SQLite(t, db.Options{}), services.DispatcherOptions{})
	w.register(models.Agent{ID: "a", Region: "eu", Capacity: map[string]interface{}{"maxSessions": 1, "allocatable": map[string]interface{}{"cpu": 2}}})
	w.connect("a")
	for name, test := range map[string]struct {
		change  func(*services.LaunchRequest)
		outcome string
		code    models.RejectionCode
	}{
		"fits":         {func(*services.LaunchRequest) {}, "placed", ""},
		"other region": {func(r *services.LaunchRequest) { r.Region = "us" }, "refused", models.RejectedRegion},
		"too large":    {func(r *services.LaunchRequest) { r.Resources.CPU = "4" }, "refused", models.RejectedSize},
		"no GPU":       {func(r *services.LaunchRequest) { r.Resources.GPUs = 1 }, "refused", models.RejectedSize},
	} {
		request := services.LaunchRequest{Template: "desk", Owner: w.owner}
		test.change(&request)
		explanation, err := w.sessions.ExplainLaunch(t.Context(), request)
		if err != nil || explanation.Outcome != test.outcome || codes(explanation)["a"] != test.code {
			t.Errorf("%s: %+v, %v", name, explanation, err)
		}
	}
	w.ask("taken", w.owner)
	request := services.LaunchRequest{Template: "desk", Owner: w.owner}
	if explanation, err := w.sessions.ExplainLaunch(t.Context(), request); err != nil || explanation.Outcome != "waiting" || codes(explanation)["a"] != models.RejectedFull {
		t.Errorf("full: %+v, %v", explanation, err)
	}
	request.Wait = new(time.Duration)
	if explanation, err := w.sessions.ExplainLaunch(t.Context(), request); err != nil || explanation.Outcome != "refused" {
		t.Errorf("full, and it will not wait: %+v, %v", explanation, err)
	}
	if sessions, _, err := w.database.Sessions(t.Context(), db.SessionFilter{}, db.Page{}); err != nil || len(sessions) != 1 {
		t.Errorf("there are %d sessions, %v", len(sessions), err)
	}
}
