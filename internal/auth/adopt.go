package auth

import (
	"context"
	"fmt"

	"github.com/streamspace/streamspace/models"
)

// Adopt makes a secret that the caller has valid for what grant says, unless it
// is already: one kept in a file that outlived its database, say, or its own
// end. Life must be 0. Errors: models.CodeUnauthenticated when the text is no secret of that
// kind, or is one that stands for somebody else.
func (a *Authenticator) Adopt(ctx context.Context, grant Grant, secret string) error {
	prefix, err := prefixOf(grant.Kind)
	if err != nil {
		return err
	}
	if grant.Life != 0 {
		return fmt.Errorf("adopt a %s token: it cannot have an end", grant.Kind)
	}
	if !plausible(secret, prefix) {
		return refusal(grant.Kind)
	}
	token, err := a.Check(ctx, grant.Kind, secret)
	if err == nil && (token.UserID != grant.UserID || token.AgentID != grant.AgentID) {
		return refusal(grant.Kind)
	}
	if err == nil || models.CodeOf(err) != models.CodeUnauthenticated {
		return err
	}
	err = a.database.AdoptToken(ctx, models.Token{
		Hash: Hash(secret), Kind: grant.Kind, UserID: grant.UserID, AgentID: grant.AgentID,
		Label: grant.Label, CreatedAt: a.options.Now(),
	})
	if models.CodeOf(err) == models.CodeUnauthenticated {
		return refusal(grant.Kind)
	}
	return err
}
