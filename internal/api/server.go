package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/models"
)

// The paths outside of the resources.
const (
	pathHealth   = "/healthz"
	pathReady    = "/readyz"
	pathMetrics  = "/metrics"
	pathDocument = "/openapi.json"
)

// serverRoutes tell of the control plane itself.
type serverRoutes struct {
	database *db.Database
	registry *prometheus.Registry
	document *documentHandler
	shutdown context.Context
	logger   *slog.Logger
}

// readyDeadline bounds the database's answer to /readyz.
const readyDeadline = 3 * time.Second

func (s *serverRoutes) register(r *router) {
	health := operation(accessPublic, http.MethodGet, pathHealth, "health", tagServer,
		"Tell whether the process serves requests")
	health.Responses = map[string]*huma.Response{"200": answer("It does.", "text/plain")}
	r.raw(health, func(w http.ResponseWriter, _ *http.Request) { writeOK(w) })

	ready := operation(accessPublic, http.MethodGet, pathReady, "ready", tagServer,
		"Tell whether the process can do its work, which needs the database", http.StatusServiceUnavailable)
	ready.Responses = map[string]*huma.Response{"200": answer("It can.", "text/plain")}
	r.raw(ready, s.ready)

	exposition := operation(accessPublic, http.MethodGet, pathMetrics, "metrics", tagServer,
		"Show metrics for Prometheus")
	exposition.Responses = map[string]*huma.Response{"200": answer("The metrics.", "text/plain")}
	r.raw(exposition, promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(s.logger.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError,
	}).ServeHTTP)

	document := operation(accessPublic, http.MethodGet, pathDocument, "openapi", tagServer,
		"Show this document")
	document.Responses = map[string]*huma.Response{"200": {
		Description: "OpenAPI 3.1.",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}}},
	}}
	r.raw(document, s.document.ServeHTTP)
}

func (s *serverRoutes) ready(w http.ResponseWriter, r *http.Request) {
	if s.shutdown.Err() != nil {
		problem := newProblem(r.Context(), models.CodeStopped, "the control plane is stopping; try again shortly")
		problem.Retryable = true
		writeProblem(w, problem)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyDeadline)
	defer cancel()
	if err := s.database.Ping(ctx); err != nil {
		s.logger.ErrorContext(r.Context(), "not ready", "request", requestOf(r.Context()).id, "error", err)
		problem := newProblem(r.Context(), models.CodeUnavailable, "the database does not answer; the server's log has more")
		problem.Retryable = true
		writeProblem(w, problem)
		return
	}
	writeOK(w)
}

func writeOK(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // the caller may have gone
}
