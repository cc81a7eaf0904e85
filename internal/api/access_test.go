package api_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// route is an operation of the document as it is requested.
type route struct {
	operation
	method, path string
}

// routes gives every route of the document, with ids filled in.
func (d *document) routes() []route {
	var all []route
	for template, operations := range d.Paths {
		path := strings.NewReplacer("{id}", "some-id", "{name}", "some-name").Replace(template)
		for method, described := range operations {
			all = append(all, route{described, strings.ToUpper(method), path})
		}
	}
	return all
}

// schemes are the ways to be somebody that an operation takes.
func (o operation) schemes() []string {
	var names []string
	for _, scheme := range o.Security {
		for name := range scheme {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestEveryRouteAsksWhoIsCalling(t *testing.T) {
	w := newWorld(t)
	agentKey, ticket := w.agentKey("laptop"), "sst_"+strings.Repeat("x", 43)
	cookie := w.cookie("ann")
	for _, route := range w.document.routes() {
		request := route.method + " " + route.path
		switch schemes := strings.Join(route.schemes(), " "); schemes {
		case "bearer cookie":
			for name, parts := range map[string][]part{
				"nobody":                   nil,
				"a wrong token":            {bearer("nonsense")},
				"an unknown token":         {bearer("ssp_" + strings.Repeat("x", 43))},
				"an agent's key":           {bearer(agentKey), header(wire.HeaderAgentKey, agentKey)},
				"a password":               {header("Authorization", "Basic YW5uOmFubg==")},
				"a wrong cookie":           {with(&http.Cookie{Name: auth.CookieName, Value: "nonsense"})},
				"a token as cookie":        {with(&http.Cookie{Name: auth.CookieName, Value: w.tokens["ann"]})},
				"a cookie as token":        {bearer(cookie.Value)},
				"a wrong token, a cookie":  {bearer("nonsense"), with(cookie)},
				"a token in the query":     {func(r *http.Request) { r.URL.RawQuery = "token=" + w.tokens["ann"] }},
				"a token in another place": {header("X-Auth-Token", w.tokens["ann"])},
			} {
				t.Log(request, "as", name)
				w.do(route.method, route.path, parts...).problem(http.StatusUnauthorized, models.CodeUnauthenticated)
			}
		case "agentKey":
			for name, parts := range map[string][]part{
				"nobody":           nil,
				"a user":           {w.as("root")},
				"a user's token":   {header(wire.HeaderAgentKey, w.tokens["root"])},
				"a key as bearer":  {bearer(agentKey)},
				"an unknown key":   {header(wire.HeaderAgentKey, "ssa_"+strings.Repeat("x", 43))},
				"a user by cookie": {with(cookie)},
			} {
				t.Log(request, "as", name)
				w.do(route.method, route.path, parts...).problem(http.StatusUnauthorized, models.CodeUnauthenticated, "key")
			}
		case "ticket":
			for name, path := range map[string]string{"no ticket": "", "nonsense": "?ticket=nonsense", "an unknown one": "?ticket=" + ticket,
				"a token": "?ticket=" + w.tokens["ann"]} {
				t.Log(request, "with", name)
				w.do(route.method, route.path+path, upgrade()).problem(http.StatusUnauthorized, models.CodeTicketInvalid, "ticket")
			}
		case "":
			public := []string{"/healthz", "/readyz", "/metrics", "/openapi.json", "/login", "/api/v1/logout"}
			if !slices.Contains(public, route.path) {
				t.Errorf("%s is open to everybody", request)
			}
		default:
			t.Errorf("%s takes %q", request, schemes)
		}
	}
}

func TestAdminsOnly(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	session := w.run("ann", "desk-1")
	commands, _, err := w.database.Commands(t.Context(), commandsOf(session.ID), everything())
	must(t, err)
	for _, request := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/api/v1/commands", http.StatusOK},
		{http.MethodGet, "/api/v1/commands/" + commands[0].CommandID, http.StatusOK},
		{http.MethodPost, "/api/v1/agents/laptop/keys", http.StatusCreated},
		{http.MethodPost, "/api/v1/agents/laptop/cordon", http.StatusOK},
		{http.MethodPost, "/api/v1/agents/laptop/drain", http.StatusOK},
		{http.MethodPost, "/api/v1/agents/laptop/uncordon", http.StatusOK},
	} {
		for _, parts := range [][]part{{w.as("ann")}, {with(w.cookie("ann")), ownPage(w)}} {
			w.do(request.method, request.path, parts...).problem(http.StatusForbidden, models.CodeForbidden, "only admins", "token")
		}
		answer := w.do(request.method, request.path, w.as("root")).want(request.status)
		if request.status == http.StatusCreated {
			var key api.AgentKey
			answer.into(&key)
			w.secret(key.Key)
		}
		w.do(request.method, request.path, with(w.cookie("root")), ownPage(w)).want(request.status)
	}
}

// ownPage is what a browser adds to a request of our own page.
func ownPage(w *world) part {
	return func(r *http.Request) {
		r.Header.Set("Origin", w.url)
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
}

func TestMe(t *testing.T) {
	w := newWorld(t)
	for _, test := range []struct {
		parts []part
		want  api.Me
	}{
		{[]part{w.as("root")}, api.Me{ID: w.users["root"].ID, Name: "root", Role: models.RoleAdmin}},
		{[]part{w.as("ann")}, api.Me{ID: w.users["ann"].ID, Name: "ann", Role: models.RoleUser}},
		{[]part{with(w.cookie("bob"))}, api.Me{ID: w.users["bob"].ID, Name: "bob", Role: models.RoleUser}},
		{[]part{with(w.cookie("bob")), w.as("ann")}, api.Me{ID: w.users["ann"].ID, Name: "ann", Role: models.RoleUser}},
	} {
		var me api.Me
		w.get("/api/v1/me", test.parts...).want(http.StatusOK).into(&me)
		if me != test.want {
			t.Errorf("it is %+v, want %+v", me, test.want)
		}
	}
	w.get("/api/v1/me?x=1", w.as("ann")).problem(http.StatusBadRequest, models.CodeInvalidRequest, "x")
}

// secretOf gives the token of a login link.
func secretOf(t *testing.T, link string) string {
	t.Helper()
	parsed, err := url.Parse(link)
	must(t, err)
	return parsed.Query().Get("token")
}

func TestLoginLink(t *testing.T) {
	w := newWorld(t)
	var link api.LoginLink
	w.post("/api/v1/login-links", w.as("ann")).want(http.StatusCreated).into(&link)
	w.secret(secretOf(t, link.URL))
	if !strings.HasPrefix(link.URL, w.url+"/login?token=ssl_") || time.Until(link.ExpiresAt) > 15*time.Minute || time.Until(link.ExpiresAt) < 14*time.Minute {
		t.Errorf("the link is %+v", link)
	}
	path := strings.TrimPrefix(link.URL, w.url)
	// Programs that look at links, such as chats, do not use them up.
	w.exchange(http.MethodHead, path).want(http.StatusMethodNotAllowed)
	answer := w.get(path).want(http.StatusSeeOther)
	if answer.header.Get("Location") != "/" {
		t.Errorf("it leads to %q", answer.header.Get("Location"))
	}
	cookie := cookieOf(t, answer)
	w.secret(cookie.Value)
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || cookie.Secure ||
		time.Until(cookie.Expires) < 29*24*time.Hour || time.Until(cookie.Expires) > 30*24*time.Hour {
		t.Errorf("the cookie is %v", cookie)
	}
	w.get("/api/v1/me", with(cookie)).want(http.StatusOK)

	problem := w.get(path).problem(http.StatusUnauthorized, models.CodeLinkInvalid, "used before or has expired", "makes a new one")
	if problem.Retryable {
		t.Error("a used link may be tried again")
	}
	// Reloading in the browser that used it is harmless.
	if again := w.get(path+"&next=%2Fsessions%2Fdesk-1", with(cookie)).want(http.StatusSeeOther); again.header.Get("Location") != "/sessions/desk-1" ||
		again.header.Get("Set-Cookie") != "" {
		t.Errorf("reloading gives %v", again.header)
	}
	w.get("/login").problem(http.StatusUnauthorized, models.CodeLinkInvalid, "no login link")
	w.get("/login?token=nonsense").problem(http.StatusUnauthorized, models.CodeLinkInvalid, "no login link")
}

func cookieOf(t *testing.T, answer *answer) *http.Cookie {
	t.Helper()
	cookies := (&http.Response{Header: answer.header}).Cookies()
	if len(cookies) != 1 || cookies[0].Name != auth.CookieName && cookies[0].Name != auth.SecureCookieName {
		t.Fatalf("the cookies are %v", cookies)
	}
	return cookies[0]
}

func TestLoginShowsPeopleAPage(t *testing.T) {
	w := newWorld(t)
	browser := header("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	answer := w.exchange(http.MethodGet, "/login?token=nonsense", browser).want(http.StatusUnauthorized)
	page := string(answer.body)
	if answer.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(page, "<h1>The login link is not valid</h1>") ||
		!strings.Contains(page, "make one with: streamspace up") {
		t.Errorf("the page is %v\n%s", answer.header, page)
	}
	if !strings.Contains(answer.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page may load what it likes: %v", answer.header)
	}
}

func TestLoginLeadsNowhereElse(t *testing.T) {
	w := newWorld(t)
	for next, want := range map[string]string{
		"/sessions/desk-1": "/sessions/desk-1", "/a?b=c#d": "/a?b=c#d", "": "/", "sessions": "/",
		"//evil.example": "/", "///evil.example": "/", `/\evil.example`: "/", `\\evil.example`: "/", "https://evil.example/": "/",
		"javascript:alert(1)": "/", "/\t/evil.example": "/", "/\n/evil.example": "/", "/ /x": "/%20/x", "http:evil.example": "/", "/%zz": "/",
	} {
		link, _, err := w.auth.NewLoginLink(t.Context(), w.users["ann"].ID)
		must(t, err)
		answer := w.get("/login?" + url.Values{"token": {w.secret(link)}, "next": {next}}.Encode()).want(http.StatusSeeOther)
		w.secret(cookieOf(t, answer).Value)
		location, err := url.Parse(answer.header.Get("Location"))
		if err != nil || location.Host != "" || location.Scheme != "" {
			t.Errorf("next %q leads to %q", next, answer.header.Get("Location"))
		}
		if want != "/%20/x" && location.String() != want {
			t.Errorf("next %q leads to %q, want %q", next, location, want)
		}
	}
}

func TestASecondLoginEndsTheFirst(t *testing.T) {
	w := newWorld(t)
	first := w.cookie("ann")
	link, _, err := w.auth.NewLoginLink(t.Context(), w.users["ann"].ID)
	must(t, err)
	second := cookieOf(t, w.get("/login?token="+w.secret(link), with(first)).want(http.StatusSeeOther))
	w.secret(second.Value)
	w.get("/api/v1/me", with(second)).want(http.StatusOK)
	w.get("/api/v1/me", with(first)).problem(http.StatusUnauthorized, models.CodeUnauthenticated, "login link")
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	cookie, other := w.cookie("ann"), w.cookie("ann")
	gone := cookieOf(t, w.post("/api/v1/logout", with(cookie), ownPage(w)).want(http.StatusNoContent))
	if gone.Value != "" || gone.MaxAge >= 0 || gone.Path != "/" || !gone.HttpOnly || gone.SameSite != http.SameSiteStrictMode {
		t.Errorf("the cookie becomes %v", gone)
	}
	w.get("/api/v1/me", with(cookie)).problem(http.StatusUnauthorized, models.CodeUnauthenticated)
	w.get("/api/v1/me", with(other)).want(http.StatusOK)
	w.post("/api/v1/logout", with(cookie)).want(http.StatusNoContent)
	w.post("/api/v1/logout").want(http.StatusNoContent)
	w.post("/api/v1/logout", w.as("ann")).want(http.StatusNoContent)
	w.get("/api/v1/me", w.as("ann")).want(http.StatusOK)
}

func TestASignInExpires(t *testing.T) {
	w := newWorld(t)
	cookie := w.cookie("ann")
	w.advance(30*24*time.Hour + time.Minute)
	w.get("/api/v1/me", with(cookie)).problem(http.StatusUnauthorized, models.CodeUnauthenticated, "sign-in has ended", "login link")
	w.get("/api/v1/me", w.as("ann")).want(http.StatusOK)
}

func TestCookiesAreSecureBehindTLS(t *testing.T) {
	public, err := url.Parse("https://streamspace.example.org")
	must(t, err)
	w := newWorld(t, func(c *api.Config) { c.PublicURL = public })
	for _, test := range []struct {
		host, address string
		secure        bool
	}{
		{"streamspace.example.org", "https://streamspace.example.org/login?", true},
		{"StreamSpace.Example.Org", "https://StreamSpace.Example.Org/login?", true},
		{w.host, w.url + "/login?", false}, // past the proxy, where TLS is not
	} {
		var link api.LoginLink
		w.post("/api/v1/login-links", w.as("ann"), host(test.host)).want(http.StatusCreated).into(&link)
		if !strings.HasPrefix(link.URL, test.address) {
			t.Errorf("as %s the link is %s", test.host, link.URL)
		}
		parsed, err := url.Parse(link.URL)
		must(t, err)
		w.secret(secretOf(t, link.URL))
		cookie := cookieOf(t, w.get(parsed.RequestURI(), host(test.host)).want(http.StatusSeeOther))
		w.secret(cookie.Value)
		if cookie.Secure != test.secure || strings.HasPrefix(cookie.Name, "__Host-") != test.secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode {
			t.Errorf("as %s the cookie is %v", test.host, cookie)
		}
		// One that a page of another host has set comes after it, or before.
		w.get("/api/v1/me", host(test.host), with(cookie)).want(http.StatusOK)
		if test.secure {
			w.get("/api/v1/me", host(test.host), with(&http.Cookie{Name: auth.CookieName, Value: "tossed"}), with(cookie)).want(http.StatusOK)
		}
	}
}

func TestPagesOfOtherSitesMayDoNothing(t *testing.T) {
	w := newWorld(t)
	w.agent("laptop")
	w.run("ann", "desk-1")
	cookie := w.cookie("ann")
	changes := []struct{ method, path, body string }{
		{http.MethodPost, pathSessions, `{"template":"desk"}`}, {http.MethodDelete, pathSessions + "/desk-1", ""},
		{http.MethodPost, pathSessions + "/desk-1/tickets", ""}, {http.MethodPost, "/api/v1/login-links", ""}, {http.MethodPost, "/api/v1/logout", ""},
	}
	for name, page := range map[string][]part{
		"another site":                      {header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site")},
		"another site, in an old browser":   {header("Origin", "https://evil.example")},
		"another port of this machine":      {header("Origin", "http://127.0.0.1:1"), header("Sec-Fetch-Site", "same-site")},
		"a sandbox":                         {header("Origin", "null")},
		"a site that only says cross-site":  {header("Sec-Fetch-Site", "cross-site")},
		"the same host with another scheme": {header("Origin", "https://"+w.host), header("Sec-Fetch-Site", "cross-site")},
	} {
		for _, change := range changes {
			t.Log(change.method, change.path, "from", name)
			parts := append([]part{with(cookie)}, page...)
			if change.body != "" {
				parts = append(parts, jsonBody(change.body))
			}
			w.do(change.method, change.path, parts...).problem(http.StatusForbidden, models.CodeOriginForeign, "another site")
		}
	}
	sessions, _, err := w.database.Sessions(t.Context(), sessionsOf(w.users["ann"].ID), everything())
	must(t, err)
	if len(sessions) != 1 || sessions[0].State != models.SessionRunning {
		t.Errorf("the sessions are %+v", sessions)
	}
	// A token is never sent unasked, so where a request with one is from does not matter.
	w.post(pathSessions+"/desk-1/tickets", w.as("ann"), header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site")).
		want(http.StatusCreated).ticket()
	w.post(pathSessions+"/desk-1/tickets", with(cookie), ownPage(w)).want(http.StatusCreated).ticket()
	w.post(pathSessions+"/desk-1/tickets", with(cookie)).want(http.StatusCreated).ticket() // a program
	w.get(pathSessions, with(cookie), header("Origin", "https://evil.example"), header("Sec-Fetch-Site", "cross-site")).want(http.StatusOK)
}

func TestOurPublicPagesMay(t *testing.T) {
	public, err := url.Parse("https://streamspace.example.org")
	must(t, err)
	w := newWorld(t, func(c *api.Config) { c.PublicURL = public })
	cookie := w.cookie("ann")
	// The proxy in front takes TLS off, and may give its own name or ours.
	for _, name := range []string{"streamspace.example.org", w.host} {
		w.post("/api/v1/logout", with(cookie), host(name), header("Origin", "https://streamspace.example.org")).want(http.StatusNoContent)
	}
	w.post("/api/v1/logout", with(cookie), host("streamspace.example.org"), header("Origin", "https://example.org")).
		problem(http.StatusForbidden, models.CodeOriginForeign)
}

func TestForeignNames(t *testing.T) {
	public, err := url.Parse("https://StreamSpace.example.org:8443")
	must(t, err)
	for _, test := range []struct {
		public *url.URL
		host   string
		known  bool
	}{
		{nil, "127.0.0.1:8080", true}, {nil, "localhost:8080", true}, {nil, "LOCALHOST", true}, {nil, "desk.localhost:1", true}, {nil, "[::1]:8080", true},
		{nil, "192.168.0.7", true}, {nil, "evil.example", false}, {nil, "127.0.0.1.evil.example", false}, {nil, "localhost.evil.example", false},
		{nil, "evillocalhost", false}, {nil, "streamspace.example.org", false}, {public, "streamspace.example.org:8443", true},
		{public, "streamspace.example.org", true}, {public, "STREAMSPACE.example.org", true}, {public, "www.streamspace.example.org", false},
	} {
		w := newWorld(t, func(c *api.Config) { c.PublicURL = test.public })
		for _, path := range []string{"/api/v1/me", "/login?token=x", "/openapi.json", "/"} {
			answer := w.exchange(http.MethodGet, path, w.as("ann"), host(test.host))
			if refused := answer.status == http.StatusForbidden; refused == test.known {
				t.Errorf("%s as %s answers %d", path, test.host, answer.status)
			} else if refused {
				answer.problem(http.StatusForbidden, models.CodeOriginForeign, "--public-url")
			}
		}
		// What needs no name: agents bring a key, orchestrators probe, Prometheus scrapes.
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			w.get(path, host(test.host)).want(http.StatusOK)
		}
		w.post(wire.RegisterPath, host(test.host)).problem(http.StatusUnauthorized, models.CodeUnauthenticated)
	}
}

func TestHeadersKeepBrowsersCareful(t *testing.T) {
	w := newWorld(t)
	for _, answer := range []*answer{w.get("/api/v1/me", w.as("ann")), w.get("/api/v1/me"), w.exchange(http.MethodGet, "/nothing"), w.get("/healthz"), w.get("/openapi.json")} {
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Resource-Policy": "same-origin", "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
			"Access-Control-Allow-Origin": "",
		} {
			if got := answer.header.Get(name); got != want {
				t.Errorf("%s: %s is %q", answer.request, name, got)
			}
		}
	}
}
