package db_test

import (
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

func TestALeaseHasOneHolder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const lasts = 15 * time.Second
		epochs := map[string]int64{}
		acquire := func(holder string, now time.Time, overdue db.Lease) (db.Lease, bool) {
			t.Helper()
			lease, held, err := w.AcquireLease(t.Context(), db.Claim{Name: "work", Holder: holder, Epoch: epochs[holder], Duration: lasts, Overdue: overdue}, now)
			must(t, err)
			if held {
				epochs[holder] = lease.Epoch
			}
			return lease, held
		}
		none := db.Lease{}
		if _, known, err := w.Lease(t.Context(), "work"); known || err != nil {
			t.Fatalf("nobody ever had it, and it is known: %v, %v", known, err)
		}
		first, held := acquire("one", noon, none)
		if !held || first.Epoch != 1 || first.Holder != "one" || !first.ExpiresAt.Equal(noon.Add(lasts)) {
			t.Fatalf("the first has %+v, %v", first, held)
		}
		// A clock that is ahead, or behind, takes nothing from anybody.
		for _, ahead := range []time.Duration{0, time.Hour, -time.Hour} {
			if other, held := acquire("two", noon.Add(ahead), none); held || other.Holder != "one" {
				t.Fatalf("the second got %+v, %v", other, held)
			}
		}
		renewed, held := acquire("one", noon.Add(lasts-time.Second), none)
		if !held || renewed.Epoch != 1 || !renewed.ExpiresAt.Equal(noon.Add(2*lasts-time.Second)) {
			t.Fatalf("renewed it is %+v, %v", renewed, held)
		}
		if _, held := acquire("two", noon.Add(lasts), first); held {
			t.Fatal("what was renewed was taken")
		}
		second, held := acquire("two", noon, renewed)
		if !held || second.Epoch != 2 {
			t.Fatalf("what was not renewed gave %+v, %v", second, held)
		}
		if _, held := acquire("one", noon.Add(time.Hour), none); held {
			t.Fatal("its first holder still has it")
		}

		must(t, w.ReleaseLease(t.Context(), first.Fence(), noon))
		if _, held := acquire("one", noon, none); held {
			t.Fatal("somebody gave up what was not theirs")
		}
		must(t, w.ReleaseLease(t.Context(), second.Fence(), noon))
		if third, held := acquire("one", noon, none); !held || third.Epoch != 3 {
			t.Fatalf("what was given up gave %+v, %v", third, held)
		}
		delete(epochs, "one") // as it was killed, and starts again
		if fourth, held := acquire("one", noon, none); !held || fourth.Epoch != 4 {
			t.Fatalf("started again it got %+v, %v", fourth, held)
		}
	})
}

// R3, R5. A holder that was away and does not know it yet writes nothing.
func TestALostLeaseFencesItsHoldersWrites(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		w.agent("a", 0)
		w.session("s", "a", noon)
		lost, _, err := w.AcquireLease(ctx, db.Claim{Name: "work", Holder: "one", Duration: time.Minute}, noon)
		must(t, err)
		kept, held, err := w.AcquireLease(ctx, db.Claim{Name: "work", Holder: "two", Duration: time.Minute, Overdue: lost}, after(time.Hour))
		must(t, err)
		if !held {
			t.Fatal("an expired lease was not taken")
		}
		ends := []db.ForcedEnd{{SessionID: "s", From: models.SessionPending, To: models.SessionFailed, Reason: "gone",
			ReasonCode: models.CodeAgentUnavailable, Actor: "reconciler"}}
		asked := []db.Reissue{{SessionID: "s", CommandID: "again", DeadlineAt: after(2 * time.Hour)}}
		_, err = w.ForceEnds(ctx, lost.Fence(), ends, after(time.Hour))
		refused(t, err, models.CodeLeaseLost)
		_, err = w.ReissueCommands(ctx, lost.Fence(), asked, after(time.Hour))
		refused(t, err, models.CodeLeaseLost)
		refused(t, w.NoteWork(ctx, lost.Fence(), "", after(time.Hour)), models.CodeLeaseLost)
		if session := w.read("s"); session.State != models.SessionPending || len(w.history("s")) != 1 {
			t.Fatalf("it became %+v", session)
		}
		must(t, w.NoteWork(ctx, kept.Fence(), "all is quiet", after(time.Hour)))
		must(t, w.NoteWork(ctx, kept.Fence(), "all is quiet", after(2*time.Hour)))
		lease, _, err := w.Lease(ctx, "work")
		must(t, err)
		if lease.Hold != "all is quiet" || lease.HoldSince == nil || !lease.HoldSince.Equal(after(time.Hour)) || !lease.WorkedAt.Equal(after(2*time.Hour)) {
			t.Errorf("the lease is %+v", lease)
		}
		_, err = w.ReissueCommands(ctx, kept.Fence(), asked, after(time.Hour))
		must(t, err)
		done, err := w.ForceEnds(ctx, kept.Fence(), ends, after(time.Hour))
		must(t, err)
		if !done[0] || w.read("s").State != models.SessionFailed {
			t.Errorf("the holder ended %v", done)
		}
	})
}

// A replica that is suspended in the middle of a transaction, or has lost its
// machine there, does not keep the lease's row, nor any other one.
func TestPostgresEndsTransactionsThatNobodyGoesOnWith(t *testing.T) {
	url := dbtest.PostgresURL(t)
	one, err := db.Open(t.Context(), url, db.Options{})
	must(t, err)
	defer one.Close()
	var within string
	must(t, one.DB().QueryRow("SHOW idle_in_transaction_session_timeout").Scan(&within))
	if within != "10s" {
		t.Errorf("it waits for %s", within)
	}
	must(t, one.Migrate(t.Context()))
	suspended, err := one.DB().Begin()
	must(t, err)
	_, err = suspended.Exec("SET LOCAL idle_in_transaction_session_timeout = '100ms'")
	must(t, err)
	_, err = suspended.Exec("LOCK TABLE leases")
	must(t, err)
	_, held, err := one.AcquireLease(t.Context(), db.Claim{Name: "work", Holder: "two", Duration: time.Minute}, noon)
	must(t, err)
	if !held {
		t.Error("it has no lease")
	}
	if err := suspended.Commit(); err == nil {
		t.Error("it went on")
	}
}

// A command that its agent has is sent again by whoever has the agent.
func TestACommandIsReissuedAnywhere(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		epoch := w.agent("a", 0)
		w.session("s", "a", noon)
		unsent := func() int {
			found, err := w.UnsentCommands(t.Context(), []db.Unsent{{AgentID: "a", Epoch: epoch, Limit: 10}})
			must(t, err)
			return len(found)
		}
		_, err := w.WriteTransitions(t.Context(), []db.Transition{{CommandID: "start-s", AgentID: "a", Epoch: epoch, Sends: 1, SentAt: noon}}, noon)
		must(t, err)
		if unsent() != 0 {
			t.Fatal("what was sent is to be sent")
		}
		for _, anywhere := range []bool{false, true} {
			all, err := w.ReissueCommands(t.Context(), db.Fence{}, []db.Reissue{{SessionID: "s", CommandID: "again", DeadlineAt: after(time.Hour), Anywhere: anywhere}}, noon)
			must(t, err)
			if all[0].Command.CommandID != "start-s" || unsent() != map[bool]int{true: 1}[anywhere] {
				t.Errorf("anywhere %v: %+v, %d are to be sent", anywhere, all[0], unsent())
			}
		}
	})
}
