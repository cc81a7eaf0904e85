package services

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

// agentsOf draws candidates that differ in everything that matters.
func agentsOf(now time.Time) *rapid.Generator[[]candidate] {
	return rapid.Custom(func(t *rapid.T) []candidate {
		count := rapid.IntRange(0, 12).Draw(t, "agents")
		candidates := make([]candidate, 0, count)
		for i := range count {
			candidates = append(candidates, agentOf(fmt.Sprint("agent-", i), now).Draw(t, "agent"))
		}
		return candidates
	})
}

func agentOf(id string, now time.Time) *rapid.Generator[candidate] {
	return rapid.Custom(func(t *rapid.T) candidate {
		sessions := rapid.IntRange(0, 4).Draw(t, "sessions")
		c := candidate{
			connected:    rapid.IntRange(0, 4).Draw(t, "connected") > 0,
			failing:      rapid.IntRange(0, 6).Draw(t, "failing") == 0,
			userSessions: rapid.IntRange(0, sessions).Draw(t, "mine"),
			Agent: models.Agent{
				ID:        id,
				Platform:  rapid.SampledFrom([]string{"process", "docker"}).Draw(t, "platform"),
				Region:    rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region"),
				ClusterID: rapid.SampledFrom([]string{"", "c1"}).Draw(t, "cluster"),
				Status:    rapid.SampledFrom([]string{"online", "online", "online", "offline", "draining"}).Draw(t, "status"),
				Cordoned:  rapid.IntRange(0, 6).Draw(t, "cordoned") == 0,
				Labels:    rapid.SampledFrom([]map[string]string{nil, {"gpu": "a100"}, {"gpu": "t4", "spot": ""}}).Draw(t, "labels"),
				Metadata:  rapid.SampledFrom([]map[string]any{nil, {"images": []any{"desk:1", "desk:2"}}}).Draw(t, "metadata"),
				HomeStore: rapid.SampledFrom([]string{"", "cellar", "attic"}).Draw(t, "home store"),
				Sessions:  sessions,
				Reserved: models.Amount{Sessions: int64(sessions), CPU: int64(sessions) * 500,
					GPUs: int64(rapid.IntRange(0, 1).Draw(t, "gpus taken"))},
				Capacity: map[string]any{"maxSessions": float64(rapid.IntRange(0, 5).Draw(t, "max"))},
			},
		}
		if rapid.Bool().Draw(t, "measured") {
			c.Capacity["cpu"] = rapid.SampledFrom([]string{"500m", "1", "2", "16"}).Draw(t, "cpu")
			c.Capacity["gpus"] = float64(rapid.IntRange(0, 2).Draw(t, "gpus"))
		}
		if rapid.IntRange(0, 5).Draw(t, "heard") > 0 {
			heard := now.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "silence")) * time.Second)
			c.LastHeartbeat = &heard
		}
		if rapid.Bool().Draw(t, "said") {
			c.Facilities = rapid.SampledFrom([][]string{{}, {"Xvnc"}, {"Xvnc", "xterm"}}).Draw(t, "facilities")
		}
		return c
	})
}

func criteriaOf() *rapid.Generator[SelectionCriteria] {
	return rapid.Custom(func(t *rapid.T) SelectionCriteria {
		return SelectionCriteria{
			Platform:          rapid.SampledFrom([]string{"", "process", "docker", "kubernetes"}).Draw(t, "platform"),
			Region:            rapid.SampledFrom([]string{"", "", "eu", "mars"}).Draw(t, "region"),
			ClusterID:         rapid.SampledFrom([]string{"", "", "c1", "c2"}).Draw(t, "cluster"),
			Platforms:         rapid.SampledFrom([][]string{nil, {"process"}, {"process", "docker"}}).Draw(t, "platforms"),
			PreferLowLoad:     rapid.Bool().Draw(t, "prefer"),
			RequireConnected:  rapid.Bool().Draw(t, "require"),
			IgnoreLoad:        rapid.IntRange(0, 3).Draw(t, "ignore") == 0,
			AllowDisconnected: rapid.IntRange(0, 3).Draw(t, "allow") == 0,
			Needs: rapid.SampledFrom([][]models.Need{nil, {{Command: "Xvnc", Install: "tigervnc-standalone-server"}},
				{{Command: "Xvnc"}, {Command: "xterm", Install: "xterm"}}}).Draw(t, "needs"),
			Labels: rapid.SampledFrom([]models.Selector{nil, nil, {{Key: "gpu", Operator: models.LabelExists}},
				{{Key: "gpu", Operator: models.LabelIn, Values: []string{"a100", "h100"}}},
				{{Key: "gpu", Operator: models.LabelNotIn, Values: []string{"t4"}}, {Key: "spot", Operator: models.LabelNotExists}}}).Draw(t, "labels"),
			Reserve: rapid.SampledFrom([]models.Amount{{}, {}, {Sessions: 1, CPU: 750}, {Sessions: 1, GPUs: 1}}).Draw(t, "reserve"),
			Avoid:   rapid.SampledFrom([][]string{nil, {"agent-0"}, {"agent-1", "agent-2"}}).Draw(t, "avoid"),
			Preferences: models.Preferences{
				Regions:    rapid.SampledFrom([][]string{nil, {"eu"}, {"eu", "us"}}).Draw(t, "regions"),
				Clusters:   rapid.SampledFrom([][]string{nil, {"c1"}}).Draw(t, "clusters"),
				Strategy:   rapid.SampledFrom([]models.Strategy{"", models.StrategyLeastLoaded, models.StrategyBinPack}).Draw(t, "strategy"),
				SpreadOver: rapid.SampledFrom([]models.Spread{"", models.SpreadRegion, models.SpreadCluster}).Draw(t, "spread"),
				HomeAgent:  rapid.SampledFrom([]string{"", "agent-3", "gone"}).Draw(t, "home"),
				HomeStore:  rapid.SampledFrom([]string{"", "cellar", "attic"}).Draw(t, "home store"),
				Image:      rapid.SampledFrom([]string{"", "desk:1", "desk:9"}).Draw(t, "image"),
			},
			UserID:    rapid.SampledFrom([]string{"", "ann"}).Draw(t, "user"),
			SessionID: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "session"),
		}
	})
}

// violated says again, in other words than Reject, which requirements an agent
// does not fulfil.
func violated(c candidate, want SelectionCriteria, since time.Time) []models.RejectionCode {
	cpu, gpus := map[any]int64{nil: 1 << 40, "500m": 500, "1": 1000, "2": 2000, "16": 16000}[c.Capacity["cpu"]], 0.0
	if said, ok := c.Capacity["gpus"].(float64); ok {
		gpus = said
	}
	most := c.Capacity["maxSessions"].(float64)
	tooSmall := want.Reserve.CPU > cpu || want.Reserve.GPUs > int64(gpus)
	full := most > 0 && c.Sessions >= int(most) || want.Reserve.CPU > 0 && c.Reserved.CPU+want.Reserve.CPU > cpu ||
		want.Reserve.GPUs > 0 && c.Reserved.GPUs+want.Reserve.GPUs > int64(gpus)
	lacking := false
	for _, need := range want.Needs {
		lacking = lacking || c.Platform == "process" && c.Facilities != nil && !slices.Contains(c.Facilities, need.Command)
	}
	labels := true
	for _, wanted := range want.Labels {
		switch value, has := c.Labels[wanted.Key]; wanted.Operator {
		case models.LabelExists:
			labels = labels && has
		case models.LabelIn:
			labels = labels && slices.Contains(wanted.Values, value)
		case models.LabelNotExists:
			labels = labels && !has
		case models.LabelNotIn:
			labels = labels && value != "t4"
		}
	}
	offline := c.Status == "offline"
	unlinked := !offline && !c.connected && !want.AllowDisconnected
	silent := !offline && !unlinked && (c.LastHeartbeat == nil || c.LastHeartbeat.Before(since))
	var codes []models.RejectionCode
	for _, rule := range []struct {
		broken bool
		code   models.RejectionCode
	}{
		{want.Platform != "" && want.Platform != c.Platform || len(want.Platforms) > 0 && !slices.Contains(want.Platforms, c.Platform), "wrong_platform"},
		{want.ClusterID != "" && want.ClusterID != c.ClusterID, "wrong_cluster"},
		{want.Region != "" && want.Region != c.Region, "wrong_region"},
		{!labels, "labels_differ"},
		{tooSmall, "too_small"},
		{lacking, "needs_missing"},
		{slices.Contains(want.Avoid, c.ID), "failed_before"},
		{c.Cordoned, "cordoned"},
		{c.Status == "draining", "draining"},
		{offline, "offline"}, {unlinked, "not_connected"}, {silent, "heartbeat_old"},
		{c.failing, "failing"},
		{full && !tooSmall, "full"},
	} {
		if rule.broken {
			codes = append(codes, rule.code)
		}
	}
	return codes
}

func codesOf(v Verdict) (codes []models.RejectionCode) {
	for _, rejection := range v.Rejections {
		codes = append(codes, rejection.Code)
	}
	return codes
}

func TestRankTakesTheFitAndGivesAReasonForEachOther(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	since := now.Add(-45 * time.Second)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		byID := map[string]candidate{}
		for _, c := range candidates {
			byID[c.ID] = c
		}
		verdicts := explain(candidates, want, since, DefaultWeights())
		if len(verdicts) != len(candidates) {
			t.Fatalf("%d verdicts on %d agents", len(verdicts), len(candidates))
		}
		couldFit := false
		for i, v := range verdicts {
			c, known := byID[v.AgentID]
			if delete(byID, v.AgentID); !known {
				t.Fatalf("two verdicts on %s", v.AgentID)
			}
			if got, want := codesOf(v), violated(c, want, since); !slices.Equal(got, want) {
				t.Fatalf("%+v was refused for %v, not %v", c, got, want)
			}
			if (v.Score == nil) != (len(v.Rejections) > 0) {
				t.Fatalf("%+v is both or neither", v)
			}
			if i > 0 && v.Score != nil && (verdicts[i-1].Score == nil || verdicts[i-1].Score.Total < v.Score.Total) {
				t.Fatalf("%+v ranks before %+v", verdicts[i-1], v)
			}
			if i > 0 && v.Score == nil && verdicts[i-1].Score == nil && verdicts[i-1].AgentID >= v.AgentID {
				t.Fatalf("%s is refused before %s", verdicts[i-1].AgentID, v.AgentID)
			}
			lasting := []models.RejectionCode{"wrong_platform", "wrong_cluster", "wrong_region", "labels_differ", "too_small", "needs_missing", "failed_before"}
			couldFit = couldFit || !slices.ContainsFunc(codesOf(v), func(code models.RejectionCode) bool { return slices.Contains(lasting, code) })
			for _, rejection := range v.Rejections {
				carries := rejection.Code == models.RejectedNeeds || rejection.Code == models.RejectedSize || rejection.Code == models.RejectedFull
				if rejection.Detail == "" || carries != (len(rejection.Missing) > 0) {
					t.Fatalf("%+v says too little or too much", rejection)
				}
			}
		}
		if got := CouldFit(verdicts); got != couldFit {
			t.Fatalf("that waiting could help is %v of %+v", got, verdicts)
		}
	})
}

func TestRankDoesNotDependOnTheOrderOfAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		for _, c := range candidates { // twins are equally good
			c.ID += "-twin"
			candidates = append(candidates, c)
		}
		one := explain(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		other := explain(rapid.Permutation(candidates).Draw(t, "permuted"), want, now.Add(-45*time.Second), DefaultWeights())
		if !reflect.DeepEqual(one, other) {
			t.Fatalf("%+v became %+v", one, other)
		}
	})
}

func TestAnotherAgentNeverMakesTheBestWorse(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		want.Preferences.SpreadOver = "" // which counts the whole fleet
		total := func(candidates []candidate) int64 {
			best, _ := rank(candidates, want, now.Add(-45*time.Second), DefaultWeights())
			if len(best) == 0 {
				return -1
			}
			return best[0].points.total
		}
		before := total(candidates)
		more := append(slices.Clone(candidates), agentOf("another", now).Draw(t, "another"))
		if after := total(more); after < before {
			t.Fatalf("the best was worth %v and is worth %v", before, after)
		}
	})
}

// "Select agent with lowest load": whoever wishes nothing else gets exactly
// that, also of agents with many sessions.
func TestWithoutWishesTheFewestSessionsWin(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		want.Preferences, want.UserID, want.IgnoreLoad = models.Preferences{}, "", false
		least := rapid.SampledFrom([]int{0, 10, 500, 10_000}).Draw(t, "least")
		for i := range candidates {
			candidates[i].Capacity, candidates[i].Sessions = nil, least+rapid.IntRange(0, 3).Draw(t, "more")
		}
		best, _ := rank(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		if !slices.IsSortedFunc(best, func(a, b ranked) int { return a.Sessions - b.Sessions }) {
			t.Fatalf("not by load: %+v", best)
		}
	})
}

func TestIgnoreLoadIgnoresIt(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		want.IgnoreLoad, want.Preferences, want.UserID = true, models.Preferences{}, ""
		best, _ := rank(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		for _, c := range best {
			if c.points.total != 0 {
				t.Fatalf("%s is worth %+v", c.ID, c.points)
			}
		}
	})
}

func TestTiesSpreadSessionsOverEqualAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	var candidates []candidate
	for i := range 4 {
		candidates = append(candidates, candidate{connected: true, Agent: models.Agent{
			ID: fmt.Sprint("agent-", i), Status: models.AgentOnline, LastHeartbeat: &now}})
	}
	first := map[string]int{}
	for i := range 400 {
		best, _ := rank(candidates, SelectionCriteria{SessionID: fmt.Sprint("session-", i)}, now, DefaultWeights())
		first[best[0].ID]++
	}
	for _, c := range candidates {
		if first[c.ID] < 60 {
			t.Errorf("of 400 sessions %s would get %d", c.ID, first[c.ID])
		}
	}
}
