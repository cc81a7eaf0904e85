package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/streamspace/streamspace/models"
)

// secretBytes makes guessing hopeless without any rate limit.
const secretBytes = 32

// ticketPrefix begins the secret of a ticket, which is no models.Token.
const ticketPrefix = "sst_"

// pagesPrefix begins the secret of a models.PageGrant.
const pagesPrefix = "ssv_"

// prefixes begin secrets, so that a person and a secret scanner can tell what
// they have found.
func prefixOf(kind string) (string, error) {
	switch kind {
	case models.TokenAPI:
		return "ssp_", nil
	case models.TokenAgent:
		return "ssa_", nil
	case models.TokenConsole:
		return "ssc_", nil
	case models.TokenLogin:
		return "ssl_", nil
	}
	return "", fmt.Errorf("there is no token kind %q", kind)
}

// newSecret makes 256 random bits in base64url behind prefix.
func newSecret(prefix string) string {
	random := make([]byte, secretBytes)
	_, _ = rand.Read(random) // never fails: the runtime ends the program instead
	return prefix + base64.RawURLEncoding.EncodeToString(random)
}

// Hash is what the database keeps of a secret: the hex SHA-256. A plain hash
// suffices because secrets are 256 random bits.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// plausible tells whether secret can be one with this prefix at all, so that
// nonsense costs no database read.
func plausible(secret, prefix string) bool {
	return strings.HasPrefix(secret, prefix) &&
		len(secret) == len(prefix)+base64.RawURLEncoding.EncodedLen(secretBytes)
}
