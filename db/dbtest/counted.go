package dbtest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/streamspace/streamspace/db"
)

// counter counts statements as a connection sends them.
type counter struct{ statements atomic.Int64 }

// TraceQueryStart implements pgx.QueryTracer.
func (c *counter) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.statements.Add(1)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (c *counter) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// CountedPostgres is Postgres without options, and with a count of the
// statements so far.
func CountedPostgres(t testing.TB) (database *db.Database, statements func() int64) {
	t.Helper()
	url := create(t, migrated)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	counts := &counter{}
	config.Tracer = counts
	open(t, url, db.Options{}) // which migrates
	handle := stdlib.OpenDB(*config)
	t.Cleanup(func() {
		if err := handle.Close(); err != nil {
			t.Error(err)
		}
	})
	return db.FromDB(handle), counts.statements.Load
}
