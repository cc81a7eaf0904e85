package db_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// failStart has the agent say that it could not start the session.
func (w *world) failStart(id, agentID string, epoch int64, code models.ErrorCode, now time.Time) {
	w.t.Helper()
	_, err := w.FinishCommand(ending{CommandID: "start-" + id, AgentID: agentID, Epoch: epoch, Status: models.CommandFailed,
		Error: "no disk", Code: code, Retryable: true}, now)
	must(w.t, err)
}

// again places a session that waits on another agent.
func (w *world) again(id, agentID string, now time.Time) error {
	w.t.Helper()
	session := w.read(id)
	launch := w.launch(id, agentID)
	launch.Session = session
	launch.Session.AgentID, launch.Waits = agentID, true
	launch.Command.CommandID, launch.Command.Generation = fmt.Sprint("start-", id, "-", session.Generation), session.Generation
	_, _, err := w.LaunchSession(w.t.Context(), launch, now)
	return err
}

func TestASessionThatFailsToStartIsTriedElsewhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epochs := map[string]int64{}
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			epochs[id] = w.agent(id, 0)
		}
		w.session("s", "a", noon)
		w.failStart("s", "a", epochs["a"], models.CodeCommandFailed, noon)
		waits := w.read("s")
		if !waits.Waiting() || waits.Generation != 2 || waits.Attempts != 1 || waits.Region != "" || waits.Platform != "" ||
			!waits.WaitUntil.Equal(noon.Add(models.TryElsewhereFor)) || waits.ReasonCode != models.CodeCommandFailed {
			t.Fatalf("it is %+v", waits)
		}
		agent, err := w.Agent(t.Context(), "a")
		must(t, err)
		if agent.Sessions != 0 || agent.Reserved != (models.Amount{}) {
			t.Errorf("the agent has %+v", agent)
		}
		must(t, w.again("s", "b", noon))
		// What is still said of the first start touches the second no more.
		_, _, err = w.Observe(t.Context(), db.Observation{AgentID: "a", Epoch: epochs["a"], SessionID: "s", Generation: 1, State: models.SessionFailed}, noon)
		if now := w.read("s"); now.AgentID != "b" || now.State != models.SessionPending || now.Attempts != 2 || now.Reason != "" {
			t.Fatalf("it is %+v (%v)", now, err)
		}
		fail := func(agentID string, generation int64) {
			t.Helper()
			_, err := w.FinishCommand(ending{CommandID: fmt.Sprint("start-s-", generation), AgentID: agentID, Epoch: epochs[agentID],
				Status: models.CommandFailed, Error: "no disk", Code: models.CodeNeedsMissing}, noon)
			must(t, err)
		}
		fail("b", 2)
		must(t, w.again("s", "c", noon))
		fail("c", 3)
		must(t, w.again("s", "d", noon))
		fail("d", 4)
		ended := w.read("s")
		if ended.State != models.SessionFailed || ended.ReasonCode != models.CodeNeedsMissing || ended.Reason != `it has failed on 4 agents, last on "d": no disk` {
			t.Fatalf("it is %+v", ended)
		}
		equal(t, "agents", ended.FailedAgents(), []string{"a", "b", "c", "d"})
		equal(t, "history", w.history("s"), []string{">pending user:ann", "pending>pending agent:a", "pending>pending user:ann",
			"pending>pending agent:b", "pending>pending user:ann", "pending>pending agent:c", "pending>pending user:ann", "pending>failed agent:d"})

		// What no agent can do better, and what the agent itself has not said, ends.
		w.session("wrong", "e", noon)
		w.failStart("wrong", "e", epochs["e"], models.CodeInvalidRequest, noon)
		w.session("late", "e", noon)
		w.failStart("late", "e", 0, models.CodeCommandTimeout, noon)
		w.session("lingers", "e", noon)
		lingering, err := w.WriteTransitions(t.Context(), []db.Transition{{CommandID: "start-lingers", AgentID: "e", Epoch: epochs["e"],
			End: &db.End{Status: models.CommandFailed, Error: "no answer", Code: models.CodeCommandFailed, Lingers: true, At: noon}}}, noon)
		must(t, err)
		if lingering[0].Session.State != models.SessionFailed {
			t.Errorf("what may run is %+v", lingering[0].Session)
		}
		// And who is not wanted any more is not looked after.
		w.session("stopped", "e", noon)
		w.stop("stopped", noon)
		w.failStart("stopped", "e", epochs["e"], models.CodeCommandFailed, noon)
		for id, state := range map[string]models.SessionState{"wrong": models.SessionFailed, "late": models.SessionFailed, "stopped": models.SessionTerminating} {
			if got := w.read(id); got.State != state || got.AgentID != "e" {
				t.Errorf("%s is %s on %q", id, got.State, got.AgentID)
			}
		}
	})
}

func TestAnAgentThatKeepsFailingGetsProbesOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		now := noon
		count := 0
		try := func() (id string, err error) {
			count++
			id = fmt.Sprint("s", count)
			_, _, err = w.LaunchSession(ctx, w.launch(id, "a"), now)
			return id, err
		}
		fail := func() {
			t.Helper()
			id, err := try()
			must(t, err)
			w.failStart(id, "a", epoch, models.CodeCommandFailed, now)
		}
		open := func(want ...models.Breaker) {
			t.Helper()
			breakers, err := w.Breakers(ctx, now)
			must(t, err)
			equal(t, "breakers", breakers, want)
		}
		blocked := func() {
			t.Helper()
			_, err := try()
			refused(t, err, models.CodeNoSuitableAgent)
		}
		fail()
		fail()
		open()
		// A start that is refused for what it asks for says nothing of the agent.
		id, err := try()
		must(t, err)
		w.failStart(id, "a", epoch, models.CodeInvalidRequest, now)
		open()
		fail()
		open(models.Breaker{AgentID: "a", Template: "desktop", Failures: 3, FailedAt: now, RetryAt: now.Add(models.BreakerFirst)})
		blocked()
		w.running("elsewhere", "b", other) // other agents are not concerned
		shell := w.launch("shell", "a")    // nor other templates
		shell.Session.Template = "shell"
		_, _, err = w.LaunchSession(ctx, shell, now)
		must(t, err)

		now = now.Add(models.BreakerFirst)
		probe, err := try()
		must(t, err)
		blocked() // by the probe
		w.failStart(probe, "a", epoch, models.CodeCommandFailed, now)
		open(models.Breaker{AgentID: "a", Template: "desktop", Failures: 4, FailedAt: now, RetryAt: now.Add(2 * models.BreakerFirst)})

		now = now.Add(2 * models.BreakerFirst)
		probe, err = try()
		must(t, err)
		_, err = w.FinishCommand(ending{CommandID: "start-" + probe, AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, now)
		must(t, err)
		open()
		_, err = try()
		must(t, err)

		// An agent that begins to run may have been mended.
		fail()
		fail()
		fail()
		blocked()
		_, _, err = w.RegisterAgent(ctx, models.Agent{ID: "a", Platform: models.PlatformProcess}, now)
		must(t, err)
		open()
		// Failures of long ago do not count.
		fail()
		fail()
		now = now.Add(models.BreakerForgets + time.Second)
		fail()
		open()
	})
}
