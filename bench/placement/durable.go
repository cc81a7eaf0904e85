package placement

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/bench/statistics"
	"github.com/streamspace/streamspace/db"
)

// durable measures launches a second, each in the database when it returns, at
// several sizes of the fleet; the engines take turns.
func durable(ctx context.Context, b *harness.Bench, stores []*store) error {
	count, rounds := b.Of(10_000, 500), b.Of(7, 2)
	overbooked := 0
	for _, agents := range []int{100, 1_000, 10_000} {
		rates, p50s, p99s := map[db.Engine][]float64{}, map[db.Engine][]float64{}, map[db.Engine][]float64{}
		for _, s := range stores {
			if err := s.populate(ctx, agents, room(s, agents, count), false); err != nil {
				return err
			}
		}
		for round := range rounds + 1 {
			for _, s := range stores {
				if err := s.end(ctx); err != nil {
					return err
				}
				done, err := s.launch(ctx, count)
				if err != nil {
					return err
				}
				if done.refused > 0 {
					return fmt.Errorf("%d of %d launches found no agent on %s, where there is room for all", done.refused, count, s.Engine())
				}
				_, over, err := s.loads(ctx, room(s, agents, count))
				if err != nil {
					return err
				}
				overbooked += over
				if round == 0 { // it warms the caches
					continue
				}
				rates[s.Engine()] = append(rates[s.Engine()], float64(count)/done.took.Seconds())
				p50s[s.Engine()] = append(p50s[s.Engine()], statistics.Median(done.latencies))
				p99s[s.Engine()] = append(p99s[s.Engine()], statistics.Quantile(done.latencies, 0.99))
			}
		}
		var rows []report.Row
		for _, s := range stores {
			engine := s.Engine()
			rows = append(rows, report.Row{Name: fmt.Sprint(engine, ", a second"), Sample: rates[engine]},
				report.Row{Name: fmt.Sprint(engine, ", p50 in ms"), Digits: 1, Sample: p50s[engine]},
				report.Row{Name: fmt.Sprint(engine, ", p99 in ms"), Digits: 1, Sample: p99s[engine]})
		}
		b.Report.Spread(fmt.Sprintf("Durable placements over %d agents by %d callers, %d at a time", agents, callers, count), rows...)
		for _, s := range stores {
			b.Report.Result(fmt.Sprintf("placement_durable_%s_%d", s.Engine(), agents), statistics.Median(rates[s.Engine()]), report.AtLeast(2000))
		}
	}
	over, err := fillUp(ctx, b, stores)
	if err != nil {
		return err
	}
	b.Report.Result("placement_overbooked_agents", float64(overbooked+over), report.AtMost(0))
	return nil
}

// room is what each agent can take: twice what lives during a round, since the
// spread is not quite even.
func room(s *store, agents, count int) int { return 2 + 2*(s.live+count)/agents }

// fillUp asks for more than there is room for, and gives how many agents then
// hold more than they can.
func fillUp(ctx context.Context, b *harness.Bench, stores []*store) (overbooked int, err error) {
	const agents = 100
	free := b.Of(50, 5)
	for _, s := range stores {
		room := (s.live+agents-1)/agents + free
		places := agents*room - s.live
		if err := s.populate(ctx, agents, room, false); err != nil {
			return 0, err
		}
		done, err := s.launch(ctx, places+places/10)
		if err != nil {
			return 0, err
		}
		_, over, err := s.loads(ctx, room)
		if err != nil {
			return 0, err
		}
		overbooked += over
		b.Report.Notef("\n%s: %d launches for %d free places over %d agents: %d placed, %d refused, %d agents overbooked", s.Engine(),
			places+places/10, places, agents, len(done.latencies), done.refused, over)
	}
	return overbooked, nil
}
