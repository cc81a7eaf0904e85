package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// contents are the rows of all tables, each as a text.
type contents map[string]bool

// rhythm are the columns that heartbeats write as time goes by, also such as are
// late and have old news, and those of whoever has a lease.
func rhythm() map[string][]string {
	return map[string][]string{"agents": {"last_heartbeat", "updated_at", "capacity"}, "leases": {"expires_at", "worked_at", "hold", "hold_since"}}
}

// contents reads what the database has but for its rhythm.
func (h *history) contents(ctx context.Context) (contents, error) {
	tables, err := h.texts(ctx, `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sim_%' AND name NOT LIKE 'sqlite_%'`)
	if err != nil {
		return nil, err
	}
	all := contents{}
	for _, table := range tables {
		columns, err := h.texts(ctx, `SELECT name FROM pragma_table_info(?)`, table)
		if err != nil {
			return nil, err
		}
		columns = slices.DeleteFunc(columns, func(name string) bool { return slices.Contains(rhythm()[table], name) })
		rows, err := h.texts(ctx, fmt.Sprintf(`SELECT json_array("%s") FROM "%s"`, strings.Join(columns, `", "`), table))
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			all[table+" "+row] = true
		}
	}
	return all, nil
}

// beyond gives the rows that others do not have.
func (c contents) beyond(others contents) (rows []string) {
	for row := range c {
		if !others[row] {
			rows = append(rows, row)
		}
	}
	slices.Sort(rows)
	return rows
}
