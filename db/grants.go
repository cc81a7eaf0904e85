package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// CreatePageGrant writes a grant's record and forgets some long expired ones.
func (d *Database) CreatePageGrant(ctx context.Context, grant models.PageGrant) error {
	return d.write(ctx, "create page grant", func(ctx context.Context, t *tx) error {
		if err := t.forgetExpired(ctx, "page_grants", grant.CreatedAt); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO page_grants (hash, session_id, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)`,
			grant.Hash, grant.SessionID, grant.UserID, d.at(grant.CreatedAt), d.at(grant.ExpiresAt))
		return err
	})
}

// PageGrant gives a grant that has not expired, or models.CodeUnauthenticated.
func (d *Database) PageGrant(ctx context.Context, hash string, now time.Time) (grant models.PageGrant, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err = d.queryRow(ctx, `SELECT hash, session_id, user_id, created_at, expires_at FROM page_grants WHERE hash = $1 AND expires_at > $2`, hash, d.at(now)).
		Scan(&grant.Hash, &grant.SessionID, &grant.UserID, timeColumn{&grant.CreatedAt}, timeColumn{&grant.ExpiresAt})
	if errors.Is(err, sql.ErrNoRows) {
		return grant, models.Errorf(models.CodeUnauthenticated, "the right to see the session's pages has ended; open the session in the console again")
	}
	if err != nil {
		return grant, fmt.Errorf("read page grant: %w", outage(err))
	}
	return grant, nil
}

// DeletePageGrants removes all grants of a user.
func (d *Database) DeletePageGrants(ctx context.Context, userID string) error {
	return d.write(ctx, "delete page grants", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM page_grants WHERE user_id = $1`, userID)
		return err
	})
}
