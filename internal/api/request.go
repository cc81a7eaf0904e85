package api

import (
	"context"
	"crypto/rand"
	"net/http"
	"regexp"

	"github.com/streamspace/streamspace/models"
)

// headerRequestID names the request in problems and in the log.
const headerRequestID = "X-Request-Id"

// acceptableRequestID is what is taken over from a proxy in front.
var acceptableRequestID = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

// request is what the layers tell each other about one request. Only the
// goroutine that serves the request touches it.
type request struct {
	id string
	// user is who asked, once that is known.
	user models.User
	// agentID is the agent that asked, where agents do.
	agentID string
	// status replaces the status that huma is about to write, unless 0.
	status int
	// broken tells that the body did not come whole.
	broken bool
	// long marks connections that stay open, whose duration says nothing.
	long bool
	// asked is the request itself, for what huma does not tell.
	asked *http.Request
	// path is what the log shows instead of the request's own, unless empty.
	path string
}

// shownPath is the request's path without what may not be logged.
func (r *request) shownPath(path string) string {
	if r.path != "" {
		return r.path
	}
	return path
}

type requestKey struct{}

// requestOf finds the request that ctx belongs to. Outside of one it gives an
// empty record.
func requestOf(ctx context.Context) *request {
	if found, ok := ctx.Value(requestKey{}).(*request); ok {
		return found
	}
	return &request{}
}

// withRequest begins a request.
func withRequest(r *http.Request) (*http.Request, *request) {
	id := r.Header.Get(headerRequestID)
	if !acceptableRequestID.MatchString(id) {
		id = rand.Text()
	}
	begun := &request{id: id, asked: r}
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, begun)), begun
}

// userOf is who sent the request that ctx belongs to.
func userOf(ctx context.Context) models.User { return requestOf(ctx).user }
