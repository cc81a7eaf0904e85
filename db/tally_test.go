package db_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// full has a database that remembers of agent a, which holds two sessions, that
// it is full, and another handle on the same tables.
func full(t *testing.T, check func(t *testing.T, w *world, other *world)) {
	for engine, url := range urls(t) {
		t.Run(string(engine), func(t *testing.T) {
			first, second := open(t, url), open(t, url)
			must(t, first.Migrate(t.Context()))
			w := newWorld(t, first)
			w.agent("a", 2)
			w.session("one", "a", noon)
			w.session("two", "a", noon)
			other := *w
			other.Database = second
			check(t, w, &other)
		})
	}
}

func (w *world) tries(id string) models.ErrorCode {
	_, _, err := w.LaunchSession(w.t.Context(), w.launch(id, "a"), noon)
	return models.CodeOf(err)
}

func TestRoomThatHasBecomeFreeIsFound(t *testing.T) {
	full(t, func(t *testing.T, w, other *world) {
		if code := w.tries("three"); code != models.CodeNoSuitableAgent {
			t.Fatalf("a third session on an agent for two gives %q", code)
		}
		other.sql("UPDATE sessions SET state = 'terminated', desired_state = 'terminated' WHERE id = 'one'")
		launched, err := w.LaunchSessions(t.Context(), []db.Launch{w.launch("three", "a"), w.launch("four", "a")}, noon)
		must(t, err)
		if launched[0].Err != nil || models.CodeOf(launched[1].Err) != models.CodeNoSuitableAgent {
			t.Fatalf("with one place free, two launches give %v and %v", launched[0].Err, launched[1].Err)
		}
	})
}

func TestWhatAnotherHandleReservesCounts(t *testing.T) {
	full(t, func(t *testing.T, w, other *world) {
		w.sql("UPDATE sessions SET state = 'terminated', desired_state = 'terminated'")
		if code := w.tries("three"); code != "" {
			t.Fatalf("a session on an idle agent gives %q", code)
		}
		// w remembers one session, then the other handle adds another one.
		if code := other.tries("four"); code != "" {
			t.Fatalf("a second session gives %q", code)
		}
		for _, from := range []*world{w, other, w} {
			if code := from.tries("five"); code != models.CodeNoSuitableAgent {
				t.Fatalf("a third session gives %q", code)
			}
		}
	})
}

func TestAWokenSessionCounts(t *testing.T) {
	full(t, func(t *testing.T, w, other *world) {
		w.sql("UPDATE sessions SET state = 'hibernated', desired_state = 'hibernated'")
		if code := w.tries("three"); code != "" {
			t.Fatalf("a session beside two that hibernate gives %q", code)
		}
		agent, err := other.Agent(t.Context(), "a")
		must(t, err)
		_, woken, err := other.WakeSession(t.Context(), db.Awakening{SessionID: "one", Actor: "user:ann", Generation: 1, Agent: agent, From: "a",
			Command: models.AgentCommand{CommandID: "wake-one", Action: models.ActionWakeSession, Payload: &models.CommandPayload{}, DeadlineAt: after(time.Minute)}}, noon)
		must(t, err)
		if code := w.tries("four"); !woken || code != models.CodeNoSuitableAgent {
			t.Fatalf("with two sessions on an agent for two, one of them woken (%v) elsewhere, a third gives %q", woken, code)
		}
	})
}

func TestWhatIsRolledBackIsNotRemembered(t *testing.T) {
	full(t, func(t *testing.T, w, other *world) {
		w.sql("UPDATE sessions SET state = 'terminated', desired_state = 'terminated'")
		ctx, cancel := context.WithCancel(t.Context())
		bad := []db.Launch{w.launch("three", "a"), w.launch("four", "a")}
		bad[1].Command.CommandID = bad[0].Command.CommandID // which the database refuses
		_, err := w.LaunchSessions(ctx, bad, noon)
		cancel()
		if err == nil {
			t.Fatal("two commands of one id were written")
		}
		if code := errors.Join(errOf(other.tries("five")), errOf(w.tries("six"))); code != nil {
			t.Fatalf("after a launch that was rolled back: %v", code)
		}
		if code := w.tries("seven"); code != models.CodeNoSuitableAgent {
			t.Fatalf("a third session gives %q", code)
		}
	})
}

func errOf(code models.ErrorCode) error {
	if code == "" {
		return nil
	}
	return fmt.Errorf("refused with %s", code)
}

func TestAnAgentThatIsRegisteredAnewIsSummedUp(t *testing.T) {
	full(t, func(t *testing.T, w, other *world) {
		w.sql("DELETE FROM sessions")
		w.sql("DELETE FROM agents")
		w.agent("a", 2)
		if code := w.tries("three"); code != "" {
			t.Fatalf("a session on a new agent gives %q", code)
		}
		other.sql("DELETE FROM agents")
		other.agent("a", 1)
		if code := w.tries("four"); code != models.CodeNoSuitableAgent {
			t.Fatalf("a second session on an agent for one, registered anew, gives %q", code)
		}
	})
}
