package robustness

import (
	"testing"
	"time"
)

// Everything that is accepted is done once and nothing else is, whatever
// happens. The table at the end tells how long each recovery took.
func TestFaults(t *testing.T) {
	r := &report{}
	t.Run("all", func(t *testing.T) {
		for _, one := range faults() {
			t.Run(one.name, func(t *testing.T) {
				t.Parallel()
				defer func() {
					if t.Skipped() {
						r.begin(t, one.name, "-").skipped()
					}
				}()
				one.run(t, r)
			})
		}
	})
	r.print(t)
}

// fault is what happens in a world of its own.
type fault struct {
	name string
	run  func(*testing.T, *report)
}

// faults lists those that last longest first, for they mostly wait.
func faults() []fault {
	on := func(engine string, run func(t *testing.T, r *report, database string)) func(*testing.T, *report) {
		return func(t *testing.T, r *report) {
			database := ""
			if engine == postgresql {
				database = startPostgres(t).database("streamspace")
			}
			run(t, r, database)
		}
	}
	paused := func(duration time.Duration) func(*testing.T, *report, string) {
		return func(t *testing.T, r *report, database string) { pause(t, r, database, duration) }
	}
	stalled := func(hold func(*world) func()) func(*testing.T, *report, string) {
		return func(t *testing.T, r *report, database string) { stall(t, r, database, hold) }
	}
	lost := func(toAgent bool) func(*testing.T, *report) {
		return func(t *testing.T, r *report) { loseOneWay(t, r, toAgent) }
	}
	return []fault{
		{"full disk of the agent", fillAgentDisk},
		{"long pause on SQLite", on(sqlite, paused(40*time.Second))},
		{"long pause on PostgreSQL", on(postgresql, paused(40*time.Second))},
		{"pause of a replica", pauseReplica},
		{"packets to the agent lost", lost(true)},
		{"packets to the server lost", lost(false)},
		{"short pause on SQLite", on(sqlite, paused(5*time.Second))},
		{"short pause on PostgreSQL", on(postgresql, paused(5*time.Second))},
		{"stall on SQLite", on(sqlite, stalled(holdSQLite))},
		{"stall on PostgreSQL", on(postgresql, stalled(holdPostgres))},
		{"crash of PostgreSQL", stopPostgres},
		{"crash of a replica", killReplica},
		{"full disk of the server", fillServerDisk},
		{"kill up", killUp},
		{"kill agent", killAgent},
		{"kill server on SQLite", on(sqlite, killServer)},
		{"kill server on PostgreSQL", on(postgresql, killServer)},
		{"kill repairs on SQLite", on(sqlite, killRepairs)},
		{"kill repairs on PostgreSQL", on(postgresql, killRepairs)},
	}
}
