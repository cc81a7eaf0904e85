package robustness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/program"
)

// removals are the moments in which a control plane is killed that removes an
// agent.
func removals() []string { return []string{"remove-agent-uncommitted", "remove-agent-committed"} }

// A removal happens as a whole or not at all, and can be asked for again.
func TestKillWhileAnAgentIsRemoved(t *testing.T) {
	t.Parallel()
	for _, point := range removals() {
		t.Run(point, func(t *testing.T) {
			w := newWorld(t, failpointBinary(t), "")
			w.startServer()
			w.startAgent()
			ids := w.launch(2)
			w.agent.Kill()
			w.faults.arm(point, 1, "kill")
			program.Eventually(t, "the server dies while it removes the agent", recoverWithin, func() error {
				_, err := w.api().RemoveAgent(program.Limit(t), agentName, true)
				select {
				case <-w.server.Exited():
					return nil
				default:
					return fmt.Errorf("it lives, and answers: %w", err) // that the agent is connected, at first
				}
			})
			w.startServer()
			_, err := w.api().RemoveAgent(program.Limit(t), agentName, true)
			var problem *client.Problem
			done := errors.As(err, &problem) && problem.Code == models.CodeAgentUnknown
			if point == "remove-agent-uncommitted" && err != nil || point == "remove-agent-committed" && !done {
				t.Errorf("removed again, the answer is %v", err)
			}
			for id, session := range w.sessions(ids) {
				if session.State != models.SessionFailed || session.ReasonCode != models.CodeAgentUnavailable {
					t.Errorf("session %s is %s: %s", id, session.State, session.Reason)
				}
			}
			if err := os.Remove(filepath.Join(w.dir, "agent.key")); err != nil { // which does not work any more
				t.Fatal(err)
			}
			w.startAgent()
			w.gone(ids)
		})
	}
}

// An agent dies and its sessions live on. Those that may be given up are, what
// keeps its home waits, and when the agent is back nothing is left of the former,
// while the latter is the same process as before.
func TestWhatIsLeftOfSessionsGivenUpIsStoppedWhenTheirAgentReturns(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{sqlite, postgresql} {
		t.Run(engine, func(t *testing.T) {
			database := ""
			if engine == postgresql {
				database = startPostgres(t).database("streamspace")
			}
			w := newWorld(t, program.Binary(t), database)
			w.serverFlags = []string{"--agent-gone-after", "3s", "--reconcile-every", "1s"}
			w.startServer()
			w.startAgent()
			given, kept := w.launch(2), w.launchHomes(1)
			before := w.sessions(kept)
			w.agent.Signal(syscall.SIGKILL)
			<-w.agent.Exited()
			program.Eventually(t, "what keeps its home is unreachable", 5*time.Second, func() error {
				if session := w.sessions(kept)[kept[0]]; session.Unreachable == nil || session.Unreachable.Since == nil {
					return fmt.Errorf("it is %s and reachable", session.State)
				}
				return nil
			})
			for _, id := range given {
				program.Eventually(t, "session "+id+" is given up", 40*time.Second, func() error {
					session := w.sessions(given)[id]
					if session.State != models.SessionFailed || session.ReasonCode != models.CodeAgentUnavailable || !session.Retryable {
						return fmt.Errorf("it is %s: %s (%s)", session.State, session.Reason, session.ReasonCode)
					}
					return nil
				})
			}
			w.once(kept) // and the others, which live on as they did
			w.untouched(kept, before)
			w.startAgent()
			w.gone(given)
			w.once(kept)
			w.untouched(kept, before)
			if session := w.sessions(kept)[kept[0]]; session.Unreachable != nil || session.Generation != 1 {
				t.Errorf("it is back as %+v", session)
			}
			w.stop(kept)
			w.settled()
		})
	}
}
