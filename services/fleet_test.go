package services

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

// circumstances are those in which the candidates are what they are.
func circumstances(candidates []candidate, since time.Time) Circumstances {
	connected, at, user := map[string]bool{}, Circumstances{Since: since, Failing: map[string]bool{}}, map[string]int{}
	for _, c := range candidates {
		connected[c.ID], at.Failing[c.ID] = c.connected, c.failing
		if c.userSessions > 0 {
			user[c.ID] = c.userSessions
		}
	}
	at.Connected, at.User = func(agentID string) bool { return connected[agentID] }, NewUserSessions(user)
	return at
}

func agentsIn(candidates []candidate) []models.Agent {
	agents := make([]models.Agent, 0, len(candidates))
	for _, c := range candidates {
		agents = append(agents, c.Agent)
	}
	return agents
}

// weightsOf draws weights of which some are the same and some nothing.
func weightsOf() *rapid.Generator[Weights] {
	return rapid.Custom(func(t *rapid.T) Weights {
		if rapid.Bool().Draw(t, "default") {
			return DefaultWeights()
		}
		weight := func(name string) float64 { return rapid.SampledFrom([]float64{0, 0.1, 0.25, 1, 77}).Draw(t, name) }
		return Weights{Load: weight("load"), PreferredRegion: weight("region"), PreferredCluster: weight("cluster"), Spread: weight("spread"),
			Home: weight("home"), UserAntiAffinity: weight("user"), Image: weight("image")}
	})
}

// Whatever happens to the fleet, its choice is as good as the best of a ranking
// of all agents.
func TestTheFleetChoosesAsRankDoes(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	since := now.Add(-45 * time.Second)
	rapid.Check(t, func(t *rapid.T) {
		var candidates []candidate
		kinds := agentsOf(now).Draw(t, "kinds")
		for copied := range rapid.SampledFrom([]int{1, 1, 7, 80}).Draw(t, "copies") {
			for i, c := range kinds {
				c.ID = fmt.Sprint("agent-", copied*len(kinds)+i)
				candidates = append(candidates, c)
			}
		}
		weights := weightsOf().Draw(t, "weights")
		fleet := NewFleet(weights)
		at := circumstances(candidates, since)
		read := now
		fleet.Replace(agentsIn(candidates), read)

		model := map[string]*candidate{}
		for i := range candidates {
			model[candidates[i].ID] = &candidates[i]
		}
		type hold struct {
			agent  string
			amount models.Amount
		}
		var holds []hold
		add := func(agent string, amount models.Amount, sign int64) {
			for range sign {
				model[agent].Reserved = model[agent].Reserved.Plus(amount)
			}
			if sign < 0 {
				model[agent].Reserved = model[agent].Reserved.Minus(amount)
			}
			model[agent].Sessions += int(sign * amount.Sessions)
		}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(t, "step"); {
			case step == 0: // a new picture, in which the agents may be in another order
				read = read.Add(time.Second)
				var agents []models.Agent
				for _, c := range candidates {
					for _, held := range holds {
						if held.agent == c.ID {
							c.Reserved, c.Sessions = c.Reserved.Minus(held.amount), c.Sessions-int(held.amount.Sessions)
						}
					}
					agents = append(agents, c.Agent)
				}
				fleet.Replace(rapid.Permutation(agents).Draw(t, "agents"), read)
			case step == 1:
				fleet.Replace(nil, read.Add(-time.Hour)) // which is too old
			case step <= 3 && len(holds) > 0:
				i := rapid.IntRange(0, len(holds)-1).Draw(t, "settled")
				written := rapid.SampledFrom([]time.Time{{}, read.Add(-time.Millisecond), read.Add(time.Millisecond)}).Draw(t, "written")
				fleet.Settle(holds[i].agent, holds[i].amount, written)
				if !written.After(read) {
					add(holds[i].agent, holds[i].amount, -1)
				}
				holds = slices.Delete(holds, i, i+1)
			default:
				want := criteriaOf().Draw(t, "criteria")
				best, _ := rank(candidates, want, since, weights)
				choice, found := fleet.Best(want, at)
				if found != (len(best) > 0) {
					t.Fatalf("found is %v, and %d are fit", found, len(best))
				}
				if !found {
					continue
				}
				id := choice.Agent.AgentID
				i := slices.IndexFunc(best, func(r ranked) bool { return r.ID == id })
				if i < 0 {
					t.Fatalf("%s is not fit", id)
				}
				if best[i].points.total != best[0].points.total {
					t.Fatalf("%s is worth %+v, and %s %+v", id, best[i].points, best[0].ID, best[0].points)
				}
				score := best[i].points.score()
				if told := choice.Score(); told.Total != score.Total || !maps.Equal(told.Parts, score.Parts) {
					t.Fatalf("%s is worth %+v, and the choice says %+v", id, score, told)
				}
				fleet.Hold(id, want.reserves())
				add(id, want.reserves(), 1)
				holds = append(holds, hold{id, want.reserves()})
				if rapid.Bool().Draw(t, "the user's") {
					at.User.Add(id)
					model[id].userSessions++
				}
			}
		}
	})
}

// Somebody who settles what was not held makes the picture wrong, and no more.
func TestTheFleetBearsASettleWithoutAHold(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	fleet := NewFleet(DefaultWeights())
	fleet.Replace(agentsIn([]candidate{idle("a", now, nil)}), now)
	for _, strategy := range []models.Strategy{models.StrategyLeastLoaded, models.StrategyBinPack} {
		for range 2 {
			choice, found := fleet.Best(SelectionCriteria{Preferences: models.Preferences{Strategy: strategy}}, Circumstances{Since: now})
			if !found || !(choice.Score().Total >= 0 && choice.Score().Total <= 1) {
				t.Errorf("%s: %+v, %v", strategy, choice, found)
			}
			fleet.Settle("a", models.Amount{Sessions: 3, CPU: 1000}, time.Time{})
		}
	}
}

func TestTheFleetSpreadsEqualAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, agents := range []int{200, 2000} { // in a large fleet a part of it is drawn first
		var candidates []candidate
		for i := range agents {
			candidates = append(candidates, idle(fmt.Sprint("agent-", i), now, func(c *candidate) {
				if i%(agents/5) == 7 {
					c.Region = "rare"
				}
			}))
		}
		fleet := NewFleet(DefaultWeights())
		fleet.Replace(agentsIn(candidates), now)
		for region, want := range map[string]struct{ agents, least int }{"": {agents, 1}, "rare": {5, 16 * agents / 20}} {
			chosen := map[string]int{}
			for i := range 5 * agents {
				choice, found := fleet.Best(SelectionCriteria{Region: region, SessionID: fmt.Sprint("session-", i)}, Circumstances{Since: now})
				if !found {
					t.Fatal("none is fit")
				}
				chosen[choice.Agent.AgentID]++
			}
			least := 5 * agents
			for _, count := range chosen {
				least = min(least, count)
			}
			if len(chosen) < want.agents*9/10 || least < want.least {
				t.Errorf("region %q of %d agents: of %d sessions %d agents would get at least %d", region, agents, 5*agents, len(chosen), least)
			}
		}
	}
}
