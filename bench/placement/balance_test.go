package placement

import (
	"slices"
	"testing"
)

func TestImbalance(t *testing.T) {
	for _, test := range []struct {
		loads []float64
		want  float64
	}{{[]float64{2, 2, 2}, 1}, {[]float64{0, 3, 3}, 1.5}, {[]float64{0, 0, 0, 8}, 4}} {
		if got := imbalance(test.loads); got != test.want {
			t.Errorf("the imbalance of %v is %v, not %v", test.loads, got, test.want)
		}
	}
}

func TestPeersPlaceAll(t *testing.T) {
	for name, place := range map[string]func(agents, count int) []float64{"three": bestOfThree, "least": leastLoaded} {
		loads, sum := place(10, 1005), 0.0
		for _, load := range loads {
			sum += load
		}
		if len(loads) != 10 || sum != 1005 {
			t.Errorf("%s placed %v", name, loads)
		}
		if name == "least" && (slices.Min(loads) != 100 || slices.Max(loads) != 101) {
			t.Errorf("the least loaded were not chosen: %v", loads)
		}
	}
}
