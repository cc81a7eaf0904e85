package docker_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// dying gives the address of the engine for somebody who reaches it so many times
// after the first, by which a driver finds out that it is there. What is asked for
// the last time is lost on its way there, or its answer on the way back.
func (e *engine) dying(t *testing.T, calls int, lost bool) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	engine := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "engine"}) },
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", strings.TrimPrefix(e.host, "unix://"))
		}},
	}
	var asked atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			engine.ServeHTTP(w, r)
			return
		}
		number := int(asked.Add(1))
		if number > calls+1 || number == calls+1 && !lost {
			panic(http.ErrAbortHandler)
		}
		if number == calls+1 {
			engine.ServeHTTP(discarding{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		engine.ServeHTTP(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix://" + socket
}

// discarding takes an answer that nobody gets.
type discarding struct{ header http.Header }

// Header implements http.ResponseWriter.
func (d discarding) Header() http.Header { return d.header }

// Write implements http.ResponseWriter.
func (d discarding) Write(content []byte) (int, error) { return len(content), nil }

// WriteHeader implements http.ResponseWriter.
func (d discarding) WriteHeader(int) {}
