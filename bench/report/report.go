// Package report prints what benchmarks measure: tables for people, and for
// programs the lines
//
//	RESULT <metric> <value> <goal> pass|fail
package report

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/streamspace/streamspace/bench/statistics"
)

// Report collects the results of one run. Not safe for concurrent use.
type Report struct {
	out     io.Writer
	results []string
	failed  bool
}

// New makes an empty report that is printed to out. What cannot be printed is
// lost: there is nobody to tell.
func New(out io.Writer) *Report { return &Report{out: out} }

// Notef prints one line for people.
func (r *Report) Notef(format string, arguments ...any) {
	_, _ = fmt.Fprintf(r.out, format+"\n", arguments...)
}

// Skippedf tells, where nobody overlooks it, what was not measured and why.
func (r *Report) Skippedf(format string, arguments ...any) {
	r.Notef("SKIPPED: "+format, arguments...)
}

// Row is one line of a table: the measurements of one thing, to be printed with
// that many decimals.
type Row struct {
	Name   string
	Digits int
	Sample []float64
}

// Spread prints the spread of each row.
func (r *Report) Spread(title string, rows ...Row) {
	r.Notef("\n%s", title)
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "\tn\tmin\tq1\tmedian\tq3\tmax\t")
	for _, row := range rows {
		spread := statistics.Summarise(row.Sample)
		columns := []string{row.Name, strconv.Itoa(len(row.Sample))}
		for _, value := range []float64{spread.Min, spread.Q1, spread.Median, spread.Q3, spread.Max} {
			columns = append(columns, strconv.FormatFloat(value, 'f', row.Digits, 64))
		}
		_, _ = fmt.Fprintln(table, strings.Join(columns, "\t")+"\t")
	}
	_ = table.Flush()
}

// Comparison is one metric of the product and of a peer.
type Comparison struct {
	// Metric names the ratio of ours to theirs in the RESULT line; without one
	// the comparison is for people only.
	Metric string
	Goal   Goal
	// Title says what is measured, and the unit.
	Title  string
	Digits int
	// Peer names the other side.
	Peer string
	// Ours and Theirs have a measurement a round.
	Ours, Theirs []float64
}

// Compare prints both sides and notes the result, the median of the rounds'
// ratios, as a round's two measurements had the same machine.
func (r *Report) Compare(c Comparison) {
	ratios := statistics.Ratios(c.Ours, c.Theirs)
	r.Spread(c.Title,
		Row{Name: "streamspace", Digits: c.Digits, Sample: c.Ours},
		Row{Name: c.Peer, Digits: c.Digits, Sample: c.Theirs},
		Row{Name: "ratio", Digits: 3, Sample: ratios})
	if c.Metric != "" {
		r.Result(c.Metric, statistics.Median(ratios), c.Goal)
	}
}

// Result notes one metric for the report's end.
func (r *Report) Result(metric string, value float64, goal Goal) {
	verdict := "pass"
	if !goal.met(value) {
		verdict, r.failed = "fail", true
	}
	r.results = append(r.results, fmt.Sprintf("RESULT %s %s %s %s",
		metric, strconv.FormatFloat(rounded(value), 'f', 3, 64), goal, verdict))
}

// ErrFailed says that some result misses its goal.
var ErrFailed = errors.New("not every goal was met")

// Close prints the results, each on its line, and gives ErrFailed unless all
// goals were met.
func (r *Report) Close() error {
	r.Notef("")
	for _, result := range r.results {
		r.Notef("%s", result)
	}
	if r.failed {
		return ErrFailed
	}
	return nil
}
