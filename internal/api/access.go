package api

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// pathLogin is where login links lead.
const pathLogin = "/login"

// accessRoutes are signing in and out.
type accessRoutes struct {
	auth    *auth.Authenticator
	origins *origins
	logger  *slog.Logger
}

// Me is the caller.
type Me struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role" enum:"admin,user"`
}

// LoginLink signs a browser in, once.
type LoginLink struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (a *accessRoutes) register(r *router) {
	register(r, operation(accessUser, http.MethodGet, base+"/me", "show-me", tagAccess,
		"Show who is calling"), a.me)

	link := operation(accessUser, http.MethodPost, base+"/login-links", "create-login-link", tagAccess,
		"Make a link that signs a browser in as the caller, once")
	link.DefaultStatus = http.StatusCreated
	link.Responses = map[string]*huma.Response{"201": {
		Description: "Created",
		Content: map[string]*huma.MediaType{
			"application/json": {Schema: r.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[LoginLink](), true, "")},
		},
	}}
	r.raw(link, a.link)

	login := operation(accessPublic, http.MethodGet, pathLogin, "login", tagAccess,
		"Follow a login link: sets the console's cookie", http.StatusUnauthorized)
	login.Parameters = []*huma.Param{
		queryParam("token", "the link's secret", true),
		queryParam("next", "the local path to go on to; / otherwise", false),
	}
	login.Responses = map[string]*huma.Response{"303": answer("Signed in; go on to next.", "")}
	r.raw(login, a.login)

	logout := operation(accessPublic, http.MethodPost, base+"/logout", "logout", tagAccess,
		"Make the console's cookie worthless and remove it")
	logout.Responses = map[string]*huma.Response{"204": answer("Signed out.", "")}
	r.raw(logout, a.logout)
}

func (a *accessRoutes) me(ctx context.Context, _ *struct{}) (*output[Me], error) {
	user := userOf(ctx)
	return &output[Me]{Body: Me{ID: user.ID, Name: user.Name, Role: user.Role}}, nil
}

func (a *accessRoutes) link(w http.ResponseWriter, r *http.Request) {
	secret, expires, err := a.auth.NewLoginLink(r.Context(), userOf(r.Context()).ID)
	if err != nil {
		writeProblem(w, problemOf(r.Context(), a.logger, err))
		return
	}
	writeJSON(w, http.StatusCreated, LoginLink{
		URL:       a.origins.address(r, pathLogin, url.Values{"token": {secret}}),
		ExpiresAt: expires,
	})
}

func (a *accessRoutes) login(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		// The mux gives HEAD to GET's handler; looking must not use the link up.
		w.Header().Set("Allow", http.MethodGet)
		writeProblem(w, newProblem(r.Context(), models.CodeInvalidRequest,
			"a login link takes GET only").withStatus(http.StatusMethodNotAllowed))
		return
	}
	next := localPath(r.URL.Query().Get("next"))
	cookie, expires, err := a.auth.RedeemLogin(r.Context(), r.URL.Query().Get("token"))
	if models.CodeOf(err) == models.CodeLinkInvalid && auth.ByCookie(r) {
		// Reloading a used link is harmless in the browser that used it.
		if _, signedIn := a.auth.Authenticate(r); signedIn == nil {
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		}
	}
	if err != nil {
		a.refuse(w, r, problemOf(r.Context(), a.logger, err))
		return
	}
	// The sign-in that this one replaces would linger unseen.
	if err := a.auth.Logout(r.Context(), r); err != nil {
		a.logger.WarnContext(r.Context(), "forget the earlier sign-in",
			"request", requestOf(r.Context()).id, "error", err)
	}
	http.SetCookie(w, a.cookie(r, cookie, expires))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (a *accessRoutes) logout(w http.ResponseWriter, r *http.Request) {
	if err := a.auth.Logout(r.Context(), r); err != nil {
		writeProblem(w, problemOf(r.Context(), a.logger, err))
		return
	}
	gone := a.cookie(r, "", time.Unix(1, 0))
	gone.MaxAge = -1
	http.SetCookie(w, gone)
	w.WriteHeader(http.StatusNoContent)
}

func (a *accessRoutes) cookie(r *http.Request, value string, expires time.Time) *http.Cookie {
	cookie := &http.Cookie{
		Name: auth.CookieName, Value: value, Path: "/", Expires: expires,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: a.origins.secure(r),
	}
	if cookie.Secure {
		cookie.Name = auth.SecureCookieName
	}
	return cookie
}

// refuse shows a person a page, and a program a problem.
func (a *accessRoutes) refuse(w http.ResponseWriter, r *http.Request, problem *Problem) {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		writeProblem(w, problem)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(problem.Status)
	_, _ = fmt.Fprintf(w, loginPage, html.EscapeString(problem.Title), html.EscapeString(problem.Detail)) // the caller may have gone
}

const loginPage = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>%[1]s · StreamSpace</title>
</head>
<body>
<h1>%[1]s</h1>
<p>%[2]s</p>
</body>
</html>
`

// localPath gives path if it leads to this server and nowhere else, or /.
func localPath(path string) string {
	parsed, err := url.Parse(path)
	if err != nil || parsed.Scheme != "" || parsed.Host != "" || parsed.User != nil ||
		!strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsAny(path, "\\\r\n\t") {
		return "/"
	}
	return path
}

// writeJSON answers outside huma.
func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller may have gone
}
