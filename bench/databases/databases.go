// Package databases opens the product's databases and helps to fill them with
// many rows at once.
package databases

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/bench/postgres"
	"github.com/streamspace/streamspace/db"
)

// Open opens and migrates a database.
func Open(ctx context.Context, url string) (*db.Database, error) {
	database, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		return nil, err
	}
	if err := database.Migrate(ctx); err != nil {
		return nil, err
	}
	return database, nil
}

// Create makes an empty database on the server.
func Create(ctx context.Context, server *postgres.Server, name string) (*db.Database, error) {
	url, err := server.Create(ctx, name)
	if err != nil {
		return nil, err
	}
	return Open(ctx, url)
}

// Series gives a FROM item n(i) of the numbers 0 to count-1.
func Series(engine db.Engine, count int) string {
	if engine == db.SQLite {
		return fmt.Sprintf("(WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT i FROM n) AS n", count-1)
	}
	return fmt.Sprintf("generate_series(0, %d) AS n(i)", count-1)
}
