package placement

import (
	"context"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/bench/harness"
	"github.com/streamspace/streamspace/bench/report"
	"github.com/streamspace/streamspace/services"
)

// selection measures AgentSelector.SelectAgent beside the plain way: a query for
// each agent that counts its sessions.
func selection(ctx context.Context, b *harness.Bench, stores []*store) error {
	for _, s := range stores {
		for _, agents := range []int{100, 1_000} {
			if err := s.populate(ctx, agents, room(s, agents, 0), false); err != nil {
				return err
			}
			calls, rounds := b.Of(20_000, 2_000)/agents, b.Of(11, 3)
			ours, theirs, err := harness.Pairs(ctx, rounds,
				func(ctx context.Context) (float64, error) { return repeat(ctx, calls, s.selectOurs) },
				func(ctx context.Context) (float64, error) { return repeat(ctx, calls, s.selectPlain) })
			if err != nil {
				return err
			}
			b.Report.Compare(report.Comparison{Metric: fmt.Sprintf("placement_select_over_counting_%s_%d", s.Engine(), agents),
				Goal: report.AtLeast(1), Peer: "a count for each agent", Digits: 1,
				Title: fmt.Sprintf("Selections a second among %d agents on %s, one after the other", agents, s.Engine()), Ours: ours, Theirs: theirs})
		}
	}
	return nil
}

// repeat gives the calls a second.
func repeat(ctx context.Context, calls int, call func(context.Context) error) (float64, error) {
	begin := time.Now()
	for range calls {
		if err := call(ctx); err != nil {
			return 0, err
		}
	}
	return float64(calls) / time.Since(begin).Seconds(), nil
}

// selectOurs is the documented call. It may not require a connection, as the
// agents have none.
func (s *store) selectOurs(ctx context.Context) error {
	_, err := s.selector.SelectAgent(ctx, &services.SelectionCriteria{PreferLowLoad: true, AllowDisconnected: true})
	return err
}

// selectPlain reads what AgentInfo has of each agent, counts the sessions of each
// and keeps the least loaded.
func (s *store) selectPlain(ctx context.Context) error {
	rows, err := s.DB().QueryContext(ctx, "SELECT id, cluster_id, cluster_name, platform, region, status, capacity FROM agents WHERE status = 'online'")
	if err != nil {
		return fmt.Errorf("list agents: %w", err)
	}
	defer func() { _ = rows.Close() }()
	type agent struct{ id, clusterID, clusterName, platform, region, status, capacity string }
	var agents []agent
	for rows.Next() {
		var one agent
		if err := rows.Scan(&one.id, &one.clusterID, &one.clusterName, &one.platform, &one.region, &one.status, &one.capacity); err != nil {
			return fmt.Errorf("list agents: %w", err)
		}
		agents = append(agents, one)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list agents: %w", err)
	}
	best, least := agent{}, 0
	for _, one := range agents {
		var sessions int
		// An index of the product's is for just this.
		if err := s.DB().QueryRowContext(ctx, "SELECT count(*) FROM sessions WHERE agent_id = $1 AND state NOT IN ('terminated', 'failed')", one.id).
			Scan(&sessions); err != nil {
			return fmt.Errorf("count an agent's sessions: %w", err)
		}
		if best.id == "" || sessions < least {
			best, least = one, sessions
		}
	}
	if best.id == "" {
		return fmt.Errorf("none of %d agents was chosen", len(agents))
	}
	return nil
}
