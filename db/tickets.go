package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

// CreateTicket writes a ticket's record and forgets some long expired ones.
func (d *Database) CreateTicket(ctx context.Context, ticket models.Ticket) error {
	return d.write(ctx, "create ticket", func(ctx context.Context, t *tx) error {
		if err := t.forgetExpired(ctx, "tickets", ticket.CreatedAt); err != nil {
			return err
		}
		_, err := t.exec(ctx, `INSERT INTO tickets (hash, session_id, generation, user_id, created_at, expires_at, reports_input)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, ticket.Hash, ticket.SessionID, ticket.Generation, ticket.UserID,
			d.at(ticket.CreatedAt), d.at(ticket.ExpiresAt), ticket.ReportsInput)
		return err
	})
}

// Ticket gives a ticket that can be redeemed now, and leaves it so. Errors are
// those of RedeemTicket.
func (d *Database) Ticket(ctx context.Context, hash string, now time.Time) (models.Ticket, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ticket, err := scanTicket(d.queryRow(ctx, selectTicket, hash), now)
	if err != nil {
		return models.Ticket{}, fmt.Errorf("read ticket: %w", outage(err))
	}
	return ticket, nil
}

// RedeemTicket uses up a ticket. Errors: models.CodeTicketInvalid,
// models.CodeTicketExpired, models.CodeTicketUsed.
func (d *Database) RedeemTicket(ctx context.Context, hash string, now time.Time) (ticket models.Ticket, err error) {
	err = d.write(ctx, "redeem ticket", func(ctx context.Context, t *tx) error {
		if ticket, err = scanTicket(t.row(ctx, selectTicket+d.forUpdate(), hash), now); err != nil {
			return err
		}
		_, err = t.exec(ctx, `UPDATE tickets SET used_at = $2 WHERE hash = $1`, hash, d.at(now))
		return err
	})
	if err != nil {
		return models.Ticket{}, err
	}
	return ticket, nil
}

const selectTicket = `SELECT hash, session_id, generation, user_id, created_at, expires_at, used_at, reports_input FROM tickets WHERE hash = $1`

// scanTicket reads a ticket, and refuses one that cannot be redeemed.
func scanTicket(row scanner, now time.Time) (ticket models.Ticket, err error) {
	var used *time.Time
	err = row.Scan(&ticket.Hash, &ticket.SessionID, &ticket.Generation, &ticket.UserID,
		timeColumn{&ticket.CreatedAt}, timeColumn{&ticket.ExpiresAt}, optionalTime{&used}, &ticket.ReportsInput)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return ticket, models.Errorf(models.CodeTicketInvalid, "the ticket is not known; ask for a new one")
	case err != nil:
		return ticket, err
	case used != nil:
		return ticket, models.Errorf(models.CodeTicketUsed, "the ticket was used before; each opens one stream, ask for a new one")
	case !ticket.ExpiresAt.After(now):
		return ticket, models.Errorf(models.CodeTicketExpired, "the ticket has expired; ask for a new one")
	}
	return ticket, nil
}
