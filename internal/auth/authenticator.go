// Package auth tells who is calling: people and programs by token, the console
// by cookie, agents by key, viewers by ticket. It makes the secrets and keeps
// only their hashes.
package auth

import (
	"context"
	"crypto/subtle"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// Defaults of Options.
const (
	DefaultTicketLife  = 60 * time.Second
	DefaultLoginLife   = 15 * time.Minute
	DefaultConsoleLife = 30 * 24 * time.Hour
	DefaultPagesLife   = 24 * time.Hour
)

// Options configure an Authenticator. The zero value of a field means its
// default.
type Options struct {
	Now func() time.Time
	// TicketLife is how long a ticket can be redeemed; DefaultTicketLife.
	TicketLife time.Duration
	// LoginLife is how long a login link can be followed; DefaultLoginLife.
	LoginLife time.Duration
	// ConsoleLife is how long the console stays signed in;
	// DefaultConsoleLife.
	ConsoleLife time.Duration
	// PagesLife is how long a browser may see a session's pages before it is to
	// bring another ticket; DefaultPagesLife.
	PagesLife time.Duration
}

// Authenticator makes and checks secrets. Safe for concurrent use.
type Authenticator struct {
	database *db.Database
	options  Options
}

// New makes an Authenticator over the tokens and tickets of database.
func New(database *db.Database, options Options) *Authenticator {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.TicketLife <= 0 {
		options.TicketLife = DefaultTicketLife
	}
	if options.LoginLife <= 0 {
		options.LoginLife = DefaultLoginLife
	}
	if options.ConsoleLife <= 0 {
		options.ConsoleLife = DefaultConsoleLife
	}
	if options.PagesLife <= 0 {
		options.PagesLife = DefaultPagesLife
	}
	return &Authenticator{database: database, options: options}
}

// Grant says what a new token is for.
type Grant struct {
	// Kind is one of the models.Token… kinds.
	Kind string
	// UserID is whom the token stands for; empty for an agent's key.
	UserID string
	// AgentID is the one agent that may use the key; for models.TokenAgent
	// only.
	AgentID string
	// Label is for people, and for deleting tokens by it.
	Label string
	// Life is how long the token is valid; 0 is for ever.
	Life time.Duration
}

// IssueToken makes a token, stores its hash, and gives the secret, which
// cannot be had again.
func (a *Authenticator) IssueToken(ctx context.Context, grant Grant) (secret string, err error) {
	secret, _, err = a.issue(ctx, grant)
	return secret, err
}

func (a *Authenticator) issue(ctx context.Context, grant Grant) (string, time.Time, error) {
	prefix, err := prefixOf(grant.Kind)
	if err != nil {
		return "", time.Time{}, err
	}
	secret := newSecret(prefix)
	now := a.options.Now()
	token := models.Token{
		Hash:      Hash(secret),
		Kind:      grant.Kind,
		UserID:    grant.UserID,
		AgentID:   grant.AgentID,
		Label:     grant.Label,
		CreatedAt: now,
	}
	var expires time.Time
	if grant.Life > 0 {
		expires = now.Add(grant.Life)
		token.ExpiresAt = &expires
	}
	if err := a.database.CreateToken(ctx, token); err != nil {
		return "", time.Time{}, err
	}
	return secret, expires, nil
}

// Check finds the token of a secret. Errors: models.CodeUnauthenticated when
// the secret is none of this kind, or has expired.
func (a *Authenticator) Check(ctx context.Context, kind, secret string) (models.Token, error) {
	prefix, err := prefixOf(kind)
	if err != nil {
		return models.Token{}, err
	}
	if !plausible(secret, prefix) {
		return models.Token{}, refusal(kind)
	}
	hash := Hash(secret)
	token, err := a.database.TokenByHash(ctx, kind, hash, a.options.Now())
	if models.CodeOf(err) == models.CodeUnauthenticated {
		return models.Token{}, refusal(kind)
	}
	if err != nil {
		return models.Token{}, err
	}
	// The database compared hashes of random secrets, whose timing tells
	// nothing of use. This guards against a lookup that is looser than that.
	if subtle.ConstantTimeCompare([]byte(token.Hash), []byte(hash)) != 1 {
		return models.Token{}, refusal(kind)
	}
	return token, nil
}

func refusal(kind string) *models.Error {
	switch kind {
	case models.TokenConsole:
		return models.Errorf(models.CodeUnauthenticated,
			"the console's sign-in has ended; open a new login link")
	case models.TokenAgent:
		return models.Errorf(models.CodeUnauthenticated,
			"the agent key is not valid; make one with POST /api/v1/agents/ID/keys")
	}
	return models.Errorf(models.CodeUnauthenticated,
		"the token is not valid, or has expired; check it, or make a new one")
}
