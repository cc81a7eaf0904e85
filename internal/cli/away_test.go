package cli_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

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
