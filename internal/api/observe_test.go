package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// reached reads changes until one says whether the session can be reached, and
// gives that.
func (e *events) reached(id string, reachable bool) models.Session {
	e.w.t.Helper()
	for {
		var session models.Session
		e.want("session", &session)
		if session.ID == id && (session.Unreachable == nil) == reachable {
			return session
		}
	}
}

func TestSessionsOfAnAgentThatIsAwayAreUnreachableAtOnce(t *testing.T) {
	w := newWorld(t, rare) // so that events come from hints alone
	agent := w.agent("laptop")
	w.run("ann", "one")
	events := w.watch(w.as("ann"))
	events.snapshot()
	agent.disconnect()
	gone := events.reached("one", false)
	if gone.State != models.SessionRunning || gone.Unreachable.Since == nil || gone.Unreachable.Reason != `agent "laptop" is not connected` {
		t.Errorf("the session is %s and unreachable as %+v", gone.State, gone.Unreachable)
	}
	shown, err := w.client("ann").Session(t.Context(), "one")
	must(t, err)
	list, err := w.client("ann").Sessions(t.Context(), client.SessionFilter{})
	must(t, err)
	for how, seen := range map[string]models.Session{"show": shown, "list": list.Items[0]} {
		if seen.Unreachable == nil || seen.Unreachable.Reason != gone.Unreachable.Reason {
			t.Errorf("%s says %+v", how, seen.Unreachable)
		}
	}
	agent.connect(w.facilities())
	events.reached("one", true)
}

// A replica that dies says nothing of its agents' connections.
func TestSessionsOfASilentAgentAreUnreachable(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.EventsPoll, c.EventsPing = 20*time.Millisecond, time.Hour })
	w.agent("laptop")
	w.run("ann", "one")
	events := w.watch(w.as("ann"))
	events.snapshot()
	heard := w.now().Add(-wire.StaleAfter - time.Second).UTC().Truncate(time.Microsecond)
	_, err := w.database.DB().ExecContext(t.Context(), `UPDATE agents SET last_heartbeat = $1`, heard.Format("2006-01-02T15:04:05.000000Z"))
	must(t, err)
	silent := events.reached("one", false)
	if since := silent.Unreachable.Since; since == nil || !since.Equal(heard) || !strings.Contains(silent.Unreachable.Reason, "no heartbeat") {
		t.Errorf("the session is unreachable as %+v", silent.Unreachable)
	}
	_, err = w.database.DB().ExecContext(t.Context(), `DELETE FROM agents`)
	must(t, err)
	if removed := events.reached("one", false); !strings.Contains(removed.Unreachable.Reason, "no longer registered") {
		t.Errorf("the session is unreachable as %+v", removed.Unreachable)
	}
}
