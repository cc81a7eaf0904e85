// Package api is the HTTP API of the control plane: routes, who may call them,
// problems, server-sent events, metrics and the OpenAPI document. What the
// calls do is decided in services; here requests are checked and answered.
package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
)

// Config is all that the API works with. Fields without a stated default are
// required.
type Config struct {
	// Shutdown ends event streams when it is done, as http.Server.Shutdown
	// waits for them and does not end them; by default nothing does.
	Shutdown context.Context
	Database *db.Database
	Hub      *websocket.AgentHub
	Sessions *services.Sessions
	Broker   *tunnel.Broker
	Feed     *services.Feed
	// Dispatcher and Reconciler are shown in the metrics; nil leaves theirs
	// out.
	Dispatcher *services.CommandDispatcher
	Reconciler *services.SessionReconciler
	Auth       *auth.Authenticator
	// Console answers everything that is not the API's; nil answers 404.
	Console http.Handler
	// Registry receives the API's metrics and is served at /metrics.
	Registry *prometheus.Registry
	// Logger discards by default.
	Logger *slog.Logger
	// Now is the clock of what is written and shown; time.Now.
	Now func() time.Time
	// Version is shown in the OpenAPI document; "dev".
	Version string
	// PublicURL is where users reach the control plane, when that is not a
	// loopback address; its host is accepted in Host headers, and its origin
	// in Origin headers.
	PublicURL *url.URL
}

// New makes the handler of everything that the control plane serves. It
// registers metrics, so it can be called once for each Config.Registry.
func New(config Config) (http.Handler, error) {
	return nil, errors.New("not built yet")
}
