package dbtest

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/streamspace/streamspace/db"
)

// tracer is called with each statement before a connection sends it.
type tracer func(statement string)

// TraceQueryStart implements pgx.QueryTracer.
func (t tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	t(data.SQL)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TracedPostgres is Postgres without options, and a second handle on the same
// database, which calls before with each statement that it is about to send and
// goes on when that returns. Another goroutine may call it at the same time.
func TracedPostgres(t testing.TB, before func(statement string)) (database, traced *db.Database) {
	t.Helper()
	url := create(t, migrated)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.Tracer = tracer(before)
	database = open(t, url, db.Options{})
	handle := stdlib.OpenDB(*config)
	t.Cleanup(func() {
		if err := handle.Close(); err != nil {
			t.Error(err)
		}
	})
	return database, db.FromDB(handle)
}

// CountedPostgres is Postgres without options, and with a count of the
// statements so far.
func CountedPostgres(t testing.TB) (database *db.Database, statements func() int64) {
	t.Helper()
	var sent atomic.Int64
	_, database = TracedPostgres(t, func(string) { sent.Add(1) })
	return database, sent.Load
}
