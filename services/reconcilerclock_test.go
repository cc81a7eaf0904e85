package services

import (
	"strings"
	"testing"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/websocket"
)

// A machine that slept for hours has a clock by which it did not, and Go takes
// that one for what lies between two of its times.
func TestTheReconcilerGoesByTheClockThatSleepDoesNotStop(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	r := NewSessionReconciler(database, websocket.NewAgentHub(database), nil)
	if now := r.options.Now(); strings.Contains(now.String(), "m=") {
		t.Errorf("its time is %s", now)
	}
}
