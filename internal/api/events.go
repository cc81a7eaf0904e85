package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
	"github.com/streamspace/streamspace/services"
)

// The rhythm of event streams.
const (
	defaultEventsPoll = 10 * time.Second
	defaultEventsPing = 15 * time.Second
	// eventsWrite is how long a reader may take to take one message.
	eventsWrite = 30 * time.Second
)

// The names of the events.
const (
	eventSnapshot = "snapshot"
	eventSession  = "session"
)

// eventRoutes tell users of changes as they happen.
type eventRoutes struct {
	database *db.Database
	observer observer
	auth     *auth.Authenticator
	feed     *services.Feed
	shutdown context.Context
	poll     time.Duration
	ping     time.Duration
	logger   *slog.Logger
}

// Snapshot is the first event of a stream.
type Snapshot struct {
	Sessions []models.Session `json:"sessions" nullable:"false"`
}

func (e *eventRoutes) register(r *router) {
	watch := operation(accessUser, http.MethodGet, base+"/events", "watch-sessions", tagSessions,
		"Watch the caller's sessions")
	watch.Description = "Server-sent events. `snapshot` comes first, with data {sessions: […]}: every session of " +
		"the caller that has not ended; a later one replaces all that was known. `session` follows " +
		"for each change, with the session as it is now; changes in quick succession may come as one, and when its agent goes away or comes back. " +
		"A comment comes every 15 seconds, so that silence means a dead connection."
	watch.Responses = map[string]*huma.Response{"200": answer("The stream, which has no end of its own.", "text/event-stream")}
	r.raw(watch, long(e.serve))
}

func (e *eventRoutes) serve(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(e.shutdown, cancel)()

	watch := &watcher{
		routes: e, user: userOf(ctx), known: map[string]models.Session{},
		w: w, control: http.NewResponseController(w),
	}
	// Hints come first: what changes between reading and subscribing would
	// otherwise go unseen until the next poll.
	hints := e.feed.Subscribe(ctx)
	sessions, err := watch.sessions(ctx)
	if err != nil {
		writeProblem(w, problemOf(ctx, e.logger, err))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if err := watch.snapshot(sessions); err != nil {
		return // the reader has gone
	}
	if err := e.follow(ctx, r, watch, hints); err != nil && ctx.Err() == nil {
		// Ending the stream makes the client read everything again.
		e.logger.InfoContext(ctx, "event stream ended",
			"request", requestOf(ctx).id, "user", watch.user.Name, "cause", err)
	}
}

// follow runs until the reader, the server or the caller's sign-in ends.
func (e *eventRoutes) follow(ctx context.Context, r *http.Request, watch *watcher, hints <-chan string) error {
	poll := time.NewTicker(e.poll)
	defer poll.Stop()
	ping := time.NewTicker(e.ping)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case hint, open := <-hints:
			if !open {
				return nil
			}
			if err := watch.hinted(ctx, hint); err != nil {
				return err
			}
		case <-poll.C:
			if _, err := e.auth.Authenticate(r); err != nil {
				return err
			}
			if err := watch.catchUp(ctx); err != nil {
				return err
			}
		case <-ping.C:
			if err := watch.write([]byte(": ping\n\n")); err != nil {
				return err
			}
		}
	}
}

// watcher is one event stream. One goroutine uses it.
type watcher struct {
	routes *eventRoutes
	user   models.User
	// known is what the reader was told of its sessions that have not ended.
	known   map[string]models.Session
	w       http.ResponseWriter
	control *http.ResponseController
}

// sessions reads every session of the user that has not ended.
func (w *watcher) sessions(ctx context.Context) ([]models.Session, error) {
	filter := db.SessionFilter{UserID: w.user.ID}
	for _, state := range models.SessionStates() {
		if !state.Terminal() {
			filter.States = append(filter.States, state)
		}
	}
	sessions := []models.Session{}
	page := db.Page{Limit: 500}
	for {
		items, next, err := w.routes.database.Sessions(ctx, filter, page)
		if err != nil {
			return nil, err
		}
		sessions = append(sessions, items...)
		if next == "" {
			return sessions, w.routes.observer.complete(ctx, pointers(sessions)...)
		}
		page.Cursor = next
	}
}

func (w *watcher) snapshot(sessions []models.Session) error {
	clear(w.known)
	for _, session := range sessions {
		w.known[session.ID] = session
	}
	return w.event(eventSnapshot, Snapshot{Sessions: sessions})
}

// hinted follows a hint that a session changed; the empty one says that hints
// were lost.
func (w *watcher) hinted(ctx context.Context, sessionID string) error {
	if sessionID == "" {
		return w.catchUp(ctx)
	}
	session, err := w.routes.database.Session(ctx, sessionID)
	if models.CodeOf(err) == models.CodeSessionUnknown {
		return nil
	}
	if err != nil {
		return err
	}
	if session.UserID != w.user.ID {
		return nil
	}
	if err := w.routes.observer.complete(ctx, &session); err != nil {
		return err
	}
	return w.tell(session)
}

// catchUp finds what hints missed, and tells of that alone.
func (w *watcher) catchUp(ctx context.Context) error {
	sessions, err := w.sessions(ctx)
	if err != nil {
		return err
	}
	gone := make(map[string]bool, len(w.known))
	for id := range w.known {
		gone[id] = true
	}
	for _, session := range slices.Backward(sessions) { // oldest first
		delete(gone, session.ID)
		if err := w.tell(session); err != nil {
			return err
		}
	}
	for id := range gone {
		if err := w.hinted(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// tell sends the session unless the reader has it so already.
func (w *watcher) tell(session models.Session) error {
	if known, told := w.known[session.ID]; told && unchanged(known, session) {
		return nil
	}
	if session.State.Terminal() {
		delete(w.known, session.ID)
	} else {
		w.known[session.ID] = session
	}
	return w.event(eventSession, session)
}

func unchanged(a, b models.Session) bool {
	return a.UpdatedAt.Equal(b.UpdatedAt) && a.State == b.State && a.DesiredState == b.DesiredState &&
		a.Generation == b.Generation && a.Reason == b.Reason && a.AgentID == b.AgentID && place(a) == place(b) && away(a) == away(b)
}

// place is the session's in the queue, or none.
func place(session models.Session) models.QueuePlace {
	if session.Queue == nil {
		return models.QueuePlace{}
	}
	return *session.Queue
}

// away says why the session's agent cannot be asked, or nothing.
func away(session models.Session) string {
	if session.Unreachable == nil {
		return ""
	}
	return session.Unreachable.Reason
}

// event writes one event. JSON has no line breaks of its own, so it is one
// data line.
func (w *watcher) event(name string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", name, err)
	}
	var message bytes.Buffer
	fmt.Fprintf(&message, "event: %s\ndata: %s\n\n", name, encoded)
	return w.write(message.Bytes())
}

// write sends at once. The deadline replaces the server's, which is meant for
// answers that end.
func (w *watcher) write(message []byte) error {
	if err := w.control.SetWriteDeadline(time.Now().Add(eventsWrite)); err != nil {
		return fmt.Errorf("set write deadline: %w", err)
	}
	if _, err := w.w.Write(message); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := w.control.Flush(); err != nil {
		return fmt.Errorf("flush event: %w", err)
	}
	if err := w.control.SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("clear write deadline: %w", err)
	}
	return nil
}
