package services

import (
	"math"
	"slices"

	"github.com/streamspace/streamspace/models"
)

// Score is how good an agent is for a session.
type Score struct {
	// Total is the sum of the parts, each times its weight, to the billionth.
	// Agents with the same total are equally good.
	Total float64 `json:"total"`
	// Parts are from 0 to 1 and there when they were asked for: load, region,
	// cluster, spread, home, antiAffinity and image.
	Parts map[string]float64 `json:"parts"`
}

// population counts the live sessions on all agents, fit or not.
type population struct {
	byRegion, byCluster map[string]int
}

func populationOf(candidates []candidate) population {
	all := population{byRegion: map[string]int{}, byCluster: map[string]int{}}
	for _, c := range candidates {
		all.byRegion[c.Region] += c.Sessions
		all.byCluster[c.ClusterID] += c.Sessions
	}
	return all
}

func (c candidate) score(criteria SelectionCriteria, reserve models.Amount, around population, weights Weights) Score {
	wishes := criteria.Preferences
	score := Score{Parts: map[string]float64{}}
	add := func(wished bool, name string, value, weight float64) {
		if wished {
			score.Parts[name] = value
			score.Total += weight * value
		}
	}
	add(!criteria.IgnoreLoad, "load", c.load(wishes.Strategy, reserve), weights.Load)
	add(len(wishes.Regions) > 0, "region", whether(slices.Contains(wishes.Regions, c.Region)), weights.PreferredRegion)
	add(len(wishes.Clusters) > 0, "cluster", whether(slices.Contains(wishes.Clusters, c.ClusterID)), weights.PreferredCluster)
	switch wishes.SpreadOver {
	case models.SpreadRegion:
		add(true, "spread", fewer(around.byRegion[c.Region]), weights.Spread)
	case models.SpreadCluster:
		add(true, "spread", fewer(around.byCluster[c.ClusterID]), weights.Spread)
	}
	add(wishes.HomeAgent != "", "home", whether(c.ID == wishes.HomeAgent), weights.Home)
	add(criteria.UserID != "", "antiAffinity", fewer(c.userSessions), weights.UserAntiAffinity)
	add(wishes.Image != "", "image", whether(c.HoldsImage(wishes.Image)), weights.Image)
	// Sums of floating point numbers differ in their last digits. Comparing
	// rounded totals is transitive, which comparing with a tolerance is not.
	score.Total = math.Round(score.Total*1e9) / 1e9
	return score
}

// load is better the fewer sessions there are, or for bin-pack the fuller the
// agent is with this one.
func (c candidate) load(strategy models.Strategy, reserve models.Amount) float64 {
	if strategy != models.StrategyBinPack {
		return fewer(c.Sessions)
	}
	limit, after := c.Limit(), c.Reserved.Plus(reserve)
	fullest, limited := 0.0, false
	for _, part := range []struct{ amount, limit int64 }{
		{after.Sessions, limit.Sessions}, {after.CPU, limit.CPU}, {after.Memory, limit.Memory}, {after.GPUs, limit.GPUs},
	} {
		if part.limit > 0 { // no GPUs are not a limit that fills up
			fullest, limited = max(fullest, float64(part.amount)/float64(part.limit)), true
		}
	}
	if !limited {
		return 1 - fewer(c.Sessions)
	}
	return min(1, fullest)
}

// fewer is 1 for nothing and less for more: 1/2, 1/3 and so on.
func fewer(count int) float64 { return 1 / (1 + float64(count)) }

func whether(it bool) float64 {
	if it {
		return 1
	}
	return 0
}
