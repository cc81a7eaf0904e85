// Package console serves the web console, which is built by Vite from web/ and
// embedded into the binary. It knows nothing of the API: every page that it
// serves is the same for everybody, and the console's own requests decide who
// sees what.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

// dist holds what `make build` has put there. The committed .keep file lets the
// package compile in a clean clone.
//
//go:embed all:dist
var dist embed.FS

// Handler serves the embedded console: the page at / and /sessions/{id}, its
// files at their own paths, and 404 for everything else. Where the console has
// not been built it serves a page that says how to. Every answer carries the
// console's security headers. frames are the sources, as a content security
// policy names them, whose pages the console may show inside of its own, besides
// itself. It is safe for concurrent use.
func Handler(frames ...string) http.Handler {
	built, err := fs.Sub(dist, "dist")
	if err != nil {
		// fs.Sub fails only for an invalid path; an empty tree is "not built".
		built = embed.FS{}
	}
	return newHandler(built, frames...)
}
