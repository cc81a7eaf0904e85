package db

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// batch is many rows as the parameters of one statement, so that writing them
// is one round trip and one plan however many there are.
type batch struct {
	columns []batchColumn
	rows    [][]any
}

// batchColumn is a column's name and PostgreSQL type: text, bigint, boolean or
// timestamptz. Each may be NULL but bigint and boolean.
type batchColumn struct{ name, kind string }

// add adds a row: string, int64, bool, or what at and orNull give, or nil.
func (b *batch) add(values ...any) { b.rows = append(b.rows, values) }

// source gives the rows as a FROM item, with its parameters, which begin at
// $first. PostgreSQL gets an array a column, SQLite one JSON text.
func (d *Database) source(b *batch, alias string, first int) (string, []any, error) {
	if d.engine == SQLite {
		body, err := json.Marshal(b.rows)
		if err != nil {
			return "", nil, fmt.Errorf("encode a batch: %w", err)
		}
		fields := make([]string, 0, len(b.columns))
		for i, column := range b.columns {
			fields = append(fields, fmt.Sprintf("value ->> %d AS %s", i, column.name))
		}
		return fmt.Sprintf("(SELECT %s FROM json_each($%d)) AS %s", strings.Join(fields, ", "), first, alias),
			[]any{string(body)}, nil
	}
	var placeholders, names []string
	var args []any
	for i, column := range b.columns {
		values, err := b.column(i)
		if err != nil {
			return "", nil, err
		}
		args = append(args, values)
		placeholders = append(placeholders, fmt.Sprintf("$%d::%s[]", first+i, column.kind))
		names = append(names, column.name)
	}
	return fmt.Sprintf("unnest(%s) AS %s(%s)", strings.Join(placeholders, ", "), alias, strings.Join(names, ", ")), args, nil
}

// column gives one column's values as a slice that the driver takes for an
// array.
func (b *batch) column(i int) (any, error) {
	var err error
	switch b.columns[i].kind {
	case "bigint":
		return columnOf[int64](b, i, &err), err
	case "boolean":
		return columnOf[bool](b, i, &err), err
	case "timestamptz":
		return nullable[time.Time](b, i, &err), err
	}
	return nullable[string](b, i, &err), err
}

func columnOf[T any](b *batch, i int, err *error) []T {
	values := make([]T, len(b.rows))
	for row, fields := range b.rows {
		value, ok := fields[i].(T)
		if !ok {
			*err = fmt.Errorf("column %s of a batch holds a %T", b.columns[i].name, fields[i])
		}
		values[row] = value
	}
	return values
}

func nullable[T any](b *batch, i int, err *error) []*T {
	values := make([]*T, len(b.rows))
	for row, fields := range b.rows {
		if fields[i] == nil {
			continue
		}
		value, ok := fields[i].(T)
		if !ok {
			*err = fmt.Errorf("column %s of a batch holds a %T", b.columns[i].name, fields[i])
		}
		values[row] = &value
	}
	return values
}

// oneOf gives the condition that a column is one of the texts, as one parameter
// whatever the list's length is. The plan of PostgreSQL's ANY keeps to the
// column's index however large the table is.
func (d *Database) oneOf(column, placeholder string, texts []string) (condition string, arg any, err error) {
	if d.engine == Postgres {
		if texts == nil {
			texts = []string{}
		}
		return column + " = ANY(" + placeholder + "::text[])", texts, nil
	}
	body, err := json.Marshal(texts)
	if err != nil {
		return "", nil, fmt.Errorf("encode a list: %w", err)
	}
	return column + " IN (SELECT value FROM json_each(" + placeholder + "))", string(body), nil
}
