package api

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// localHosts is the pattern for browsers on this machine, which find it under
// every name that ends so.
const localHosts = ".sessions.localhost"

// NoSessionHosts is the pattern that gives no session a host name of its own.
const NoSessionHosts = "none"

// sessionHosts are the host names of sessions: the session's id and suffix.
type sessionHosts struct {
	// suffix is what follows the id, with its dot; empty when no pattern was given.
	suffix string
	// none tells that sessions get no names.
	none   bool
	public *url.URL
}

// newSessionHosts reads a pattern such as *.sessions.example.org. Without one
// sessions have names for browsers on this machine alone.
func newSessionHosts(pattern string, public *url.URL) (sessionHosts, error) {
	if pattern == "" || pattern == NoSessionHosts {
		return sessionHosts{none: pattern == NoSessionHosts, public: public}, nil
	}
	suffix, found := strings.CutPrefix(strings.ToLower(pattern), "*")
	if !found || !strings.HasPrefix(suffix, ".") || len(suffix) < 2 || strings.ContainsAny(suffix, "*:/ ") || strings.Contains(suffix, "..") {
		return sessionHosts{}, fmt.Errorf("the session host pattern %q must be like *.sessions.example.org, without a port, or %s", pattern, NoSessionHosts)
	}
	if public != nil && strings.HasSuffix(strings.ToLower(public.Hostname()), suffix) {
		return sessionHosts{}, fmt.Errorf("the session host pattern %q takes in the console's own name %s", pattern, public.Hostname())
	}
	return sessionHosts{suffix: suffix, public: public}, nil
}

// session gives the session whose name the request's host is.
func (h sessionHosts) session(r *http.Request) (id string, found bool) {
	suffix := h.suffix
	if suffix == "" {
		suffix = localHosts
	}
	id, found = strings.CutSuffix(hostname(r.Host), suffix)
	return id, found && !h.none && id != "" && !strings.Contains(id, ".")
}

// shared reports whether sessions are shown on the origin of the request, which
// is the console's.
func (h sessionHosts) shared(r *http.Request) bool {
	return h.none || h.suffix == "" && !loopback(r.Host)
}

// of gives the session's own origin for the sender of a request to the console;
// secure tells whether TLS is in front of it.
func (h sessionHosts) of(r *http.Request, id string, secure bool) url.URL {
	suffix, port, scheme := h.suffix, portOf(r.Host), "http"
	if suffix == "" {
		suffix = localHosts
	} else if h.public != nil {
		port, secure = h.public.Port(), h.public.Scheme == "https"
	}
	if secure {
		scheme = "https"
	}
	host := id + suffix
	if port != "" {
		host += ":" + port
	}
	return url.URL{Scheme: scheme, Host: host}
}

// consoles are the origins from which the console may show the page that was
// asked for.
func (h sessionHosts) consoles(r *http.Request) []string {
	if h.public != nil {
		return []string{h.public.Scheme + "://" + h.public.Host}
	}
	port := portOf(r.Host)
	if port != "" {
		port = ":" + port
	}
	return []string{"http://localhost" + port, "http://127.0.0.1" + port} // browsers take no address in brackets here
}

// PageFrames are the sources in the sense of a content security policy whose
// pages the console shows inside of its own, besides itself. It fails where New
// would for the same pattern.
func PageFrames(pattern string, public *url.URL) ([]string, error) {
	hosts, err := newSessionHosts(pattern, public)
	switch {
	case err != nil || hosts.none:
		return nil, err
	case hosts.suffix == "":
		return []string{"http://*" + localHosts + ":*"}, nil
	case public != nil:
		return []string{public.Scheme + "://*" + hosts.suffix + ":*"}, nil
	}
	return []string{"http://*" + hosts.suffix + ":*", "https://*" + hosts.suffix + ":*"}, nil
}

// loopback tells a name or address that only this machine reaches.
func loopback(host string) bool {
	name := hostname(host)
	address, err := netip.ParseAddr(name)
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || err == nil && address.IsLoopback()
}

func portOf(host string) string {
	_, port, err := net.SplitHostPort(host)
	if err != nil {
		return ""
	}
	return port
}
