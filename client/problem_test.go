package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/models"
)

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name, contentType, body string
		status                  int
		code                    models.ErrorCode
		detail                  string
	}{
		{"a problem", "application/problem+json", `{"type":"urn:x","title":"No such session","status":404,"detail":"there is no session","code":"session_unknown","new":1}`,
			404, models.CodeSessionUnknown, "there is no session"},
		{"a problem with another status inside", "application/problem+json", `{"status":200,"detail":"no","code":"internal"}`,
			500, models.CodeInternal, "no"},
		{"a code of a newer server", "application/problem+json", `{"detail":"too much","code":"rate_limited"}`, 429, "rate_limited", "too much"},
		{"a proxy's page", "text/html", "<html><body>502 Bad Gateway</body></html>", 502, "", "the server answered 502 Bad Gateway"},
		{"a proxy's text", "text/plain", "upstream connect error\n", 503, "", "the server answered 503 Service Unavailable: upstream connect error"},
		{"a text that steers terminals", "text/plain", "\x1b[2Jyou are hacked", 503, "", "the server answered 503 Service Unavailable"},
		{"a long text", "text/plain", strings.Repeat("a", 200), 503, "", "the server answered 503 Service Unavailable"},
		{"nothing", "", "", 502, "", "the server answered 502 Bad Gateway"},
		{"JSON of something else", "application/json", `{"message":"no Route matched"}`, 404, "", `the server answered 404 Not Found: {"message":"no Route matched"}`},
		{"JSON that is no object", "application/json", `"no"`, 403, "", `the server answered 403 Forbidden: "no"`},
		{"half a problem", "application/problem+json", `{"detail":"there is no`, 404, "", `the server answered 404 Not Found: {"detail":"there is no`},
		{"a problem that never ends", "application/problem+json", `{"detail":"` + strings.Repeat("a", 1<<20) + `"}`, 500, "", "the server answered 500 Internal Server Error"},
		{"a redirect to nowhere", "text/html", "moved", 304, "", "the server answered 304 Not Modified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.WriteHeader(test.status)
				_, _ = w.Write([]byte(test.body)) // the client may have enough
			})
			_, err := c.Me(t.Context())
			problem := problemOf(t, fmt.Errorf("wrapped: %w", err))
			if problem.Status != test.status || problem.Code != test.code || problem.Detail != test.detail || err.Error() != test.detail {
				t.Errorf("the problem is %+v", problem)
			}
			if client.CodeOf(err) != test.code {
				t.Errorf("the code is %q", client.CodeOf(err))
			}
		})
	}
}

func TestAProblemHasEverything(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"type":"urn:streamspace:error:invalid_request","title":"The request is not valid","status":400,
			"detail":"query.limit: too big","code":"invalid_request","retryable":true,"requestId":"R1",
			"errors":[{"location":"query.limit","message":"too big"}]}`))
	})
	_, err := c.Me(t.Context())
	problem := problemOf(t, err)
	if problem.Type != "urn:streamspace:error:invalid_request" || problem.Title != "The request is not valid" || !problem.Retryable ||
		problem.RequestID != "R1" || len(problem.Errors) != 1 || problem.Errors[0] != (client.FieldProblem{Location: "query.limit", Message: "too big"}) {
		t.Errorf("the problem is %+v", problem)
	}
}

func TestAnotherProgramIsNamed(t *testing.T) {
	c := serve(t, html(http.StatusOK))
	_, err := c.Me(t.Context())
	if problem := problemOf(t, err); problem.Code != "" || !strings.Contains(problem.Detail, "text/html") {
		t.Errorf("the problem is %+v", problem)
	}
	if err := c.Watch(t.Context(), func(client.Change) error { return nil }); !strings.Contains(problemOf(t, err).Detail, "text/html") {
		t.Errorf("watching ends with %v", err)
	}
}

func TestAServerThatIsAwayIsNamed(t *testing.T) {
	address := serverOf(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	_, err := clientOf(t, address, "ssp_test").Me(t.Context())
	host := strings.TrimPrefix(address, "http://")
	if err == nil || !strings.Contains(err.Error(), host) || !strings.Contains(err.Error(), "is it running?") {
		t.Errorf("the error is %v", err)
	}
	if strings.Contains(err.Error(), "/api/v1") || strings.Contains(err.Error(), "ssp_test") {
		t.Errorf("the error %v says too much", err)
	}
	if client.CodeOf(err) != "" || client.CodeOf(nil) != "" || client.CodeOf(errors.New("x")) != "" {
		t.Error("what is no problem has a code")
	}
}
