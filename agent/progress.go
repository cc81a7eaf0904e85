package agent

import (
	"time"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// progressEvery is how often at most the control plane is told how far a start is.
const progressEvery = time.Second

// reporter gives a start a way to say how far it is. What comes sooner than
// progressEvery after what was told, and is no change, is dropped: a newer word
// makes it worthless.
func (e *executor) reporter(t *task) func(models.Progress) {
	state := models.SessionPending
	if t.action == models.ActionWakeSession {
		state = models.SessionWaking
	}
	if t.ref.Generation == 0 {
		return nil // it could not be told of which start this is
	}
	var told models.Progress
	var at time.Time
	return func(progress models.Progress) {
		now := time.Now()
		if progress == told || progress.Message != "" && now.Sub(at) < progressEvery {
			return
		}
		told, at = progress, now
		e.tell(wire.TypeStatus, wire.Status{SessionID: t.ref.SessionID, Generation: t.ref.Generation, State: string(state), Progress: &progress})
	}
}
