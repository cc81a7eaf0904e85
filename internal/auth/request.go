package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// CookieName is the console's cookie, and SecureCookieName that under HTTPS: of
// this name browsers take none that another host has set for ours, as a session's
// page could.
const (
	CookieName       = "streamspace"
	SecureCookieName = "__Host-" + CookieName
)

// consoleCookie is the console's cookie of the request, the safer one first.
func consoleCookie(r *http.Request) (*http.Cookie, error) {
	if cookie, err := r.Cookie(SecureCookieName); err == nil {
		return cookie, nil
	}
	return r.Cookie(CookieName)
}

// Authenticate tells which user sent the request: by the bearer token when
// there is an Authorization header, else by the console's cookie. Errors:
// models.CodeUnauthenticated.
func (a *Authenticator) Authenticate(r *http.Request) (models.User, error) {
	kind, secret, err := credential(r)
	if err != nil {
		return models.User{}, err
	}
	token, err := a.Check(r.Context(), kind, secret)
	if err != nil {
		return models.User{}, err
	}
	return a.database.User(r.Context(), token.UserID)
}

// ByCookie reports whether Authenticate would go by the console's cookie,
// which browsers send along unasked.
func ByCookie(r *http.Request) bool {
	if r.Header.Get("Authorization") != "" {
		return false
	}
	_, err := consoleCookie(r)
	return err == nil
}

func credential(r *http.Request) (kind, secret string, err error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, found := strings.Cut(header, " ")
		if !found || !strings.EqualFold(scheme, "Bearer") {
			return "", "", models.Errorf(models.CodeUnauthenticated,
				"the Authorization header must read: Bearer TOKEN")
		}
		return models.TokenAPI, strings.TrimSpace(token), nil
	}
	if cookie, err := consoleCookie(r); err == nil {
		return models.TokenConsole, cookie.Value, nil
	}
	return "", "", models.Errorf(models.CodeUnauthenticated,
		"sign in first: send Authorization: Bearer TOKEN, or open a login link in the browser")
}

// AuthenticateAgent tells which agent sent the request, by its key in
// wire.HeaderAgentKey. Errors: models.CodeUnauthenticated.
func (a *Authenticator) AuthenticateAgent(r *http.Request) (agentID string, err error) {
	key := r.Header.Get(wire.HeaderAgentKey)
	if key == "" {
		return "", models.Errorf(models.CodeUnauthenticated,
			"the agent key is missing; send it as %s", wire.HeaderAgentKey)
	}
	token, err := a.Check(r.Context(), models.TokenAgent, key)
	if err != nil {
		return "", err
	}
	return token.AgentID, nil
}

// Logout makes the console's cookie of the request worthless, if it has one, and
// the rights to see pages that its user has.
func (a *Authenticator) Logout(ctx context.Context, r *http.Request) error {
	cookie, err := consoleCookie(r)
	if err != nil {
		return nil
	}
	if token, err := a.Check(ctx, models.TokenConsole, cookie.Value); err == nil {
		if err := a.database.DeletePageGrants(ctx, token.UserID); err != nil {
			return err
		}
	}
	return a.database.DeleteToken(ctx, models.TokenConsole, Hash(cookie.Value))
}
