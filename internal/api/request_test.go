package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/wire"
)

// part changes a request that is about to be made.
type part func(*http.Request)

// as sends the user's token.
func (w *world) as(user string) part { return bearer(w.tokens[user]) }

func bearer(token string) part { return header("Authorization", "Bearer "+token) }

func with(cookie *http.Cookie) part { return func(r *http.Request) { r.AddCookie(cookie) } }

func header(name, value string) part { return func(r *http.Request) { r.Header.Set(name, value) } }

// host sends another Host header than the server's address.
func host(name string) part { return func(r *http.Request) { r.Host = name } }

func body(contentType, text string) part {
	return func(r *http.Request) {
		r.Body = io.NopCloser(strings.NewReader(text))
		r.ContentLength = int64(len(text))
		r.Header.Set("Content-Type", contentType)
	}
}

func jsonBody(text string) part { return body("application/json", text) }

// answer is what came back.
type answer struct {
	w       *world
	request string
	status  int
	header  http.Header
	body    []byte
}

func (w *world) get(path string, parts ...part) *answer {
	w.t.Helper()
	return w.do(http.MethodGet, path, parts...)
}

func (w *world) post(path string, parts ...part) *answer {
	w.t.Helper()
	return w.do(http.MethodPost, path, parts...)
}

func (w *world) delete(path string, parts ...part) *answer {
	w.t.Helper()
	return w.do(http.MethodDelete, path, parts...)
}

// do makes a request, and checks its answer against the OpenAPI document.
func (w *world) do(method, path string, parts ...part) *answer {
	w.t.Helper()
	answer := w.exchange(method, path, parts...)
	if w.document != nil {
		w.document.check(w.t, method, path, answer)
	}
	return answer
}

// exchange makes a request that the document may not know.
func (w *world) exchange(method, path string, parts ...part) *answer {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, nil)
	must(w.t, err)
	for _, change := range parts {
		change(request)
	}
	response, err := w.http.Do(request)
	must(w.t, err)
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	must(w.t, err)
	return &answer{w: w, request: method + " " + path, status: response.StatusCode, header: response.Header, body: content}
}

// want checks the status.
func (a *answer) want(status int) *answer {
	a.w.t.Helper()
	if a.status != status {
		a.w.t.Fatalf("%s answered %d, want %d: %s", a.request, a.status, status, a.body)
	}
	return a
}

// into decodes the answer, and refuses keys that are not expected.
func (a *answer) into(value any) {
	a.w.t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		a.w.t.Fatalf("%s: %v in %s", a.request, err, a.body)
	}
}

// problem checks that the answer is a whole problem of that kind, whose detail
// holds every one of words.
func (a *answer) problem(status int, code models.ErrorCode, words ...string) api.Problem {
	a.w.t.Helper()
	a.want(status)
	var problem api.Problem
	a.into(&problem)
	if a.header.Get("Content-Type") != "application/problem+json" {
		a.w.t.Errorf("%s: the content type is %q", a.request, a.header.Get("Content-Type"))
	}
	if a.header.Get("Cache-Control") != "no-store" {
		a.w.t.Errorf("%s: a problem may be cached", a.request)
	}
	if problem.Code != code || problem.Status != status || problem.Type != "urn:streamspace:error:"+string(code) ||
		problem.Title == "" || problem.Detail == "" {
		a.w.t.Errorf("%s: the problem is %+v, want code %s", a.request, problem, code)
	}
	// The hub and the broker answer agents themselves, and know no request ids.
	ownAnswer := strings.Contains(a.request, wire.ConnectPath) || strings.Contains(a.request, wire.TunnelPath)
	if id := a.header.Get("X-Request-Id"); id == "" || problem.RequestID != id && !(ownAnswer && problem.RequestID == "") {
		a.w.t.Errorf("%s: the request id is %q in the header and %q in the problem", a.request, id, problem.RequestID)
	}
	if (status == http.StatusUnauthorized) != (a.header.Get("WWW-Authenticate") != "") {
		a.w.t.Errorf("%s: WWW-Authenticate is %q", a.request, a.header.Get("WWW-Authenticate"))
	}
	for _, word := range words {
		if !strings.Contains(problem.Detail, word) {
			a.w.t.Errorf("%s: the detail %q does not mention %q", a.request, problem.Detail, word)
		}
	}
	return problem
}

// upgrade asks for a WebSocket.
func upgrade() part {
	return func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Version", "13")
		r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	}
}

// ticket decodes a ticket.
func (a *answer) ticket() string {
	a.w.t.Helper()
	var ticket api.Ticket
	a.into(&ticket)
	return a.w.secret(ticket.Ticket)
}
