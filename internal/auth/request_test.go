package auth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// request makes a request with an Authorization header and a console cookie,
// each unless empty.
func request(t *testing.T, authorization, cookie string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/v1/me", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if cookie != "" {
		r.AddCookie(&http.Cookie{Name: auth.CookieName, Value: cookie})
	}
	return r
}

func TestAuthenticate(t *testing.T) {
	w := sqlite(t)
	bob := w.user("bob")
	token := w.issue(auth.Grant{Kind: models.TokenAPI, UserID: w.ann.ID})
	cookie := w.issue(auth.Grant{Kind: models.TokenConsole, UserID: bob.ID, Life: time.Hour})
	for _, test := range []struct {
		name, authorization, cookie string
		user                        string // empty: refused
		byCookie                    bool
	}{
		{"a bearer", "Bearer " + token, "", "ann", false},
		{"a scheme in another case", "bearer " + token, "", "ann", false},
		{"spaces after the scheme", "Bearer   " + token + " ", "", "ann", false},
		{"a cookie", "", cookie, "bob", true},
		{"a bearer beside a cookie", "Bearer " + token, cookie, "ann", false},
		{"a wrong bearer beside a right cookie", "Bearer nonsense", cookie, "", false},
		{"another scheme beside a right cookie", "Basic YW5uOmFubg==", cookie, "", false},
		{"nothing", "", "", "", false},
		{"a scheme without a token", "Bearer", "", "", false},
		{"a scheme with an empty token", "Bearer ", "", "", false},
		{"a token without a scheme", token, "", "", false},
		{"a cookie's secret as bearer", "Bearer " + cookie, "", "", false},
		{"a token as cookie", "", token, "", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, test.authorization, test.cookie)
			user, err := w.Authenticate(r)
			if test.user == "" {
				refused(t, err, models.CodeUnauthenticated)
			} else if err != nil || user.Name != test.user {
				t.Errorf("authenticated %q with error %v", user.Name, err)
			}
			if auth.ByCookie(r) != test.byCookie {
				t.Errorf("by cookie: %v", !test.byCookie)
			}
		})
	}
}

func TestAuthenticateRefusesAnExpiredCookie(t *testing.T) {
	w := sqlite(t)
	link, _, err := w.NewLoginLink(t.Context(), w.ann.ID)
	must(t, err)
	cookie, _, err := w.RedeemLogin(t.Context(), link)
	must(t, err)
	_, err = w.Authenticate(request(t, "", cookie))
	must(t, err)
	w.at(auth.DefaultConsoleLife)
	_, err = w.Authenticate(request(t, "", cookie))
	refused(t, err, models.CodeUnauthenticated)
	if !strings.Contains(err.Error(), "login link") {
		t.Errorf("the refusal does not say what to do: %v", err)
	}
}

func TestAuthenticateForgetsTheUsersThatAreGone(t *testing.T) {
	w := sqlite(t)
	token := w.issue(auth.Grant{Kind: models.TokenAPI, UserID: w.ann.ID})
	_, err := w.database.DB().ExecContext(t.Context(), `DELETE FROM users WHERE id = '`+w.ann.ID+`'`)
	must(t, err)
	_, err = w.Authenticate(request(t, "Bearer "+token, ""))
	refused(t, err, models.CodeUnauthenticated)
}

func TestAuthenticateAgent(t *testing.T) {
	w := sqlite(t)
	key := w.issue(auth.Grant{Kind: models.TokenAgent, AgentID: "laptop"})
	token := w.issue(auth.Grant{Kind: models.TokenAPI, UserID: w.ann.ID})
	r := request(t, "Bearer "+token, "")
	_, err := w.AuthenticateAgent(r)
	refused(t, err, models.CodeUnauthenticated)
	if !strings.Contains(err.Error(), wire.HeaderAgentKey) {
		t.Errorf("the refusal does not name the header: %v", err)
	}
	for _, wrong := range []string{token, "hello", "ssa_" + strings.Repeat("x", 43)} {
		r.Header.Set(wire.HeaderAgentKey, wrong)
		_, err := w.AuthenticateAgent(r)
		refused(t, err, models.CodeUnauthenticated)
	}
	r.Header.Set(wire.HeaderAgentKey, key)
	agentID, err := w.AuthenticateAgent(r)
	must(t, err)
	if agentID != "laptop" {
		t.Errorf("the agent is %q", agentID)
	}
	_, err = w.Authenticate(request(t, "Bearer "+key, ""))
	refused(t, err, models.CodeUnauthenticated) // an agent's machine is no user
}

func TestLogout(t *testing.T) {
	w := sqlite(t)
	cookie := w.issue(auth.Grant{Kind: models.TokenConsole, UserID: w.ann.ID, Life: time.Hour})
	other := w.issue(auth.Grant{Kind: models.TokenConsole, UserID: w.ann.ID, Life: time.Hour})
	token := w.issue(auth.Grant{Kind: models.TokenAPI, UserID: w.ann.ID})
	for range 2 { // signing out twice is no error
		must(t, w.Logout(t.Context(), request(t, "", cookie)))
	}
	must(t, w.Logout(t.Context(), request(t, "Bearer "+token, "")))
	must(t, w.Logout(t.Context(), request(t, "", token)))
	_, err := w.Authenticate(request(t, "", cookie))
	refused(t, err, models.CodeUnauthenticated)
	for _, alive := range []*http.Request{request(t, "", other), request(t, "Bearer "+token, "")} {
		_, err := w.Authenticate(alive)
		must(t, err)
	}
}
