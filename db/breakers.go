package db

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// breakerKey is an agent and a template.
type breakerKey struct{ agentID, template string }

const breakerColumns = "agent_id, template, failures, failed_at, retry_at"

func scanBreaker(row scanner) (b models.Breaker, err error) {
	return b, row.Scan(&b.AgentID, &b.Template, &b.Failures, timeColumn{&b.FailedAt}, timeColumn{&b.RetryAt})
}

func keyOf(b models.Breaker) breakerKey { return breakerKey{b.AgentID, b.Template} }

// Breakers lists the breakers that are open: agents that keep failing to start
// a template. The order means nothing.
func (d *Database) Breakers(ctx context.Context, now time.Time) ([]models.Breaker, error) {
	return queryAll(ctx, d, "list breakers", scanBreaker, "SELECT "+breakerColumns+" FROM breakers WHERE failures >= $1 AND failed_at >= $2",
		models.BreakerTrips, d.at(now.Add(-models.BreakerForgets)))
}

// saveBreakers writes breakers, and removes those without failures.
func (t *tx) saveBreakers(ctx context.Context, breakers []models.Breaker) error {
	if len(breakers) == 0 {
		return nil
	}
	slices.SortFunc(breakers, func(a, b models.Breaker) int {
		return cmp.Or(cmp.Compare(a.AgentID, b.AgentID), cmp.Compare(a.Template, b.Template))
	})
	d := t.database
	rows := &batch{columns: []batchColumn{{"agent_id", "text"}, {"template", "text"}, {"failures", "bigint"}, {"failed_at", "timestamptz"}, {"retry_at", "timestamptz"}}}
	over := &batch{columns: rows.columns[:2]}
	for _, b := range breakers {
		if b.Failures == 0 {
			over.add(b.AgentID, b.Template)
			continue
		}
		rows.add(b.AgentID, b.Template, b.Failures, d.at(b.FailedAt), d.at(b.RetryAt))
	}
	if len(over.rows) > 0 {
		source, args, err := d.source(over, "u", 1)
		if err == nil {
			_, err = t.exec(ctx, `DELETE FROM breakers WHERE EXISTS (SELECT 1 FROM `+source+`
				WHERE u.agent_id = breakers.agent_id AND u.template = breakers.template)`, args...)
		}
		if err != nil {
			return fmt.Errorf("end breakers: %w", err)
		}
	}
	if len(rows.rows) == 0 {
		return nil
	}
	source, args, err := d.source(rows, "u", 1)
	if err == nil {
		_, err = t.exec(ctx, `INSERT INTO breakers (`+breakerColumns+`)
			SELECT u.agent_id, u.template, u.failures, u.failed_at, u.retry_at FROM `+source+` WHERE true
			ON CONFLICT (agent_id, template) DO UPDATE SET failures = excluded.failures, failed_at = excluded.failed_at, retry_at = excluded.retry_at`, args...)
	}
	if err != nil {
		return fmt.Errorf("save breakers: %w", err)
	}
	return nil
}

// forgetBreakers ends the breakers of an agent.
func (t *tx) forgetBreakers(ctx context.Context, agentID string) error {
	_, err := t.exec(ctx, "DELETE FROM breakers WHERE agent_id = $1", agentID)
	return err
}
