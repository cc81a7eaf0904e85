package db

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// timeLayout is how SQLite keeps an instant: fixed width, so that text order
// is time order.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// at gives an instant in the engine's form.
func (d *Database) at(instant time.Time) any {
	instant = instant.UTC().Truncate(time.Microsecond)
	if d.engine == SQLite {
		return instant.Format(timeLayout)
	}
	return instant
}

// atOptional is at for a pointer; nil is NULL.
func (d *Database) atOptional(instant *time.Time) any {
	if instant == nil {
		return nil
	}
	return d.at(*instant)
}

// atOrNull is at, with the zero time as NULL.
func (d *Database) atOrNull(instant time.Time) any {
	if instant.IsZero() {
		return nil
	}
	return d.at(instant)
}

// timeColumn scans an instant of either engine. NULL leaves the target as it is.
type timeColumn struct{ into *time.Time }

// Scan implements sql.Scanner.
func (c timeColumn) Scan(value any) error {
	switch value := value.(type) {
	case nil:
		return nil
	case time.Time:
		*c.into = value.UTC()
		return nil
	case string:
		return c.parse(value)
	case []byte:
		return c.parse(string(value))
	}
	return fmt.Errorf("a time cannot be read from %T", value)
}

func (c timeColumn) parse(text string) error {
	instant, err := time.Parse(timeLayout, text)
	if err != nil {
		return fmt.Errorf("a stored time is malformed: %w", err)
	}
	*c.into = instant.UTC()
	return nil
}

// optionalTime scans an instant into a pointer; NULL is nil.
type optionalTime struct{ into **time.Time }

// Scan implements sql.Scanner.
func (c optionalTime) Scan(value any) error {
	if value == nil {
		*c.into = nil
		return nil
	}
	var instant time.Time
	if err := (timeColumn{&instant}).Scan(value); err != nil {
		return err
	}
	*c.into = &instant
	return nil
}

// textColumn scans text; NULL is "".
type textColumn[T ~string] struct{ into *T }

// Scan implements sql.Scanner.
func (c textColumn[T]) Scan(value any) error {
	switch value := value.(type) {
	case nil:
		*c.into = ""
	case string:
		*c.into = T(value)
	case []byte:
		*c.into = T(value)
	default:
		return fmt.Errorf("text cannot be read from %T", value)
	}
	return nil
}

func text[T ~string](into *T) textColumn[T] { return textColumn[T]{into} }

// jsonColumn scans JSON; NULL leaves the target as it is.
type jsonColumn struct{ into any }

// Scan implements sql.Scanner.
func (c jsonColumn) Scan(value any) error {
	switch value := value.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(value), c.into)
	case []byte:
		return json.Unmarshal(value, c.into)
	}
	return fmt.Errorf("JSON cannot be read from %T", value)
}

// withoutNUL replaces NUL, which PostgreSQL keeps neither in text nor in JSON,
// by the replacement character. The first pair steps over escaped backslashes.
var withoutNUL = strings.NewReplacer(`\\`, `\\`, `\u0000`, `\ufffd`)

// asJSON gives a value as JSON text; a nil map, slice or pointer is NULL.
func asJSON(value any) (any, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if string(body) == "null" {
		return nil, nil
	}
	return withoutNUL.Replace(string(body)), nil
}

// orNull turns "" into NULL, and the rest into text that both engines keep.
func orNull[T ~string](value T) any {
	if value == "" {
		return nil
	}
	return strings.ReplaceAll(strings.ToValidUTF8(string(value), "\ufffd"), "\x00", "\ufffd")
}
