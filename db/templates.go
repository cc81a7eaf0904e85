package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/streamspace/streamspace/models"
)

// entryColumns are those of the view catalogue, in which each name is once.
const entryColumns = `SELECT manifest, source, applied_by, updated_at FROM catalogue `

func scanEntry(row scanner) (models.CatalogueEntry, error) {
	var entry models.CatalogueEntry
	err := row.Scan(jsonColumn{&entry.Template}, text(&entry.Source), &entry.AppliedBy, timeColumn{&entry.UpdatedAt})
	return entry, err
}

// SaveTemplates makes the given templates the whole catalogue but for those that
// were applied: the built-in ones, and those of files, of which one replaces a
// built-in one of its name. Running sessions keep the template that they were
// launched with.
func (d *Database) SaveTemplates(ctx context.Context, builtin, files []models.Template, now time.Time) error {
	return d.write(ctx, "save templates", func(ctx context.Context, t *tx) error {
		if d.engine == Postgres { // two replicas that start at once would insert the same names
			if _, err := t.exec(ctx, `LOCK TABLE templates IN SHARE ROW EXCLUSIVE MODE`); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, `DELETE FROM templates`); err != nil {
			return err
		}
		own := map[string]bool{}
		save := func(template models.Template, source models.TemplateSource) error {
			manifest, err := asJSON(template)
			if err != nil {
				return err
			}
			_, err = t.exec(ctx, `INSERT INTO templates (name, manifest, source, updated_at) VALUES ($1, $2, $3, $4)`,
				template.Metadata.Name, manifest, string(source), d.at(now))
			return err
		}
		for _, template := range files {
			own[template.Metadata.Name] = true
			if err := save(template, models.SourceFile); err != nil {
				return err
			}
		}
		for _, template := range builtin {
			if own[template.Metadata.Name] {
				continue
			}
			if err := save(template, models.SourceBuiltin); err != nil {
				return err
			}
		}
		return nil
	})
}

// ApplyTemplate keeps a template until DeleteTemplate, in place of any other of
// its name.
func (d *Database) ApplyTemplate(ctx context.Context, template models.Template, by string, now time.Time) error {
	return d.write(ctx, "apply template", func(ctx context.Context, t *tx) error {
		manifest, err := asJSON(template)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, `INSERT INTO applied_templates (name, manifest, applied_by, updated_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO UPDATE SET manifest = excluded.manifest, applied_by = excluded.applied_by, updated_at = excluded.updated_at`,
			template.Metadata.Name, manifest, by, d.at(now))
		//failpoint:template-uncommitted
		return err
	})
}

// DeleteTemplate deletes a template that was applied. One of its name that is
// built in or of a file counts again. What was not applied is
// models.CodeTemplateFixed, or models.CodeTemplateUnknown.
func (d *Database) DeleteTemplate(ctx context.Context, name string) error {
	deleted := false
	err := d.write(ctx, "delete template", func(ctx context.Context, t *tx) error {
		count, err := t.exec(ctx, `DELETE FROM applied_templates WHERE name = $1`, name)
		deleted = count > 0
		return err
	})
	if err != nil || deleted {
		return err
	}
	entry, err := d.CatalogueEntry(ctx, name)
	if err != nil {
		return err
	}
	if entry.Source == models.SourceApplied { // since a moment ago
		return nil
	}
	return models.Errorf(models.CodeTemplateFixed, "template %q was not applied: its source is %s; only applied templates can be deleted", name, entry.Source)
}

// TemplateNeeds lists the commands that templates need on the process platform,
// sorted, each once.
func (d *Database) TemplateNeeds(ctx context.Context) ([]string, error) {
	entries, err := queryAll(ctx, d, "list templates", scanEntry, entryColumns)
	if err != nil {
		return nil, err
	}
	needs := []string{}
	for _, entry := range entries {
		needs = append(needs, entry.Needs()...)
	}
	slices.Sort(needs)
	return slices.Compact(needs), nil
}

// Template gives one template, or models.CodeTemplateUnknown.
func (d *Database) Template(ctx context.Context, name string) (models.Template, error) {
	entry, err := d.CatalogueEntry(ctx, name)
	return entry.Template, err
}

// CatalogueEntry gives one template and its source, or
// models.CodeTemplateUnknown.
func (d *Database) CatalogueEntry(ctx context.Context, name string) (models.CatalogueEntry, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	entry, err := scanEntry(d.queryRow(ctx, entryColumns+`WHERE name = $1`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return entry, models.Errorf(models.CodeTemplateUnknown,
			"there is no template %q; `streamspace templates list` shows them", name)
	}
	if err != nil {
		return entry, fmt.Errorf("read template: %w", outage(err))
	}
	return entry, nil
}

// Templates lists the catalogue by name.
func (d *Database) Templates(ctx context.Context, page Page) (entries []models.CatalogueEntry, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var after string
	if _, err := page.position(&after); err != nil {
		return nil, "", err
	}
	entries, err = queryAll(ctx, d, "list templates", scanEntry, entryColumns+`WHERE name > $1 ORDER BY name LIMIT $2`, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	return cut(entries, limit, func(entry models.CatalogueEntry) any { return entry.Metadata.Name })
}
