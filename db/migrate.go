package db

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
)

//go:embed migrations
var migrations embed.FS

// migrationLock is the PostgreSQL advisory lock that lets one replica migrate
// at a time. The number is arbitrary and only has to stay the same.
const migrationLock = 7_305_809_114

// migrateWithin bounds a whole migration, which may rewrite large tables.
const migrateWithin = 10 * time.Minute

// migration is one numbered step.
type migration struct {
	number int
	name   string
	sql    string
}

// Migrate brings the schema to this build's version, one transaction a step,
// forward only. Several replicas may call it at once. A database that a newer
// build has migrated is refused, unchanged.
func (d *Database) Migrate(ctx context.Context) error {
	steps, err := d.migrations()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, migrateWithin)
	defer cancel()
	for _, step := range steps {
		if err := d.migrateTo(ctx, step, steps[len(steps)-1].number); err != nil {
			return err
		}
	}
	return nil
}

func (d *Database) migrations() ([]migration, error) {
	folder := "migrations/" + string(d.engine)
	entries, err := fs.ReadDir(migrations, folder)
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var steps []migration
	for _, entry := range entries {
		number, err := strconv.Atoi(strings.SplitN(entry.Name(), "_", 2)[0])
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", entry.Name(), err)
		}
		body, err := fs.ReadFile(migrations, folder+"/"+entry.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		steps = append(steps, migration{number: number, name: entry.Name(), sql: string(body)})
	}
	slices.SortFunc(steps, func(a, b migration) int { return a.number - b.number })
	return steps, nil
}

// migrateTo applies step unless the schema already has it.
func (d *Database) migrateTo(ctx context.Context, step migration, newest int) error {
	return d.write(ctx, "migrate to "+step.name, func(ctx context.Context, t *tx) error {
		if d.engine == Postgres {
			if _, err := t.exec(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, `CREATE TABLE IF NOT EXISTS schema_migrations (
			number integer PRIMARY KEY, name text NOT NULL)`); err != nil {
			return err
		}
		var version int
		if err := t.row(ctx, `SELECT coalesce(max(number), 0) FROM schema_migrations`).Scan(&version); err != nil {
			return err
		}
		if version > newest {
			return models.Errorf(models.CodeUnavailable,
				"the database has schema %d and this build knows %d: run the newer build", version, newest)
		}
		if version >= step.number {
			return nil
		}
		if _, err := t.ExecContext(ctx, step.sql); err != nil {
			return err
		}
		d.options.Logger.Info("migrated", "to", step.name)
		_, err := t.exec(ctx, `INSERT INTO schema_migrations (number, name) VALUES ($1, $2)`, step.number, step.name)
		return err
	})
}
