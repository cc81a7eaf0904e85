package api

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// observer adds to sessions what is not kept with them, but found out when
// somebody looks.
type observer struct {
	database *db.Database
	now      func() time.Time
}

// complete adds to sessions that wait for an agent how many are before them, and
// to those whose agent is away that it is.
func (o observer) complete(ctx context.Context, sessions ...*models.Session) error {
	if err := o.queuePlaces(ctx, sessions); err != nil {
		return err
	}
	return o.reach(ctx, sessions)
}

func (o observer) queuePlaces(ctx context.Context, sessions []*models.Session) error {
	var ids []string
	for _, session := range sessions {
		if session.Waiting() {
			ids = append(ids, session.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	places, all, err := o.database.WaitingPlaces(ctx, ids)
	for _, session := range sessions {
		if place, waits := places[session.ID]; waits {
			session.Queue = &models.QueuePlace{Place: place, Of: all}
		}
	}
	return err
}

func (o observer) reach(ctx context.Context, sessions []*models.Session) error {
	agents := map[string]bool{}
	for _, session := range sessions {
		if session.AgentID != "" && session.State.Live() {
			agents[session.AgentID] = true
		}
	}
	contacts, err := o.database.Contacts(ctx, slices.Sorted(maps.Keys(agents)))
	if err != nil {
		return err
	}
	now := o.now()
	for _, session := range sessions {
		var contact *models.Contact
		if known, registered := contacts[session.AgentID]; registered {
			contact = &known
		}
		session.Unreachable = session.UnreachableBy(contact, wire.StaleAfter, now)
	}
	return nil
}

func pointers(sessions []models.Session) []*models.Session {
	all := make([]*models.Session, 0, len(sessions))
	for i := range sessions {
		all = append(all, &sessions[i])
	}
	return all
}
