package api

import "github.com/streamspace/streamspace/db"

// PageParams are the query parameters of every list.
type PageParams struct {
	Cursor string `query:"cursor" maxLength:"512" pattern:"^[A-Za-z0-9+/=_.:-]*$" doc:"nextCursor of the part before; empty for the first part"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"how many at most"`
}

func (p PageParams) page() db.Page { return db.Page{Cursor: p.Cursor, Limit: p.Limit} }

// List is a part of a list.
type List[T any] struct {
	Items      []T    `json:"items" nullable:"false"`
	NextCursor string `json:"nextCursor" doc:"cursor of the next part; empty at the end"`
}

// listOutput is the answer of a list.
type listOutput[T any] struct {
	Body List[T]
}

// listed makes the answer of a list out of what the database gave.
func listed[T any](items []T, next string, err error) (*listOutput[T], error) {
	if err != nil {
		return nil, err
	}
	if items == nil {
		items = []T{}
	}
	return &listOutput[T]{Body: List[T]{Items: items, NextCursor: next}}, nil
}

// output is an answer with a body.
type output[T any] struct {
	Body T
}
