package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/streamspace/streamspace/client"
	"github.com/streamspace/streamspace/internal/api"
	"github.com/streamspace/streamspace/models"
)

// events is an open event stream.
type events struct {
	w      *world
	cancel context.CancelFunc
	lines  *bufio.Scanner
	body   interface{ Close() error }
}

// watch opens an event stream, which ends with the test.
func (w *world) watch(parts ...part) *events {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/v1/events", nil)
	must(w.t, err)
	for _, change := range parts {
		change(request)
	}
	response, err := w.http.Do(request)
	must(w.t, err)
	w.t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" ||
		response.Header.Get("Cache-Control") != "no-store" || response.Header.Get("X-Accel-Buffering") != "no" {
		w.t.Fatalf("watching answers %s with %v", response.Status, response.Header)
	}
	return &events{w: w, cancel: cancel, lines: bufio.NewScanner(response.Body), body: response.Body}
}

// next reads one message: an event and its data, or a comment. ok is false at
// the end.
func (e *events) next() (name, data string, ok bool) {
	for e.lines.Scan() {
		switch line := e.lines.Text(); {
		case line == "":
			return name, data, true
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			data = strings.TrimPrefix(line, "data: ")
		case strings.HasPrefix(line, ":"):
			name = line
		default:
			e.w.t.Fatalf("a line is %q", line)
		}
	}
	return "", "", false
}

// want reads the next event, comments aside, into value.
func (e *events) want(name string, value any) {
	e.w.t.Helper()
	for {
		got, data, ok := e.next()
		if strings.HasPrefix(got, ":") {
			continue
		}
		if !ok || got != name {
			e.w.t.Fatalf("the next event is %q with %s (%v), want %s", got, data, ok, name)
		}
		must(e.w.t, json.Unmarshal([]byte(data), value))
		return
	}
}

func (e *events) snapshot() []string {
	e.w.t.Helper()
	var snapshot api.Snapshot
	e.want("snapshot", &snapshot)
	ids := []string{}
	for _, session := range snapshot.Sessions {
		ids = append(ids, session.ID)
	}
	return ids
}

// until reads changes until the session is in the state.
func (e *events) until(id string, state models.SessionState) models.Session {
	e.w.t.Helper()
	for {
		var session models.Session
		e.want("session", &session)
		if session.ID == id && session.State == state {
			return session
		}
	}
}

// rare makes what happens by the clock not happen in a test.
func rare(c *api.Config) { c.EventsPoll, c.EventsPing = time.Hour, time.Hour }

func TestEventsBeginWithASnapshotAndTellChanges(t *testing.T) {
	w := newWorld(t, rare)
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.run("bob", "bobs-1")
	w.launch("ann", "broken-1")
	w.await("broken-1", models.SessionFailed)
	events := w.watch(w.as("ann"))
	if ids := events.snapshot(); len(ids) != 1 || ids[0] != "desk-1" {
		t.Errorf("the snapshot has %v", ids)
	}
	w.run("bob", "bobs-2") // ann hears nothing of it
	w.launch("ann", "desk-2")
	var session models.Session
	events.want("session", &session)
	if session.ID != "desk-2" {
		t.Errorf("the first change is of %+v", session)
	}
	if session.State != models.SessionRunning {
		events.until("desk-2", models.SessionRunning)
	}
	w.delete(pathSessions+"/desk-1", w.as("ann")).want(http.StatusAccepted)
	if ended := events.until("desk-1", models.SessionTerminated); ended.Generation != 2 {
		t.Errorf("it ended as %+v", ended)
	}
	// An admin's stream is of the admin's own sessions.
	if ids := w.watch(w.as("root")).snapshot(); len(ids) != 0 {
		t.Errorf("root's snapshot has %v", ids)
	}
	if ids := w.watch(with(w.cookie("bob"))).snapshot(); len(ids) != 2 {
		t.Errorf("bob's snapshot has %v", ids)
	}
}

func TestSnapshotsAreWhole(t *testing.T) {
	w := newWorld(t, rare)
	w.agent("laptop")
	for range 503 { // more than a part of a list
		w.post(pathSessions, w.as("ann"), jsonBody(`{"template":"desk"}`)).want(http.StatusCreated)
	}
	seen := map[string]bool{}
	events := w.watch(w.as("ann"))
	events.lines.Buffer(nil, 8<<20)
	for _, id := range events.snapshot() {
		seen[id] = true
	}
	if len(seen) != 503 {
		t.Errorf("the snapshot has %d sessions", len(seen))
	}
}

func TestEventsFindWhatHintsMissed(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.EventsPoll, c.EventsPing = 20*time.Millisecond, time.Hour })
	w.agent("laptop")
	w.run("ann", "desk-1")
	w.run("ann", "desk-2")
	events := w.watch(w.as("ann"))
	events.snapshot()
	// Changes that nobody is told of, as on another replica.
	for _, change := range []string{
		`UPDATE sessions SET reason = 'silently', updated_at = '2030-01-01T00:00:00.000000Z' WHERE id = 'desk-1'`,
		`UPDATE sessions SET state = 'terminated', updated_at = '2030-01-01T00:00:00.000000Z' WHERE id = 'desk-2'`,
	} {
		_, err := w.database.DB().ExecContext(t.Context(), change)
		must(t, err)
	}
	told := map[string]models.Session{}
	for len(told) < 2 {
		var session models.Session
		events.want("session", &session)
		told[session.ID] = session
	}
	if told["desk-1"].Reason != "silently" || told["desk-2"].State != models.SessionTerminated {
		t.Errorf("told of %+v", told)
	}
}

func TestEventsTellNothingTwice(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.EventsPoll, c.EventsPing = 5*time.Millisecond, 50*time.Millisecond })
	w.agent("laptop")
	w.run("ann", "desk-1")
	events := w.watch(w.as("ann"))
	events.snapshot()
	w.feed.Publish("desk-1")
	w.feed.Publish("nothing")
	for range 3 { // polls in between find no change
		if name, data, _ := events.next(); name != ": ping" {
			t.Errorf("told %s %s", name, data)
		}
	}
}

func TestSilentEventsShowThatTheyLive(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.EventsPoll, c.EventsPing = time.Hour, 10*time.Millisecond })
	events := w.watch(w.as("ann"))
	events.snapshot()
	for range 3 {
		if name, _, ok := events.next(); name != ": ping" || !ok {
			t.Errorf("the next line is %q", name)
		}
	}
}

func TestEventsEndOnShutdown(t *testing.T) {
	w := newWorld(t, rare)
	events := w.watch(w.as("ann"))
	events.snapshot()
	w.shutdown()
	if name, _, ok := events.next(); ok {
		t.Errorf("after the end comes %q", name)
	}
	// One that comes late has its snapshot at most.
	late := w.exchange(http.MethodGet, "/api/v1/events", w.as("ann"))
	if late.status != http.StatusOK && late.status != http.StatusServiceUnavailable {
		t.Errorf("a late one is answered %d %s", late.status, late.body)
	}
}

func TestEventsEndWithTheSignIn(t *testing.T) {
	w := newWorld(t, func(c *api.Config) { c.EventsPoll, c.EventsPing = 20*time.Millisecond, time.Hour })
	cookie := w.cookie("ann")
	browser, program := w.watch(with(cookie)), w.watch(w.as("ann"))
	browser.snapshot()
	program.snapshot()
	w.post("/api/v1/logout", with(cookie)).want(http.StatusNoContent)
	if name, _, ok := browser.next(); ok {
		t.Errorf("after the sign-out comes %q", name)
	}
	w.agent("laptop")
	w.launch("ann", "desk-1")
	var session models.Session
	program.want("session", &session)
}

func TestTheClientWatches(t *testing.T) {
	w := newWorld(t, rare)
	w.agent("laptop")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var seen []string
	err := w.client("ann").Watch(ctx, func(change client.Change) error {
		if change.Snapshot != nil {
			seen = append(seen, "snapshot")
			w.launch("ann", "desk-1")
			return nil
		}
		if seen = append(seen, string(change.Session.State)); change.Session.State == models.SessionRunning {
			return context.Canceled
		}
		return nil
	})
	if err != context.Canceled || seen[0] != "snapshot" || seen[len(seen)-1] != "running" {
		t.Errorf("watching saw %v and ended with %v", seen, err)
	}
}
