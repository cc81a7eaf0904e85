package robustness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// report collects what became of each fault. Safe for concurrent use.
type report struct {
	mu   sync.Mutex
	rows []*row
}

// row is one fault.
type row struct {
	t             *testing.T
	fault, engine string
	began         time.Time
	recovery      time.Duration
	verdict       string
}

// begin notes that a fault is about to happen. Unless held follows, it is one
// that the program did not survive.
func (r *report) begin(t *testing.T, fault, engine string) *row {
	one := &row{t: t, fault: fault, engine: engine, verdict: "FAILED"}
	r.mu.Lock()
	r.rows = append(r.rows, one)
	r.mu.Unlock()
	return one
}

// over says that the fault has just ended, and that recovery begins.
func (o *row) over() { o.began = time.Now() }

// recovered says that everything is as it should be.
func (o *row) recovered() { o.recovery = time.Since(o.began) }

// held says that everything that was accepted has been kept, unless something
// else was found to be wrong.
func (o *row) held() {
	if !o.t.Failed() {
		o.verdict = "held"
	}
}

// skipped says why nothing was tried.
func (o *row) skipped() { o.verdict = "SKIPPED" }

// print prints the table and a line that sums it up.
func (r *report) print(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "fault\tengine\trecovery\tverdict")
	var recoveries []time.Duration
	verdicts := map[string]int{}
	for _, one := range r.rows {
		verdicts[one.verdict]++
		recovery := "-"
		if one.verdict == "held" {
			recovery = one.recovery.Round(10 * time.Millisecond).String()
			recoveries = append(recoveries, one.recovery)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", one.fault, one.engine, recovery, one.verdict)
	}
	_ = table.Flush() // a strings.Builder takes everything
	summary := fmt.Sprintf("%d faults: %d held, %d failed, %d skipped", len(r.rows), verdicts["held"], verdicts["FAILED"], verdicts["SKIPPED"])
	if len(recoveries) > 0 {
		slices.Sort(recoveries)
		summary += fmt.Sprintf("; recovery in the middle %v, at most %v",
			recoveries[len(recoveries)/2].Round(10*time.Millisecond), recoveries[len(recoveries)-1].Round(10*time.Millisecond))
	}
	t.Logf("\n%s%s", text.String(), summary)
}
