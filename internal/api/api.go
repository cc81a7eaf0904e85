// Package api is the HTTP API of the control plane: routes, who may call them,
// problems, server-sent events, metrics and the OpenAPI document. What the
// calls do is decided in services; here requests are checked and answered.
package api

import (
	"context"
	"fmt"
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
	// waits for them and does not end them, and /readyz says no from then on;
	// by default nothing does.
	Shutdown context.Context
	Database *db.Database
	Hub      *websocket.AgentHub
	Sessions *services.Sessions
	Broker   *tunnel.Broker
	Feed     *services.Feed
	// Activity is told when sessions are used.
	Activity *services.ActivityKeeper
	// Dispatcher and Reconciler are shown in the metrics, and the Reconciler by
	// itself; nil leaves theirs out.
	Dispatcher *services.CommandDispatcher
	Reconciler *services.SessionReconciler
	// Convergence is shown in the metrics; nil leaves it out.
	Convergence *Convergence
	Auth        *auth.Authenticator
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
	// SessionHosts is the pattern of host names at which sessions show their pages,
	// such as *.sessions.example.org; NoSessionHosts shows all of them on the
	// console's origin. Without one they have names for browsers on this machine.
	SessionHosts string
	// EventsPoll is how often an event stream looks for changes whose hints
	// were lost; 10 s.
	EventsPoll time.Duration
	// EventsPing is how often a silent event stream shows that it lives; 15 s.
	EventsPing time.Duration
}

// New makes the handler of everything that the control plane serves. It
// registers metrics, so it can be called once for each Config.Registry.
func New(config Config) (http.Handler, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	origins, err := newOrigins(config.PublicURL)
	if err != nil {
		return nil, err
	}
	hosts, err := newSessionHosts(config.SessionHosts, config.PublicURL)
	if err != nil {
		return nil, err
	}
	shown := newPages(config, origins, hosts)
	metrics, err := newMetrics(config)
	if err != nil {
		return nil, err
	}
	observer := observer{database: config.Database, now: config.Now}
	routes := newRouter(config.Version, config.Auth, config.Logger)
	document := &documentHandler{}
	for _, resource := range []interface{ register(*router) }{
		&sessionRoutes{database: config.Database, sessions: config.Sessions, observer: observer},
		&activityRoutes{database: config.Database, activity: config.Activity},
		&streamRoutes{database: config.Database, auth: config.Auth, hub: config.Hub, broker: config.Broker, activity: config.Activity,
			origins: origins, public: config.PublicURL, pages: shown, metrics: metrics, logger: config.Logger},
		&eventRoutes{database: config.Database, observer: observer, auth: config.Auth, feed: config.Feed, shutdown: config.Shutdown,
			poll: config.EventsPoll, ping: config.EventsPing, logger: config.Logger},
		&templateRoutes{database: config.Database, now: config.Now, logger: config.Logger},
		&agentRoutes{database: config.Database, sessions: config.Sessions, auth: config.Auth, hub: config.Hub, broker: config.Broker,
			origins: origins, now: config.Now, logger: config.Logger},
		&commandRoutes{database: config.Database},
		&reconcilerRoutes{reconciler: config.Reconciler},
		&accessRoutes{auth: config.Auth, origins: origins, logger: config.Logger},
		&serverRoutes{database: config.Database, registry: config.Registry, document: document, shutdown: config.Shutdown,
			logger: config.Logger},
	} {
		resource.register(routes)
	}
	if document.body, err = encodeDocument(routes.huma.OpenAPI()); err != nil {
		return nil, err
	}
	handler := routed(routes.mux, config.Console)
	handler = secured(handler, origins, config.Logger)
	handler = shown.shown(handler)
	return observed(handler, config.Logger, metrics), nil
}

// complete checks what is required and fills in the defaults.
func (c *Config) complete() error {
	for name, missing := range map[string]bool{
		"Database": c.Database == nil, "Hub": c.Hub == nil, "Sessions": c.Sessions == nil,
		"Broker": c.Broker == nil, "Feed": c.Feed == nil, "Auth": c.Auth == nil, "Registry": c.Registry == nil, "Activity": c.Activity == nil,
	} {
		if missing {
			return fmt.Errorf("api: Config.%s is missing", name)
		}
	}
	if c.Shutdown == nil {
		c.Shutdown = context.Background()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	if c.EventsPoll <= 0 {
		c.EventsPoll = defaultEventsPoll
	}
	if c.EventsPing <= 0 {
		c.EventsPing = defaultEventsPing
	}
	return nil
}
