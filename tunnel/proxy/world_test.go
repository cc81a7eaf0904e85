package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/test/webapp"
	"github.com/streamspace/streamspace/tunnel"
	"github.com/streamspace/streamspace/tunnel/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// world is a proxy in front of one app, whose tunnels are connections to it.
type world struct {
	t       *testing.T
	app     *webapp.App
	proxy   *proxy.Proxy
	front   *httptest.Server
	session proxy.Session
	place   proxy.Place
	client  *http.Client

	mu sync.Mutex
	// opened are the targets of all tunnels so far, conns those that may be open.
	opened []tunnel.Target
	conns  []net.Conn
	refuse error
	app1   string
}

func newWorld(t *testing.T, options proxy.Options) *world {
	t.Helper()
	w := &world{t: t, app: &webapp.App{Name: "desk"}}
	back := httptest.NewServer(w.app)
	w.dial(back)
	options.Failed = func(rw http.ResponseWriter, _ *http.Request, err error) {
		http.Error(rw, string(models.CodeOf(err)), http.StatusBadGateway)
	}
	w.proxy = proxy.New(w, options)
	w.session = proxy.Session{Target: tunnel.Target{AgentID: "a", Epoch: 1, SessionID: "desk", Generation: 1}}
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		session, place := w.session, w.place
		w.mu.Unlock()
		place.Host, place.Scheme = r.Host, "http"
		w.proxy.Serve(rw, r, session, place)
	}))
	transport := &http.Transport{}
	w.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		w.cut()
		w.front.Close()
		back.Close()
	})
	return w
}

func (w *world) dial(back *httptest.Server) { w.app1 = back.Listener.Addr().String() }

// Open implements proxy.Broker.
func (w *world) Open(ctx context.Context, target tunnel.Target) (net.Conn, error) {
	w.mu.Lock()
	refuse, address := w.refuse, w.app1
	w.mu.Unlock()
	if refuse != nil {
		return nil, refuse
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened = append(w.opened, target)
	w.conns = append(w.conns, conn)
	return conn, nil
}

// cut closes all tunnels, as the broker does when their target ends.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		_ = conn.Close()
	}
	w.conns = nil
}

func (w *world) targets() []tunnel.Target {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]tunnel.Target(nil), w.opened...)
}

// set changes what the proxy is told of the session and its place.
func (w *world) set(change func(*proxy.Session, *proxy.Place)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.session, &w.place)
}

// do sends a request to the proxy.
func (w *world) do(method, path string, body io.Reader, header ...string) *http.Response {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	w.t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, w.front.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Add(name, value)
		if name == "Host" {
			request.Host = value
		}
	}
	answer, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func (w *world) text(answer *http.Response) string {
	w.t.Helper()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(body)
}

// seen is what the app got of a request.
func (w *world) seen(method, path string, body io.Reader, header ...string) webapp.Seen {
	w.t.Helper()
	answer := w.do(method, path, body, header...)
	var seen webapp.Seen
	if err := json.NewDecoder(answer.Body).Decode(&seen); err != nil {
		w.t.Fatalf("%s %s is answered with %s, %v", method, path, answer.Status, err)
	}
	return seen
}

func (w *world) eventually(what string, probe func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !probe(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatal(what + ": not in time")
		}
	}
}

var errGone = &models.Error{Code: models.CodeAgentUnavailable, Message: "gone", Err: errors.New("gone")}
