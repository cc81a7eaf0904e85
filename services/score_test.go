package services

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

// idle is a connected agent that works, without limits.
func idle(id string, now time.Time, change func(*candidate)) candidate {
	c := candidate{connected: true, Agent: models.Agent{ID: id, Platform: "docker", Status: models.AgentOnline, LastHeartbeat: &now}}
	if change != nil {
		change(&c)
	}
	return c
}

func TestPartsOfAScore(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	busy := func(sessions int, capacity map[string]any) func(*candidate) {
		return func(c *candidate) {
			c.Capacity, c.Sessions = capacity, sessions
			c.Reserved = models.Amount{Sessions: int64(sessions), CPU: int64(sessions) * 1000, Memory: int64(sessions) << 30}
		}
	}
	wish := func(p models.Preferences) SelectionCriteria {
		return SelectionCriteria{Preferences: p, IgnoreLoad: true}
	}
	pack := SelectionCriteria{Preferences: models.Preferences{Strategy: models.StrategyBinPack}, Reserve: models.Amount{CPU: 1000, Memory: 1 << 30}}
	for name, test := range map[string]struct {
		change   func(*candidate)
		criteria SelectionCriteria
		want     string
	}{
		"idle":            {nil, SelectionCriteria{}, `{"total":1,"parts":{"load":1}}`},
		"busy":            {busy(3, nil), SelectionCriteria{}, `{"total":0.25,"parts":{"load":0.25}}`},
		"load ignored":    {busy(3, nil), SelectionCriteria{IgnoreLoad: true}, `{"total":0,"parts":{}}`},
		"pack, no limits": {busy(3, nil), pack, `{"total":0.75,"parts":{"load":0.75}}`},
		"pack, sessions":  {busy(1, map[string]any{"maxSessions": 4}), pack, `{"total":0.5,"parts":{"load":0.5}}`},
		"pack, tightest": {busy(1, map[string]any{"maxSessions": 100, "cpu": 16, "memory": "4Gi", "gpus": 1}), pack,
			`{"total":0.5,"parts":{"load":0.5}}`},
		"region": {func(c *candidate) { c.Region = "eu" }, wish(models.Preferences{Regions: []string{"us", "eu"}}),
			`{"total":0.5,"parts":{"region":1}}`},
		"another region": {nil, wish(models.Preferences{Regions: []string{"eu"}}), `{"total":0,"parts":{"region":0}}`},
		"cluster": {func(c *candidate) { c.ClusterID = "c1" }, wish(models.Preferences{Clusters: []string{"c1"}}),
			`{"total":0.5,"parts":{"cluster":1}}`},
		"home":         {nil, wish(models.Preferences{HomeAgent: "a"}), `{"total":10,"parts":{"home":1}}`},
		"another home": {nil, wish(models.Preferences{HomeAgent: "b"}), `{"total":0,"parts":{"home":0}}`},
		"home shared": {func(c *candidate) { c.HomeStore = "cellar" }, wish(models.Preferences{HomeAgent: "b", HomeStore: "cellar"}),
			`{"total":10,"parts":{"home":1}}`},
		"home in another store": {func(c *candidate) { c.HomeStore = "attic" }, wish(models.Preferences{HomeAgent: "b", HomeStore: "cellar"}),
			`{"total":0,"parts":{"home":0}}`},
		"user": {func(c *candidate) { c.userSessions = 1 }, SelectionCriteria{UserID: "ann", IgnoreLoad: true},
			`{"total":0.00005,"parts":{"antiAffinity":0.5}}`},
		"image": {func(c *candidate) { c.Metadata = map[string]any{"images": []any{"desk"}} }, wish(models.Preferences{Image: "desk"}),
			`{"total":0.3,"parts":{"image":1}}`},
		// With the 2 sessions of the neighbour in the same region.
		"spread over regions":  {busy(1, nil), wish(models.Preferences{SpreadOver: models.SpreadRegion}), `{"total":0.125,"parts":{"spread":0.25}}`},
		"spread over clusters": {busy(1, nil), wish(models.Preferences{SpreadOver: models.SpreadCluster}), `{"total":0.25,"parts":{"spread":0.5}}`},
	} {
		// The neighbour is not fit, and counts for what is spread.
		neighbour := idle("b", now, func(c *candidate) { c.connected, c.Sessions, c.ClusterID = false, 2, "far" })
		best, _ := rank([]candidate{idle("a", now, test.change), neighbour}, test.criteria, now, DefaultWeights())
		if len(best) != 1 {
			t.Fatalf("%s: %d are fit", name, len(best))
		}
		if got, err := json.Marshal(best[0].points.score()); err != nil || string(got) != test.want {
			t.Errorf("%s: %s (%v), want %s", name, got, err, test.want)
		}
	}
}

func TestPartsAreFromZeroToOne(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		best, _ := rank(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		for _, c := range best {
			for name, part := range c.points.score().Parts {
				if !(part >= 0 && part <= 1) {
					t.Fatalf("%s of %s is %v", name, c.ID, part)
				}
			}
		}
	})
}

// Each wish alone decides between agents that are alike otherwise.
func TestWishesDecide(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	better := idle("better", now, func(c *candidate) {
		c.Region, c.ClusterID, c.Metadata = "eu", "c1", map[string]any{"images": []any{"desk"}}
	})
	worse := idle("worse", now, func(c *candidate) { c.userSessions = 1 })
	// Not fit, and in the region and cluster of worse.
	crowded := idle("crowded", now, func(c *candidate) { c.connected, c.Sessions = false, 5 })
	for name, criteria := range map[string]SelectionCriteria{
		"region":         {Preferences: models.Preferences{Regions: []string{"eu"}}},
		"cluster":        {Preferences: models.Preferences{Clusters: []string{"c1"}}},
		"home":           {Preferences: models.Preferences{HomeAgent: "better"}},
		"image":          {Preferences: models.Preferences{Image: "desk"}},
		"spread region":  {Preferences: models.Preferences{SpreadOver: models.SpreadRegion}},
		"spread cluster": {Preferences: models.Preferences{SpreadOver: models.SpreadCluster}},
		"user":           {UserID: "ann"},
	} {
		for i := range 20 { // whatever ties say
			criteria.SessionID = fmt.Sprint(i)
			best, _ := rank([]candidate{worse, better, crowded}, criteria, now, DefaultWeights())
			if len(best) != 2 || best[0].ID != "better" {
				t.Fatalf("%s: %s is best", name, best[0].ID)
			}
		}
	}
}

// A home outweighs everything else, unless no agent that has it can take the
// session.
func TestHomeOutweighsAllElse(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		want.Preferences.HomeAgent = "home"
		home := agentOf("home", now).Draw(t, "home")
		best, rejected := rank(append(candidates, home), want, now.Add(-45*time.Second), DefaultWeights())
		for _, v := range rejected {
			if v.AgentID == "home" {
				return
			}
		}
		if !want.Preferences.Homes(best[0].Agent) {
			t.Fatalf("%+v is better than an agent with the home in %+v", best[0], best)
		}
	})
}

// Sessions that are placed one after another fill one agent after another.
func TestBinPackFillsAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		room, count := rapid.IntRange(1, 5).Draw(t, "room"), rapid.IntRange(1, 6).Draw(t, "agents")
		var candidates []candidate
		for i := range count {
			candidates = append(candidates, idle(fmt.Sprint("agent-", i), now, func(c *candidate) {
				c.Capacity = map[string]any{"maxSessions": 50, "cpu": fmt.Sprint(room)}
			}))
		}
		criteria := SelectionCriteria{Reserve: models.Amount{Sessions: 1, CPU: 1000},
			Preferences: models.Preferences{Strategy: models.StrategyBinPack}}
		for placed := range room * count {
			criteria.SessionID = fmt.Sprint(placed)
			best, _ := rank(candidates, criteria, now, DefaultWeights())
			if len(best) == 0 {
				t.Fatalf("after %d of %d there is no room", placed, room*count)
			}
			used := 0
			for i, c := range candidates {
				if c.ID == best[0].ID {
					candidates[i].Sessions++
					candidates[i].Reserved = c.Reserved.Plus(criteria.Reserve)
				}
				if candidates[i].Sessions > 0 {
					used++
				}
			}
			if fewest := (placed + room) / room; used != fewest {
				t.Fatalf("%d sessions are on %d agents, where %d do", placed+1, used, fewest)
			}
		}
		if best, _ := rank(candidates, criteria, now, DefaultWeights()); len(best) > 0 {
			t.Fatalf("%+v has no room", best[0])
		}
	})
}

func TestWeightsValidate(t *testing.T) {
	if err := DefaultWeights().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Weights{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, wrong := range []float64{-0.1, math.NaN(), math.Inf(1), math.Inf(-1), 100_001} {
		for name, set := range map[string]func(*Weights){
			"load": func(w *Weights) { w.Load = wrong }, "region": func(w *Weights) { w.PreferredRegion = wrong },
			"cluster": func(w *Weights) { w.PreferredCluster = wrong }, "spread": func(w *Weights) { w.Spread = wrong },
			"home": func(w *Weights) { w.Home = wrong }, "antiAffinity": func(w *Weights) { w.UserAntiAffinity = wrong },
			"image": func(w *Weights) { w.Image = wrong },
		} {
			weights := DefaultWeights()
			set(&weights)
			err := weights.Validate()
			if want := fmt.Sprintf("the weight of %s is %v; choose a number from 0 to 100000", name, wrong); models.CodeOf(err) != models.CodeInvalidRequest ||
				err.(*models.Error).Message != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}

func TestParseWeights(t *testing.T) {
	want := DefaultWeights()
	want.Home, want.UserAntiAffinity = 0, 2.5
	if got, err := ParseWeights(map[string]string{"home": "0", "antiAffinity": "2.5"}); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseWeights(nil); err != nil || got != DefaultWeights() {
		t.Errorf("nothing said gives %+v, %v", got, err)
	}
	for want, said := range map[string]map[string]string{
		`there is no weight "lod"; the weights are antiAffinity, cluster, home, image, load, region, spread`: {"lod": "1"},
		`the weight of home is "much", which is not a number`:                                                {"home": "much"},
		"the weight of spread is -1; choose a number from 0 to 100000":                                       {"spread": "-1"},
		"the weight of load is NaN; choose a number from 0 to 100000":                                        {"load": "NaN"},
		"all weights are 0; choose a number above 0 for one of them": {"load": "0", "region": "0", "cluster": "0", "spread": "0",
			"home": "0", "antiAffinity": "0", "image": "0"},
	} {
		if _, err := ParseWeights(said); models.CodeOf(err) != models.CodeInvalidRequest || err.(*models.Error).Message != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
