package drivertest

import (
	"fmt"
	"testing"

	"github.com/streamspace/streamspace/agent/driver"
)

// mostSteps bounds the steps of a start.
const mostSteps = 60

// Wherever in a start the agent is killed: the next one has the runtime or none,
// starting again leads to one that works, and its stop leaves nothing.
func testKilledAtEachStep(t *testing.T, b *bench) {
	if b.Dying == nil {
		t.Skip("this driver's agent is killed in tests of its own")
	}
	for _, lost := range []bool{false, true} {
		survived := false
		for calls := 0; calls < mostSteps && !survived; calls++ {
			ref := first(fmt.Sprintf("step-%d-%v", calls, lost))
			spec := b.harness.Terminal(ref, shell)
			_, err := b.Dying(t, calls, lost).Start(limited(t), spec)
			survived = err == nil
			b.reopen(t)
			inventory, err := b.driver.Inventory(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range inventory {
				if one.Ref != ref {
					t.Fatalf("killed at step %d (lost: %v) there is %v", calls, lost, one.Ref)
				}
			}
			if calls%2 == 0 { // of the others nothing is asked but that they end
				b.start(t, spec)
				b.wantRunning(t, ref)
				if got := b.view(t, ref).ask("echo here"); got != "here" {
					t.Errorf("killed at step %d (lost: %v) the session answers %q", calls, lost, got)
				}
			}
			b.stop(t, driver.Ref{SessionID: ref.SessionID, Generation: 2})
			b.wantNothing(t, ref.SessionID)
			b.wantRunning(t)
		}
		if !survived {
			t.Errorf("a start takes more than %d steps", mostSteps)
		}
	}
}
