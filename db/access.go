package db

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/streamspace/streamspace/models"
)

func scanUser(row scanner) (models.User, error) {
	var user models.User
	err := row.Scan(&user.ID, &user.Name, &user.Role, timeColumn{&user.CreatedAt})
	return user, err
}

// EnsureUser gives the user of that name, made with that role if there is none.
func (d *Database) EnsureUser(ctx context.Context, name, role string, now time.Time) (user models.User, err error) {
	err = d.write(ctx, "ensure user", func(ctx context.Context, t *tx) error {
		if _, err := t.exec(ctx, `INSERT INTO users (id, name, role, created_at) VALUES ($1, $2, $3, $4)
			ON CONFLICT (name) DO NOTHING`, rand.Text(), name, role, d.at(now)); err != nil {
			return err
		}
		user, err = scanUser(t.row(ctx, `SELECT id, name, role, created_at FROM users WHERE name = $1`, name))
		return err
	})
	return user, err
}

// User gives one user, or models.CodeUnauthenticated: nobody but a token names
// one.
func (d *Database) User(ctx context.Context, userID string) (models.User, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	user, err := scanUser(d.queryRow(ctx, `SELECT id, name, role, created_at FROM users WHERE id = $1`, userID))
	if errors.Is(err, sql.ErrNoRows) {
		return user, models.Errorf(models.CodeUnauthenticated, "the token's user no longer exists")
	}
	if err != nil {
		return user, fmt.Errorf("read user: %w", outage(err))
	}
	return user, nil
}

// CreateToken writes a token's record and forgets some long expired ones, login
// links and console cookies above all.
func (d *Database) CreateToken(ctx context.Context, token models.Token) error {
	return d.write(ctx, "create token", func(ctx context.Context, t *tx) error {
		if err := t.forgetExpired(ctx, "api_tokens", token.CreatedAt); err != nil {
			return err
		}
		_, err := t.exec(ctx, insertToken, d.tokenValues(token)...)
		return err
	})
}

// AdoptToken writes a token's record, in place of the one that the same secret
// of the same owner may have: that one may have expired. Error:
// models.CodeUnauthenticated when the secret is somebody else's, and stays it.
func (d *Database) AdoptToken(ctx context.Context, token models.Token) error {
	return d.write(ctx, "adopt token", func(ctx context.Context, t *tx) error {
		written, err := t.exec(ctx, insertToken+` ON CONFLICT (hash) DO UPDATE
			SET label = excluded.label, created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = NULL
			WHERE api_tokens.kind = excluded.kind AND coalesce(api_tokens.user_id, '') = coalesce(excluded.user_id, '')
			AND coalesce(api_tokens.agent_id, '') = coalesce(excluded.agent_id, '')`, d.tokenValues(token)...)
		if err == nil && written != 1 {
			err = models.Errorf(models.CodeUnauthenticated, "the token is another's")
		}
		return err
	})
}

const insertToken = `INSERT INTO api_tokens (hash, kind, user_id, agent_id, label, created_at, expires_at)
	VALUES ($1, $2, $3, $4, $5, $6, $7)`

func (d *Database) tokenValues(token models.Token) []any {
	return []any{token.Hash, token.Kind, orNull(token.UserID), orNull(token.AgentID), token.Label,
		d.at(token.CreatedAt), d.atOptional(token.ExpiresAt)}
}

// TokenByHash gives the token of that kind, or models.CodeUnauthenticated when
// there is none or it has expired.
func (d *Database) TokenByHash(ctx context.Context, kind, hash string, now time.Time) (models.Token, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	var token models.Token
	err := d.queryRow(ctx, `SELECT hash, kind, user_id, agent_id, label, created_at, expires_at, used_at FROM api_tokens
		WHERE hash = $1 AND kind = $2 AND (expires_at IS NULL OR expires_at > $3)`, hash, kind, d.at(now)).
		Scan(&token.Hash, &token.Kind, text(&token.UserID), text(&token.AgentID), &token.Label,
			timeColumn{&token.CreatedAt}, optionalTime{&token.ExpiresAt}, optionalTime{&token.UsedAt})
	if errors.Is(err, sql.ErrNoRows) {
		return token, models.Errorf(models.CodeUnauthenticated, "the token is not known or has expired")
	}
	if err != nil {
		return token, fmt.Errorf("read token: %w", outage(err))
	}
	return token, nil
}

// RedeemLogin uses up a login link and gives its user, or
// models.CodeLinkInvalid when it is unknown, expired or used.
func (d *Database) RedeemLogin(ctx context.Context, hash string, now time.Time) (user models.User, err error) {
	err = d.write(ctx, "redeem login link", func(ctx context.Context, t *tx) error {
		used, err := t.exec(ctx, `UPDATE api_tokens SET used_at = $2 WHERE hash = $1 AND kind = 'login'
			AND used_at IS NULL AND expires_at > $2`, hash, d.at(now))
		if err != nil {
			return err
		}
		if used != 1 {
			return models.Errorf(models.CodeLinkInvalid,
				"this login link was used before or has expired; `streamspace session open` makes a new one")
		}
		user, err = scanUser(t.row(ctx, `SELECT u.id, u.name, u.role, u.created_at FROM users u
			JOIN api_tokens k ON k.user_id = u.id WHERE k.hash = $1`, hash))
		return err
	})
	return user, err
}

// DeleteToken removes one token; an absent one is no error.
func (d *Database) DeleteToken(ctx context.Context, kind, hash string) error {
	return d.write(ctx, "delete token", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM api_tokens WHERE kind = $1 AND hash = $2`, kind, hash)
		return err
	})
}

// DeleteTokens removes every token of that kind and label.
func (d *Database) DeleteTokens(ctx context.Context, kind, label string) error {
	return d.write(ctx, "delete tokens", func(ctx context.Context, t *tx) error {
		_, err := t.exec(ctx, `DELETE FROM api_tokens WHERE kind = $1 AND label = $2`, kind, label)
		return err
	})
}
