package auth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// kinds are all kinds of token with the beginning of their secrets.
var kinds = map[string]string{
	models.TokenAPI: "ssp_", models.TokenAgent: "ssa_", models.TokenConsole: "ssc_", models.TokenLogin: "ssl_",
}

func (w *world) grant(kind string) auth.Grant {
	if kind == models.TokenAgent {
		return auth.Grant{Kind: kind, AgentID: "laptop", Label: "agent laptop"}
	}
	return auth.Grant{Kind: kind, UserID: w.ann.ID, Label: "for tests"}
}

func TestTokenOfEachKind(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for kind, prefix := range kinds {
			grant := w.grant(kind)
			secret := w.issue(grant)
			// 256 bits are 43 characters of base64url.
			if !strings.HasPrefix(secret, prefix) || len(secret) != len(prefix)+43 {
				t.Errorf("the %s secret is %q", kind, secret)
			}
			token, err := w.Check(t.Context(), kind, secret)
			must(t, err)
			want := models.Token{Hash: auth.Hash(secret), Kind: kind, UserID: grant.UserID, AgentID: grant.AgentID,
				Label: grant.Label, CreatedAt: noon}
			if token != want {
				t.Errorf("checked as %+v, want %+v", token, want)
			}
			for other := range kinds {
				if other != kind {
					_, err := w.Check(t.Context(), other, secret)
					refused(t, err, models.CodeUnauthenticated)
				}
			}
			if again := w.issue(grant); again == secret {
				t.Errorf("two %s tokens have one secret", kind)
			}
		}
	})
}

func TestNoSecretIsStored(t *testing.T) {
	w := sqlite(t)
	var secrets []string
	for kind := range kinds {
		secrets = append(secrets, w.issue(w.grant(kind)))
	}
	ticket, _, err := w.NewTicket(t.Context(), models.Session{ID: "desk", Generation: 1}, w.ann, false)
	must(t, err)
	for _, secret := range append(secrets, ticket) {
		random := secret[len("ssp_"):]
		for _, table := range []string{"api_tokens", "tickets"} {
			rows, err := w.database.DB().QueryContext(t.Context(), "SELECT * FROM "+table)
			must(t, err)
			columns, err := rows.Columns()
			must(t, err)
			seen := 0
			for rows.Next() {
				values := make([]any, len(columns))
				for i := range values {
					values[i] = new(any)
				}
				must(t, rows.Scan(values...))
				for i, value := range values {
					if text, isText := (*value.(*any)).(string); isText && strings.Contains(text, random) {
						t.Errorf("%s.%s holds a secret", table, columns[i])
					}
				}
				seen++
			}
			must(t, rows.Err())
			must(t, rows.Close())
			if seen == 0 {
				t.Fatalf("%s is empty", table)
			}
		}
	}
	// What is stored is the hex SHA-256 of the whole secret.
	if auth.Hash("ssp_test") != "3d71dd66ac2d9654e4619aeaa2d9531fcba963c62dbc5cd90c7e56e9b922bd76" {
		t.Errorf("the hash of ssp_test is %s", auth.Hash("ssp_test"))
	}
}

func TestCheckRefuses(t *testing.T) {
	w := sqlite(t)
	secret := w.issue(w.grant(models.TokenAPI))
	flipped := "A"
	if strings.HasSuffix(secret, flipped) {
		flipped = "B"
	}
	for name, wrong := range map[string]string{
		"nothing":        "",
		"a prefix alone": "ssp_",
		"another one":    secret[:len(secret)-1] + flipped,
		"a longer one":   secret + "A",
		"a shorter one":  secret[:len(secret)-1],
		"its hash":       auth.Hash(secret),
		"spaces around":  " " + secret[:len(secret)-1],
		"other case":     strings.ToUpper(secret),
		"a wildcard":     "ssp_" + strings.Repeat("%", 43),
		"zero bytes":     "ssp_" + strings.Repeat("\x00", 43),
	} {
		_, err := w.Check(t.Context(), models.TokenAPI, wrong)
		if models.CodeOf(err) != models.CodeUnauthenticated {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	_, err := w.Check(t.Context(), "password", secret)
	refused(t, err, models.CodeInternal) // a mistake in the program, not of the caller
	_, err = w.IssueToken(t.Context(), auth.Grant{Kind: "password"})
	refused(t, err, models.CodeInternal)
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	w := sqlite(t)
	for kind, advice := range map[string]string{
		models.TokenAPI: "make a new one", models.TokenConsole: "login link", models.TokenAgent: "/keys",
	} {
		_, err := w.Check(t.Context(), kind, kinds[kind]+strings.Repeat("x", 43))
		if err == nil || !strings.Contains(err.Error(), advice) {
			t.Errorf("an unknown %s token is refused with %v, which does not mention %q", kind, err, advice)
		}
	}
}

func TestTokenExpires(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		grant := w.grant(models.TokenAPI)
		grant.Life = time.Hour
		short := w.issue(grant)
		grant.Life = 0
		ever := w.issue(grant)
		w.at(time.Hour - time.Microsecond)
		_, err := w.Check(t.Context(), models.TokenAPI, short)
		must(t, err)
		w.at(time.Hour)
		_, err = w.Check(t.Context(), models.TokenAPI, short)
		refused(t, err, models.CodeUnauthenticated)
		w.at(100 * 365 * 24 * time.Hour)
		_, err = w.Check(t.Context(), models.TokenAPI, ever)
		must(t, err)
	})
}

func TestCheckTellsABrokenDatabaseFromAWrongToken(t *testing.T) {
	w := sqlite(t)
	secret := w.issue(w.grant(models.TokenAPI))
	must(t, w.database.Close())
	_, err := w.Check(t.Context(), models.TokenAPI, secret)
	refused(t, err, models.CodeInternal)
}

func TestAdopt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		elsewhere := sqlite(t)
		for _, kind := range []string{models.TokenAPI, models.TokenAgent} {
			secret := elsewhere.issue(elsewhere.grant(kind))
			grant := w.grant(kind)
			_, err := w.Check(t.Context(), kind, secret)
			refused(t, err, models.CodeUnauthenticated)
			for range 2 { // the second time it is there already
				must(t, w.Adopt(t.Context(), grant, secret))
			}
			token, err := w.Check(t.Context(), kind, secret)
			must(t, err)
			if token.UserID != grant.UserID || token.AgentID != grant.AgentID || token.Label != grant.Label || token.ExpiresAt != nil {
				t.Errorf("adopted as %+v", token)
			}
			if w.count(`SELECT count(*) FROM api_tokens WHERE hash = '`+auth.Hash(secret)+`'`) != 1 {
				t.Error("one secret has several tokens")
			}

			other := grant
			other.AgentID += "other"
			refused(t, w.Adopt(t.Context(), other, secret), models.CodeUnauthenticated)
			for _, wrong := range []string{"", "hello", kinds[kind], secret + "A", kinds[models.TokenLogin] + strings.Repeat("x", 43)} {
				refused(t, w.Adopt(t.Context(), grant, wrong), models.CodeUnauthenticated)
			}
			ending := grant
			ending.Life = time.Hour
			if w.Adopt(t.Context(), ending, secret) == nil {
				t.Error("adopted with an end, which it would not have")
			}
		}
		if w.Adopt(t.Context(), auth.Grant{Kind: "password"}, "x") == nil {
			t.Error("adopted a kind that does not exist")
		}
	})
}

func TestAdoptRenewsWhatHasExpired(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, kind := range []string{models.TokenAPI, models.TokenAgent} {
			w.at(0)
			ending := w.grant(kind)
			ending.Life = time.Minute
			secret := w.issue(ending)
			w.at(time.Minute)
			other := w.grant(kind)
			other.AgentID += "other"
			refused(t, w.Adopt(t.Context(), other, secret), models.CodeUnauthenticated)
			_, err := w.Check(t.Context(), kind, secret)
			refused(t, err, models.CodeUnauthenticated)

			// Replicas that share the file start together.
			if counts := together(8, func() error { return w.Adopt(t.Context(), w.grant(kind), secret) }); counts[""] != 8 {
				t.Fatalf("the outcomes are %v", counts)
			}
			w.at(365 * 24 * time.Hour)
			token, err := w.Check(t.Context(), kind, secret)
			must(t, err)
			if token.ExpiresAt != nil || !token.CreatedAt.Equal(noon.Add(time.Minute)) {
				t.Errorf("renewed as %+v", token)
			}
			if w.count(`SELECT count(*) FROM api_tokens WHERE hash = '`+auth.Hash(secret)+`'`) != 1 {
				t.Error("one secret has several tokens")
			}
		}
	})
}

func TestReplicasAdoptOneSecretTogether(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		elsewhere := sqlite(t)
		secret := elsewhere.issue(elsewhere.grant(models.TokenAPI))
		if counts := together(8, func() error { return w.Adopt(t.Context(), w.grant(models.TokenAPI), secret) }); counts[""] != 8 {
			t.Errorf("the outcomes are %v", counts)
		}
	})
}

func TestAdoptLeavesABrokenDatabaseAlone(t *testing.T) {
	w := sqlite(t)
	secret := w.issue(w.grant(models.TokenAPI))
	must(t, w.database.Close())
	// Not "this is no token": the caller would throw a good file away.
	refused(t, w.Adopt(t.Context(), w.grant(models.TokenAPI), secret), models.CodeInternal)
}

func TestNonsenseCostsNoDatabaseRead(t *testing.T) {
	w := sqlite(t)
	must(t, w.database.Close())
	for kind, prefix := range kinds {
		_, err := w.Check(t.Context(), kind, prefix+"hello")
		refused(t, err, models.CodeUnauthenticated)
	}
	_, _, err := w.RedeemLogin(t.Context(), "ssl_hello")
	refused(t, err, models.CodeLinkInvalid)
	_, err = w.RedeemTicket(t.Context(), "sst_hello")
	refused(t, err, models.CodeTicketInvalid)
}
