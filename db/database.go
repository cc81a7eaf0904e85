// Package db is the only package with SQL. It keeps everything that must
// survive: agents, sessions, commands, templates, access rights and history,
// in SQLite or PostgreSQL, behind methods that are whole transactions.
//
// Time comes in as the last parameter, from the caller's clock, and is stored
// in UTC to the microsecond. A context without deadline gets one of 10 s.
// All methods are safe for concurrent use.
package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/mattn/go-sqlite3"

	"github.com/streamspace/streamspace/models"
)

// Engine names a database engine.
type Engine string

// The engines.
const (
	SQLite   Engine = "sqlite"
	Postgres Engine = "postgres"
)

// callWithin is the deadline of a call whose context has none.
const callWithin = 10 * time.Second

// Options configure a Database.
type Options struct {
	// Logger receives migrations; the default discards.
	Logger *slog.Logger
	// SessionChanged is called after each commit that changed a session, from
	// the goroutine that committed; it must not block. It is a hint: a crash
	// between commit and call loses it.
	SessionChanged func(sessionID string)
	// SessionPassed is called likewise for each session that has left a state that
	// should pass, with how long it was in it.
	SessionPassed func(from, to models.SessionState, took time.Duration)
}

// Database is an open database.
type Database struct {
	handle  *sql.DB
	engine  Engine
	options Options
	// turn lets one writer at a time through to SQLite, so that writers wait
	// here, in order and under their deadline, instead of spinning on a lock.
	// Nil for PostgreSQL.
	turn    chan struct{}
	tallies tallies
}

// Open opens the database at url and checks that it answers. A url is
// postgres://…, sqlite:PATH, or a path. A new SQLite file has mode 0600.
func Open(ctx context.Context, url string, options Options) (*Database, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	var handle *sql.DB
	var err error
	if strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://") {
		handle, err = openPostgres(url)
	} else {
		handle, err = openSQLite(strings.TrimPrefix(url, "sqlite:"))
	}
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	database := FromDB(handle)
	database.options = options
	if err := database.Ping(ctx); err != nil {
		_ = handle.Close()
		return nil, fmt.Errorf("open database: %w", err)
	}
	return database, nil
}

// postgresConnections is how many connections a replica holds at most: a few
// replicas fit into PostgreSQL's default of 100.
const postgresConnections = 24

// abandonedAfter is for how long PostgreSQL lets a transaction wait for its next
// statement: one whose replica was suspended or has lost its machine in the
// middle would keep its locks, the lease's among them, for as long as the
// connection seems to be there. Calls have ended by then.
const abandonedAfter = callWithin

func openPostgres(url string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	handle := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("SET idle_in_transaction_session_timeout = '%ds'", int(abandonedAfter.Seconds())))
		return err
	}))
	handle.SetMaxOpenConns(postgresConnections)
	handle.SetMaxIdleConns(postgresConnections)
	handle.SetConnMaxIdleTime(5 * time.Minute)
	return handle, nil
}

func openSQLite(path string) (*sql.DB, error) {
	if path == "" {
		return nil, errors.New("the SQLite path is empty")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it 0644
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	handle := sql.OpenDB(sqliteConnector{dsn: "file:" + escapePath(path) +
		"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate&_busy_timeout=5000&_foreign_keys=on&_cache_size=-16000"})
	handle.SetMaxOpenConns(8)
	handle.SetMaxIdleConns(8)
	return handle, nil
}

// sqliteConnector opens connections to one SQLite file.
type sqliteConnector struct{ dsn string }

// Driver implements driver.Connector.
func (sqliteConnector) Driver() driver.Driver {
	return &sqlite3.SQLiteDriver{ConnectHook: checkpointSeldom}
}

// Connect implements driver.Connector.
func (c sqliteConnector) Connect(context.Context) (driver.Conn, error) { return c.Driver().Open(c.dsn) }

// checkpointSeldom has the write-ahead log copied into the database after 32 MiB
// instead of 4, which a few hundred launches write: a page that is written again
// and again is copied once then.
func checkpointSeldom(conn *sqlite3.SQLiteConn) error {
	_, err := conn.Exec("PRAGMA wal_autocheckpoint = 8000", nil)
	return err
}

// escapePath keeps a path from being read as the query of a file: URL.
func escapePath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)
}

// FromDB wraps a handle that is already open; its engine is found from its
// driver: mattn's SQLite, or else PostgreSQL. Close closes the handle.
func FromDB(handle *sql.DB) *Database {
	database := &Database{handle: handle, engine: Postgres,
		options: Options{Logger: slog.New(slog.DiscardHandler)}}
	if _, is := handle.Driver().(*sqlite3.SQLiteDriver); is {
		database.engine = SQLite
		database.turn = make(chan struct{}, 1)
	}
	return database
}

// DB gives the handle that every method uses.
func (d *Database) DB() *sql.DB { return d.handle }

// Engine tells which engine this is.
func (d *Database) Engine() Engine { return d.engine }

// Ping checks that the database answers.
func (d *Database) Ping(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return d.handle.PingContext(ctx)
}

// Close closes the handle.
func (d *Database) Close() error { return d.handle.Close() }

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, callWithin)
}
