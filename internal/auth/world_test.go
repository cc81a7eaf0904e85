package auth_test

import (
	"sync"
	"testing"
	"time"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/internal/auth"
	"github.com/streamspace/streamspace/models"
)

// noon is when every test begins.
var noon = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// world is an Authenticator over a real database, on a clock that stands still
// until it is set.
type world struct {
	*auth.Authenticator
	t        *testing.T
	database *db.Database
	ann      models.User

	mu  sync.Mutex
	now time.Time
}

// each runs test on both engines.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dbtest.Each(t, func(t *testing.T, database *db.Database) { test(t, newWorld(t, database)) })
}

func sqlite(t *testing.T) *world {
	t.Helper()
	return newWorld(t, dbtest.SQLite(t, db.Options{}))
}

func newWorld(t *testing.T, database *db.Database) *world {
	t.Helper()
	w := &world{t: t, database: database, now: noon}
	w.Authenticator = auth.New(database, auth.Options{Now: w.clock})
	w.ann = w.user("ann")
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// at sets the clock to so long after noon.
func (w *world) at(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = noon.Add(after)
}

func (w *world) user(name string) models.User {
	w.t.Helper()
	user, err := w.database.EnsureUser(w.t.Context(), name, models.RoleUser, noon)
	must(w.t, err)
	return user
}

func (w *world) issue(grant auth.Grant) string {
	w.t.Helper()
	secret, err := w.IssueToken(w.t.Context(), grant)
	must(w.t, err)
	return secret
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var count int
	must(w.t, w.database.DB().QueryRowContext(w.t.Context(), query, args...).Scan(&count))
	return count
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks the code of an error.
func refused(t testing.TB, err error, code models.ErrorCode) {
	t.Helper()
	if models.CodeOf(err) != code {
		t.Fatalf("the error is %v, want code %s", err, code)
	}
}

// together runs n calls at once and counts their codes; success is "".
func together(n int, call func() error) map[models.ErrorCode]int {
	errs := make([]error, n)
	var ready, done sync.WaitGroup
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			errs[i] = call()
		})
	}
	done.Wait()
	counts := map[models.ErrorCode]int{}
	for _, err := range errs {
		counts[models.CodeOf(err)]++
	}
	return counts
}
