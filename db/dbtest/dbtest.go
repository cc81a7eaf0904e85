// Package dbtest gives tests real databases of their own: SQLite in a
// temporary file, and PostgreSQL from a private server that is started on
// first use and stopped with the test process.
package dbtest

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/streamspace/streamspace/db"
)

// Each runs test on both engines, on a migrated database each.
func Each(t *testing.T, test func(t *testing.T, database *db.Database)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, SQLite(t, db.Options{})) })
	t.Run("postgres", func(t *testing.T) { test(t, Postgres(t, db.Options{})) })
}

// SQLite gives a migrated database in a temporary file.
func SQLite(t testing.TB, options db.Options) *db.Database {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "test.db"), options)
}

// Postgres gives a migrated database on the private server. Without
// PostgreSQL's programs the test is skipped with a word, and fails in CI.
func Postgres(t testing.TB, options db.Options) *db.Database {
	t.Helper()
	return open(t, create(t, migrated), options)
}

func open(t testing.TB, url string, options db.Options) *db.Database {
	t.Helper()
	database, err := db.Open(context.Background(), url, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := database.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return database
}
