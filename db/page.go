package db

import (
	"encoding/base64"
	"encoding/json"

	"github.com/streamspace/streamspace/models"
)

// The sizes of a page.
const (
	DefaultPageSize = 50
	MaxPageSize     = 500
)

// Page selects a part of a list. The zero value is the first page of
// DefaultPageSize.
type Page struct {
	// Cursor is what the page before gave as next; empty for the first.
	Cursor string
	// Limit is 1 to MaxPageSize; 0 means DefaultPageSize.
	Limit int
}

// limit checks and defaults the page's size.
func (p Page) limit() (int, error) {
	switch {
	case p.Limit == 0:
		return DefaultPageSize, nil
	case p.Limit < 0 || p.Limit > MaxPageSize:
		return 0, models.Errorf(models.CodeInvalidRequest, "limit must be from 1 to %d, not %d", MaxPageSize, p.Limit)
	}
	return p.Limit, nil
}

// position decodes the cursor into the sort key after which the page begins,
// and reports whether there is one.
func (p Page) position(key any) (bool, error) {
	if p.Cursor == "" {
		return false, nil
	}
	body, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err == nil {
		err = json.Unmarshal(body, key)
	}
	if err != nil {
		return false, &models.Error{Code: models.CodeInvalidRequest,
			Message: "the cursor is not one that this server gave; start again without it", Err: err}
	}
	return true, nil
}

// cut takes the one row too many off a list that was read with limit+1 rows,
// and makes the cursor of the next page from the last row that stays.
func cut[T any](rows []T, limit int, key func(T) any) ([]T, string, error) {
	if len(rows) <= limit {
		return rows, "", nil
	}
	rows = rows[:limit]
	body, err := json.Marshal(key(rows[limit-1]))
	if err != nil {
		return nil, "", err
	}
	return rows, base64.RawURLEncoding.EncodeToString(body), nil
}
