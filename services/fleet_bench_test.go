package services

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/streamspace/streamspace/models"
)

// fleetOf makes agents of many kinds, in 20 regions with 10 clusters each.
func fleetOf(agents int, now time.Time) []models.Agent {
	draw := rand.New(rand.NewPCG(1, uint64(agents)))
	all := make([]models.Agent, 0, agents)
	for i := range agents {
		region := draw.IntN(20)
		all = append(all, models.Agent{
			ID: fmt.Sprint("agent-", i), Status: models.AgentOnline, LastHeartbeat: &now,
			Platform: []string{models.PlatformProcess, models.PlatformDocker, models.PlatformKubernetes}[draw.IntN(3)],
			Region:   fmt.Sprint("region-", region), ClusterID: fmt.Sprint("cluster-", region*10+draw.IntN(10)),
			Labels: map[string]string{"zone": fmt.Sprint("z", draw.IntN(3)), "tier": fmt.Sprint("t", draw.IntN(5)), "disk": "ssd",
				"host": fmt.Sprint("host-", i), "gpu": fmt.Sprint("g", draw.IntN(50))},
			Facilities: slices.Clone([]string{"Xvnc", "xterm", "chromium"}[:1+draw.IntN(3)]),
			Metadata:   map[string]any{"images": []any{fmt.Sprint("desk:", draw.IntN(10)), fmt.Sprint("term:", draw.IntN(3))}},
			Capacity: map[string]any{"maxSessions": 1000, "cpu": 1000 + draw.IntN(100), "memory": fmt.Sprint(2000+draw.IntN(100), "Gi"),
				"gpus": draw.IntN(1000)},
		})
	}
	return all
}

// decisions are what is asked of the fleet.
func decisions(draw *rand.Rand) map[string]func(*SelectionCriteria) {
	return map[string]func(*SelectionCriteria){
		"anything": func(*SelectionCriteria) {},
		"mixed": func(c *SelectionCriteria) {
			c.Reserve = models.Amount{CPU: 500 << draw.IntN(3), Memory: 1 << (29 + draw.IntN(3))}
			switch draw.IntN(8) {
			case 0:
				c.Region = fmt.Sprint("region-", draw.IntN(20))
			case 1:
				c.Labels = models.Selector{{Key: "gpu", Operator: models.LabelIn, Values: []string{fmt.Sprint("g", draw.IntN(50))}},
					{Key: "zone", Operator: models.LabelNotIn, Values: []string{"z1"}}}
			case 2:
				c.Preferences.Regions, c.Preferences.Image = []string{"region-3"}, "desk:1"
			case 3:
				c.Preferences.SpreadOver = models.SpreadCluster
			case 4:
				c.Preferences.Strategy = models.StrategyBinPack
			case 5:
				c.Platforms, c.Needs = []string{models.PlatformProcess}, []models.Need{{Command: "Xvnc"}, {Command: "chromium"}}
			case 6:
				c.Preferences.HomeAgent = "agent-7"
			}
		},
		"label": func(c *SelectionCriteria) {
			c.Labels = models.Selector{{Key: "gpu", Operator: models.LabelIn, Values: []string{"g1"}}}
		},
		"host": func(c *SelectionCriteria) {
			c.Labels = models.Selector{{Key: "host", Operator: models.LabelIn, Values: []string{"host-42"}}}
		},
		"region": func(c *SelectionCriteria) { c.Region = "region-3" },
		"wishes": func(c *SelectionCriteria) {
			c.Preferences = models.Preferences{Regions: []string{"region-3", "region-4"}, Image: "desk:1", Clusters: []string{"cluster-3"}}
		},
		"spread": func(c *SelectionCriteria) { c.Preferences.SpreadOver = models.SpreadCluster },
		"pack": func(c *SelectionCriteria) {
			c.Preferences.Strategy, c.Reserve = models.StrategyBinPack, models.Amount{CPU: 500, Memory: 1 << 30}
		},
		"user": func(c *SelectionCriteria) { c.UserID = "ann" },
	}
}

// A decision is a choice and its hold. The fleet has two sessions an agent, and
// each decision ends the oldest one. Beside the mean the times are told that half
// of the decisions, and one in a hundred, take longer than.
func BenchmarkDecision(b *testing.B) {
	now := time.Now()
	for _, name := range slices.Sorted(maps.Keys(decisions(nil))) {
		for _, agents := range []int{100, 1000, 5000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", name, agents), func(b *testing.B) {
				ask := decisions(rand.New(rand.NewPCG(1, 2)))[name]
				fleet := NewFleet(DefaultWeights())
				fleet.Replace(fleetOf(agents, now), now)
				at := Circumstances{Since: now, User: NewUserSessions(map[string]int{})}
				type session struct {
					agent  string
					amount models.Amount
				}
				var live []session
				end := func() {
					fleet.Settle(live[0].agent, live[0].amount, time.Time{})
					live = live[1:]
				}
				decide := func(i int) time.Duration {
					criteria := SelectionCriteria{SessionID: strconv.Itoa(i)}
					ask(&criteria)
					begin := time.Now()
					choice, found := fleet.Best(criteria, at)
					if !found { // all are full
						end()
						return 0
					}
					fleet.Hold(choice.Agent.AgentID, criteria.reserves())
					took := time.Since(begin)
					if criteria.UserID != "" {
						at.User.Add(choice.Agent.AgentID)
					}
					if live = append(live, session{choice.Agent.AgentID, criteria.reserves()}); len(live) > 2*agents {
						end()
					}
					return took
				}
				for i := range 2 * agents {
					decide(i)
				}
				times := make([]time.Duration, 0, b.N)
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					times = append(times, decide(i))
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
				b.ReportMetric(float64(times[len(times)*99/100].Nanoseconds()), "p99-ns")
			})
		}
	}
}

// A picture of 10,000 agents is made while decisions go on.
func BenchmarkReplace(b *testing.B) {
	now := time.Now()
	fleet := NewFleet(DefaultWeights())
	for range b.N {
		b.StopTimer()
		agents := fleetOf(10_000, now)
		b.StartTimer()
		fleet.Replace(agents, now)
	}
}

// An ordering is made when a decision needs one that is not kept.
func BenchmarkOrdering(b *testing.B) {
	now := time.Now()
	p := newPicture(fleetOf(10_000, now), DefaultWeights())
	for i := range b.N {
		p.ordering(orderedBy{reserve: models.Amount{Sessions: 1, CPU: int64(i)}})
	}
}
