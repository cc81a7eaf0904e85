package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

func scanTemplate(row scanner) (models.Template, error) {
	var template models.Template
	err := row.Scan(jsonColumn{&template})
	return template, err
}

// SaveTemplates makes the given templates the whole catalogue. Running
// sessions keep the template that they were launched with.
func (d *Database) SaveTemplates(ctx context.Context, templates []models.Template, now time.Time) error {
	return d.write(ctx, "save templates", func(ctx context.Context, t *tx) error {
		if d.engine == Postgres { // two replicas that start at once would insert the same names
			if _, err := t.exec(ctx, `LOCK TABLE templates IN SHARE ROW EXCLUSIVE MODE`); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, `DELETE FROM templates`); err != nil {
			return err
		}
		for _, template := range templates {
			manifest, err := asJSON(template)
			if err != nil {
				return err
			}
			if _, err := t.exec(ctx, `INSERT INTO templates (name, manifest, updated_at) VALUES ($1, $2, $3)`,
				template.Metadata.Name, manifest, d.at(now)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Template gives one template, or models.CodeTemplateUnknown.
func (d *Database) Template(ctx context.Context, name string) (models.Template, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	template, err := scanTemplate(d.queryRow(ctx, `SELECT manifest FROM templates WHERE name = $1`, name))
	if errors.Is(err, sql.ErrNoRows) {
		return template, models.Errorf(models.CodeTemplateUnknown,
			"there is no template %q; `streamspace templates list` shows them", name)
	}
	if err != nil {
		return template, fmt.Errorf("read template: %w", outage(err))
	}
	return template, nil
}

// Templates lists the catalogue by name.
func (d *Database) Templates(ctx context.Context, page Page) (templates []models.Template, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	var after string
	if _, err := page.position(&after); err != nil {
		return nil, "", err
	}
	templates, err = queryAll(ctx, d, "list templates", scanTemplate,
		`SELECT manifest FROM templates WHERE name > $1 ORDER BY name LIMIT $2`, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	return cut(templates, limit, func(template models.Template) any { return template.Metadata.Name })
}
