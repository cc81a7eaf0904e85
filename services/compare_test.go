package services

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

func TestCompare(t *testing.T) {
	session := func(id string, state models.SessionState, desired models.DesiredState, generation int64) models.Session {
		return models.Session{ID: id, State: state, DesiredState: desired, Generation: generation}
	}
	item := func(id string, generation int64) wire.InventoryItem {
		return wire.InventoryItem{SessionID: id, Generation: generation, State: "running"}
	}
	sessions := []models.Session{
		session("running", models.SessionRunning, models.DesiredRunning, 1),
		session("starting", models.SessionPending, models.DesiredRunning, 1),
		session("stopping", models.SessionTerminating, models.DesiredTerminated, 2),
		session("woken", models.SessionRunning, models.DesiredRunning, 3),
		session("asleep", models.SessionHibernated, models.DesiredHibernated, 2),
		session("lost", models.SessionRunning, models.DesiredRunning, 1),
		session("stopped", models.SessionTerminating, models.DesiredTerminated, 2),
		session("waiting", models.SessionPending, models.DesiredRunning, 1),
		session("begun", models.SessionPending, models.DesiredRunning, 1),
		session("again", models.SessionPending, models.DesiredRunning, 2),
		session("waking", models.SessionWaking, models.DesiredRunning, 3),
	}
	verdicts, absent := compare(sessions, []wire.InventoryItem{
		item("running", 1), item("starting", 1), item("stopping", 1), item("woken", 1), item("woken", 3), item("elsewhere", 1),
		{SessionID: "running"},
		// Its start may fail still; it was lost and is begun again; it has no generation.
		{SessionID: "begun", Generation: 1, State: "pending"}, item("again", 1), {SessionID: "waiting", State: "running"}, item("waking", 3),
	})
	want := []string{"keep", "adopt", "stop", "stop", "keep", "stop", "stop", "keep", "stop", "keep", "adopt"}
	for i, verdict := range verdicts {
		if verdict.Verdict != want[i] {
			t.Errorf("%s of generation %d: %s, want %s", verdict.SessionID, verdict.Generation, verdict.Verdict, want[i])
		}
	}
	var names []string
	for _, session := range absent {
		names = append(names, session.ID)
	}
	if !slices.Equal(names, []string{"lost", "stopped"}) {
		t.Errorf("absent are %v", names)
	}
}

func TestCompareJudgesEveryItemAndStopsOnlyWhatIsUnwanted(t *testing.T) {
	ids := []string{"a", "b", "c", "d"}
	rapid.Check(t, func(t *rapid.T) {
		placed := map[string]models.Session{}
		var sessions []models.Session
		for _, id := range ids {
			if rapid.Bool().Draw(t, "placed") {
				session := models.Session{ID: id, Generation: rapid.Int64Range(1, 3).Draw(t, "generation"),
					State: rapid.SampledFrom([]models.SessionState{models.SessionPending, models.SessionRunning,
						models.SessionTerminating, models.SessionHibernated}).Draw(t, "state"), DesiredState: models.DesiredRunning}
				if session.State == models.SessionTerminating {
					session.DesiredState = models.DesiredTerminated
				}
				placed[id] = session
				sessions = append(sessions, session)
			}
		}
		items := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wire.InventoryItem {
			return wire.InventoryItem{SessionID: rapid.SampledFrom(ids).Draw(t, "id"), Generation: rapid.Int64Range(1, 3).Draw(t, "generation"),
				State: rapid.SampledFrom([]string{"running", "pending"}).Draw(t, "doing")}
		}), 0, 6).Draw(t, "items")
		verdicts, absent := compare(sessions, items)
		if len(verdicts) != len(items) {
			t.Fatalf("%d verdicts on %d items", len(verdicts), len(items))
		}
		kept := map[string]int64{}
		for i, verdict := range verdicts {
			session, known := placed[verdict.SessionID]
			if verdict.SessionID != items[i].SessionID || verdict.Generation != items[i].Generation {
				t.Fatalf("verdict %d is about something else", i)
			}
			if verdict.Verdict == wire.VerdictStop {
				continue
			}
			if verdict.Verdict == wire.VerdictAdopt && (session.State != models.SessionPending || items[i].State != "running" || session.Generation != verdict.Generation) {
				t.Fatalf("%+v is adopted for %+v", items[i], session)
			}
			if !known || session.DesiredState == models.DesiredTerminated && session.Generation >= verdict.Generation {
				t.Fatalf("%+v is kept for %+v", verdict, session)
			}
			if other, twice := kept[verdict.SessionID]; twice && other != verdict.Generation {
				t.Fatalf("two generations of %s are kept", verdict.SessionID)
			}
			kept[verdict.SessionID] = verdict.Generation
		}
		for _, item := range items {
			if session, known := placed[item.SessionID]; known && session.DesiredState == models.DesiredRunning && item.Generation >= session.Generation {
				if _, some := kept[item.SessionID]; !some {
					t.Fatalf("nothing is kept of %s, which should run", item.SessionID)
				}
			}
		}
		for _, session := range absent {
			if slices.ContainsFunc(items, func(item wire.InventoryItem) bool { return item.SessionID == session.ID }) {
				t.Fatalf("%s is absent and present", session.ID)
			}
		}
	})
}
