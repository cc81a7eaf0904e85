package cli_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/test/program"
)

// expect fails unless a command's output has the words.
func expect(output, words string) error {
	if !strings.Contains(output, words) {
		return fmt.Errorf("%q is not in\n%s", words, output)
	}
	return nil
}

// awayAgent runs a session on an agent and returns when the agent is away.
func awayAgent(t *testing.T, template string) map[string]string {
	t.Helper()
	env := serve(t)
	disconnect := connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	must(t, env, "session", "launch", template, "--id", "one", "--name", "One", "--wait")
	disconnect()
	program.Eventually(t, "the agent is away", 20*time.Second, func() error {
		return expect(must(t, env, "agents", "list"), "offline")
	})
	return env
}

func TestWhatIsOnAnAgentThatIsAwayIsUnreachable(t *testing.T) {
	env := awayAgent(t, "terminal")
	golden(t, must(t, env, "session", "list"), `
ID   NAME  TEMPLATE  STATE                  AGENT  USER   AGE  REASON
one  One   terminal  running (unreachable)  edge   admin  AGE  -`)
	shown := must(t, env, "session", "show", "one")
	for _, line := range []string{"State:        running (unreachable)\n", `agent "edge" is not connected; it was last heard of at `, "What runs there keeps running"} {
		if err := expect(shown, line); err != nil {
			t.Error(err)
		}
	}
	if err := expect(must(t, env, "session", "list", "--output", "json"), `"reason": "agent \"edge\" is not connected"`); err != nil {
		t.Error(err)
	}
}

func TestHowFarAStartIs(t *testing.T) {
	env := serve(t)
	connectAgent(t, env["STREAMSPACE_SERVER"], "edge", strings.TrimSpace(must(t, env, "agents", "key", "edge")))
	must(t, env, "session", "launch", "terminal", "--id", "pulling")
	program.Eventually(t, "it is told", 20*time.Second, func() error {
		return expect(must(t, env, "session", "show", "pulling"), "Progress:  pulling image desk:1, 43 %\n")
	})
	for _, listing := range []string{must(t, env, "session", "list"), must(t, env, "session", "show", "pulling", "--output", "json")} {
		if !strings.Contains(listing, "pulling image desk:1, 43 %") && !strings.Contains(listing, `"percent": 43`) {
			t.Errorf("it is not in\n%s", listing)
		}
	}
}

func TestAnAgentIsRemovedFromTheCommandLine(t *testing.T) {
	env := awayAgent(t, "terminal")
	if status, _, said := run(t, env, "agents", "remove", "edge"); status != 1 || !strings.Contains(said, "--force") {
		t.Errorf("with a session on it: status %d, %q", status, said)
	}
	golden(t, must(t, env, "agents", "remove", "edge", "--force"), `
edge: removed
session one: failed, agent "edge" was removed by admin. Launch it again`)
	golden(t, must(t, env, "agents", "list"), "There are no agents. Make a key for one with: streamspace agents key ID")
	if status, _, said := run(t, env, "agents", "remove", "edge"); status != 1 || !strings.Contains(said, `no agent "edge"`) {
		t.Errorf("removed already: status %d, %q", status, said)
	}
}

func TestTheHistoryFromTheCommandLine(t *testing.T) {
	env := awayAgent(t, "terminal")
	golden(t, must(t, env, "session", "events", "one"), `
WHEN                     FROM     TO       BY          REASON
DATE  -        pending  user:admin  -
DATE  pending  running  agent:edge  -`)
	var events []client.Event
	if err := json.Unmarshal([]byte(must(t, env, "session", "events", "one", "--output", "json")), &events); err != nil || len(events) != 2 || events[1].To != "running" {
		t.Errorf("for programs it is %+v (%v)", events, err)
	}
	if status, _, said := run(t, env, "session", "events", "none"); status != 1 || !strings.Contains(said, `no session "none"`) {
		t.Errorf("of an unknown session: status %d, %q", status, said)
	}
}
