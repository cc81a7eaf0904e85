package db_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

// A full disk passes: callers are told to try again, and can.
func TestAFullDiskIsAnOutage(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	database.DB().SetMaxOpenConns(1) // the limit belongs to a connection
	limit := func(pages string) {
		t.Helper()
		if _, err := database.DB().Exec("PRAGMA max_page_count = " + pages); err != nil {
			t.Fatal(err)
		}
	}
	save := func() error {
		template := models.Template{Metadata: models.TemplateMetadata{Name: "large"},
			Spec: models.TemplateSpec{DisplayName: strings.Repeat("x", 1<<20)}}
		return database.SaveTemplates(t.Context(), nil, []models.Template{template}, time.Now())
	}
	limit("1") // SQLite takes what is in use instead
	if err := save(); !isOutage(err) {
		t.Errorf("a full disk is %v", err)
	}
	limit("1000000")
	if err := save(); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// So does a lock that somebody holds for too long.
func TestAHeldLockIsAnOutage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		if _, _, err := database.RegisterAgent(t.Context(), models.Agent{ID: "a", Platform: "process"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		holder, err := database.DB().BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = holder.Rollback() }()
		if _, err := holder.Exec("UPDATE agents SET region = 'x'"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := database.ConnectAgent(ctx, "a", time.Now()); !isOutage(err) {
			t.Errorf("a held lock is %v", err)
		}
	})
}

// What would be refused again is none.
func TestARefusedStatementIsNoOutage(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, database *db.Database) {
		if _, err := database.DB().Exec("DROP VIEW catalogue"); err != nil {
			t.Fatal(err)
		}
		_, err := database.Template(t.Context(), "x")
		if models.CodeOf(err) != models.CodeInternal {
			t.Errorf("a missing view is %v", err)
		}
	})
}

func isOutage(err error) bool { return models.CodeOf(err) == models.CodeUnavailable }
