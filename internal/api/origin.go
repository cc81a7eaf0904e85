package api

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// origins tells our own pages from those of other sites.
type origins struct {
	public  *url.URL // nil when there is none
	foreign *http.CrossOriginProtection
}

func newOrigins(public *url.URL) (*origins, error) {
	o := &origins{public: public, foreign: http.NewCrossOriginProtection()}
	if public != nil {
		if (public.Scheme != "http" && public.Scheme != "https") || public.Host == "" {
			return nil, fmt.Errorf("the public URL %q must be like https://streamspace.example.org", public)
		}
		if err := o.foreign.AddTrustedOrigin(public.Scheme + "://" + public.Host); err != nil {
			return nil, fmt.Errorf("public URL: %w", err)
		}
	}
	return o, nil
}

// checkHost refuses names that are not ours. A page of another site can point
// its own name at this machine (DNS rebinding) and would then count as
// same-origin here; addresses are safe, as no name leads to them.
func (o *origins) checkHost(r *http.Request) error {
	host := hostname(r.Host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	if o.public != nil && host == strings.ToLower(o.public.Hostname()) {
		return nil
	}
	return models.Errorf(models.CodeOriginForeign,
		"this server is not known as %q; use its address or localhost, or start it with this name in --public-url", host)
}

// checkCookie refuses requests that another site made the browser send along
// with our cookie.
func (o *origins) checkCookie(r *http.Request) error {
	if !auth.ByCookie(r) {
		return nil
	}
	if err := o.foreign.Check(r); err != nil {
		return &models.Error{Code: models.CodeOriginForeign, Err: err,
			Message: "a page of another site sent this request; only our own pages may use the console's sign-in"}
	}
	return nil
}

// checkUpgrade refuses what no WebSocket can be made of (RFC 6455, 4.2.1), and
// WebSockets of other sites' pages. Programs send no Origin.
func (o *origins) checkUpgrade(r *http.Request) error {
	if !o.ours(r, r.Header.Get("Origin")) {
		return models.Errorf(models.CodeOriginForeign,
			"a page of %q may not connect here; only our own pages may", r.Header.Get("Origin"))
	}
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	if err != nil || len(key) != 16 || r.Method != http.MethodGet || r.Header.Get("Sec-WebSocket-Version") != "13" ||
		!hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return models.Errorf(models.CodeInvalidRequest,
			"this address is a WebSocket; connect with a WebSocket client, and see that a proxy in between passes upgrades on")
	}
	return nil
}

// ours tells whether an Origin header is that of our own pages, or none.
func (o *origins) ours(r *http.Request, origin string) bool {
	if origin == "" {
		return true
	}
	parsed, err := url.Parse(origin)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return false
	}
	return strings.EqualFold(parsed.Host, r.Host) ||
		(o.public != nil && parsed.Scheme == o.public.Scheme && strings.EqualFold(parsed.Host, o.public.Host))
}

// hasToken tells whether a header's list has the token.
func hasToken(header http.Header, name, token string) bool {
	for _, list := range header.Values(name) {
		for _, one := range strings.Split(list, ",") {
			if strings.EqualFold(strings.TrimSpace(one), token) {
				return true
			}
		}
	}
	return false
}

// secure reports whether the browser reaches us over TLS, so that a cookie may
// be marked Secure.
func (o *origins) secure(r *http.Request) bool {
	return r.TLS != nil ||
		(o.public != nil && o.public.Scheme == "https" && strings.EqualFold(r.Host, o.public.Host))
}

// address is the URL of path as the sender of r reaches it.
func (o *origins) address(r *http.Request, path string, query url.Values) string {
	address := url.URL{Scheme: "http", Host: r.Host, Path: path, RawQuery: query.Encode()}
	if o.secure(r) {
		address.Scheme = "https"
	}
	return address.String()
}

// hostname is a Host header without its port and in lower case.
func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}
