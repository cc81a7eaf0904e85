package api_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
	"github.com/streamspace/streamspace/test/program"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/websocket"
	"github.com/streamspace/streamspace/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// world is a control plane behind a real HTTP server, and its users: root is an
// admin, ann and bob are not. Everything secret that it hands out is looked for
// in the log when the test ends.
type world struct {
	t        *testing.T
	database *db.Database
	auth     *auth.Authenticator
	hub      *websocket.AgentHub
	sessions *services.Sessions
	broker   *tunnel.Broker
	activity *services.ActivityKeeper
	feed     *services.Feed
	registry *prometheus.Registry
	// shutdown ends event streams.
	shutdown context.CancelFunc
	// document is what /openapi.json says.
	document *document
	url      string
	host     string
	http     *http.Client
	log      program.Buffer
	users    map[string]models.User
	tokens   map[string]string

	mu      sync.Mutex
	offset  time.Duration
	secrets []string
}

// newWorld starts a control plane. Change may alter how the API is made.
func newWorld(t *testing.T, change ...func(*api.Config)) *world {
	t.Helper()
	w := &world{t: t, feed: services.NewFeed(), registry: prometheus.NewRegistry(), users: map[string]models.User{}, tokens: map[string]string{}}
	convergence := api.NewConvergence()
	w.database = dbtest.SQLite(t, db.Options{SessionChanged: w.feed.Publish, SessionPassed: convergence.Passed})
	logger := slog.New(slog.NewJSONHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.auth = auth.New(w.database, auth.Options{Now: w.now})
	w.hub = websocket.NewAgentHubWith(w.database, websocket.Options{Logger: logger, Now: w.now})
	dispatcher := services.NewCommandDispatcherWith(w.database, w.hub, services.DispatcherOptions{
		Logger: logger, Now: w.now, PollEvery: 20 * time.Millisecond})
	reconciler := services.NewSessionReconcilerWith(w.database, w.hub, dispatcher, services.ReconcilerOptions{Logger: logger, Now: w.now})
	selector := services.NewAgentSelectorWith(w.database.DB(), w.hub, services.SelectorOptions{Now: w.now})
	w.sessions = services.NewSessions(w.database, selector, dispatcher, services.SessionsOptions{Logger: logger, Now: w.now})
	w.broker = tunnel.NewBroker(w.hub, tunnel.BrokerOptions{Logger: logger})
	w.activity = services.NewActivityKeeper(w.database, services.ActivityOptions{Logger: logger, Now: w.now})
	w.hub.Attach(tunnelNews{w.broker}, wire.TypeTunnelFailed)

	shutdown, end := context.WithCancel(context.Background())
	w.shutdown = end
	config := api.Config{
		Shutdown: shutdown, Database: w.database, Hub: w.hub, Sessions: w.sessions, Broker: w.broker, Feed: w.feed, Activity: w.activity,
		Dispatcher: dispatcher, Reconciler: reconciler, Convergence: convergence, Auth: w.auth, Registry: w.registry, Logger: logger, Now: w.now,
		Version: "1.2.3",
	}
	for _, alter := range change {
		alter(&config)
	}
	handler, err := api.New(config)
	must(t, err)
	// Streams outlive their server, which has let go of their connections.
	var serving sync.WaitGroup
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		serving.Add(1)
		defer serving.Done()
		handler.ServeHTTP(rw, r)
	}))
	transport := &http.Transport{}
	w.url, w.host = server.URL, strings.TrimPrefix(server.URL, "http://")
	w.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	queue := services.NewQueue(w.sessions, services.QueueOptions{Feed: w.feed, Logger: logger})
	var running sync.WaitGroup
	running.Go(w.hub.Run)
	running.Go(dispatcher.Start)
	running.Go(queue.Start)
	running.Go(w.activity.Start)
	t.Cleanup(func() {
		end()
		queue.Stop()
		w.activity.Stop()
		w.broker.Stop()
		dispatcher.Stop()
		w.hub.Stop()
		running.Wait()
		transport.CloseIdleConnections()
		server.Close()
		serving.Wait()
		w.checkLog()
	})
	for name, role := range map[string]string{"root": models.RoleAdmin, "ann": models.RoleUser, "bob": models.RoleUser} {
		user, err := w.database.EnsureUser(t.Context(), name, role, w.now())
		must(t, err)
		token, err := w.auth.IssueToken(t.Context(), auth.Grant{Kind: models.TokenAPI, UserID: user.ID})
		must(t, err)
		w.users[name], w.tokens[name] = user, w.secret(token)
	}
	must(t, w.database.SaveTemplates(t.Context(), nil, templates(), w.now()))
	w.document = readDocument(t, w)
	return w
}

// tunnelNews brings the agents' words on tunnels to the broker, as the
// composed server does.
type tunnelNews struct{ broker *tunnel.Broker }

func (n tunnelNews) AgentConnected(context.Context, websocket.Peer) {}

func (n tunnelNews) AgentMessage(_ context.Context, peer websocket.Peer, message wire.Envelope) error {
	var failed wire.TunnelFailed
	if err := message.Into(&failed); err != nil {
		return err
	}
	n.broker.Failed(peer.AgentID, failed)
	return nil
}

func (n tunnelNews) AgentDisconnected(peer websocket.Peer) {
	n.broker.CloseAgent(peer.AgentID, peer.Epoch)
}

func templates() []models.Template {
	return []models.Template{
		{Metadata: models.TemplateMetadata{Name: "desk"}, Spec: models.TemplateSpec{DisplayName: "Desk", Description: "A desktop", Icon: "desktop",
			Platforms: []string{models.PlatformProcess}, DefaultResources: models.Resources{CPU: "1", Memory: "1Gi"}, VNC: models.VNC{Enabled: true}}},
		{Metadata: models.TemplateMetadata{Name: "shell"}, Spec: models.TemplateSpec{Protocol: models.ProtocolTerminal}},
		{Metadata: models.TemplateMetadata{Name: "web"}, Spec: models.TemplateSpec{DisplayName: "Web", Platforms: []string{models.PlatformProcess},
			Process: &models.ProcessSpec{Command: []string{"chromium"}, Needs: []models.Need{
				{Command: "Xvnc", Install: "tigervnc-standalone-server"}, {Command: "chromium", Install: "chromium"}}}}},
		{Metadata: models.TemplateMetadata{Name: "app"}, Spec: models.TemplateSpec{DisplayName: "App", Protocol: models.ProtocolHTTP,
			Env:  []models.EnvVar{{Name: "PW", Value: "word"}},
			HTTP: &models.HTTP{Path: "/name?from=start", Username: "me", Password: "pass-$(PW)"}}},
		{Metadata: models.TemplateMetadata{Name: "lab"}, Spec: models.TemplateSpec{DisplayName: "Lab", Protocol: models.ProtocolHTTP,
			Env: []models.EnvVar{{Name: "OTHER", Value: "x"}}, HTTP: &models.HTTP{Path: "/name", PrefixEnv: "PREFIX"}}},
		{Metadata: models.TemplateMetadata{Name: "moon"}, Spec: models.TemplateSpec{DisplayName: "Moon", Platforms: []string{models.PlatformKubernetes}}},
	}
}

// now is the control plane's clock.
func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) advance(by time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += by
}

// secret notes what must never be logged, and gives it back.
func (w *world) secret(text string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, text)
	return text
}

// checkLog looks for secrets, and for their hashes, which stand for them in the
// database.
func (w *world) checkLog() {
	log := w.log.String()
	for _, secret := range w.secrets {
		for _, form := range []string{secret, secret[4:], auth.Hash(secret)} {
			if strings.Contains(log, form) {
				w.t.Errorf("the log holds the secret %s", form)
			}
		}
	}
	if w.t.Failed() {
		w.t.Log(log)
	}
}

// client gives a client of the user.
func (w *world) client(user string) *client.Client {
	return client.New(w.url, w.tokens[user], client.Options{HTTP: w.http})
}

// cookie signs a browser of the user in.
func (w *world) cookie(user string) *http.Cookie {
	w.t.Helper()
	link, _, err := w.auth.NewLoginLink(w.t.Context(), w.users[user].ID)
	must(w.t, err)
	w.secret(link)
	answer := w.get("/login?token=" + url.QueryEscape(link)).want(http.StatusSeeOther)
	for _, cookie := range (&http.Response{Header: answer.header}).Cookies() {
		if cookie.Name == auth.CookieName {
			w.secret(cookie.Value)
			return cookie
		}
	}
	w.t.Fatal("no cookie was set")
	return nil
}

func (w *world) eventually(what string, probe func() error) {
	w.t.Helper()
	program.Eventually(w.t, what, patience, probe)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func commandsOf(sessionID string) db.CommandFilter { return db.CommandFilter{SessionID: sessionID} }

func sessionsOf(userID string) db.SessionFilter { return db.SessionFilter{UserID: userID} }

// everything is the largest part of a list.
func everything() db.Page { return db.Page{Limit: db.MaxPageSize} }
