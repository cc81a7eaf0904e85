package proxy

import (
	"net/http"
	"slices"
	"strings"
)

// hideCookies takes cookies out of a request.
func hideCookies(header http.Header, hidden []string) {
	lines := header["Cookie"]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for _, cookie := range strings.Split(line, ";") {
			cookie = strings.TrimSpace(cookie)
			if name, _, _ := strings.Cut(cookie, "="); cookie != "" && !isHidden(name, hidden) {
				kept = append(kept, cookie)
			}
		}
	}
	if len(kept) == 0 {
		header.Del("Cookie")
		return
	}
	header["Cookie"] = []string{strings.Join(kept, "; ")}
}

func isHidden(name string, hidden []string) bool {
	return slices.ContainsFunc(hidden, func(one string) bool { return strings.EqualFold(one, strings.TrimSpace(name)) })
}

// cookies rewrites what a session sets, so that it is the session's alone.
func (p Place) cookies(header http.Header, set []string) {
	header.Del("Set-Cookie")
	for _, line := range set {
		if own, ok := p.cookie(line); ok {
			header.Add("Set-Cookie", own)
		}
	}
}

// cookie is one cookie for the place alone: no other host gets it, and no path
// but the session's. One that would be taken for one of ours is left out, and so
// is one without a name, of which a browser could make any.
func (p Place) cookie(line string) (own string, ok bool) {
	parts := strings.Split(line, ";")
	name, _, named := strings.Cut(parts[0], "=")
	name = strings.TrimSpace(name)
	if !named || name == "" || isHidden(name, p.Hidden) {
		return "", false
	}
	own, path := strings.TrimSpace(parts[0]), ""
	for _, part := range parts[1:] {
		attribute, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch strings.ToLower(strings.TrimSpace(attribute)) {
		case "domain", "secure", "partitioned", "":
		case "path":
			path = strings.TrimSpace(value)
		case "samesite":
			if !p.Trustworthy && !strings.EqualFold(strings.TrimSpace(value), "none") {
				own += "; SameSite=" + strings.TrimSpace(value)
			}
		default:
			own += "; " + strings.TrimSpace(part)
		}
	}
	if p.Prefix != "" {
		if !strings.HasPrefix(path, "/") {
			path = "/"
		}
		path = p.outer(path)
	}
	if path != "" {
		own += "; Path=" + path
	}
	if p.Trustworthy {
		// The console shows the page inside of its own, which may be another site;
		// as a partitioned one it is sent when shown there and nowhere else.
		own += "; Secure; SameSite=None; Partitioned"
	}
	return own, true
}
