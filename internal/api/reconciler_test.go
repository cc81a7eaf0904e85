package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

func TestTheReconcilerIsShown(t *testing.T) {
	w := newWorld(t)
	shown := func() (status models.ReconcilerStatus) {
		t.Helper()
		w.get("/api/v1/reconciler", w.as("ann")).want(http.StatusOK).into(&status)
		return status
	}
	metrics := func(lines ...string) {
		t.Helper()
		exposition := string(w.get("/metrics").want(http.StatusOK).body)
		for _, line := range lines {
			if !strings.Contains(exposition, line+"\n") {
				t.Errorf("the metrics lack %s", line)
			}
		}
	}
	if status := shown(); status.Holder != "" || status.Here || status.ExpiresAt != nil || status.Stuck["pending"] != 0 || len(status.Stuck) != 4 {
		t.Errorf("while nobody reconciles it is %+v", status)
	}
	metrics("streamspace_reconciler_lease 0", "streamspace_reconciler_hold 0")
	lease, _, err := w.database.AcquireLease(t.Context(), db.Claim{Name: "reconciler", Holder: "another", Duration: time.Minute}, w.now())
	must(t, err)
	must(t, w.database.NoteWork(t.Context(), lease.Fence(), "most are silent", w.now()))
	status := shown()
	if status.Holder != "another" || status.Here || status.Epoch != 1 || status.Hold != "most are silent" || status.HoldSince == nil || status.PassedAt == nil {
		t.Errorf("another replica's is %+v", status)
	}
	metrics("streamspace_reconciler_lease 0", "streamspace_reconciler_hold 1")
	w.get("/api/v1/reconciler").problem(http.StatusUnauthorized, models.CodeUnauthenticated)
}
