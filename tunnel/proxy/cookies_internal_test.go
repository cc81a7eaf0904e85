package proxy

import (
	"net/http"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a session sets, a browser keeps it for the session's own host and
// path, under no name of ours.
func TestNoCookieLeavesItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		place := Place{Hidden: []string{"streamspace", "__Host-streamspace"}, Trustworthy: rapid.Bool().Draw(t, "trustworthy")}
		if rapid.Bool().Draw(t, "below") {
			place.Prefix = "/s/desk/KEY"
		}
		line := rapid.SampledFrom([]string{"a=b", "streamspace=x", " STREAMSPACE =x", "__host-streamspace=x", "=streamspace=x", "x"}).Draw(t, "cookie")
		for _, attribute := range rapid.SliceOf(rapid.OneOf(
			rapid.SampledFrom([]string{"Domain=example.org", "domain = .example.org", "DOMAIN", "Path=/", "path=/x", "PATH=x", "Path=/s/other", "Secure", "SameSite=None", "HttpOnly"}),
			rapid.StringMatching(`[A-Za-z= /.;-]{0,20}`))).Draw(t, "attributes") {
			line += "; " + attribute
		}
		kept, ok := place.cookie(line)
		if !ok {
			return
		}
		cookie, err := http.ParseSetCookie(kept)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", line, kept, err)
		}
		if cookie.Domain != "" || cookie.Name != "a" {
			t.Fatalf("%q becomes %q", line, kept)
		}
		if place.Prefix != "" && !strings.HasPrefix(cookie.Path, place.Prefix+"/") {
			t.Fatalf("%q becomes %q, which is for other paths", line, kept)
		}
		if place.Trustworthy && (!cookie.Secure || !cookie.Partitioned) {
			t.Fatalf("%q becomes %q", line, kept)
		}
	})
}
