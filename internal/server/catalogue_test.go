package server

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

func TestNeedsFollowWhatIsApplied(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	needing := func(name, command string) models.Template {
		return models.Template{Metadata: models.TemplateMetadata{Name: name},
			Spec: models.TemplateSpec{Process: &models.ProcessSpec{Needs: []models.Need{{Command: command}}}}}
	}
	if err := database.SaveTemplates(t.Context(), []models.Template{needing("a", "Xvnc")}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	needed := &needs{database: database, logger: slog.New(slog.DiscardHandler)}
	want := func(ctx context.Context, commands ...string) {
		t.Helper()
		if got := needed.list(ctx); !slices.Equal(got, commands) {
			t.Errorf("templates need %v, want %v", got, commands)
		}
	}
	want(t.Context(), "Xvnc")
	if err := database.ApplyTemplate(t.Context(), needing("b", "vi"), "ann", time.Now()); err != nil {
		t.Fatal(err)
	}
	want(t.Context(), "Xvnc") // asked a moment ago
	needed.since = needed.since.Add(-neededFor)
	want(t.Context(), "Xvnc", "vi")
	needed.since = needed.since.Add(-neededFor)
	ended, end := context.WithCancel(t.Context())
	end()
	want(ended, "Xvnc", "vi") // as the database does not answer
}
