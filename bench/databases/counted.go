package databases

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/streamspace/streamspace/db"
)

// Counted is a PostgreSQL database with a count of the statements that were sent.
type Counted struct {
	*db.Database
	handle *sql.DB
	counts *statementCount
}

type statementCount struct{ sent atomic.Int64 }

// TraceQueryStart implements pgx.QueryTracer.
func (c *statementCount) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.sent.Add(1)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (c *statementCount) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// OpenCounted opens a database that has been migrated.
func OpenCounted(url string) (*Counted, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("open a database that counts: %w", err)
	}
	counts := &statementCount{}
	config.Tracer = counts
	handle := stdlib.OpenDB(*config)
	return &Counted{Database: db.FromDB(handle), handle: handle, counts: counts}, nil
}

// Statements gives how many were sent so far.
func (c *Counted) Statements() int64 { return c.counts.sent.Load() }

// Close closes the database.
func (c *Counted) Close() error { return c.handle.Close() }
