package statistics_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/bench/statistics"
)

func TestSummarise(t *testing.T) {
	for _, test := range []struct {
		name   string
		sample []float64
		want   statistics.Summary
	}{
		{"one", []float64{7}, statistics.Summary{Min: 7, Q1: 7, Median: 7, Q3: 7, Max: 7}},
		{"odd", []float64{5, 1, 3, 2, 4}, statistics.Summary{Min: 1, Q1: 2, Median: 3, Q3: 4, Max: 5}},
		{"even", []float64{4, 1, 3, 2}, statistics.Summary{Min: 1, Q1: 1.75, Median: 2.5, Q3: 3.25, Max: 4}},
		{"an outlier", []float64{1, 2, 3, 4, 1000}, statistics.Summary{Min: 1, Q1: 2, Median: 3, Q3: 4, Max: 1000}},
	} {
		t.Run(test.name, func(t *testing.T) {
			given := slices.Clone(test.sample)
			if got := statistics.Summarise(given); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if !slices.Equal(given, test.sample) {
				t.Errorf("the sample became %v", given)
			}
		})
	}
}

func TestNothingMeasuredIsNoNumber(t *testing.T) {
	if got := statistics.Median(nil); !math.IsNaN(got) {
		t.Errorf("the median of nothing is %v", got)
	}
	if got := statistics.Summarise(nil); !math.IsNaN(got.Q1) || !math.IsNaN(got.Max) {
		t.Errorf("the spread of nothing is %+v", got)
	}
}

func TestQuantile(t *testing.T) {
	sample := make([]float64, 101)
	for i := range sample {
		sample[i] = float64(100 - i)
	}
	if got := statistics.Quantile(sample, 0.99); got != 99 {
		t.Errorf("p99 of 0 to 100 is %v", got)
	}
}

func TestRatiosPairRounds(t *testing.T) {
	if got, want := statistics.Ratios([]float64{2, 9, 5}, []float64{1, 3}), []float64{2, 3}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMilliseconds(t *testing.T) {
	if got := statistics.Milliseconds(1500 * time.Microsecond); got != 1.5 {
		t.Errorf("1500 µs are %v ms", got)
	}
}
