package client_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

// failures are answers that are no success, and whether they may pass.
var failures = []struct {
	name   string
	answer http.HandlerFunc
	passes bool
}{
	{"the connection breaks", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, true},
	{"the answer breaks off", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(`{"id":"de`))
	}, true},
	{"a proxy has no server", html(http.StatusBadGateway), true},
	{"a proxy finds it busy", html(http.StatusServiceUnavailable), true},
	{"a proxy waited in vain", html(http.StatusGatewayTimeout), true},
	{"the database is away", problem(http.StatusServiceUnavailable, models.CodeUnavailable), true},
	{"it is stopping", problem(http.StatusServiceUnavailable, models.CodeStopped), true},
	{"too much is waiting", problem(http.StatusServiceUnavailable, models.CodeQueueFull), true},
	{"no agent can take it", problem(http.StatusServiceUnavailable, models.CodeNoSuitableAgent), false},
	{"the agent is away", problem(http.StatusServiceUnavailable, models.CodeAgentUnavailable), false},
	{"the agent failed", problem(http.StatusBadGateway, models.CodeCommandFailed), false},
	{"it is broken", problem(http.StatusInternalServerError, models.CodeInternal), false},
	{"a proxy is broken", html(http.StatusInternalServerError), false},
	{"it is not valid", problem(http.StatusBadRequest, models.CodeInvalidRequest), false},
	{"nobody is signed in", problem(http.StatusUnauthorized, models.CodeUnauthenticated), false},
	{"it is not there", problem(http.StatusNotFound, models.CodeSessionUnknown), false},
	{"it conflicts", problem(http.StatusConflict, models.CodeSessionConflict), false},
	{"another program answers", html(http.StatusOK), false},
}

func html(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = w.Write([]byte("<html><body><h1>Welcome to the proxy</h1></body></html>"))
	}
}

func problem(status int, code models.ErrorCode) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { writeProblem(w, status, code) }
}

func TestOnlyRepeatableCallsAreRepeatedAndOnlyWhatPasses(t *testing.T) {
	for _, failure := range failures {
		for _, call := range calls() {
			requests := &counter{}
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests.next()
				failure.answer(w, r)
			})
			_, err := call.make(t.Context(), c)
			if err == nil {
				t.Fatalf("%s: %s succeeded", failure.name, call.name)
			}
			want := 1
			if failure.passes && call.repeatable {
				want = client.DefaultAttempts
			}
			if requests.count() != want {
				t.Errorf("when %s, %s was tried %d times, want %d", failure.name, call.name, requests.count(), want)
			}
		}
	}
}

func TestARepeatedCallSucceeds(t *testing.T) {
	requests := &counter{}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.next() < client.DefaultAttempts {
			html(http.StatusBadGateway)(w, r)
			return
		}
		writeJSON(w, http.StatusCreated, client.Session{ID: "desk"})
	})
	session, err := c.Launch(t.Context(), client.LaunchRequest{ID: "desk", Template: "desktop"})
	must(t, err)
	if session.ID != "desk" || requests.count() != client.DefaultAttempts {
		t.Errorf("launched %+v with %d requests", session, requests.count())
	}
}

func TestRetriesWaitLongerEachTime(t *testing.T) {
	for _, options := range []client.Options{{}, {RetryAfter: time.Second}, {RetryAfter: 10 * time.Second}, {RetryAfter: math.MaxInt64}} {
		synctest.Test(t, func(t *testing.T) {
			options.Attempts = 80 // doubled without a bound, the wait would overflow
			var waits []time.Duration
			last := time.Now()
			c := overNothing(func(*http.Request) (*http.Response, error) {
				waits = append(waits, time.Since(last))
				last = time.Now()
				return nil, errors.New("no route to host")
			}, options)
			_, err := c.Me(t.Context())
			if err == nil || len(waits) != options.Attempts {
				t.Fatalf("%d attempts, and the error is %v", len(waits), err)
			}
			bound := options.RetryAfter
			if bound == 0 {
				bound = client.DefaultRetryAfter
			}
			var total time.Duration
			for i, waited := range waits[1:] {
				bound = min(bound, 30*time.Second)
				if waited <= 0 || waited > bound {
					t.Errorf("waited %v before attempt %d, want at most %v", waited, i+2, bound)
				}
				total += waited
				bound *= 2
			}
			if total < 10*time.Minute { // 80 random waits of up to 30 s
				t.Errorf("waited only %v in all", total)
			}
		})
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := &counter{}
		c := overNothing(func(*http.Request) (*http.Response, error) {
			requests.next()
			return nil, errors.New("no route to host")
		}, client.Options{RetryAfter: time.Hour, Attempts: 1000})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		_, err := c.Me(ctx)
		if err == nil || time.Since(begin) != time.Minute {
			t.Errorf("after %v the error is %v", time.Since(begin), err)
		}
		if !strings.Contains(err.Error(), "no route to host") {
			t.Errorf("the error %v hides what was wrong", err)
		}
		before := requests.count()
		_, err = c.Me(ctx)
		if err == nil || requests.count() > before+1 {
			t.Errorf("a dead context made %d more requests, and the error is %v", requests.count()-before, err)
		}
	})
	c := overNothing(func(r *http.Request) (*http.Response, error) { return nil, context.Cause(r.Context()) }, client.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Me(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("the error %v does not say that the call was cancelled", err)
	}
}
