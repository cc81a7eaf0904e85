package db_test

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
)

// An old connection of an agent that was removed must not be taken for one that
// it has when it is enrolled anew.
func TestEpochsRiseAcrossARemoval(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for range 2 {
			before := w.agent("a", 1)
			_, err := w.RemoveAgent(t.Context(), db.Removal{AgentID: "a", Actor: "user:root", Force: true, Within: time.Second}, after(time.Hour))
			must(t, err)
			if epoch := w.agent("a", 1); epoch <= before {
				t.Errorf("enrolled anew its connection has epoch %d; the one before the removal had %d", epoch, before)
			}
		}
	})
}
