package console

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func build() fs.FS {
	return fstest.MapFS{
		".keep":                   {Data: nil},
		"index.html":              {Data: []byte("<!doctype html><title>console</title>")},
		"theme.js":                {Data: []byte("// theme")},
		"favicon.svg":             {Data: []byte("<svg/>")},
		"assets/index-abc123.js":  {Data: []byte("export {}")},
		"assets/index-abc123.css": {Data: []byte("body{}")},
	}
}

func serve(t *testing.T, tree fs.FS, method, target string, header http.Header) *http.Response {
	t.Helper()
	request := httptest.NewRequest(method, "http://localhost"+target, nil)
	for name, values := range header {
		request.Header[name] = values
	}
	recorder := httptest.NewRecorder()
	newHandler(tree).ServeHTTP(recorder, request)
	return recorder.Result()
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(content)
}

func TestRoutes(t *testing.T) {
	const html, script = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
	longest := "/sessions/" + strings.Repeat("a", 63)
	tests := []struct {
		name, method, target string
		status               int
		contentType, cache   string
		contains             string
	}{
		{"home", "GET", "/", 200, html, cacheChecked, "<title>console"},
		{"viewer", "GET", "/sessions/a1-b2", 200, html, cacheChecked, "<title>console"},
		{"viewer of the longest id", "GET", longest, 200, html, cacheChecked, "<title>console"},
		{"viewer with a query", "GET", "/sessions/a1?x=1", 200, html, cacheChecked, "<title>console"},
		{"too long an id", "GET", longest + "a", 404, html, cacheNever, "no such page"},
		{"an id that cannot be", "GET", "/sessions/A_1", 404, html, cacheNever, "no such page"},
		{"below a viewer", "GET", "/sessions/a1/more", 404, html, cacheNever, "no such page"},
		{"list address", "GET", "/sessions/", 404, html, cacheNever, "no such page"},
		{"unknown", "GET", "/nothing", 404, html, cacheNever, "no such page"},
		{"unknown asset", "GET", "/assets/gone-000.js", 404, html, cacheNever, "no such page"},
		{"folder", "GET", "/assets/", 404, html, cacheNever, "no such page"},
		{"hidden file", "GET", "/.keep", 404, html, cacheNever, "no such page"},
		{"traversal", "GET", "/assets/../../console.go", 404, html, cacheNever, "no such page"},
		{"hashed script", "GET", "/assets/index-abc123.js", 200, script, cacheForever, "export {}"},
		{"hashed style", "GET", "/assets/index-abc123.css", 200, "text/css; charset=utf-8", cacheForever, "body{}"},
		{"unhashed script", "GET", "/theme.js", 200, script, cacheChecked, "// theme"},
		{"icon", "GET", "/favicon.svg", 200, "image/svg+xml", cacheChecked, "<svg/>"},
		{"head", "HEAD", "/", 200, html, cacheChecked, ""},
		{"post", "POST", "/", 405, html, cacheNever, "/api/v1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response := serve(t, build(), test.method, test.target, nil)
			if response.StatusCode != test.status {
				t.Fatalf("status %d, want %d", response.StatusCode, test.status)
			}
			if got := response.Header.Get("Content-Type"); got != test.contentType {
				t.Errorf("Content-Type %q, want %q", got, test.contentType)
			}
			if got := response.Header.Get("Cache-Control"); got != test.cache {
				t.Errorf("Cache-Control %q, want %q", got, test.cache)
			}
			got := body(t, response)
			if !strings.Contains(got, test.contains) {
				t.Errorf("body %q does not contain %q", got, test.contains)
			}
			if test.method == http.MethodHead && got != "" {
				t.Errorf("HEAD was answered with the body %q", got)
			}
		})
	}
}

func TestSecurityHeadersAreOnEveryAnswer(t *testing.T) {
	for _, target := range []string{"/", "/assets/index-abc123.js", "/nothing"} {
		for name, tree := range map[string]fs.FS{"built": build(), "not built": fstest.MapFS{".keep": {}}} {
			header := serve(t, tree, http.MethodGet, target, nil).Header
			for key, want := range map[string]string{
				"X-Content-Type-Options":     "nosniff",
				"X-Frame-Options":            "DENY",
				"Referrer-Policy":            "same-origin",
				"Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got := header.Get(key); got != want {
					t.Errorf("%s, %s: %s is %q, want %q", target, name, key, got, want)
				}
			}
			directives := map[string]string{}
			for _, directive := range strings.Split(header.Get("Content-Security-Policy"), ";") {
				key, value, _ := strings.Cut(strings.TrimSpace(directive), " ")
				directives[key] = value
			}
			for key, want := range map[string]string{
				"default-src": "'none'", "script-src": "'self'", "connect-src": "'self'",
				"frame-ancestors": "'none'", "base-uri": "'none'",
			} {
				if directives[key] != want {
					t.Errorf("%s, %s: %s is %q, want %q", target, name, key, directives[key], want)
				}
			}
		}
	}
}

func TestAnUnchangedPageIsNotSentTwice(t *testing.T) {
	first := serve(t, build(), http.MethodGet, "/", nil)
	tag := first.Header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	again := serve(t, build(), http.MethodGet, "/sessions/a1", http.Header{"If-None-Match": {tag}})
	if again.StatusCode != http.StatusNotModified {
		t.Errorf("status %d, want 304", again.StatusCode)
	}
	changed := fstest.MapFS{"index.html": {Data: []byte("other")}}
	if got := serve(t, changed, http.MethodGet, "/", http.Header{"If-None-Match": {tag}}); got.StatusCode != http.StatusOK {
		t.Errorf("status %d for a changed page, want 200", got.StatusCode)
	}
}

// broken is a tree that cannot be read.
type broken struct{}

func (broken) Open(string) (fs.File, error) { return nil, errors.New("broken") }

func TestAConsoleThatIsNotBuiltSaysHowToBuildIt(t *testing.T) {
	for name, tree := range map[string]fs.FS{"clean clone": fstest.MapFS{".keep": {}}, "unreadable": broken{}} {
		for _, target := range []string{"/", "/sessions/a1"} {
			response := serve(t, tree, http.MethodGet, target, nil)
			if response.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s, %s: status %d, want 503", name, target, response.StatusCode)
			}
			if got := body(t, response); !strings.Contains(got, "make build") {
				t.Errorf("%s, %s: %q does not say make build", name, target, got)
			}
		}
	}
}

func TestTheEmbeddedConsoleAnswers(t *testing.T) {
	recorder := httptest.NewRecorder()
	Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "http://localhost/", nil))
	// Whether this binary holds a build depends on the machine; it is one or the other.
	if recorder.Code != http.StatusOK && recorder.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 200 or 503", recorder.Code)
	}
	if !strings.Contains(recorder.Body.String(), "StreamSpace") {
		t.Error("neither the console nor the page that says how to build it")
	}
}
