package db_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

// noon is when these tests begin.
var noon = time.Date(2030, 4, 1, 12, 0, 0, 123456000, time.UTC)

// after gives a later instant.
func after(by time.Duration) time.Time { return noon.Add(by) }

// world is a database with a user in it and short ways to fill it.
type world struct {
	t testing.TB
	*db.Database
	user models.User
}

func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, database *db.Database) { test(t, newWorld(t, database)) })
}

func newWorld(t testing.TB, database *db.Database) *world {
	t.Helper()
	user, err := database.EnsureUser(t.Context(), "ann", models.RoleUser, noon)
	must(t, err)
	return &world{t: t, Database: database, user: user}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused fails the test unless err carries the code.
func refused(t testing.TB, err error, code models.ErrorCode) {
	t.Helper()
	if models.CodeOf(err) != code {
		t.Fatalf("the error is %v, want code %s", err, code)
	}
}

// agent registers and connects an agent for at most limit sessions (0: no
// limit) and gives its epoch.
func (w *world) agent(id string, limit int) int64 {
	w.t.Helper()
	agent := models.Agent{ID: id, Platform: models.PlatformProcess, Region: "here"}
	if limit > 0 {
		agent.Capacity = map[string]any{"maxSessions": limit}
	}
	_, _, err := w.RegisterAgent(w.t.Context(), agent, noon)
	must(w.t, err)
	epoch, err := w.ConnectAgent(w.t.Context(), id, noon)
	must(w.t, err)
	return epoch
}

// launch is a launch of the session on the agent.
func (w *world) launch(id, agentID string) db.Launch {
	return db.Launch{
		Session: models.Session{ID: id, Name: "Desk", User: w.user.Name, UserID: w.user.ID, Template: "desktop", Protocol: models.ProtocolVNC,
			AgentID: agentID, Platform: models.PlatformProcess, Resources: models.Resources{CPU: "1", Memory: "1Gi"},
			Spec:        models.Template{Metadata: models.TemplateMetadata{Name: "desktop"}, Spec: models.TemplateSpec{DisplayName: "Desk"}},
			RequestHash: "hash of " + id},
		Command: models.AgentCommand{CommandID: "start-" + id, AgentID: agentID, SessionID: id, Generation: 1,
			Action: models.ActionStartSession, Payload: &models.CommandPayload{"sessionId": id}, DeadlineAt: after(time.Minute)},
		Actor: "user:ann",
	}
}

// session launches a session at a time.
func (w *world) session(id, agentID string, now time.Time) models.Session {
	w.t.Helper()
	session, existed, err := w.LaunchSession(w.t.Context(), w.launch(id, agentID), now)
	must(w.t, err)
	if existed {
		w.t.Fatalf("session %s existed", id)
	}
	return session
}

// running launches a session and completes its start.
func (w *world) running(id, agentID string, epoch int64) models.Session {
	w.t.Helper()
	w.session(id, agentID, noon)
	result, err := w.FinishCommand(ending{CommandID: "start-" + id, AgentID: agentID, Epoch: epoch,
		Status: models.CommandCompleted}, after(time.Second))
	must(w.t, err)
	if result.Session == nil || result.Session.State != models.SessionRunning || !result.Moved {
		w.t.Fatalf("the start left %+v", result)
	}
	return *result.Session
}

func (w *world) stop(id string, now time.Time) (models.Session, *models.AgentCommand) {
	w.t.Helper()
	session, command, err := w.StopSession(w.t.Context(), db.Stop{SessionID: id, CommandID: "stop-" + id, Actor: "user:ann",
		DeadlineAt: now.Add(time.Minute)}, now)
	must(w.t, err)
	return session, command
}

// sql runs a statement that no method of Database would, to make what tests
// need. It may hold no parameters.
func (w *world) sql(format string, args ...any) {
	w.t.Helper()
	_, err := w.DB().ExecContext(w.t.Context(), fmt.Sprintf(format, args...))
	must(w.t, err)
}

func (w *world) count(query string) int {
	w.t.Helper()
	var count int
	must(w.t, w.DB().QueryRowContext(w.t.Context(), query).Scan(&count))
	return count
}

func (w *world) read(id string) models.Session {
	w.t.Helper()
	session, err := w.Session(w.t.Context(), id)
	must(w.t, err)
	return session
}

func (w *world) command(id string) models.AgentCommand {
	w.t.Helper()
	command, err := w.Command(w.t.Context(), id)
	must(w.t, err)
	return command
}

// history gives a session's events as "from>to actor".
func (w *world) history(id string) []string {
	w.t.Helper()
	events, next, err := w.SessionEvents(w.t.Context(), id, db.Page{})
	must(w.t, err)
	if next != "" {
		w.t.Fatal("more events than a page")
	}
	var lines []string
	for _, event := range events {
		if event.Kind != models.EventSessionState || event.SessionID != id {
			w.t.Fatalf("an event of something else: %+v", event)
		}
		lines = append(lines, event.From+">"+event.To+" "+event.Actor)
	}
	return lines
}

func equal[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// together runs n calls at once and gives their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = call(i)
		})
	}
	done.Wait()
	return errs
}

// codes counts errors by code; success is "".
func codes(errs []error) map[models.ErrorCode]int {
	counts := map[models.ErrorCode]int{}
	for _, err := range errs {
		counts[models.CodeOf(err)]++
	}
	return counts
}

// pages reads a whole list in pages of limit, and checks that cursors and sizes
// are as promised.
func pages[T any](t testing.TB, limit int, list func(db.Page) ([]T, string, error)) []T {
	t.Helper()
	var all []T
	page := db.Page{Limit: limit}
	for {
		items, next, err := list(page)
		must(t, err)
		all = append(all, items...)
		if next == "" {
			return all
		}
		if len(items) != limit {
			t.Fatalf("a page before the last has %d items, want %d", len(items), limit)
		}
		page.Cursor = next
	}
}

// badPages checks that a list refuses bad cursors and limits.
func badPages[T any](t *testing.T, list func(context.Context, db.Page) ([]T, string, error)) {
	t.Helper()
	for _, page := range []db.Page{{Cursor: "%%%"}, {Cursor: "bm90IGpzb24"}, {Cursor: "e30"}, {Limit: -1}, {Limit: db.MaxPageSize + 1}} {
		_, _, err := list(t.Context(), page)
		refused(t, err, models.CodeInvalidRequest)
	}
	_, next, err := list(t.Context(), db.Page{Limit: db.MaxPageSize})
	must(t, err)
	if next != "" {
		t.Fatal("there is another page after everything")
	}
}
