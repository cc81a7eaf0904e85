package sim

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync/atomic"
	"time"

	"github.com/mattn/go-sqlite3"
)

var (
	errCrashed   = errors.New("sim: this process has crashed")
	errAway      = errors.New("sim: the database cannot be reached")
	errNotKept   = errors.New("sim: the commit failed")
	errKeptAfter = errors.New("sim: the connection broke during the commit")
)

// storage is a replica's way to the database that all replicas share: a SQLite
// file, with the faults of a database server on the way to it. Writers of all
// replicas wait for each other at the gate, in virtual time: in SQLite they
// would wait in real time, in which nothing else of the world moves.
type storage struct {
	path   string
	gate   chan struct{}
	life   *life
	faults *faults
	chance *chance
	// far is how long the way to a database that is far away takes at most.
	far time.Duration
	// healed ends what is slow.
	healed <-chan struct{}
	// by gives what the history's triggers note of who writes, and when.
	by func() (at int64, replica int64)
	// atCommit is called before and after each commit; it may end the life.
	atCommit func(done bool)
	// awayUntil is when a database that is away comes back, in Unix nanoseconds.
	awayUntil *atomic.Int64
}

// open gives a handle that db takes for SQLite.
func (s *storage) open() *sql.DB {
	handle := sql.OpenDB(s)
	handle.SetMaxOpenConns(6)
	handle.SetMaxIdleConns(6)
	return handle
}

// Driver implements driver.Connector.
func (s *storage) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

// Connect implements driver.Connector.
func (s *storage) Connect(ctx context.Context) (driver.Conn, error) {
	if err := s.reach(ctx); err != nil {
		return nil, err
	}
	opener := &sqlite3.SQLiteDriver{ConnectHook: func(raw *sqlite3.SQLiteConn) error {
		if err := raw.RegisterFunc("sim_at", func() int64 { at, _ := s.by(); return at }, false); err != nil {
			return err
		}
		return raw.RegisterFunc("sim_by", func() int64 { _, by := s.by(); return by }, false)
	}}
	raw, err := opener.Open("file:" + s.path + fileOptions)
	if err != nil {
		return nil, err
	}
	return &storageConn{SQLiteConn: raw.(*sqlite3.SQLiteConn), storage: s}, nil
}

// fileOptions are the product's, except that nothing is synced: a crash in the
// simulation is one of processes, whose writes the system keeps.
const fileOptions = "?_journal_mode=WAL&_synchronous=OFF&_txlock=immediate&_foreign_keys=on&_busy_timeout=2000&_stmt_cache_size=64"

// reach fails when the database cannot be reached, and waits when it is slow.
func (s *storage) reach(ctx context.Context) error {
	if s.life.over() {
		return errCrashed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.faults.may(DatabaseAway) && time.Now().UnixNano() < s.awayUntil.Load() {
		return errAway
	}
	if s.faults.strikes(DatabaseSlow, s.chance, 0.003) {
		return s.wait(ctx, s.chance.between(100*time.Millisecond, 4*time.Second))
	}
	if s.faults.may(DatabaseFar) {
		return s.wait(ctx, s.chance.between(0, s.far))
	}
	return nil
}

func (s *storage) wait(ctx context.Context, duration time.Duration) error {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.healed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.ended:
		return errCrashed
	}
}

// storageConn is one connection of database/sql's pool. Contexts are checked
// before each call and not passed on: SQLite would watch them with a goroutine
// a row, for calls that take no virtual time.
type storageConn struct {
	*sqlite3.SQLiteConn
	storage *storage
}

// Ping implements driver.Pinger.
func (c *storageConn) Ping(ctx context.Context) error { return c.storage.reach(ctx) }

// QueryContext implements driver.QueryerContext.
func (c *storageConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.storage.reach(ctx); err != nil {
		return nil, err
	}
	return c.SQLiteConn.QueryContext(context.WithoutCancel(ctx), query, args)
}

// ExecContext implements driver.ExecerContext. All that the product writes is
// in transactions.
func (c *storageConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.storage.reach(ctx); err != nil {
		return nil, err
	}
	return c.SQLiteConn.ExecContext(context.WithoutCancel(ctx), query, args)
}

// BeginTx implements driver.ConnBeginTx.
func (c *storageConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if err := c.storage.reach(ctx); err != nil {
		return nil, err
	}
	select {
	case c.storage.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.storage.life.ended:
		return nil, errCrashed
	}
	raw, err := c.SQLiteConn.BeginTx(context.WithoutCancel(ctx), options)
	if err != nil {
		<-c.storage.gate
		return nil, err
	}
	return &storageTx{raw: raw, storage: c.storage}, nil
}

// storageTx is a transaction, which has the gate until it ends.
type storageTx struct {
	raw     driver.Tx
	storage *storage
}

// Rollback implements driver.Tx.
func (t *storageTx) Rollback() error {
	defer t.leave()
	return t.raw.Rollback()
}

func (t *storageTx) leave() { <-t.storage.gate }

// Commit implements driver.Tx.
func (t *storageTx) Commit() error {
	s := t.storage
	defer t.leave()
	s.atCommit(false)
	if s.faults.strikes(DatabaseSlow, s.chance, 0.01) {
		// The crash that may cut this short is reported below.
		_ = s.wait(context.Background(), s.chance.between(200*time.Millisecond, 12*time.Second))
	}
	switch {
	case s.life.over():
		_ = t.raw.Rollback() // the process that would hear of it is gone
		return errCrashed
	case s.faults.strikes(CommitRefused, s.chance, 0.03):
		return errors.Join(errNotKept, t.raw.Rollback())
	}
	if err := t.raw.Commit(); err != nil {
		return err
	}
	s.atCommit(true)
	if s.life.over() {
		return errCrashed
	}
	if s.faults.strikes(CommitLied, s.chance, 0.03) {
		return errKeptAfter
	}
	return nil
}
