package services

import (
	"math"
	"slices"

	"github.com/streamspace/streamspace/models"
)

// Score is how good an agent is for a session.
type Score struct {
	// Total is the sum of the parts, each times its weight and to the billionth.
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
	score, total := Score{Parts: map[string]float64{}}, int64(0)
	add := func(wished bool, name string, value, weight float64) {
		if wished {
			score.Parts[name] = value
			total += worth(value, weight)
		}
	}
	if !criteria.IgnoreLoad {
		add(true, "load", load(wishes.Strategy, c.Sessions, c.Limit(), c.Reserved.Plus(reserve)), weights.Load)
	}
	add(len(wishes.Regions) > 0, "region", whether(slices.Contains(wishes.Regions, c.Region)), weights.PreferredRegion)
	add(len(wishes.Clusters) > 0, "cluster", whether(slices.Contains(wishes.Clusters, c.ClusterID)), weights.PreferredCluster)
	switch wishes.SpreadOver {
	case models.SpreadRegion:
		add(true, "spread", fewer(around.byRegion[c.Region]), weights.Spread)
	case models.SpreadCluster:
		add(true, "spread", fewer(around.byCluster[c.ClusterID]), weights.Spread)
	}
	add(wishes.HomeAgent != "", "home", whether(wishes.Homes(c.Agent)), weights.Home)
	add(criteria.UserID != "", "antiAffinity", fewer(c.userSessions), weights.UserAntiAffinity)
	add(wishes.Image != "", "image", whether(c.HoldsImage(wishes.Image)), weights.Image)
	score.Total = float64(total) / billion
	return score
}

// billion is what one is, in what totals are counted in.
const billion = 1e9

// worth is a part times its weight, in billionths: sums of whole numbers do not
// depend on their order, as those of floating point numbers do.
func worth(part, weight float64) int64 { return int64(math.Round(part * weight * billion)) }

// load is better the fewer sessions an agent has, or for bin-pack the fuller it
// is after the session has reserved what it takes.
func load(strategy models.Strategy, sessions int, limit, after models.Amount) float64 {
	if strategy != models.StrategyBinPack {
		return fewer(sessions)
	}
	fullest, limited := 0.0, false
	for _, part := range [...]struct{ amount, limit int64 }{
		{after.Sessions, limit.Sessions}, {after.CPU, limit.CPU}, {after.Memory, limit.Memory}, {after.GPUs, limit.GPUs},
	} {
		if part.limit > 0 { // no GPUs are not a limit that fills up
			fullest, limited = max(fullest, float64(part.amount)/float64(part.limit)), true
		}
	}
	if !limited {
		return 1 - fewer(sessions)
	}
	return min(1, fullest)
}

// fewer is 1 for nothing, or less, and less for more: 1/2, 1/3 and so on.
func fewer(count int) float64 { return 1 / (1 + float64(max(0, count))) }

func whether(it bool) float64 {
	if it {
		return 1
	}
	return 0
}
