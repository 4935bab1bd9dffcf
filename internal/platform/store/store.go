// Package store keeps the control plane's records in SQLite or PostgreSQL. The
// SQL is written once, in the subset both speak; what differs is in dialect.
// What may be written is not its job: the services decide inside Change.
package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// dialect is everything in which the two databases differ.
type dialect struct {
	goose      goose.Dialect
	position   string             // the function that finds a string in another
	forUpdate  string             // makes a select lock the rows it reads
	skipLocked string             // makes a claiming select step over rows being claimed
	snapshot   sql.IsolationLevel // of a transaction whose reads shall agree with each other
	ints       string             // the numbers of a JSON array, as rows; %s is the array
	texts      string             // its strings
}

// DB is an open store. Its methods are transactions and may be called from
// many goroutines.
type DB struct {
	write *sql.DB
	read  *sql.DB
	d     dialect
	to    []Subscriber
	// What devices make the server do over and over is prepared once, where the
	// driver does not do so itself: SQLite spends a quarter of its time on that.
	hotWrite, hotRead map[string]*sql.Stmt
}

// OpenSQLite opens the SQLite database in the file at path and brings it up to
// date. There is one connection for writing, on which callers wait in Go where
// a context can end the wait, and a pool of connections for reading.
// A committed transaction survives the loss of power (synchronous = FULL).
func OpenSQLite(ctx context.Context, path string) (*DB, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	dsn := func(extra string) string {
		q := url.Values{"_pragma": {"journal_mode(wal)", "synchronous(full)", "busy_timeout(10000)", "cache_size(-8000)"}}
		return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode() + extra
	}
	write, err := sql.Open("sqlite", dsn("&_txlock=immediate"))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn("&_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), write.Close())
	}
	read.SetMaxOpenConns(4)
	db, err := (&DB{write: write, read: read, d: dialect{goose: goose.DialectSQLite3, position: "instr", ints: "(select value from json_each(%s))", texts: "(select value from json_each(%s))"}}).migrated(ctx)
	if err != nil {
		return nil, err
	}
	return db.prepared(ctx)
}

// private makes the file of a database one that its owner alone may read: it
// holds the keys of the authorities. What SQLite keeps beside it gets its mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if err := errors.Join(f.Chmod(0o600), f.Close()); err != nil {
		return fmt.Errorf("keep the database private: %w", err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		if err := os.Chmod(path+beside, 0o600); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep the database private: %w", err)
		}
	}
	return nil
}

// OpenPostgres opens the PostgreSQL database at dsn and brings it up to date.
func OpenPostgres(ctx context.Context, dsn string) (*DB, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(8)
	return (&DB{write: db, read: db, d: dialect{goose: goose.DialectPostgres, position: "strpos", forUpdate: " for update", skipLocked: " for update skip locked", snapshot: sql.LevelRepeatableRead, ints: "(select value::bigint from json_array_elements_text(%s::json))", texts: "(select value from json_array_elements_text(%s::json))"}}).migrated(ctx)
}

func (db *DB) migrated(ctx context.Context) (*DB, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	p, err := goose.NewProvider(db.d.goose, db.write, files)
	if err == nil {
		_, err = p.Up(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("migrate: %w", err), db.Close())
	}
	return db, nil
}

// Close closes the database.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	return err
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// Tx is one transaction.
type Tx struct {
	*sql.Tx
	d   dialect
	to  []Subscriber
	hot map[string]*sql.Stmt
}

// Change runs f in a transaction and commits unless f fails. When the database
// asks for it (a serialization failure or a deadlock), f runs again: it must
// have no effect outside the transaction.
func (db *DB) Change(ctx context.Context, f func(*Tx) error) error {
	for try := 0; ; try++ {
		err := db.change(ctx, f)
		if err == nil || try == 4 || !again(err) {
			return err
		}
	}
}

func (db *DB) change(ctx context.Context, f func(*Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back; before one the failure is already reported
	if err := f(&Tx{tx, db.d, db.to, db.hotWrite}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// again reports whether a transaction failed only because of another one.
func again(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "40001" || e.Code == "40P01"
	}
	return false
}

// taken reports whether err says that a unique key exists already.
func taken(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		const constraintPrimaryKey, constraintUnique = 1555, 2067 // SQLite's extended result codes
		return e.Code() == constraintPrimaryKey || e.Code() == constraintUnique
	}
	return false
}

// next draws the next number of a counter; the counter's row stays locked
// until the transaction ends, so numbers become visible in their order.
func (tx *Tx) next(ctx context.Context, counter string) (n int64, err error) {
	err = tx.QueryRowContext(ctx, `update counter set n = n + 1 where name = $1 returning n`, counter).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("draw from counter %s: %w", counter, err)
	}
	return n, nil
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(n int64) time.Time { return time.UnixMicro(n).UTC() }

// nullMicros stores the zero time as null.
func nullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
