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

// neighbours counts the live sessions in an agent's region and cluster.
type neighbours struct{ region, cluster int }

func (p population) around(agent *models.Agent) neighbours {
	return neighbours{p.byRegion[agent.Region], p.byCluster[agent.ClusterID]}
}

func populationOf(candidates []candidate) population {
	all := population{byRegion: map[string]int{}, byCluster: map[string]int{}}
	for _, c := range candidates {
		all.byRegion[c.Region] += c.Sessions
		all.byCluster[c.ClusterID] += c.Sessions
	}
	return all
}

// part is one of the parts of a score.
type part int

const (
	partLoad part = iota
	partRegion
	partCluster
	partSpread
	partHome
	partAntiAffinity
	partImage
	partCount
)

func (p part) String() string {
	return [partCount]string{"load", "region", "cluster", "spread", "home", "antiAffinity", "image"}[p]
}

// points are a score in a form that takes no time to make and to compare: there
// is one for each agent whenever one is chosen and that is explained.
type points struct {
	total int64 // in billionths
	parts [partCount]float64
	asked [partCount]bool
}

// score is what people read of it.
func (p *points) score() *Score {
	score := &Score{Total: float64(p.total) / billion, Parts: map[string]float64{}}
	for one := range partCount {
		if p.asked[one] {
			score.Parts[one.String()] = p.parts[one]
		}
	}
	return score
}

func (c *candidate) score(criteria SelectionCriteria, reserve models.Amount, around neighbours, weights Weights) (score points) {
	wishes := criteria.Preferences
	add := func(wished bool, p part, value, weight float64) {
		if wished {
			score.asked[p], score.parts[p] = true, value
			score.total += worth(value, weight)
		}
	}
	if !criteria.IgnoreLoad {
		limit := models.Amount{} // which reading takes time, and which only one strategy asks for
		if wishes.Strategy == models.StrategyBinPack {
			limit = c.room()
		}
		add(true, partLoad, load(wishes.Strategy, c.Sessions, limit, c.Reserved.Plus(reserve)), weights.Load)
	}
	add(len(wishes.Regions) > 0, partRegion, whether(slices.Contains(wishes.Regions, c.Region)), weights.PreferredRegion)
	add(len(wishes.Clusters) > 0, partCluster, whether(slices.Contains(wishes.Clusters, c.ClusterID)), weights.PreferredCluster)
	switch wishes.SpreadOver {
	case models.SpreadRegion:
		add(true, partSpread, fewer(around.region), weights.Spread)
	case models.SpreadCluster:
		add(true, partSpread, fewer(around.cluster), weights.Spread)
	}
	add(wishes.HomeAgent != "", partHome, whether(wishes.Homes(c.Agent)), weights.Home)
	add(criteria.UserID != "", partAntiAffinity, fewer(c.userSessions), weights.UserAntiAffinity)
	add(wishes.Image != "", partImage, whether(c.HoldsImage(wishes.Image)), weights.Image)
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
