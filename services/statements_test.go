package services_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// A pass takes the same few statements, whether 5 sessions of each kind are
// stuck or 500.
func TestAPassIsAsManyStatementsHoweverManyAreStuck(t *testing.T) {
	taken := map[int]int64{}
	for _, count := range []int{5, 500} {
		database, statements := dbtest.CountedPostgres(t)
		w := newWorld(t, database, services.DispatcherOptions{QueueSize: 4 * count})
		for _, id := range []string{"a", "gone"} {
			w.register(models.Agent{ID: id})
		}
		w.disconnect(w.connect("gone"))
		w.connect("a")
		w.launch("first")
		// Those of "a" have an open command, or one that has failed; those of "gone"
		// are stuck there, or run.
		for kind, is := range map[string]struct{ state, desired, agent, command string }{
			"asked":  {"pending", "running", "a", "sent"},
			"failed": {"terminating", "terminated", "a", "failed"},
			"sleeps": {"hibernating", "hibernated", "a", "failed"},
			"left":   {"terminating", "terminated", "gone", "pending"},
			"runs":   {"running", "running", "gone", "completed"},
		} {
			w.exec(fmt.Sprintf(`INSERT INTO sessions (id, name, user_id, template, protocol, state, desired_state, generation, agent_id, spec, request_hash,
					created_at, updated_at, state_since)
				SELECT '%s-' || i, name, user_id, template, protocol, '%s', '%s', 1, '%s', spec, 'x', created_at, updated_at, now() - interval '40 minutes'
				FROM sessions, generate_series(1, %d) AS i WHERE id = 'first'`, kind, is.state, is.desired, is.agent, count))
			w.exec(fmt.Sprintf(`INSERT INTO agent_commands (command_id, agent_id, session_id, generation, action, payload, status, created_at, deadline_at)
				SELECT '%[1]s-' || i, '%[2]s', '%[1]s-' || i, 1, 'start_session', '{}', '%[3]s', now(), now() + interval '1 day'
				FROM generate_series(1, %[4]d) AS i`, kind, is.agent, is.command, count))
		}
		w.exec(`UPDATE agents SET last_heartbeat = now() - interval '20 minutes' WHERE id = 'gone'`)

		var looks atomic.Int64
		reconciler := services.NewSessionReconcilerWith(database, w.hub, w.dispatcher, services.ReconcilerOptions{Interval: time.Hour, Lease: 2 * time.Hour,
			Now: func() time.Time {
				if looks.Add(1) == 1 { // since when it watches
					return w.clock.Now().Add(-time.Hour)
				}
				return w.clock.Now()
			}})
		before := statements()
		done := make(chan struct{})
		go func() { reconciler.Start(); close(done) }()
		w.await("the pass is over", func() bool { return reconciler.Stats().Passes == 1 })
		taken[count] = statements() - before
		reconciler.Stop()
		<-done
		did := reconciler.Stats()
		if ends, retries := did.ForcedEnds[models.CodeAgentUnavailable], did.Retries; ends != uint64(2*count) || retries[models.SessionPending] != uint64(count) ||
			retries[models.SessionTerminating] != uint64(count) || retries[models.SessionHibernating] != uint64(count) {
			t.Fatalf("of %d of each kind it did %+v", count, did)
		}
	}
	if taken[5] != taken[500] || taken[5] > 60 {
		t.Errorf("it took %d statements for 5 of each kind, and %d for 500", taken[5], taken[500])
	}
	t.Logf("%d statements", taken[5])
}
