// Package store keeps the server's records in SQLite or PostgreSQL: it opens
// and migrates the database, and has what every kind of record needs:
// transactions (DB.Change), reads that agree with each other (DB.View),
// counters, queues and tags. The SQL is written once, in the subset that both
// speak; what differs is in Dialect. What may be written is not its job.
//
// The records themselves are in a child package for each aggregate: hosting,
// edge, identity, jobs, alarms, metrics. Each has a DB to read by and a Tx to write by,
// and services use it directly:
//
//	// DB keeps alarms.
//	type DB struct{ *store.DB }
//
//	// New returns the alarms of an open store.
//	func New(db *store.DB) DB { return DB{db} }
//
//	// Tx is one transaction on alarms.
//	type Tx struct{ *store.Tx }
//
//	// In returns the alarms in a transaction that other records are changed in, too.
//	func In(tx *store.Tx) Tx { return Tx{tx} }
//
//	// Change runs f in a transaction; see store.DB.Change.
//	func (db DB) Change(ctx context.Context, f func(Tx) error) error {
//		return db.DB.Change(ctx, func(tx *store.Tx) error { return f(In(tx)) })
//	}
//
//	// Forget removes an alarm.
//	func (tx Tx) Forget(ctx context.Context, region, name string) error {
//		return tx.Run(ctx, "delete alarm", `delete from alarm where region = $1 and name = $2`, region, name)
//	}
//
// A change of two aggregates is one transaction of one of them, in which the
// other is reached with In(tx.Tx). A service whose own domain package has the
// same name imports its aggregate as store. Statements that are executed by the
// thousand are prepared by New (DB.Prepare). Tests run on both databases
// through storetest.OnBoth.
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

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DB is an open store. Its methods are transactions and may be called from
// many goroutines.
type DB struct {
	write *sql.DB
	read  *sql.DB

	Dialect Dialect

	preparedWrites, preparedReads map[string]*sql.Stmt
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
		q := url.Values{"_pragma": {
			"journal_mode(wal)", "synchronous(full)", "busy_timeout(10000)", "cache_size(-8000)",
		}}
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
	return (&DB{
		write: write, read: read, Dialect: sqliteDialect(),
		preparedWrites: map[string]*sql.Stmt{}, preparedReads: map[string]*sql.Stmt{},
	}).migrated(ctx)
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
	return (&DB{write: db, read: db, Dialect: postgresDialect()}).migrated(ctx)
}

func (db *DB) migrated(ctx context.Context) (*DB, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	p, err := goose.NewProvider(db.Dialect.goose, db.write, files)
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
