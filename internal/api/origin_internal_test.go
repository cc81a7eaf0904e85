package api

import (
	"net/url"
	"strings"
	"testing"
)

func FuzzLocalPath(f *testing.F) {
	for _, seed := range []string{"/", "//evil.example", `/\evil`, "/%2f/evil", "/a/../..//evil", "\x01/x", "/a\r\nSet-Cookie: x", "/:80", "/@evil"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "http", Host: "here.example", Path: "/login"}
	f.Fuzz(func(t *testing.T, next string) {
		local := localPath(next)
		parsed, err := base.Parse(local)
		if err != nil || parsed.Host != base.Host || parsed.Scheme != base.Scheme || parsed.User != nil ||
			!strings.HasPrefix(local, "/") || strings.HasPrefix(local, "//") || strings.ContainsAny(local, "\\\r\n\t") {
			t.Errorf("%q leads to %q", next, local)
		}
	})
}
