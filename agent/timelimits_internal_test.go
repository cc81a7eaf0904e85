package agent

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/agent/driver"
	"github.com/streamspace/streamspace/models"
)

// Of any history of looks: a session ends for idleness only without a connection
// and after it had no tunnel and no connection for as long as it may, and for its
// duration at its time, with grace while there is a connection.
func TestTheAgentEndsWhatIsPastItsLimitsAndNothingElse(t *testing.T) {
	began := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	const grace = 2 * time.Minute
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.IntRange(0, 30)
		limit := func(name string) time.Duration { return time.Duration(minutes.Draw(t, name)) * time.Minute }
		idle, longest := limit("idle"), limit("longest")
		ref := driver.Ref{SessionID: "s", Generation: 1}
		runtime := driver.Runtime{Ref: ref, StartedAt: began.Add(-limit("started")),
			TimeLimits: models.TimeLimits{IdleTimeout: idle.String(), MaxDuration: longest.String()}}
		l := timeLimits{grace: grace, connected: began}
		now, used := began, began
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, "later")) * time.Minute)
			connected, viewed := rapid.Bool().Draw(t, "connected"), rapid.Bool().Draw(t, "viewed")
			if connected || viewed {
				used = now
			}
			ran, unused := now.Sub(runtime.StartedAt), now.Sub(used)
			if connected {
				ran -= grace
			}
			want := models.ErrorCode("")
			switch {
			case longest > 0 && ran >= longest:
				want = models.CodeMaxDuration
			case idle > 0 && !connected && unused >= idle:
				want = models.CodeIdleTimeout
			}
			if got := l.look([]driver.Runtime{runtime}, map[driver.Ref]bool{ref: viewed}, connected, now)[ref]; got != want {
				t.Fatalf("after %v it is %q, want %q", now.Sub(began), got, want)
			}
		}
		if l.look(nil, nil, false, now); len(l.used) != 0 {
			t.Fatalf("what does not run is remembered: %v", l.used)
		}
	})
}
