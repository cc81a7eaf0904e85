// Package server composes the programs: the control plane, the agent, and both
// in one process. It says in one place what is started after what, and what is
// stopped before what.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/internal/config"
	"github.com/streamspace/streamspace/internal/console"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
)

// adminName is the user whose token lies in the data directory.
const adminName = "admin"

// Server is a control plane.
//
// It starts from the inside out: the database and its migrations, the
// catalogue, the hub, what handles its frames, the workers, and at last the
// listener. Whatever a request needs is there before the first one comes.
//
// It stops from the outside in, each step waiting for its own:
//
//  1. no new connections, and event streams end;
//  2. the queue, the reconciler, the drainer, the timekeeper and the retention:
//     nothing is placed, decided or deleted any more;
//  3. the broker: viewers' streams are cut, and viewers connect again later;
//  4. the dispatcher: workers finish the command in hand, what became of
//     commands is written, the rest stays in the database;
//  5. the hub: agents are told, keep their sessions, and connect again later;
//  6. requests under way;
//  7. the activity keeper: it writes until when sessions were used;
//  8. the database.
type Server struct {
	configuration config.Server
	logger        *slog.Logger
	lock          *lock
	database      *db.Database
	auth          *auth.Authenticator
	admin         models.User
	hub           *websocket.AgentHub
	dispatcher    *services.CommandDispatcher
	reconciler    *services.SessionReconciler
	queue         *services.Queue
	drainer       *services.Drainer
	timekeeper    *services.Timekeeper
	activity      *services.ActivityKeeper
	retention     *services.Retention
	broker        *tunnel.Broker
	keeper        *tunnelKeeper
	handlers      *handlers
	http          *http.Server

	// endEvents ends event streams.
	endEvents context.CancelFunc
	listener  net.Listener
	running   sync.WaitGroup
	failed    chan error
	stopOnce  sync.Once
	stopErr   error
}

// New takes the data directory, opens and migrates the database and composes
// everything. Call Stop also when Start is never called.
func New(ctx context.Context, configuration config.Server, version string, logger *slog.Logger) (_ *Server, err error) {
	s := &Server{configuration: configuration, logger: logger, failed: make(chan error, 1)}
	weights, err := placementWeights(configuration.PlacementWeights)
	if err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(configuration.DataDir, "data-dir"); err != nil {
		return nil, err
	}
	feed, convergence := services.NewFeed(), api.NewConvergence()
	s.database, err = openDatabase(ctx, configuration.DatabaseURL(), db.Options{Logger: logger, SessionChanged: feed.Publish, SessionPassed: convergence.Passed})
	if err != nil {
		_ = s.lock.release()
		return nil, err
	}
	if err := s.compose(ctx, feed, convergence, weights, version); err != nil {
		_ = s.database.Close()
		_ = s.lock.release()
		return nil, err
	}
	return s, nil
}

// openDatabase opens and migrates.
func openDatabase(ctx context.Context, address string, options db.Options) (*db.Database, error) {
	database, err := db.Open(ctx, address, options)
	if err != nil {
		return nil, fmt.Errorf("%w; --database says which", err)
	}
	if err := database.Migrate(ctx); err != nil {
		_ = database.Close()
		return nil, err
	}
	return database, nil
}

// compose makes every part. Nothing runs yet but the tunnel keeper.
func (s *Server) compose(ctx context.Context, feed *services.Feed, convergence *api.Convergence, weights services.Weights, version string) error {
	c := s.configuration
	now := time.Now
	if err := saveCatalogue(ctx, s.database, c.TemplatesDir(), now(), s.logger); err != nil {
		return err
	}
	needed := &needs{database: s.database, logger: s.logger}
	s.auth = auth.New(s.database, auth.Options{TicketLife: c.TicketLife})
	var err error
	if s.admin, err = s.database.EnsureUser(ctx, adminName, models.RoleAdmin, now()); err != nil {
		return err
	}
	if _, err := keepSecret(ctx, s.auth, c.AdminTokenFile(), auth.Grant{
		Kind: models.TokenAPI, UserID: s.admin.ID, Label: "admin token",
	}); err != nil {
		return err
	}
	public, err := c.Public()
	if err != nil {
		return err
	}

	s.hub = websocket.NewAgentHubWith(s.database, websocket.Options{
		Logger: s.logger, Needs: needed.list,
	})
	s.dispatcher = services.NewCommandDispatcherWith(s.database, s.hub, services.DispatcherOptions{
		Workers: c.Workers, QueueSize: c.Queue, Logger: s.logger,
	})
	services.NewInventory(s.database, s.hub, s.dispatcher, services.InventoryOptions{Logger: s.logger, Needs: needed.list})
	s.reconciler = services.NewSessionReconcilerWith(s.database, s.hub, s.dispatcher, services.ReconcilerOptions{
		Interval: c.ReconcileEvery, PendingAfter: c.StuckAfter, TerminatingAfter: c.StuckAfter, HibernatingAfter: c.StuckAfter,
		WakingAfter: c.StuckAfter, AgentGoneAfter: c.AgentGoneAfter, Replica: replicaName(c.DataDir), Logger: s.logger})
	s.retention = services.NewRetention(s.database, services.RetentionOptions{Keep: c.KeepCommands, Logger: s.logger})
	selector := services.NewAgentSelectorWith(s.database.DB(), s.hub, services.SelectorOptions{Weights: weights})
	sessions := services.NewSessions(s.database, selector, s.dispatcher, services.SessionsOptions{Logger: s.logger})
	s.queue = services.NewQueue(sessions, services.QueueOptions{Feed: feed, Logger: s.logger})
	s.drainer = services.NewDrainer(s.database, sessions, services.DrainerOptions{Logger: s.logger})
	s.timekeeper = services.NewTimekeeper(s.database, sessions, services.TimekeeperOptions{Logger: s.logger})
	s.activity = services.NewActivityKeeper(s.database, services.ActivityOptions{Logger: s.logger})
	s.broker = tunnel.NewBroker(s.hub, tunnel.BrokerOptions{Logger: s.logger})

	frames, err := api.PageFrames(c.SessionHosts, public)
	if err != nil {
		return fmt.Errorf("--session-host-pattern: %w", err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	events, endEvents := context.WithCancel(context.Background())
	handler, err := api.New(api.Config{
		Shutdown: events, Database: s.database, Hub: s.hub, Sessions: sessions, Broker: s.broker, Feed: feed, Activity: s.activity,
		Dispatcher: s.dispatcher, Reconciler: s.reconciler, Convergence: convergence, Auth: s.auth, Console: console.Handler(frames...),
		Registry: registry, Logger: s.logger, Version: version, PublicURL: public, SessionHosts: c.SessionHosts,
	})
	if err != nil {
		endEvents()
		return fmt.Errorf("compose the API: %w", err)
	}
	s.endEvents = endEvents
	s.handlers = &handlers{next: handler}
	s.http = &http.Server{
		Handler: s.handlers,
		// Only what comes before a request is bounded here: streams and events
		// last as long as somebody watches, and bound themselves.
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.keeper = keepTunnels(s.database, s.hub, feed, s.broker, s.logger)
	return nil
}

// Start listens and starts everything. It returns once requests are served.
func (s *Server) Start() error {
	listener, err := net.Listen("tcp", s.configuration.Listen)
	if err != nil {
		return listenError(s.configuration.Listen, err)
	}
	s.listener = listener
	s.running.Go(s.hub.Run)
	s.running.Go(s.dispatcher.Start)
	s.running.Go(s.reconciler.Start)
	s.running.Go(s.queue.Start)
	s.running.Go(s.drainer.Start)
	s.running.Go(s.timekeeper.Start)
	s.running.Go(s.activity.Start)
	s.running.Go(s.retention.Start)
	if err := s.dispatcher.DispatchPendingCommands(); err != nil {
		// They are in the database, and polling finds them.
		s.logger.Warn("queue the commands of an earlier run", "error", err)
	}
	s.running.Go(func() {
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	})
	s.logger.Info("serving", "address", listener.Addr().String())
	return nil
}

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is in use by another program; choose another address with --listen, e.g. --listen %s",
			address, freeAddress(address))
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s; choose a port above 1023 with --listen", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no address %s; choose another with --listen", address)
	}
	return fmt.Errorf("listen: %w; --listen says where", err)
}

// freeAddress is the same address with a port that the system chooses.
func freeAddress(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "127.0.0.1:0"
	}
	return net.JoinHostPort(host, "0")
}

// URL is where this machine reaches the server, once it has started.
func (s *Server) URL() *url.URL { return localURL(s.listener.Addr()) }

// PublicURL is where users reach it.
func (s *Server) PublicURL() *url.URL {
	if public, err := s.configuration.Public(); err == nil && public != nil {
		return public
	}
	return s.URL()
}

// localURL takes the loopback address for a listener on all addresses.
func localURL(address net.Addr) *url.URL {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return &url.URL{Scheme: "http", Host: address.String()}
	}
	switch ip := net.ParseIP(host); {
	case ip == nil || !ip.IsUnspecified():
	default:
		// A listener on [::] takes IPv4 too unless the system says otherwise.
		host = "127.0.0.1"
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(host, port)}
}

// exposed tells whether others can read what users send: the listener is not
// on loopback, and no TLS is in front of it as far as we are told.
func (s *Server) exposed() bool {
	if strings.HasPrefix(s.configuration.PublicURL, "https://") {
		return false
	}
	address, isTCP := s.listener.Addr().(*net.TCPAddr)
	return !isTCP || !address.IP.IsLoopback()
}

// Failed delivers the error that keeps the server from going on.
func (s *Server) Failed() <-chan error { return s.failed }

// Stop ends everything in the order that Server tells of, and waits. Requests
// that last longer than the configuration's StopWithin are cut. Calling it
// again waits and gives the same error.
func (s *Server) Stop() error {
	s.stopOnce.Do(func() { s.stopErr = s.stop() })
	return s.stopErr
}

func (s *Server) stop() error {
	deadline, cancel := context.WithTimeout(context.Background(), s.configuration.StopWithin)
	defer cancel()
	s.endEvents()
	requests := make(chan error, 1)
	go func() { requests <- s.http.Shutdown(deadline) }()
	s.queue.Stop()
	s.reconciler.Stop()
	s.drainer.Stop()
	s.timekeeper.Stop()
	s.retention.Stop()
	s.broker.Stop()
	s.dispatcher.Stop()
	s.hub.Stop()
	if err := <-requests; err != nil {
		s.logger.Warn("requests that do not end are cut", "error", err)
		_ = s.http.Close() // what it could not close is closed already
	}
	s.handlers.drain()
	s.activity.Stop()
	s.running.Wait()
	s.keeper.stop()
	return errors.Join(s.database.Close(), s.lock.release())
}
