package db

import (
	"fmt"
	"strings"
)

// filter gathers the conditions of a list and their parameters. Conditions that
// restrict nothing are left out, so that an index serves those that stay.
type filter struct {
	conditions []string
	args       []any
}

// and adds a condition; each ? in it stands for one of the values.
func (f *filter) and(condition string, values ...any) {
	for _, value := range values {
		condition = strings.Replace(condition, "?", f.parameter(value), 1)
	}
	f.conditions = append(f.conditions, condition)
}

// equals adds column = value, unless value is empty.
func (f *filter) equals(column, value string) {
	if value != "" {
		f.and(column+" = ?", value)
	}
}

// parameter adds a parameter and gives its placeholder.
func (f *filter) parameter(value any) string {
	f.args = append(f.args, value)
	return fmt.Sprintf("$%d", len(f.args))
}

// where gives the WHERE clause, or nothing.
func (f *filter) where() string {
	if len(f.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.conditions, " AND ")
}
