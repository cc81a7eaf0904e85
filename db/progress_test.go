package db_test

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func TestProgressIsThatOfOneStart(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		old := w.agent("a", 0)
		epoch := w.agent("a", 0)
		other := w.agent("b", 0)
		w.session("s", "a", noon)
		before := w.history("s")
		pulling := models.Progress{Message: "pulling image \x00desk", Percent: 43}
		tell := func(change func(*db.Advance)) *models.Progress {
			t.Helper()
			told := db.Advance{AgentID: "a", Epoch: epoch, SessionID: "s", Generation: 1, Progress: pulling}
			change(&told)
			must(t, w.SetProgress(t.Context(), told, after(time.Second)))
			return w.read("s").Progress
		}
		for name, change := range map[string]func(*db.Advance){
			"another generation": func(a *db.Advance) { a.Generation = 2 },
			"an old connection":  func(a *db.Advance) { a.Epoch = old },
			"another agent":      func(a *db.Advance) { a.AgentID, a.Epoch = "b", other },
			"another session":    func(a *db.Advance) { a.SessionID = "none" },
		} {
			if got := tell(change); got != nil {
				t.Errorf("%s: it is %v", name, got)
			}
		}
		got := tell(func(*db.Advance) {})
		if got == nil || got.Percent != 43 || !w.read("s").UpdatedAt.Equal(after(time.Second)) || !w.read("s").StateSince.Equal(noon) {
			t.Errorf("it is %v of %+v", got, w.read("s"))
		}
		if got := tell(func(a *db.Advance) { a.Progress = models.Progress{} }); got != nil {
			t.Errorf("when there is nothing more to tell it is %v", got)
		}
		if after := w.history("s"); len(after) != len(before) {
			t.Errorf("the history has %v", after)
		}
		tell(func(*db.Advance) {})
		_, err := w.FinishCommand(ending{CommandID: "start-s", AgentID: "a", Epoch: epoch, Status: models.CommandCompleted}, after(2*time.Second))
		must(t, err)
		if got := w.read("s"); got.State != models.SessionRunning || got.Progress != nil {
			t.Errorf("once it runs it is %v, %v", got.State, got.Progress)
		}
		if got := tell(func(*db.Advance) {}); got != nil {
			t.Errorf("of a running session it is %v", got)
		}
	})
}
