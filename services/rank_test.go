package services

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
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
			c := candidate{connected: rapid.IntRange(0, 4).Draw(t, "connected") > 0, Agent: models.Agent{
				ID:        fmt.Sprint("agent-", i),
				Platform:  rapid.SampledFrom([]string{"process", "docker"}).Draw(t, "platform"),
				Region:    rapid.SampledFrom([]string{"", "eu", "us"}).Draw(t, "region"),
				ClusterID: rapid.SampledFrom([]string{"", "c1"}).Draw(t, "cluster"),
				Status:    rapid.SampledFrom([]string{"online", "online", "online", "offline", "draining"}).Draw(t, "status"),
				Sessions:  rapid.IntRange(0, 4).Draw(t, "sessions"),
				Capacity:  map[string]interface{}{"maxSessions": float64(rapid.IntRange(0, 5).Draw(t, "max"))},
			}}
			if rapid.IntRange(0, 5).Draw(t, "heard") > 0 {
				heard := now.Add(-time.Duration(rapid.IntRange(0, 60).Draw(t, "silence")) * time.Second)
				c.LastHeartbeat = &heard
			}
			if rapid.Bool().Draw(t, "said") {
				c.Facilities = rapid.SampledFrom([][]string{{}, {"Xvnc"}, {"Xvnc", "xterm"}}).Draw(t, "facilities")
			}
			candidates = append(candidates, c)
		}
		return candidates
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
			SessionID: rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "session"),
		}
	})
}

// isFit says again, in other words than rank, who may take a session.
func isFit(c candidate, want SelectionCriteria, since time.Time) bool {
	healthy := c.Status == "online" && c.LastHeartbeat != nil && !c.LastHeartbeat.Before(since)
	reachable := c.connected || want.AllowDisconnected
	room := c.Limit().Sessions == models.Unlimited || int64(c.Sessions) < c.Limit().Sessions
	equipped := c.Platform != "process" || c.Facilities == nil
	if !equipped {
		equipped = true
		for _, need := range want.Needs {
			equipped = equipped && slices.Contains(c.Facilities, need.Command)
		}
	}
	matches := func(wanted, has string) bool { return wanted == "" || wanted == has }
	return healthy && reachable && room && equipped && matches(want.Region, c.Region) && matches(want.ClusterID, c.ClusterID) &&
		matches(want.Platform, c.Platform) && (len(want.Platforms) == 0 || slices.Contains(want.Platforms, c.Platform))
}

func TestRankTakesTheFitAndGivesAReasonForEachOther(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	since := now.Add(-45 * time.Second)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		best, refusals := rank(candidates, want, since)
		if len(best)+len(refusals) != len(candidates) {
			t.Fatalf("%d fit and %d refused of %d", len(best), len(refusals), len(candidates))
		}
		for i, c := range best {
			if !isFit(c, want, since) {
				t.Fatalf("unfit agent %+v was taken for %+v", c, want)
			}
			if i > 0 && !want.IgnoreLoad && best[i-1].Sessions > c.Sessions {
				t.Fatalf("%d sessions rank before %d", best[i-1].Sessions, c.Sessions)
			}
		}
		for _, refused := range refusals {
			i := slices.IndexFunc(candidates, func(c candidate) bool { return c.ID == refused.agentID })
			if isFit(candidates[i], want, since) || refused.why == fit {
				t.Fatalf("fit agent %+v was refused for %+v", candidates[i], want)
			}
			if (refused.why == lacking) != (len(refused.missing) > 0) {
				t.Fatalf("refused for %v with missing %v", refused.why, refused.missing)
			}
		}
	})
}

func TestRankDoesNotDependOnTheOrderOfAgents(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		ids := func(ranked []candidate) (ids []string) {
			for _, c := range ranked {
				ids = append(ids, c.ID)
			}
			return ids
		}
		one, _ := rank(candidates, want, now.Add(-45*time.Second))
		other, _ := rank(rapid.Permutation(candidates).Draw(t, "permuted"), want, now.Add(-45*time.Second))
		if !slices.Equal(ids(one), ids(other)) {
			t.Fatalf("%v became %v", ids(one), ids(other))
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
		best, _ := rank(candidates, SelectionCriteria{SessionID: fmt.Sprint("session-", i)}, now)
		first[best[0].ID]++
	}
	for _, c := range candidates {
		if first[c.ID] < 60 {
			t.Errorf("of 400 sessions %s would get %d", c.ID, first[c.ID])
		}
	}
}

func TestTheRefusalCountsReasonsAndSaysWhatToDo(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	old := now.Add(-time.Hour)
	needs := []models.Need{{Command: "Xvnc", Install: "tigervnc-standalone-server"}, {Command: "xterm"}}
	good := func(id string) candidate {
		return candidate{connected: true, Agent: models.Agent{ID: id, Platform: "process", Region: "eu", Status: models.AgentOnline,
			LastHeartbeat: &now, Facilities: []string{"Xvnc", "xterm"}, Capacity: map[string]interface{}{"maxSessions": 2.0}}}
	}
	with := func(id string, change func(*candidate)) candidate {
		c := good(id)
		change(&c)
		return c
	}
	for _, c := range []struct {
		name       string
		candidates []candidate
		criteria   SelectionCriteria
		message    string
		retryable  bool
	}{
		{"nobody", nil, SelectionCriteria{},
			"no agent has registered yet; start one with `streamspace agent`", true},
		{"full", []candidate{with("a", func(c *candidate) { c.Sessions = 2 })}, SelectionCriteria{},
			`the only agent, "a", is full; stop a session, or start another agent`, true},
		{"lacking", []candidate{with("a", func(c *candidate) { c.Facilities = []string{} }),
			with("b", func(c *candidate) { c.Facilities = []string{"xterm"} })}, SelectionCriteria{Needs: needs},
			`none of 2 agents can take this session: 2 lack Xvnc, xterm; install on the machine of agent "b": Xvnc (tigervnc-standalone-server)`, false},
		{"region", []candidate{good("a"), good("b")}, SelectionCriteria{Region: "us"},
			`none of 2 agents can take this session: 2 are not in region "us"; choose another region, or start an agent there`, false},
		{"cluster", []candidate{good("a")}, SelectionCriteria{ClusterID: "x"},
			`the only agent, "a", is not in cluster "x"; choose another cluster, or start an agent there`, false},
		{"platform", []candidate{good("a")}, SelectionCriteria{Platforms: []string{"docker", "kubernetes"}},
			`the only agent, "a", is not of platform docker or kubernetes; start an agent of that platform`, false},
		{"many", []candidate{
			with("a", func(c *candidate) { c.Status = models.AgentDraining }),
			with("b", func(c *candidate) { c.Status = models.AgentOffline }),
			with("c", func(c *candidate) { c.connected = false }),
			with("d", func(c *candidate) { c.LastHeartbeat = &old }),
			with("e", func(c *candidate) { c.LastHeartbeat = nil }),
		}, SelectionCriteria{},
			"none of 5 agents can take this session: 1 is draining, 1 is offline, 1 is not connected, 2 are without a recent heartbeat; " +
				"see that the agent runs and reaches the control plane, then try again", true},
		{"draining", []candidate{with("a", func(c *candidate) { c.Status = models.AgentDraining })}, SelectionCriteria{},
			`the only agent, "a", is draining; start another agent`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			best, refusals := rank(c.candidates, c.criteria, now.Add(-45*time.Second))
			if len(best) != 0 {
				t.Fatalf("%s is fit", best[0].ID)
			}
			refused := noSuitableAgent(c.criteria, refusals)
			if refused.Code != models.CodeNoSuitableAgent || refused.Message != c.message || refused.Retryable != c.retryable {
				t.Errorf("got %s %q, retryable %v\nwant %q", refused.Code, refused.Message, refused.Retryable, c.message)
			}
		})
	}
}

func TestTheRefusalAccountsForEveryAgent(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	counted := regexp.MustCompile(`(\d+) (?:is|are|lacks?) `)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		best, refusals := rank(candidates, want, now.Add(-45*time.Second))
		if len(best) > 0 || len(refusals) < 2 {
			return
		}
		message := noSuitableAgent(want, refusals).Message
		total := 0
		for _, match := range counted.FindAllStringSubmatch(message, -1) {
			count, err := strconv.Atoi(match[1])
			if err != nil {
				t.Fatal(err)
			}
			total += count
		}
		if total != len(refusals) {
			t.Fatalf("%q accounts for %d of %d agents", message, total, len(refusals))
		}
		if _, advice, told := strings.Cut(message, "; "); !told || advice == "" {
			t.Fatalf("%q says nothing to do", message)
		}
	})
}
