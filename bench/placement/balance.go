package placement

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/db"
)

// balance measures how evenly many callers at once load idle agents: the most
// sessions on an agent over the mean.
func balance(ctx context.Context, b *harness.Bench, stores []*store) error {
	for _, size := range []struct{ agents, count int }{{20, b.Of(2_000, 400)}, {1_000, b.Of(20_000, 2_000)}} {
		ours := map[db.Engine][]float64{}
		var three, least []float64
		for range b.Of(5, 1) {
			for _, s := range stores {
				if err := s.populate(ctx, size.agents, size.count, true); err != nil {
					return err
				}
				if _, err := s.launch(ctx, size.count); err != nil {
					return err
				}
				loads, _, err := s.loads(ctx, size.count)
				if err != nil {
					return err
				}
				ours[s.Engine()] = append(ours[s.Engine()], imbalance(loads))
			}
			three = append(three, imbalance(bestOfThree(size.agents, size.count)))
			least = append(least, imbalance(leastLoaded(size.agents, size.count)))
		}
		rows := []report.Row{{Name: "best of three", Digits: 3, Sample: three}, {Name: "least loaded, alone", Digits: 3, Sample: least}}
		for _, s := range stores {
			rows = append(rows, report.Row{Name: fmt.Sprint("streamspace, ", s.Engine()), Digits: 3, Sample: ours[s.Engine()]})
			b.Report.Result(fmt.Sprintf("placement_imbalance_%s_%d", s.Engine(), size.agents), statistics.Median(ours[s.Engine()]), report.AtMost(1.05))
		}
		b.Report.Spread(fmt.Sprintf("Most sessions on an agent over the mean: %d sessions, %d idle agents", size.count, size.agents), rows...)
	}
	return nil
}

// imbalance is the largest over the mean.
func imbalance(loads []float64) float64 {
	sum := 0.0
	for _, load := range loads {
		sum += load
	}
	return slices.Max(loads) / sum * float64(len(loads))
}

// bestOfThree has callers place sessions each on the agent that holds the least
// of three that they draw, by counts that they share.
func bestOfThree(agents, count int) []float64 {
	counts := make([]atomic.Int64, agents)
	var next atomic.Int64
	var placing sync.WaitGroup
	for range callers {
		placing.Go(func() {
			for next.Add(1) <= int64(count) {
				best := rand.IntN(agents)
				for range 2 {
					if other := rand.IntN(agents); counts[other].Load() < counts[best].Load() {
						best = other
					}
				}
				counts[best].Add(1)
			}
		})
	}
	placing.Wait()
	loads := make([]float64, agents)
	for i := range counts {
		loads[i] = float64(counts[i].Load())
	}
	return loads
}

// leastLoaded places one session after the other on the agent that holds the
// least of all.
func leastLoaded(agents, count int) []float64 {
	loads := make([]float64, agents)
	for range count {
		least := 0
		for i := range loads {
			if loads[i] < loads[least] {
				least = i
			}
		}
		loads[least]++
	}
	return loads
}
