package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// classify makes a fault of an error that says that the database cannot be used at
// the moment: a caller may come again. Any other stays as it is.
func classify(err error) error {
	switch {
	case err == nil, errors.Is(err, fault.Unavailable):
		return err
	case full(err):
		return fault.New(fault.Unavailable, "There is no space left for records.").Because(err)
	case away(err):
		return fault.New(fault.Unavailable, "The database is not available at the moment. Try again.").Because(err)
	}
	return err
}

// The primary result codes of SQLite, which are the low byte of a code.
const (
	sqliteBusy, sqliteReadOnly, sqliteInterrupt, sqliteIOErr = 5, 8, 9, 10
	sqliteFull, sqliteCantOpen, sqliteProtocol               = 13, 14, 15
)

func full(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code()&0xff == sqliteFull
	}
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "53100"
}

// away reports whether an error is one of the way to the database, or of its being
// busy, and not one of the statement.
func away(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return unavailable(e.Code)
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		switch e.Code() & 0xff {
		case sqliteBusy, sqliteReadOnly, sqliteInterrupt, sqliteIOErr, sqliteCantOpen, sqliteProtocol:
			return true
		}
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	for _, known := range []error{
		context.DeadlineExceeded, driver.ErrBadConn, sql.ErrConnDone, ErrInUse, io.ErrUnexpectedEOF, net.ErrClosed,
	} {
		if errors.Is(err, known) {
			return true
		}
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return connecting || pgconn.SafeToRetry(err)
}

// unavailable reports whether a code of PostgreSQL says that the same may work
// later.
func unavailable(code string) bool {
	switch code[:min(2, len(code))] {
	case "08", "53", "57", "58": // connection, resources, an operator's doing or a timeout, the system
		return true
	}
	switch code {
	case "25006", // a replica, which only reads
		"25P03", "25P04", "55P03", // the timeouts of sessionSettings
		"40001", "40P01": // see again
		return true
	}
	return false
}
