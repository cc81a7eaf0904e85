package api_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	ws "github.com/coder/websocket"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/webapp"
)

// runPages launches ann's session of a template with pages, and waits until it
// runs.
func (w *world) runPages(agent *fakeAgent, template, id string) *webapp.App {
	w.t.Helper()
	w.post(pathSessions, w.as("ann"), jsonBody(`{"id":"`+id+`","template":"`+template+`","idleTimeout":"10m"}`)).want(http.StatusCreated)
	w.await(id, models.SessionRunning)
	return agent.shows(id, &webapp.App{Name: id})
}

// pagesTicket makes a ticket for pages, and gives where it leads.
func (w *world) pagesTicket(id string, parts ...part) *url.URL {
	w.t.Helper()
	var ticket api.Ticket
	w.post(pathSessions+"/"+id+"/tickets", append(parts, w.as("ann"))...).want(http.StatusCreated).into(&ticket)
	w.secret(ticket.Ticket)
	address, err := url.Parse(ticket.URL)
	must(w.t, err)
	if address.Query().Get("ticket") != ticket.Ticket {
		w.t.Fatalf("the ticket leads to %q", ticket.URL)
	}
	return address
}

// enter opens pages at their own host, and gives what a browser then sends.
func (w *world) enter(id string) []part {
	w.t.Helper()
	address := w.pagesTicket(id)
	answer := w.exchange(http.MethodGet, address.RequestURI(), host(address.Host)).want(http.StatusSeeOther)
	cookies := (&http.Response{Header: answer.header}).Cookies()
	if len(cookies) != 1 {
		w.t.Fatalf("%d cookies are set: %v", len(cookies), answer.header)
	}
	w.secret(cookies[0].Value)
	return []part{host(address.Host), with(cookies[0])}
}

func seenIn(t *testing.T, got *answer) (seen webapp.Seen) {
	t.Helper()
	if err := json.Unmarshal(got.want(http.StatusOK).body, &seen); err != nil {
		t.Fatalf("%s: %v in %s", got.request, err, got.body)
	}
	return seen
}

func TestPagesAtTheirOwnHost(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	for _, id := range []string{"app-1", "app-2"} {
		w.runPages(agent, "app", id)
	}
	_, port, _ := strings.Cut(w.host, ":")
	address := w.pagesTicket("app-1")
	if address.Scheme != "http" || address.Host != "app-1.sessions.localhost:"+port || address.Path != "/s/app-1/open" {
		t.Errorf("the ticket leads to %s", address)
	}
	own := host(address.Host)
	w.exchange(http.MethodHead, address.RequestURI(), own).want(http.StatusMethodNotAllowed) // which leaves it alone
	w.exchange(http.MethodGet, address.RequestURI(), host("app-2.sessions.localhost:"+port)).want(http.StatusUnauthorized)
	opened := w.exchange(http.MethodGet, address.RequestURI(), own).want(http.StatusSeeOther)
	cookie := opened.header.Get("Set-Cookie")
	if opened.header.Get("Location") != "/name?from=start" || opened.header.Get("Cache-Control") != "no-store" || opened.header.Get("Referrer-Policy") != "no-referrer" ||
		!strings.HasPrefix(cookie, "streamspace-session=ssv_") || strings.Contains(cookie, "Domain") {
		t.Errorf("it goes on with %v", opened.header)
	}
	for _, attribute := range []string{"Path=/", "HttpOnly", "Secure", "SameSite=None", "Partitioned"} {
		if !strings.Contains(cookie, "; "+attribute) {
			t.Errorf("the cookie %q is not %s", cookie, attribute)
		}
	}
	held := (&http.Response{Header: opened.header}).Cookies()[0]
	w.secret(held.Value)
	w.exchange(http.MethodGet, address.RequestURI(), own).problem(http.StatusUnauthorized, models.CodeTicketUsed)

	// From now on the app answers, and sees nothing of ours.
	seen := seenIn(t, w.exchange(http.MethodGet, "/seen/x?y", own, with(held), with(w.cookie("ann")), with(&http.Cookie{Name: "theme", Value: "dark"}), header("X-Agent-Api-Key", agent.key)))
	if seen.App != "app-1" || seen.Host != address.Host || seen.URI != "/seen/x?y" || seen.Header.Get("Cookie") != "theme=dark" ||
		seen.Header.Get("Authorization") != "Basic bWU6cGFzcy13b3Jk" || seen.Header.Get("X-Agent-Api-Key") != "" {
		t.Errorf("the app sees %+v", seen)
	}
	if !strings.Contains(w.exchange(http.MethodGet, "/name", own, with(held)).header.Get("Content-Security-Policy"), "frame-ancestors 'self' http://localhost:"+port) {
		t.Error("the console may not show the page")
	}
	// There is nothing of the console, and no way to another session.
	w.exchange(http.MethodGet, "/api/v1/me", own, with(held), w.as("ann")).want(http.StatusNotFound)
	w.exchange(http.MethodGet, "/name", host("app-2.sessions.localhost:"+port), with(held)).problem(http.StatusUnauthorized, models.CodeUnauthenticated, "another session's")
	w.exchange(http.MethodGet, "/name", own).problem(http.StatusUnauthorized, models.CodeUnauthenticated, "open it in the console")
	w.exchange(http.MethodGet, "/name", own, with(&http.Cookie{Name: held.Name, Value: "ssv_guess"})).want(http.StatusUnauthorized)
	page := w.exchange(http.MethodGet, "/name", own, header("Accept", "text/html,*/*")).want(http.StatusUnauthorized)
	if !strings.Contains(string(page.body), `data-code="unauthenticated"`) || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html") {
		t.Errorf("a person is shown %s", page.body)
	}
	// On the console's own origin there are no sessions then.
	w.exchange(http.MethodGet, "/s/app-1/"+held.Value+"/name").problem(http.StatusNotFound, models.CodeNotFound, "host names of their own")
	// Signing out of the console ends it.
	w.exchange(http.MethodPost, "/api/v1/logout", with(w.cookie("ann"))).want(http.StatusNoContent)
	w.advance(2 * time.Second)
	w.exchange(http.MethodGet, "/name", own, with(held)).want(http.StatusUnauthorized)
}

// Another session's page is of the same site, and must not use the cookie.
func TestOtherOriginsMayNotUseASession(t *testing.T) {
	w := newWorld(t)
	w.runPages(w.agent("laptop"), "app", "app-1")
	entered := w.enter("app-1")
	try := func(method string, status int, parts ...part) {
		t.Helper()
		w.exchange(method, "/seen", append(parts, entered...)...).want(status)
	}
	for _, site := range []string{"same-site", "cross-site"} {
		fetched := header("Sec-Fetch-Site", site)
		try(http.MethodPost, http.StatusForbidden, fetched, header("Sec-Fetch-Mode", "navigate"))
		try(http.MethodGet, http.StatusForbidden, fetched, header("Sec-Fetch-Mode", "cors"))
		try(http.MethodGet, http.StatusForbidden, fetched, header("Sec-Fetch-Mode", "websocket"), upgrade())
		try(http.MethodGet, http.StatusOK, fetched, header("Sec-Fetch-Mode", "navigate"))
	}
	try(http.MethodPost, http.StatusOK, header("Sec-Fetch-Site", "same-origin"))
	try(http.MethodGet, http.StatusOK, header("Sec-Fetch-Site", "none"))
	// Browsers that do not say so say the origin.
	try(http.MethodPost, http.StatusForbidden, header("Origin", "http://evil.sessions.localhost"))
	try(http.MethodPost, http.StatusForbidden, header("Origin", "null"))
	_, port, _ := strings.Cut(w.host, ":")
	try(http.MethodPost, http.StatusOK, header("Origin", "http://app-1.sessions.localhost:"+port))
}

func TestPagesOnTheConsolesOrigin(t *testing.T) {
	w := newWorld(t, func(config *api.Config) { config.SessionHosts = api.NoSessionHosts })
	agent := w.agent("laptop")
	w.runPages(agent, "app", "app-1")
	w.runPages(agent, "app", "app-2")
	address := w.pagesTicket("app-1")
	if address.Host != w.host || address.Path != "/s/app-1/open" {
		t.Errorf("the ticket leads to %s", address)
	}
	opened := w.exchange(http.MethodGet, address.RequestURI()).want(http.StatusSeeOther)
	location := opened.header.Get("Location")
	prefix, found := strings.CutSuffix(location, "/name?from=start")
	key := strings.TrimPrefix(prefix, "/s/app-1/")
	w.secret(key)
	if !found || !strings.HasPrefix(prefix, "/s/app-1/ssv_") || opened.header.Get("Set-Cookie") != "" || opened.header.Get("Referrer-Policy") != "no-referrer" {
		t.Fatalf("it goes on with %v", opened.header)
	}
	answer := w.exchange(http.MethodGet, location, with(w.cookie("ann"))).want(http.StatusOK)
	if policy := strings.Join(answer.header["Content-Security-Policy"], "|"); !strings.Contains(policy, "|sandbox ") || strings.Contains(policy, "allow-same-origin") {
		t.Errorf("the page's policy is %q", policy)
	}
	if seen := seenIn(t, w.exchange(http.MethodGet, prefix+"/seen/x", with(w.cookie("ann")))); seen.App != "app-1" || seen.URI != "/seen/x" || seen.Header.Get("Cookie") != "" {
		t.Errorf("the app sees %+v", seen)
	}
	w.exchange(http.MethodGet, prefix).want(http.StatusSeeOther)
	for path, status := range map[string]int{
		"/s/app-1/": http.StatusUnauthorized, "/s/app-1/guess/name": http.StatusUnauthorized, "/s/app-1/" + strings.Replace(key, "ssv_", "ssv_x", 1) + "/name": http.StatusUnauthorized,
		"/s/app-2/" + key + "/name": http.StatusUnauthorized, "/s/nothing/" + key + "/name": http.StatusUnauthorized, "/s/": http.StatusUnauthorized,
	} {
		answer := w.exchange(http.MethodGet, path, w.as("ann")).want(status)
		if !strings.Contains(answer.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s is answered outside of a sandbox", path)
		}
	}
	w.exchange(http.MethodGet, location, host("evil.example")).problem(http.StatusForbidden, models.CodeOriginForeign, "evil.example")
	// Names of its own are nobody's here.
	w.exchange(http.MethodGet, "/name", host("app-1.sessions.localhost")).want(http.StatusNotFound)

	// What its page could have the browser send to the console is refused: it is
	// of no origin, so no cookie comes with it; and if one did, it would not count.
	cookie := w.cookie("ann")
	for _, from := range [][]part{{header("Origin", "null")}, {header("Origin", "null"), header("Sec-Fetch-Site", "cross-site")}} {
		w.post("/api/v1/login-links", append(from, with(cookie))...).problem(http.StatusForbidden, models.CodeOriginForeign)
		w.delete(pathSessions+"/app-1", append(from, with(cookie))...).problem(http.StatusForbidden, models.CodeOriginForeign)
	}
	if got := w.get("/api/v1/me", with(cookie), header("Origin", "null")).want(http.StatusOK).header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("pages of the origin %q may read the API", got)
	}
}

// An app that is told its prefix is always below it, wherever it is shown.
func TestPagesWithAPrefixOfTheirOwn(t *testing.T) {
	for _, pattern := range []string{api.NoSessionHosts, ""} {
		w := newWorld(t, func(config *api.Config) { config.SessionHosts = pattern })
		agent := w.agent("laptop")
		app := w.runPages(agent, "lab", "lab-1")
		commands, _, err := w.database.Commands(t.Context(), commandsOf("lab-1"), everything())
		must(t, err)
		prefix := ""
		manifest := (*commands[0].Payload)["templateManifest"].(map[string]any)["spec"].(map[string]any)
		for _, variable := range manifest["env"].([]any) {
			if one := variable.(map[string]any); one["name"] == "PREFIX" {
				prefix = one["value"].(string)
			}
		}
		if !strings.HasPrefix(prefix, "/s/lab-1/") || !strings.HasSuffix(prefix, "/") || len(prefix) < len("/s/lab-1/")+26 {
			t.Fatalf("the session is told the prefix %q", prefix)
		}
		w.secret("ssv_" + strings.Trim(strings.TrimPrefix(prefix, "/s/lab-1/"), "/"))
		app.Prefix = strings.TrimSuffix(prefix, "/")
		if shown := string(w.get("/api/v1/commands?sessionId=lab-1", w.as("root")).want(http.StatusOK).body); strings.Contains(shown, app.Prefix) || !strings.Contains(shown, "REDACTED") {
			t.Errorf("an admin is shown %s", shown)
		}
		shown := string(w.get("/api/v1/commands/"+commands[0].CommandID, w.as("root")).want(http.StatusOK).body)
		if strings.Contains(shown, app.Prefix) {
			t.Errorf("an admin is shown %s", shown)
		}
		address := w.pagesTicket("lab-1")
		opened := w.exchange(http.MethodGet, address.RequestURI(), host(address.Host)).want(http.StatusSeeOther)
		if location := opened.header.Get("Location"); location != app.Prefix+"/name" {
			t.Errorf("it goes on to %q", location)
		}
		parts := []part{host(address.Host)}
		for _, cookie := range (&http.Response{Header: opened.header}).Cookies() {
			w.secret(cookie.Value)
			parts = append(parts, with(cookie))
		}
		if seen := seenIn(t, w.exchange(http.MethodGet, app.Prefix+"/seen/x", parts...)); seen.URI != app.Prefix+"/seen/x" {
			t.Errorf("the app sees %+v", seen)
		}
	}
}

func TestPagesEndWithTheirSession(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	w.runPages(agent, "app", "app-1")
	entered := w.enter("app-1")
	request, err := http.NewRequest(http.MethodGet, w.url, nil)
	must(t, err)
	for _, change := range entered {
		change(request)
	}
	socket, _, err := ws.Dial(t.Context(), w.url+"/ws", &ws.DialOptions{HTTPClient: w.http, HTTPHeader: request.Header, Host: request.Host})
	must(t, err)
	defer func() { _ = socket.CloseNow() }()
	must(t, socket.Write(t.Context(), ws.MessageText, []byte("hello")))
	if _, said, err := socket.Read(t.Context()); err != nil || string(said) != "app-1: hello" {
		t.Errorf("the app says %q, %v", said, err)
	}
	// It is in use for as long as that is open.
	w.advance(5 * time.Minute)
	w.awaitUse("app-1", w.now().Add(-2*time.Second))

	w.broker.CloseSession("app-1", 2)
	if _, _, err := socket.Read(t.Context()); err == nil {
		t.Error("a WebSocket outlives its session's generation")
	}
	w.delete(pathSessions+"/app-1", w.as("ann"))
	w.await("app-1", models.SessionTerminated)
	w.advance(2 * time.Second)
	w.exchange(http.MethodGet, "/name", entered...).problem(http.StatusConflict, models.CodeSessionNotRunning, "terminated")
	page := w.exchange(http.MethodGet, "/name", append(entered, header("Accept", "text/html"))...).want(http.StatusConflict)
	if !strings.Contains(string(page.body), "The session is not running") || strings.Contains(string(page.body), "http-equiv") {
		t.Errorf("a person is shown %s", page.body)
	}
	w.eventually("no tunnel is left", func() error {
		if w.broker.Tunnels() > 0 {
			return errNotYet
		}
		return nil
	})
}

func TestPagesThatCannotBeReached(t *testing.T) {
	w := newWorld(t)
	agent := w.agent("laptop")
	w.runPages(agent, "app", "app-1")
	w.run("ann", "desk-1")
	entered := w.enter("app-1")
	w.exchange(http.MethodGet, "/name", entered...).want(http.StatusOK)
	// A session with a screen has no pages, and one with pages no stream.
	var ticket api.Ticket
	w.post(pathSessions+"/desk-1/tickets", w.as("ann")).want(http.StatusCreated).into(&ticket)
	if ticket.URL != "" {
		t.Errorf("a screen is at %q", ticket.URL)
	}
	_, port, _ := strings.Cut(w.host, ":")
	w.exchange(http.MethodGet, "/s/desk-1/open?ticket="+w.secret(ticket.Ticket), host("desk-1.sessions.localhost:"+port)).problem(http.StatusBadRequest, models.CodeInvalidRequest, "no pages")
	w.get(streamPath("app-1", w.pagesTicket("app-1").Query().Get("ticket")), upgrade()).problem(http.StatusBadRequest, models.CodeInvalidRequest, "shows pages")

	agent.disconnect()
	page := w.exchange(http.MethodGet, "/name", append(entered, header("Accept", "text/html"))...).want(http.StatusServiceUnavailable)
	for _, want := range []string{`data-code="agent_unavailable"`, `http-equiv="refresh"`, "keeps running"} {
		if !strings.Contains(string(page.body), want) {
			t.Errorf("a person is shown no %s in %s", want, page.body)
		}
	}
	if page.header.Get("Retry-After") == "" {
		t.Error("a program is not told when to try again")
	}
}

func TestSessionHostPatterns(t *testing.T) {
	public, err := url.Parse("https://streamspace.example.org")
	must(t, err)
	w := newWorld(t, func(config *api.Config) { config.SessionHosts, config.PublicURL = "*.sessions.example.org", public })
	w.runPages(w.agent("laptop"), "app", "app-1")
	address := w.pagesTicket("app-1", host("streamspace.example.org"))
	if !strings.HasPrefix(address.String(), "https://app-1.sessions.example.org/s/app-1/open?") {
		t.Errorf("the ticket leads to %s", address)
	}
	opened := w.exchange(http.MethodGet, address.RequestURI(), host(address.Host)).want(http.StatusSeeOther)
	if cookie := opened.header.Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-streamspace-session=") || !strings.Contains(cookie, "; Secure") {
		t.Errorf("the cookie is %q", cookie)
	}
	entered := []part{host(address.Host), with((&http.Response{Header: opened.header}).Cookies()[0])}
	if seen := seenIn(t, w.exchange(http.MethodGet, "/seen", entered...)); seen.Header.Get("X-Forwarded-Proto") != "https" || seen.Header.Get("Cookie") != "" {
		t.Errorf("the app sees %+v", seen)
	}
	for pattern, frames := range map[string]string{
		"": "http://*.sessions.localhost:*", "none": "", "*.sessions.example.org": "https://*.sessions.example.org:*",
		"sessions.example.org": "!", "*": "!", "*.": "!", "*.a.*.b": "!", "*.example.org:8080": "!", "*.example.org": "!", "*..org": "!",
	} {
		got, err := api.PageFrames(pattern, public)
		if (err != nil) != (frames == "!") || err == nil && strings.Join(got, " ") != frames {
			t.Errorf("the pattern %q gives %q, %v", pattern, got, err)
		}
	}
}
