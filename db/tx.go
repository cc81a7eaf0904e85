package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// tx is a running transaction and what is to be told once it has committed.
type tx struct {
	*sql.Tx
	database *Database
	changed  []string
	passed   []passage
}

// sessionChanged notes that a session's row is written, for the one hint after
// commit.
func (t *tx) sessionChanged(sessionID string) {
	if !slices.Contains(t.changed, sessionID) {
		t.changed = append(t.changed, sessionID)
	}
}

func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.ExecContext(ctx, t.database.dialect(query), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t *tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	return t.QueryRowContext(ctx, t.database.dialect(query), args...)
}

// write runs work in one transaction, and tells of the sessions that it has
// changed once it has committed and the writer's turn is over. On SQLite
// writers take turns and the transaction is immediate; on PostgreSQL it is READ
// COMMITTED, and work locks the rows that it decides on.
func (d *Database) write(ctx context.Context, what string, work func(context.Context, *tx) error) error {
	done, err := d.transact(ctx, work)
	if err != nil {
		return fmt.Errorf("%s: %w", what, outage(err))
	}
	if d.options.SessionChanged != nil {
		for _, sessionID := range done.changed {
			d.options.SessionChanged(sessionID)
		}
	}
	if d.options.SessionPassed != nil {
		for _, one := range done.passed {
			d.options.SessionPassed(one.from, one.to, one.took)
		}
	}
	return nil
}

// transact is write without the telling: it gives the transaction, which knows
// of what to tell.
func (d *Database) transact(ctx context.Context, work func(context.Context, *tx) error) (done *tx, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if d.turn != nil {
		select {
		case d.turn <- struct{}{}:
			defer func() { <-d.turn }()
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the writer's turn: %w", ctx.Err())
		}
	}
	raw, err := d.handle.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	t := &tx{Tx: raw, database: d}
	if err := work(ctx, t); err != nil {
		if undo := raw.Rollback(); undo != nil && !errors.Is(undo, sql.ErrTxDone) {
			d.options.Logger.Warn("rollback", "error", undo, "because", err)
		}
		return nil, err
	}
	if err := raw.Commit(); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return t, nil
}

// dialect turns the $N placeholders, which both drivers take, into ?N for
// SQLite: there $N would be numbered by first appearance.
func (d *Database) dialect(query string) string {
	if d.engine == SQLite {
		return strings.ReplaceAll(query, "$", "?")
	}
	return query
}

// forUpdate locks the selected rows on PostgreSQL. SQLite has one writer.
func (d *Database) forUpdate() string {
	if d.engine == Postgres {
		return " FOR UPDATE"
	}
	return ""
}

// quoted makes an IN list of constants of the models package.
func quoted(constants []string) string {
	return "'" + strings.Join(constants, "', '") + "'"
}

func (d *Database) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return d.handle.QueryRowContext(ctx, d.dialect(query), args...)
}

// queryAll reads every row of a query.
func queryAll[T any](ctx context.Context, d *Database, what string, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	rows, err := d.handle.QueryContext(ctx, d.dialect(query), args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, outage(err))
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, outage(err))
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", what, outage(err))
	}
	return all, nil
}

// scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }
