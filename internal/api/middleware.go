package api

import (
	"bufio"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/streamspace/streamspace/models"
)

// observed is the outermost layer: request ids, the access log, durations, and
// panics turned into problems.
func observed(next http.Handler, logger *slog.Logger, metrics *metrics) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin := time.Now()
		r, begun := withRequest(r)
		answer := &recorder{ResponseWriter: w}
		answer.Header().Set(headerRequestID, begun.id)
		defer func() {
			recovered := recover()
			if recovered != nil && !isAbort(recovered) {
				logger.ErrorContext(r.Context(), "request panicked",
					"request", begun.id, "panic", recovered, "stack", string(debug.Stack()))
				if answer.status == 0 {
					writeProblem(answer, newProblem(r.Context(), models.CodeInternal,
						"something went wrong on the server; its log has more under request "+begun.id))
					recovered = nil
				}
			}
			elapsed := time.Since(begin)
			if !begun.long {
				metrics.request(r.Method, r.Pattern, answer.shown(), elapsed)
			}
			if recovered == nil && !logger.Enabled(r.Context(), slog.LevelInfo) {
				return // what it says costs something
			}
			logger.InfoContext(r.Context(), "request",
				"request", begun.id, "method", r.Method, "path", begun.shownPath(r.URL.Path), "query", redact(r.URL.Query()),
				"status", answer.shown(), "bytes", answer.bytes, "duration", elapsed,
				"remote", r.RemoteAddr, "user", begun.user.Name, "agent", begun.agentID)
			if recovered != nil {
				// Half an answer is out: only cutting the connection tells.
				panic(http.ErrAbortHandler)
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

func isAbort(recovered any) bool {
	err, isError := recovered.(error)
	return isError && errors.Is(err, http.ErrAbortHandler)
}

// openParams are the query parameters whose values may be logged. Everything
// else may be a secret, such as a ticket or a login link's token.
var openParams = map[string]bool{
	"agent_id": true, "agentId": true, "clusterId": true, "limit": true, "platform": true,
	"region": true, "sessionId": true, "state": true, "status": true,
}

// redact gives the query for the log.
func redact(query url.Values) string {
	for name, values := range query {
		if openParams[name] {
			continue
		}
		for i := range values {
			values[i] = "REDACTED"
		}
	}
	return query.Encode()
}

// secured sets the headers that keep browsers careful, and refuses foreign
// hosts and sites. The console replaces the headers by its own.
func secured(next http.Handler, origins *origins, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if !anyHost(r.URL.Path) {
			if err := origins.checkHost(r); err != nil {
				writeProblem(w, problemOf(r.Context(), logger, err))
				return
			}
		}
		if err := origins.checkCookie(r); err != nil {
			writeProblem(w, problemOf(r.Context(), logger, err))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// anyHost tells which paths answer under any name: those of agents, which
// bring a key that no page has and may know us by an internal name, and what
// orchestrators and Prometheus read, which know us by one too.
func anyHost(path string) bool {
	switch path {
	case pathRegister, pathConnect, pathTunnel, pathHealth, pathReady, pathMetrics:
		return true
	}
	return false
}

// routed serves the mux, turns what it does not know into problems below
// /api, and leaves the rest to the console.
func routed(mux *http.ServeMux, console http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refusal, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		// The mux says by its answer whether only the method is wrong.
		said := &discarded{header: http.Header{}}
		refusal.ServeHTTP(said, r)
		switch {
		case said.status == http.StatusMethodNotAllowed:
			allowed := said.header.Get("Allow")
			w.Header().Set("Allow", allowed)
			writeProblem(w, newProblem(r.Context(), models.CodeInvalidRequest,
				"this address does not take "+r.Method+"; use "+allowed).withStatus(said.status))
		case console == nil || r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/"):
			writeProblem(w, newProblem(r.Context(), models.CodeNotFound,
				"there is nothing at this address; /openapi.json lists what there is"))
		default:
			console.ServeHTTP(w, r)
		}
	})
}

// discarded takes an answer for its status and headers.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) WriteHeader(status int)      { d.status = status }
func (d *discarded) Write(b []byte) (int, error) { return len(b), nil }

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && (status >= http.StatusOK || status == http.StatusSwitchingProtocols) {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Hijack implements http.Hijacker.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil && r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	return conn, buffered, err
}

// Unwrap lets http.ResponseController reach the rest.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// shown is the status that the caller saw.
func (r *recorder) shown() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
