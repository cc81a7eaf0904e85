package robustness

import "testing"

// Everything that is accepted is done once and nothing else is, whatever
// happens. The table at the end tells how long each recovery took.
func TestFaults(t *testing.T) {
	r := &report{}
	t.Run("all", func(t *testing.T) {
		for name, fault := range map[string]func(*testing.T, *report){
			"kill up":           killUp,
			"kill server":       func(t *testing.T, r *report) { killServer(t, r, "") },
			"kill server on PG": func(t *testing.T, r *report) { killServer(t, r, startPostgres(t).database("streamspace")) },
			"kill agent":        killAgent,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				fault(t, r)
			})
		}
	})
	r.print(t)
}
