package auth

import (
	"context"
	"time"

	"github.com/streamspace/streamspace/models"
)

// NewLoginLink makes the secret of a link that signs a browser in as the user,
// once.
func (a *Authenticator) NewLoginLink(ctx context.Context, userID string) (secret string, expires time.Time, err error) {
	return a.issue(ctx, Grant{
		Kind: models.TokenLogin, UserID: userID, Label: "login link", Life: a.options.LoginLife,
	})
}

// RedeemLogin uses up a login link and gives the secret of a new console
// cookie. Errors: models.CodeLinkInvalid.
func (a *Authenticator) RedeemLogin(ctx context.Context, secret string) (cookie string, expires time.Time, err error) {
	prefix, err := prefixOf(models.TokenLogin)
	if err != nil {
		return "", time.Time{}, err
	}
	if !plausible(secret, prefix) {
		return "", time.Time{}, models.Errorf(models.CodeLinkInvalid,
			"this is no login link; make one with: streamspace up, or POST /api/v1/login-links")
	}
	user, err := a.database.RedeemLogin(ctx, Hash(secret), a.options.Now())
	if err != nil {
		return "", time.Time{}, err
	}
	return a.issue(ctx, Grant{
		Kind: models.TokenConsole, UserID: user.ID, Label: "console", Life: a.options.ConsoleLife,
	})
}

// NewTicket makes the one-use right of user to open one tunnel to the session
// as it is now. reportsInput is models.Ticket's.
func (a *Authenticator) NewTicket(ctx context.Context, session models.Session, user models.User, reportsInput bool) (secret string, expires time.Time, err error) {
	secret = newSecret(ticketPrefix)
	now := a.options.Now()
	expires = now.Add(a.options.TicketLife)
	err = a.database.CreateTicket(ctx, models.Ticket{
		Hash:       Hash(secret),
		SessionID:  session.ID,
		Generation: session.Generation,
		UserID:     user.ID,

		ReportsInput: reportsInput,
		ExpiresAt:    expires,
		CreatedAt:    now,
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return secret, expires, nil
}

// Ticket gives the ticket that RedeemTicket would use up now, with the same
// errors.
func (a *Authenticator) Ticket(ctx context.Context, secret string) (models.Ticket, error) {
	if !plausible(secret, ticketPrefix) {
		return models.Ticket{}, noTicket()
	}
	return a.database.Ticket(ctx, Hash(secret), a.options.Now())
}

// RedeemTicket uses a ticket up. Errors: models.CodeTicketInvalid,
// models.CodeTicketExpired, models.CodeTicketUsed.
func (a *Authenticator) RedeemTicket(ctx context.Context, secret string) (models.Ticket, error) {
	if !plausible(secret, ticketPrefix) {
		return models.Ticket{}, noTicket()
	}
	return a.database.RedeemTicket(ctx, Hash(secret), a.options.Now())
}

func noTicket() error {
	return models.Errorf(models.CodeTicketInvalid, "this is no ticket; get one with POST /api/v1/sessions/ID/tickets")
}
