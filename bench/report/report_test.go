package report_test

import (
	"errors"
	"math"
	"regexp"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/bench/report"
)

func TestResults(t *testing.T) {
	for _, test := range []struct {
		name  string
		value float64
		goal  report.Goal
		want  string
	}{
		{"below the most", 1.04, report.AtMost(1.15), "RESULT launch_ratio 1.040 <=1.15 pass"},
		{"at the most", 1.15, report.AtMost(1.15), "RESULT launch_ratio 1.150 <=1.15 pass"},
		{"above the most", 1.151, report.AtMost(1.15), "RESULT launch_ratio 1.151 <=1.15 fail"},
		{"what prints as the bound meets it", 1.0004, report.AtMost(1), "RESULT launch_ratio 1.000 <=1 pass"},
		{"above the least", 1.2, report.AtLeast(1), "RESULT launch_ratio 1.200 >=1 pass"},
		{"below the least", 0.99, report.AtLeast(1), "RESULT launch_ratio 0.990 >=1 fail"},
		{"nothing was measured", math.NaN(), report.AtLeast(1), "RESULT launch_ratio NaN >=1 fail"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			made := report.New(&out)
			made.Result("launch_ratio", test.value, test.goal)
			err := made.Close()
			if got := strings.TrimSpace(out.String()); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if failed := strings.HasSuffix(test.want, "fail"); errors.Is(err, report.ErrFailed) != failed {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestOneMissFailsAll(t *testing.T) {
	made := report.New(&strings.Builder{})
	made.Result("a", 2, report.AtMost(1))
	made.Result("b", 1, report.AtMost(1))
	if err := made.Close(); !errors.Is(err, report.ErrFailed) {
		t.Errorf("the error is %v", err)
	}
}

func TestSpread(t *testing.T) {
	var out strings.Builder
	report.New(&out).Spread("time (ms)", report.Row{Name: "ours", Digits: 1, Sample: []float64{3, 1, 2}})
	if !regexp.MustCompile(`ours +3 +1\.0 +1\.5 +2\.0 +2\.5 +3\.0\n`).MatchString(out.String()) {
		t.Errorf("the table is\n%s", out.String())
	}
}

// The ratio is that of the rounds, not of the two medians.
func TestComparePairsRounds(t *testing.T) {
	var out strings.Builder
	made := report.New(&out)
	made.Compare(report.Comparison{Metric: "m", Goal: report.AtMost(1), Title: "time (ms)", Peer: "peer",
		Ours: []float64{1, 20, 300}, Theirs: []float64{2, 10, 100}})
	if err := made.Close(); err == nil || !strings.Contains(out.String(), "RESULT m 2.000 <=1 fail\n") {
		t.Errorf("the error is %v of\n%s", err, out.String())
	}
}
