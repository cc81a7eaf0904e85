package proxy

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// upstream is a session's name where one is needed; it leads nowhere.
const upstream = "session.invalid"

// Place is where a browser sees a session.
type Place struct {
	// Scheme and Host, with a port if it has one, are the origin.
	Scheme, Host string
	// Prefix is what comes before the session's own paths, such as /s/desk/KEY, or
	// empty. The session does not see it, unless Whole.
	Prefix string
	Whole  bool
	// Shared tells that the origin is the console's too. Then every answer makes
	// its page one of an origin that is nobody's, so that it reaches nothing there.
	Shared bool
	// Trustworthy tells that browsers take the origin for a secure one: HTTPS, or
	// this machine.
	Trustworthy bool
	// Framers are the origins whose pages may show the session's inside of them.
	Framers []string
	// Hidden are the names of cookies that no session may see or set.
	Hidden []string
}

// refuses answers what is not for the session.
func (p Place) refuses(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace || !strings.HasPrefix(r.URL.Path, "/"):
		http.Error(w, "this is not a request for a session", http.StatusMethodNotAllowed)
	case p.Shared && r.Header.Get("Service-Worker") != "":
		// It would answer for the console's pages.
		http.Error(w, "a session needs a host name of its own to have a service worker", http.StatusForbidden)
	case p.Shared && r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "":
		allow(w.Header())
		w.Header().Set("Access-Control-Allow-Methods", r.Header.Get("Access-Control-Request-Method"))
		w.Header().Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		w.Header().Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	default:
		return false
	}
	return true
}

// nobody is the origin of pages in a sandbox.
const nobody = "null"

// allow lets a page in a sandbox, for which everything is of another origin,
// read the answer to what it has asked for.
func allow(header http.Header) {
	header.Set("Access-Control-Allow-Origin", nobody)
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Add("Vary", "Origin")
}

// request makes out of in what the session gets.
func (p Place) request(in, out *http.Request, session Session) {
	out.URL.Scheme, out.URL.Host, out.Host = "http", upstream, p.Host
	if session.TLS {
		out.URL.Scheme = "https"
	}
	out.URL.User, out.URL.Fragment, out.URL.RawQuery = nil, "", in.URL.RawQuery
	if !p.Whole {
		out.URL.Path, out.URL.RawPath = p.inner(in.URL.Path), ""
		if in.URL.RawPath != "" {
			out.URL.RawPath = p.inner(in.URL.RawPath)
		}
	}
	hideCookies(out.Header, p.Hidden)
	for _, own := range []string{"X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Real-Ip", "X-Original-Url", "X-Rewrite-Url"} {
		out.Header.Del(own)
	}
	out.Header.Set("X-Forwarded-Host", p.Host)
	out.Header.Set("X-Forwarded-Proto", p.Scheme)
	if p.Prefix != "" {
		out.Header.Set("X-Forwarded-Prefix", p.Prefix)
	}
	if ip, _, err := net.SplitHostPort(in.RemoteAddr); err == nil {
		out.Header["X-Forwarded-For"] = []string{strings.Join(append(in.Header["X-Forwarded-For"], ip), ", ")}
	}
	if session.Username != "" || session.Password != "" {
		out.SetBasicAuth(session.Username, session.Password)
	}
	if p.Shared {
		p.ownPage(out.Header)
	}
}

// ownPage lets the session see the requests of its page, whose origin is hidden,
// as those of its own page. Only who knows the prefix can send any.
func (p Place) ownPage(header http.Header) {
	if header.Get("Origin") != "" {
		header.Set("Origin", p.Scheme+"://"+p.Host)
	}
	if header.Get("Sec-Fetch-Site") != "" {
		header.Set("Sec-Fetch-Site", "same-origin")
	}
	header.Del("Referer")
}

// inner is a path as the session sees it.
func (p Place) inner(path string) string {
	path = strings.TrimPrefix(path, p.Prefix)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	return path
}

// outer is a path of the session as the browser sees it.
func (p Place) outer(path string) string {
	if p.Whole && strings.HasPrefix(path, p.Prefix+"/") {
		return path
	}
	return p.Prefix + path
}

// address rewrites an address that the session gives, as far as it leads back
// to it.
func (p Place) address(given string) string {
	parsed, err := url.Parse(given)
	switch {
	case err != nil:
		return given
	case parsed.Scheme == "" && parsed.Host == "":
		if !strings.HasPrefix(given, "/") {
			return given
		}
	case (parsed.Scheme == "" || parsed.Scheme == "http" || parsed.Scheme == "https") && p.own(parsed.Hostname()):
	default:
		return given
	}
	back := url.URL{RawQuery: parsed.RawQuery, Fragment: parsed.Fragment, RawFragment: parsed.RawFragment}
	path := parsed.EscapedPath()
	if path == "" {
		path = "/"
	}
	// Of // a browser makes a host.
	return p.outer("/"+strings.TrimLeft(path, "/")) + back.String()
}

// own tells whether a host name is the place's, whatever port comes with it:
// programs that redirect like to name the one that they listen on.
func (p Place) own(name string) bool {
	own, _, err := net.SplitHostPort(p.Host)
	if err != nil {
		own = strings.Trim(p.Host, "[]")
	}
	return strings.EqualFold(own, name) || name == upstream
}
