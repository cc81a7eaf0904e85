package client_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// serve runs a server, and gives a client of it that retries at once.
func serve(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	return clientOf(t, serverOf(t, handler), "ssp_test")
}

func serverOf(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// clientOf gives a client whose idle connections do not outlive the test.
func clientOf(t *testing.T, address, token string) *client.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return client.New(address, token, client.Options{HTTP: &http.Client{Transport: transport}, RetryAfter: time.Nanosecond})
}

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (r roundTrip) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// overNothing gives a client whose requests are answered in this process.
func overNothing(answer roundTrip, options client.Options) *client.Client {
	options.HTTP = &http.Client{Transport: answer}
	return client.New("http://control-plane.test", "ssp_test", options)
}

func respond(status int, contentType string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: io.NopCloser(body),
		Header: http.Header{"Content-Type": {contentType}}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a caller that has gone shows in its own test
}

func writeProblem(w http.ResponseWriter, status int, code models.ErrorCode) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(client.Problem{Status: status, Code: code, Detail: "it is " + string(code)})
}

// counter counts the requests of a test.
type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func (c *counter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// problemOf gives the problem that err must be.
func problemOf(t *testing.T, err error) *client.Problem {
	t.Helper()
	var problem *client.Problem
	if !errors.As(err, &problem) {
		t.Fatalf("the error is %v and no problem", err)
	}
	return problem
}
