package services

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
)

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
	busy := func(id string, sessions int, cpu any) candidate {
		return with(id, func(c *candidate) {
			c.Sessions, c.Capacity["cpu"] = sessions, cpu
			c.Reserved = models.Amount{Sessions: int64(sessions), CPU: int64(sessions) * 1500}
		})
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
		{"full", []candidate{busy("a", 2, nil)}, SelectionCriteria{},
			`the only agent, "a", is full; stop a session, or start another agent`, true},
		{"all full", []candidate{busy("a", 2, nil), busy("b", 2, nil)}, SelectionCriteria{},
			`none of 2 agents can take this session: 2 are full; stop a session, or start another agent`, true},
		{"no cores free", []candidate{busy("a", 1, 2)}, SelectionCriteria{Reserve: models.Amount{CPU: 1000}},
			`the only agent, "a", is full: 1 core wanted and 0.5 free; ask for less, stop a session, or start another agent`, true},
		{"nothing free", []candidate{busy("a", 2, 4)}, SelectionCriteria{Reserve: models.Amount{CPU: 2000}},
			`the only agent, "a", is full: 1 session wanted and 0 free, 2 cores wanted and 1 free; ` +
				`ask for less, stop a session, or start another agent`, true},
		{"full in different ways", []candidate{busy("a", 2, nil), busy("b", 1, 2), with("c", func(c *candidate) { c.Cordoned = true })},
			SelectionCriteria{Reserve: models.Amount{CPU: 1000}},
			`none of 3 agents can take this session: 1 is cordoned, 2 are full (sessions, cpu); stop a session, or start another agent`, true},
		{"too small", []candidate{busy("a", 0, 2)}, SelectionCriteria{Reserve: models.Amount{CPU: 2500, GPUs: 1}},
			`the only agent, "a", is too small: 2.5 cores wanted and 2 there, 1 GPU wanted and 0 there; ask for less, or start a larger agent`, false},
		{"all too small", []candidate{busy("a", 0, 2), with("b", func(c *candidate) { c.Capacity["memory"] = "1Gi" })},
			SelectionCriteria{Reserve: models.Amount{CPU: 2500, Memory: 2 << 30}},
			`none of 2 agents can take this session: 2 are too small (cpu, memory); ask for less, or start a larger agent`, false},
		{"labels", []candidate{good("a"), good("b")}, SelectionCriteria{Labels: models.Selector{
			{Key: "gpu", Operator: models.LabelIn, Values: []string{"a100", "h100"}}}},
			`none of 2 agents can take this session: 2 do not match the labels gpu in (a100, h100); ` +
				`choose other labels, or start an agent that has these`, false},
		{"cordoned", []candidate{with("a", func(c *candidate) { c.Cordoned = true })}, SelectionCriteria{},
			`the only agent, "a", is cordoned; uncordon agent "a", or start another agent`, false},
		{"failing", []candidate{with("a", func(c *candidate) { c.failing = true }), with("b", func(c *candidate) { c.failing = true })},
			SelectionCriteria{},
			`none of 2 agents can take this session: 2 keep failing to start this template; ` +
				`see why sessions fail to start on agent "a", then try again`, true},
		{"failed before", []candidate{good("a"), good("b")}, SelectionCriteria{Avoid: []string{"a", "b"}},
			`none of 2 agents can take this session: 2 have failed to start this session; ` +
				`see why the session failed to start on agent "a", or start another agent`, false},
		{"everything", []candidate{with("a", func(c *candidate) { c.Cordoned, c.failing, c.connected = true, true, false })},
			SelectionCriteria{Region: "us"},
			`the only agent, "a", is not in region "us", and is cordoned, and is not connected, and keeps failing to start this template; ` +
				`choose another region, or start an agent there`, false},
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
		// The nearest agent is the one that only one thing is missing for.
		{"nearest", []candidate{with("a", func(c *candidate) { c.Facilities, c.Cordoned = []string{"xterm"}, true }),
			with("b", func(c *candidate) { c.Facilities = []string{} })}, SelectionCriteria{Needs: needs},
			`none of 2 agents can take this session: 2 lack Xvnc, xterm; ` +
				`install on the machine of agent "b": Xvnc (tigervnc-standalone-server), xterm`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			best, rejected := rank(c.candidates, c.criteria, now.Add(-45*time.Second), DefaultWeights())
			if len(best) != 0 {
				t.Fatalf("%s is fit", best[0].ID)
			}
			refused := noSuitableAgent(c.criteria, rejected)
			if refused.Code != models.CodeNoSuitableAgent || refused.Message != c.message || refused.Retryable != c.retryable {
				t.Errorf("got %s %q, retryable %v\nwant %q", refused.Code, refused.Message, refused.Retryable, c.message)
			}
		})
	}
}

func TestTheRefusalAccountsForEveryAgent(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	counted := regexp.MustCompile(`(\d+) (?:is|are|lacks?|does|do|has|have|keeps?) `)
	rapid.Check(t, func(t *rapid.T) {
		candidates, want := agentsOf(now).Draw(t, "candidates"), criteriaOf().Draw(t, "criteria")
		best, rejected := rank(candidates, want, now.Add(-45*time.Second), DefaultWeights())
		if len(best) > 0 || len(rejected) < 2 {
			return
		}
		refused := noSuitableAgent(want, rejected)
		total := 0
		for _, match := range counted.FindAllStringSubmatch(refused.Message, -1) {
			count, err := strconv.Atoi(match[1])
			if err != nil {
				t.Fatal(err)
			}
			total += count
		}
		if total != len(rejected) {
			t.Fatalf("%q accounts for %d of %d agents", refused.Message, total, len(rejected))
		}
		if _, advice, told := strings.Cut(refused.Message, "; "); !told || advice == "" {
			t.Fatalf("%q says nothing to do", refused.Message)
		}
		if refused.Retryable && !CouldFit(rejected) {
			t.Fatalf("it is worth trying again, though nothing changes: %q", refused.Message)
		}
	})
}
