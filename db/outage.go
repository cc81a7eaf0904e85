package db

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"

	"github.com/streamspace/streamspace/models"
)

// sqliteOutages are the results that say nothing of the statement, only that
// the file cannot be used just now (sqlite.org/rescode.html).
var sqliteOutages = []sqlite3.ErrNo{
	sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrReadonly, sqlite3.ErrIoErr, sqlite3.ErrFull, sqlite3.ErrCantOpen,
}

// postgresOutages are the classes of codes that say the same of a server: its
// connections, rolled back transactions, resources, objects that are in use,
// operators and the system (PostgreSQL's manual, appendix A).
var postgresOutages = []string{"08", "40", "53", "55", "57", "58"}

// outage makes an error that passes by itself, such as a full disk, a lock that
// is held or a server that restarts, models.CodeUnavailable. Any other one is
// given back: it would be the same at the next attempt.
func outage(err error) error {
	var told *models.Error
	if err == nil || errors.As(err, &told) || !passes(err) {
		return err
	}
	return &models.Error{Code: models.CodeUnavailable, Retryable: true, Err: err,
		Message: "the database cannot be used at the moment; try again, and if that does not help, see that it runs " +
			"and that its disk has room"}
}

func passes(err error) bool {
	var file sqlite3.Error
	if errors.As(err, &file) {
		return slices.Contains(sqliteOutages, file.Code)
	}
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return len(answer.Code) == 5 && slices.Contains(postgresOutages, answer.Code[:2])
	}
	var connecting *pgconn.ConnectError
	var network net.Error
	if errors.As(err, &connecting) || errors.As(err, &network) || pgconn.SafeToRetry(err) {
		return true
	}
	for _, lost := range []error{context.DeadlineExceeded, driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, lost) {
			return true
		}
	}
	return false
}
