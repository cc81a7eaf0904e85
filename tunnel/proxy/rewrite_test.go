package proxy_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/tunnel/proxy"
)

// answer has the app answer with header lines, and gives what comes of them.
func (w *world) answer(header ...string) http.Header {
	w.t.Helper()
	return w.do(http.MethodGet, w.place.Prefix+"/answer?"+url.Values{"header": header}.Encode(), nil).Header
}

func TestWhatTheSessionSees(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	hidden := []string{"streamspace", "streamspace-session"}
	w.set(func(_ *proxy.Session, place *proxy.Place) { place.Hidden = hidden })
	seen := w.seen(http.MethodPost, "/seen/a%2Fb/c%20d?q=1;2&%zz", strings.NewReader("x"), "Host: desk.sessions.example.org",
		"Cookie: theme=dark; streamspace=SECRET; a=b=c", "Cookie: STREAMSPACE-Session=SECRET; last=1", "Authorization: Bearer the-apps-own",
		"Connection: keep-alive, X-Secret-Hop", "X-Secret-Hop: yes", "Proxy-Authorization: Basic SECRET", "Te: gzip",
		"X-Forwarded-Host: evil.example", "X-Forwarded-Proto: gopher", "X-Forwarded-Prefix: /evil", "Forwarded: host=evil.example", "X-Real-Ip: 6.6.6.6",
		"Origin: http://desk.sessions.example.org", "Referer: http://desk.sessions.example.org/page")
	for name, want := range map[string]string{
		"Cookie": "theme=dark; a=b=c; last=1", "Authorization": "Bearer the-apps-own", "X-Forwarded-Host": "desk.sessions.example.org",
		"X-Forwarded-Proto": "http", "X-Forwarded-Prefix": "", "Forwarded": "", "X-Real-Ip": "", "X-Secret-Hop": "", "Proxy-Authorization": "", "Te": "",
		"X-Forwarded-For": "127.0.0.1", "Origin": "http://desk.sessions.example.org", "Referer": "http://desk.sessions.example.org/page",
	} {
		if got := strings.Join(seen.Header[http.CanonicalHeaderKey(name)], "|"); got != want {
			t.Errorf("of %s the app gets %q, want %q", name, got, want)
		}
	}
	if seen.Host != "desk.sessions.example.org" || seen.URI != "/seen/a%2Fb/c%20d?q=1;2&%zz" || seen.Method != http.MethodPost || seen.Bytes != 1 {
		t.Errorf("the app sees %+v", seen)
	}
}

func TestPrefixes(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.set(func(_ *proxy.Session, place *proxy.Place) { place.Prefix = "/s/desk/KEY" })
	for path, want := range map[string]string{
		"/s/desk/KEY/seen/x%2Fy?z=1": "/seen/x%2Fy?z=1", "/s/desk/KEY/seen/": "/seen/",
	} {
		seen := w.seen(http.MethodGet, path, nil)
		if seen.URI != want || seen.Header.Get("X-Forwarded-Prefix") != "/s/desk/KEY" {
			t.Errorf("%s is %s to the app, with the prefix %q", path, seen.URI, seen.Header.Get("X-Forwarded-Prefix"))
		}
	}
	w.app.Prefix = "/s/desk/KEY"
	w.set(func(_ *proxy.Session, place *proxy.Place) { place.Whole = true })
	if seen := w.seen(http.MethodGet, "/s/desk/KEY/seen/x", nil); seen.URI != "/s/desk/KEY/seen/x" {
		t.Errorf("an app that knows its prefix sees %s", seen.URI)
	}
}

func TestAddressesLeadBack(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	host := strings.TrimPrefix(w.front.URL, "http://")
	for _, test := range []struct {
		prefix string
		whole  bool
		given  string
		want   string
	}{
		{"", false, "/login?next=%2F#x", "/login?next=%2F#x"},
		{"", false, "next", "next"},
		{"", false, "http://" + host + "/a", "/a"},
		{"", false, "https://127.0.0.1:3000/a?b#c", "/a?b#c"}, // as nginx does with the port that it listens on
		{"", false, "https://login.example.org/a", "https://login.example.org/a"},
		{"", false, "//evil.example/a", "//evil.example/a"},
		{"", false, "http://127.0.0.1//evil.example/a", "/evil.example/a"},
		{"", false, "http://127.0.0.1", "/"},
		{"/s/desk/KEY", false, "/login", "/s/desk/KEY/login"},
		{"/s/desk/KEY", false, "/", "/s/desk/KEY/"},
		{"/s/desk/KEY", false, "http://" + host + "/api/v1/logout", "/s/desk/KEY/api/v1/logout"},
		{"/s/desk/KEY", false, "/s/desk/KEY/x", "/s/desk/KEY/s/desk/KEY/x"},
		{"/s/desk/KEY", false, "../x", "../x"},
		{"/s/desk/KEY", true, "/s/desk/KEY/x", "/s/desk/KEY/x"},
		{"/s/desk/KEY", true, "/x", "/s/desk/KEY/x"},
	} {
		w.set(func(_ *proxy.Session, place *proxy.Place) { place.Prefix, place.Whole = test.prefix, test.whole })
		if w.app.Prefix = ""; test.whole {
			w.app.Prefix = test.prefix
		}
		header := w.do(http.MethodGet, test.prefix+"/answer?"+url.Values{"status": {"302"}, "header": {"Location: " + test.given, "Content-Location: " + test.given, "Refresh: 5; URL='" + test.given + "'"}}.Encode(), nil).Header
		if header.Get("Location") != test.want || header.Get("Content-Location") != test.want || header.Get("Refresh") != "5; URL="+test.want {
			t.Errorf("%q below %q becomes %q, %q, %q, want %q", test.given, test.prefix, header.Get("Location"), header.Get("Content-Location"), header.Get("Refresh"), test.want)
		}
	}
}

func TestCookiesStayTheSessions(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	for _, test := range []struct {
		prefix  string
		trusted bool
		given   string
		want    string
	}{
		{"", false, "a=b", "a=b"},
		{"", false, `a={"x": 1}; Path=/lab; HttpOnly; Max-Age=3`, `a={"x": 1}; HttpOnly; Max-Age=3; Path=/lab`},
		{"", false, "a=b; Domain=example.org; domain=.example.org; Secure; SameSite=None; Path=/", "a=b; Path=/"},
		{"", false, "a=b; SameSite=Strict", "a=b; SameSite=Strict"},
		{"", true, "a=b; SameSite=Strict; Secure", "a=b; Secure; SameSite=None; Partitioned"},
		{"/s/desk/KEY", false, "a=b", "a=b; Path=/s/desk/KEY/"},
		{"/s/desk/KEY", false, "a=b; Path=/", "a=b; Path=/s/desk/KEY/"},
		{"/s/desk/KEY", false, "a=b; Path=/lab", "a=b; Path=/s/desk/KEY/lab"},
		{"/s/desk/KEY", false, "a=b; Path=lab", "a=b; Path=/s/desk/KEY/"},
		{"", false, "streamspace=evil", ""},
		{"", false, " StreamSpace =evil; Path=/", ""},
		{"", false, "__Host-streamspace-session=evil; Path=/; Secure", ""},
		{"", false, "=streamspace=evil", ""},
		{"", false, "streamspace", ""},
	} {
		w.set(func(_ *proxy.Session, place *proxy.Place) {
			place.Prefix, place.Trustworthy, place.Hidden = test.prefix, test.trusted, []string{"streamspace", "streamspace-session", "__Host-streamspace-session"}
		})
		if got := strings.Join(w.answer("Set-Cookie: " + test.given)["Set-Cookie"], "|"); got != test.want {
			t.Errorf("%q becomes %q, want %q", test.given, got, test.want)
		}
	}
}

func TestASessionDecidesForItsOwnPagesAlone(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.set(func(_ *proxy.Session, place *proxy.Place) {
		place.Framers = []string{"https://streamspace.example.org"}
	})
	given := []string{
		"X-Frame-Options: DENY", `Clear-Site-Data: "*"`, "Strict-Transport-Security: max-age=1; includeSubDomains", "Alt-Svc: h3=\":443\"", "Report-To: {}", "Nel: {}",
		"Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; img-src *", "Content-Security-Policy: FRAME-ANCESTORS 'self'",
		"Service-Worker-Allowed: /", "Www-Authenticate: Basic realm=x", "Cross-Origin-Opener-Policy: same-origin", "Access-Control-Allow-Origin: *", "X-Own: yes",
	}
	header := w.answer(given...)
	for _, name := range []string{"X-Frame-Options", "Clear-Site-Data", "Strict-Transport-Security", "Alt-Svc", "Report-To", "Nel"} {
		if header.Get(name) != "" {
			t.Errorf("%s is passed on: %q", name, header.Get(name))
		}
	}
	want := []string{"default-src 'self'; img-src *", "frame-ancestors 'self' https://streamspace.example.org"}
	if got := header["Content-Security-Policy"]; !slices.Equal(got, want) {
		t.Errorf("the policies are %q, want %q", got, want)
	}
	for _, name := range []string{"Service-Worker-Allowed", "Www-Authenticate", "Cross-Origin-Opener-Policy", "X-Own"} {
		if header.Get(name) == "" {
			t.Errorf("%s is left out on an origin of the session's own", name)
		}
	}

	w.set(func(_ *proxy.Session, place *proxy.Place) { place.Prefix, place.Shared = "/s/desk/KEY", true })
	header = w.answer(given...)
	for _, name := range []string{"Service-Worker-Allowed", "Www-Authenticate", "Cross-Origin-Opener-Policy", "X-Frame-Options", "Clear-Site-Data"} {
		if header.Get(name) != "" {
			t.Errorf("%s is passed on where the console is too: %q", name, header.Get(name))
		}
	}
	policies := header["Content-Security-Policy"]
	sandbox := policies[len(policies)-1]
	if !strings.HasPrefix(sandbox, "sandbox allow-scripts ") || strings.Contains(sandbox, "same-origin") || strings.Contains(sandbox, "top-navigation") || strings.Contains(sandbox, "escape") {
		t.Errorf("the sandbox is %q", sandbox)
	}
	if header.Get("Referrer-Policy") != "no-referrer" || header.Get("Access-Control-Allow-Origin") != "null" || !strings.Contains(header.Get("Access-Control-Expose-Headers"), "X-Own") {
		t.Errorf("the header is %v", header)
	}
}

// On the console's origin a session's page is of no origin. The session sees its
// requests as those of its own page, and nothing installs itself there.
func TestPagesOnTheConsolesOrigin(t *testing.T) {
	w := newWorld(t, proxy.Options{})
	w.set(func(_ *proxy.Session, place *proxy.Place) { place.Prefix, place.Shared = "/s/desk/KEY", true })
	seen := w.seen(http.MethodPost, "/s/desk/KEY/seen", strings.NewReader("x"), "Origin: null", "Sec-Fetch-Site: cross-site", "Referer: http://x/s/desk/KEY/")
	if seen.Header.Get("Origin") != w.front.URL || seen.Header.Get("Sec-Fetch-Site") != "same-origin" || seen.Header.Get("Referer") != "" {
		t.Errorf("the app sees %v", seen.Header)
	}
	if answer := w.do(http.MethodGet, "/s/desk/KEY/sw.js", nil, "Service-Worker: script"); answer.StatusCode != http.StatusForbidden {
		t.Errorf("a service worker is answered with %s", answer.Status)
	}
	answer := w.do(http.MethodOptions, "/s/desk/KEY/seen", nil, "Origin: null", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a, x-b")
	if answer.StatusCode != http.StatusNoContent || answer.Header.Get("Access-Control-Allow-Origin") != "null" ||
		answer.Header.Get("Access-Control-Allow-Methods") != "PUT" || answer.Header.Get("Access-Control-Allow-Headers") != "x-a, x-b" {
		t.Errorf("leave to send is answered with %s %v", answer.Status, answer.Header)
	}
	if got := w.answer("Set-Cookie: a=b; Path=/")["Set-Cookie"]; len(got) != 1 || got[0] != "a=b; Path=/s/desk/KEY/" {
		t.Errorf("a cookie is %q", got)
	}
}
