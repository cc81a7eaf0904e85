package db_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/streamspace/streamspace/db"
	"github.com/streamspace/streamspace/db/dbtest"
	"github.com/streamspace/streamspace/models"
)

// urls gives an empty database of each engine.
func urls(t *testing.T) map[db.Engine]string {
	return map[db.Engine]string{
		db.SQLite:   "sqlite:" + filepath.Join(t.TempDir(), "new.db"),
		db.Postgres: dbtest.PostgresURL(t),
	}
}

func open(t *testing.T, url string) *db.Database {
	t.Helper()
	database, err := db.Open(t.Context(), url, db.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, database.Close()) })
	return database
}

func steps(t *testing.T, database *db.Database) (numbers []int) {
	t.Helper()
	rows, err := database.DB().QueryContext(t.Context(), "SELECT number FROM schema_migrations ORDER BY number")
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	for rows.Next() {
		var number int
		must(t, rows.Scan(&number))
		numbers = append(numbers, number)
	}
	must(t, rows.Err())
	return numbers
}

func TestSeveralReplicasMigrateAnEmptyDatabase(t *testing.T) {
	for engine, url := range urls(t) {
		t.Run(string(engine), func(t *testing.T) {
			replicas := make([]*db.Database, 6)
			for i := range replicas {
				replicas[i] = open(t, url)
			}
			for _, err := range together(len(replicas), func(i int) error { return replicas[i].Migrate(t.Context()) }) {
				must(t, err)
			}
			done := steps(t, replicas[0])
			if len(done) == 0 || done[0] != 1 || done[len(done)-1] != len(done) {
				t.Fatalf("the steps are %v", done)
			}
			w := newWorld(t, replicas[0])
			w.agent("a", 0)
			w.session("s", "a", noon)
			must(t, w.Migrate(t.Context()))
			equal(t, "steps", steps(t, replicas[1]), done)
			if w.read("s").ID != "s" {
				t.Fatal("migrating again lost a session")
			}
		})
	}
}

// Every step is taken from a database that is in use.
func TestADatabaseOfEachEarlierBuildIsBroughtForward(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.Postgres} {
		folder := filepath.Join("migrations", string(engine))
		entries, err := os.ReadDir(folder)
		must(t, err)
		for have := 1; have < len(entries); have++ {
			t.Run(fmt.Sprint(engine, " from ", have), func(t *testing.T) {
				w := &world{t: t, Database: open(t, urls(t)[engine])}
				w.sql("CREATE TABLE schema_migrations (number integer PRIMARY KEY, name text NOT NULL)")
				for i, entry := range entries[:have] {
					body, err := os.ReadFile(filepath.Join(folder, entry.Name()))
					must(t, err)
					_, err = w.DB().ExecContext(t.Context(), string(body))
					must(t, err)
					w.sql("INSERT INTO schema_migrations (number, name) VALUES (%d, '%s')", i+1, entry.Name())
				}
				const at = "'2030-01-01T00:00:00.000000Z'"
				w.sql("INSERT INTO users (id, name, role, created_at) VALUES ('u', 'ann', 'user', %s)", at)
				w.sql("INSERT INTO api_tokens (hash, kind, user_id, created_at) VALUES ('ever', 'api', 'u', %s)", at)
				w.sql("INSERT INTO api_tokens (hash, kind, user_id, created_at, expires_at) VALUES ('short', 'console', 'u', %s, %s)", at, at)
				w.sql("INSERT INTO agent_commands (command_id, agent_id, action, status, created_at) VALUES ('c', 'a', 'x', 'pending', %s)", at)

				w.sql("INSERT INTO agents (id, platform, status, created_at, updated_at) VALUES ('a', 'docker', 'online', %s, %s)", at, at)
				if have >= 5 {
					w.sql("UPDATE agents SET connected = true")
				}
				must(t, w.Migrate(t.Context()))
				if done := steps(t, w.Database); len(done) != len(entries) || done[len(done)-1] != len(entries) {
					t.Fatalf("the steps are %v", done)
				}
				user, err := w.EnsureUser(t.Context(), "ann", models.RoleUser, noon)
				must(t, err)
				token, err := w.TokenByHash(t.Context(), models.TokenAPI, "ever", noon)
				must(t, err)
				w.drain("a", 0)
				w.uncordon("a")
				w.is("a", "online") // it was connected
				if user.ID != "u" || token.UserID != "u" || w.command("c").Status != models.CommandPending {
					t.Fatalf("what was there became %+v, %+v", user, token)
				}
			})
		}
	}
}

func TestMigrateRefusesANewerSchema(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.sql("INSERT INTO schema_migrations (number, name) VALUES (9999, '9999_future.sql')")
		err := w.Migrate(t.Context())
		refused(t, err, models.CodeUnavailable)
		if !strings.Contains(err.Error(), "9999") || !strings.Contains(err.Error(), "newer build") {
			t.Fatalf("the error does not say what to do: %v", err)
		}
	})
}

// Both engines have the same steps, so that a number means the same in both.
func TestEnginesHaveTheSameSteps(t *testing.T) {
	var names [2][]string
	for i, engine := range []db.Engine{db.SQLite, db.Postgres} {
		entries, err := os.ReadDir(filepath.Join("migrations", string(engine)))
		must(t, err)
		for n, entry := range entries {
			if !strings.HasPrefix(entry.Name(), fmt.Sprintf("%04d_", n+1)) {
				t.Errorf("%s is out of order", entry.Name())
			}
			names[i] = append(names[i], entry.Name())
		}
	}
	equal(t, "steps of PostgreSQL", names[1], names[0])
}

// The states that the schema admits are exactly those of models.
func TestChecksHoldTheStatesOfModels(t *testing.T) {
	var sessions []string
	for _, state := range models.SessionStates() {
		sessions = append(sessions, string(state))
	}
	checks := []struct {
		table, column string
		want          []string
	}{
		{"sessions", "state", sessions},
		{"sessions", "desired_state", []string{string(models.DesiredRunning), string(models.DesiredHibernated), string(models.DesiredTerminated)}},
		{"agent_commands", "status", models.CommandStates()},
		{"agents", "status", models.AgentStates()},
		{"users", "role", []string{models.RoleAdmin, models.RoleUser}},
		{"api_tokens", "kind", []string{models.TokenAPI, models.TokenConsole, models.TokenLogin, models.TokenAgent}},
	}
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		w.session("s", "a", noon)
		must(t, w.CreateToken(t.Context(), models.Token{Hash: "h", Kind: models.TokenAPI, CreatedAt: noon}))
		for _, check := range checks {
			got := admitted(t, w, check.table, check.column)
			want := slices.Sorted(slices.Values(check.want))
			equal(t, check.table+"."+check.column, got, want)
			for _, value := range want {
				w.sql("UPDATE %s SET %s = '%s'", check.table, check.column, value)
			}
			for _, value := range []string{"nonsense", "", "RUNNING"} {
				if _, err := w.DB().ExecContext(t.Context(), fmt.Sprintf("UPDATE %s SET %s = '%s'", check.table, check.column, value)); err == nil {
					t.Errorf("%s.%s admits %q", check.table, check.column, value)
				}
			}
		}
	})
}

// admitted reads a column's CHECK constraint back from the database.
func admitted(t *testing.T, w *world, table, column string) []string {
	t.Helper()
	query := fmt.Sprintf("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '%s_%s_check'", table, column)
	within := regexp.MustCompile(`(?s)\(.*\)`)
	if w.Engine() == db.SQLite {
		query = fmt.Sprintf("SELECT sql FROM sqlite_master WHERE name = '%s'", table)
		within = regexp.MustCompile(`(?s)\b` + column + `\s+text NOT NULL CHECK \(` + column + ` IN \([^)]*\)`)
	}
	var definition string
	must(t, w.DB().QueryRowContext(t.Context(), query).Scan(&definition))
	var values []string
	for _, match := range regexp.MustCompile(`'([^']*)'`).FindAllStringSubmatch(within.FindString(definition), -1) {
		values = append(values, match[1])
	}
	slices.Sort(values)
	return values
}

func TestFromDBFindsTheEngine(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		wrapped := db.FromDB(w.DB())
		if wrapped.Engine() != w.Engine() || wrapped.DB() != w.DB() {
			t.Fatalf("the engine is %s, want %s", wrapped.Engine(), w.Engine())
		}
		w.agent("a", 3)
		agents, err := wrapped.Candidates(t.Context(), db.AgentFilter{Status: models.AgentOnline})
		must(t, err)
		if len(agents) != 1 || agents[0].Limit().Sessions != 3 {
			t.Fatalf("the agents are %+v", agents)
		}
	})
}

func TestSQLiteFiles(t *testing.T) {
	for _, name := range []string{"plain.db", "odd ?mode=memory#%20&.db"} {
		path := filepath.Join(t.TempDir(), name)
		for _, url := range []string{path, "sqlite:" + path} {
			database := open(t, url)
			must(t, database.Migrate(t.Context()))
			newWorld(t, database)
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			info, err := os.Stat(path + suffix)
			must(t, err)
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s has mode %v", path+suffix, info.Mode())
			}
		}
	}
	for _, url := range []string{"", "sqlite:", filepath.Join(t.TempDir(), "no", "such", "folder.db"), "postgres://nobody@127.0.0.1:1/none?connect_timeout=1"} {
		if database, err := db.Open(t.Context(), url, db.Options{}); err == nil {
			t.Errorf("%q was opened", url)
			must(t, database.Close())
		}
	}
	garbage := filepath.Join(t.TempDir(), "garbage.db")
	must(t, os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	if database, err := db.Open(t.Context(), garbage, db.Options{}); err == nil {
		t.Error("a file that is no database was opened")
		must(t, database.Close())
	}
}

func TestEverySQLiteConnectionIsDurable(t *testing.T) {
	database := dbtest.SQLite(t, db.Options{})
	for range 8 { // each held, so that the next is another one
		connection, err := database.DB().Conn(t.Context())
		must(t, err)
		t.Cleanup(func() { must(t, connection.Close()) })
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1"} {
			var got string
			must(t, connection.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got))
			if got != want {
				t.Errorf("%s is %s, want %s", pragma, got, want)
			}
		}
	}
}

func TestWhatIsWrittenOutlivesTheHandle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kept.db")
	first, err := db.Open(t.Context(), path, db.Options{})
	must(t, err)
	must(t, first.Migrate(t.Context()))
	w := newWorld(t, first)
	w.agent("a", 0)
	w.session("s", "a", noon)
	must(t, first.Close())
	if err := first.Ping(t.Context()); err == nil {
		t.Error("a closed database answers")
	}
	second := open(t, path)
	must(t, second.Ping(t.Context()))
	if session, err := second.Session(t.Context(), "s"); err != nil || session.State != models.SessionPending {
		t.Fatalf("read %+v, %v", session, err)
	}
}

func TestReadersDoNotWaitForAWriter(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.agent("a", 0)
		w.session("s", "a", noon)
		writer, err := w.DB().BeginTx(t.Context(), &sql.TxOptions{})
		must(t, err)
		_, err = writer.ExecContext(t.Context(), "UPDATE sessions SET reason = 'not yet'")
		must(t, err)
		for _, err := range together(16, func(int) error {
			session, err := w.Session(t.Context(), "s")
			if err == nil && session.Reason != "" {
				err = fmt.Errorf("read what is not committed: %q", session.Reason)
			}
			return err
		}) {
			must(t, err)
		}
		must(t, writer.Rollback())
	})
}
