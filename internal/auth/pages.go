package auth

import (
	"context"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
)

// NewPageGrant makes the right of user to see the session's pages.
func (a *Authenticator) NewPageGrant(ctx context.Context, sessionID, userID string) (secret string, expires time.Time, err error) {
	secret = newSecret(pagesPrefix)
	now := a.options.Now()
	expires = now.Add(a.options.PagesLife)
	err = a.database.CreatePageGrant(ctx, models.PageGrant{
		Hash: Hash(secret), SessionID: sessionID, UserID: userID, CreatedAt: now, ExpiresAt: expires,
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return secret, expires, nil
}

// PageGrant gives the right that the secret stands for. Errors:
// models.CodeUnauthenticated.
func (a *Authenticator) PageGrant(ctx context.Context, secret string) (models.PageGrant, error) {
	if !plausible(secret, pagesPrefix) {
		return models.PageGrant{}, models.Errorf(models.CodeUnauthenticated, "nobody is signed in to this session here; open it in the console")
	}
	return a.database.PageGrant(ctx, Hash(secret), a.options.Now())
}

// Ours reports whether text holds one of our secrets, whatever kind it is of.
func Ours(text string) bool {
	for _, prefix := range []string{"ssp_", "ssa_", "ssc_", "ssl_", ticketPrefix, pagesPrefix} {
		for _, word := range strings.Fields(text) {
			if plausible(word, prefix) {
				return true
			}
		}
	}
	return false
}
