package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/catalog"
	"github.com/streamspace/streamspace/models"
)

// saveCatalogue puts the built-in templates and the user's into the database
// and gives what they need. A user's template replaces a built-in one of its
// name. A file that is wrong is logged and left out: one mistake must not take
// every session away.
func saveCatalogue(ctx context.Context, database *db.Database, dir string, now time.Time, logger *slog.Logger) ([]string, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	templates, err := catalog.Builtin()
	if err != nil {
		return nil, fmt.Errorf("read the built-in templates: %w", err)
	}
	own, problems := catalog.Load(dir)
	for _, problem := range problems {
		logger.Warn("a template is left out", "error", problem)
	}
	templates = merge(templates, own)
	if err := database.SaveTemplates(ctx, templates, now); err != nil {
		return nil, fmt.Errorf("save the templates: %w", err)
	}
	return needs(templates), nil
}

// merge lets the user's templates replace built-in ones of the same name.
func merge(builtin, own []models.Template) []models.Template {
	merged := slices.Clone(own)
	for _, template := range builtin {
		replaced := slices.ContainsFunc(own, func(other models.Template) bool {
			return other.Metadata.Name == template.Metadata.Name
		})
		if !replaced {
			merged = append(merged, template)
		}
	}
	return merged
}

// needs lists what some template needs, each once.
func needs(templates []models.Template) []string {
	all := []string{}
	for _, template := range templates {
		all = append(all, template.Needs()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
