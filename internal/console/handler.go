package console

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"regexp"
	"strings"
	"time"
)

// policy allows the console its own files and its own API, nothing else. Styles
// may be inline because xterm.js makes its style sheet at run time; images may
// be data: because noVNC decodes JPEG rectangles and draws cursors so.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

const (
	// cacheForever is for files whose names change with their content.
	cacheForever = "public, max-age=31536000, immutable"
	// cacheChecked makes the browser ask each time; the ETag keeps that cheap.
	cacheChecked = "no-cache"
	cacheNever   = "no-store"
)

// index is the page that every address of the console starts from.
const index = "index.html"

// viewerPath is the address of a session's viewer, the id being as the API
// allows it.
var viewerPath = regexp.MustCompile(`^/sessions/[a-z0-9][a-z0-9-]{0,62}$`)

// contentTypes are fixed here because the system's own table may lack or
// misname them, and browsers refuse mislabelled scripts under nosniff.
var contentTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".ico":         "image/x-icon",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".txt":         "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
	".woff2":       "font/woff2",
}

// file is one file of the build, read once.
type file struct {
	content     []byte
	contentType string
	cache       string
	etag        string
}

// handler serves a build that it holds in memory. The embedded bytes are shared
// with the binary, so this costs no second copy of them.
type handler struct {
	files  map[string]file
	policy string
}

// newHandler serves the build in tree.
func newHandler(tree fs.FS, frames ...string) http.Handler {
	files := map[string]file{}
	// An unreadable tree is served as one that was not built.
	_ = fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasPrefix(path.Base(name), ".") {
			return err
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		files[name] = newFile(name, content)
		return nil
	})
	return &handler{files: files, policy: policy + "; frame-src " + strings.Join(append([]string{"'self'"}, frames...), " ")}
}

func newFile(name string, content []byte) file {
	contentType, known := contentTypes[path.Ext(name)]
	if !known {
		contentType = "application/octet-stream"
	}
	cache := cacheChecked
	if strings.HasPrefix(name, "assets/") {
		cache = cacheForever
	}
	sum := sha256.Sum256(content)
	return file{
		content:     content,
		contentType: contentType,
		cache:       cache,
		etag:        `"` + hex.EncodeToString(sum[:12]) + `"`,
	}
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", h.policy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Not no-referrer: that would turn the Origin of form posts into "null".
	header.Set("Referrer-Policy", "same-origin")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")

	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		writePage(w, http.StatusMethodNotAllowed, methodPage)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if r.URL.Path == "/" || viewerPath.MatchString(r.URL.Path) {
		name = index
		if _, built := h.files[index]; !built {
			writePage(w, http.StatusServiceUnavailable, notBuiltPage)
			return
		}
	}
	found, exists := h.files[name]
	if !exists {
		writePage(w, http.StatusNotFound, notFoundPage)
		return
	}
	header.Set("Content-Type", found.contentType)
	header.Set("Cache-Control", found.cache)
	header.Set("ETag", found.etag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(found.content))
}
