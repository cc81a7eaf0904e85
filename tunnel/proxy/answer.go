package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// sandbox is what a page may do that shares its origin with the console: not
// be of that origin, and not take the place of the page that shows it.
const sandbox = "sandbox allow-scripts allow-forms allow-modals allow-popups allow-downloads allow-pointer-lock allow-orientation-lock allow-presentation"

// never are headers by which a session would decide for more than its own
// pages: for all of the site, or for who may show it.
var never = map[string]bool{
	"Alt-Svc":                   true,
	"Clear-Site-Data":           true,
	"Nel":                       true,
	"Public-Key-Pins":           true,
	"Report-To":                 true,
	"Reporting-Endpoints":       true,
	"Strict-Transport-Security": true,
	"X-Frame-Options":           true,
	"Expect-Ct":                 true,
	"Set-Login":                 true,
	"X-Accel-Redirect":          true,
	"X-Sendfile":                true,
}

// neverShared are headers that mean nothing, or harm, where the console is too.
var neverShared = map[string]bool{
	"Service-Worker-Allowed":           true,
	"Www-Authenticate":                 true,
	"Referrer-Policy":                  true,
	"Origin-Agent-Cluster":             true,
	"Cross-Origin-Opener-Policy":       true,
	"Cross-Origin-Embedder-Policy":     true,
	"Cross-Origin-Resource-Policy":     true,
	"Access-Control-Allow-Origin":      true,
	"Access-Control-Allow-Credentials": true,
	"Access-Control-Allow-Methods":     true,
	"Access-Control-Allow-Headers":     true,
	"Access-Control-Expose-Headers":    true,
	"Access-Control-Max-Age":           true,
}

// answer makes of a session's answer what the browser gets.
func (p Place) answer(answer *http.Response) {
	header := answer.Header
	for name := range header {
		if never[name] || p.Shared && neverShared[name] {
			delete(header, name)
		}
	}
	for _, name := range []string{"Location", "Content-Location"} {
		if given := header.Get(name); given != "" {
			header.Set(name, p.address(given))
		}
	}
	if given := header.Get("Refresh"); given != "" {
		header.Set("Refresh", p.refresh(given))
	}
	if set := header["Set-Cookie"]; len(set) > 0 {
		p.cookies(header, set)
	}
	p.policies(header)
	if !p.Shared {
		return
	}
	header.Add("Content-Security-Policy", sandbox)
	// The prefix is what lets one in.
	header.Set("Referrer-Policy", "no-referrer")
	expose(header)
}

// policies lets the place's framers show the page, and nobody else, whatever
// the session says of it.
func (p Place) policies(header http.Header) {
	const ancestors = "frame-ancestors"
	for _, name := range []string{"Content-Security-Policy", "Content-Security-Policy-Report-Only"} {
		kept := header[name][:0]
		for _, policy := range header[name] {
			directives := slices.DeleteFunc(strings.Split(policy, ";"), func(directive string) bool {
				first, _, _ := strings.Cut(strings.TrimSpace(directive), " ")
				return strings.EqualFold(first, ancestors)
			})
			if rest := strings.TrimSpace(strings.Join(directives, ";")); rest != "" {
				kept = append(kept, rest)
			}
		}
		if len(kept) == 0 {
			header.Del(name)
			continue
		}
		header[name] = kept
	}
	header.Add("Content-Security-Policy", strings.Join(append([]string{ancestors + " 'self'"}, p.Framers...), " "))
}

// expose lets a page in a sandbox read what it would read of its own origin.
func expose(header http.Header) {
	allow(header)
	names := make([]string, 0, len(header))
	for name := range header {
		if name != "Set-Cookie" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	header.Set("Access-Control-Expose-Headers", strings.Join(names, ", "))
}

// refresh rewrites the address in a Refresh header.
func (p Place) refresh(given string) string {
	at := strings.Index(strings.ToLower(given), "url=")
	if at < 0 {
		return given
	}
	at += len("url=")
	return given[:at] + p.address(strings.Trim(given[at:], `"' `))
}
