package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
)

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
	db := &DB{
		write: write, read: read, Dialect: sqliteDialect(), lost: make(chan error, 1),
		preparedWrites: map[string]*sql.Stmt{}, preparedReads: map[string]*sql.Stmt{},
	}
	if err := db.migrate(ctx, write); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if db.opened, err = os.Stat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("open the database: %w", err), db.Close())
	}
	db.path = path
	return db, nil
}

// moved says that the file at the path of a SQLite database is another than the one
// that is open: what is written to that would be gone with the next start.
func (db *DB) moved() error {
	if db.path == "" {
		return nil
	}
	now, err := os.Stat(db.path)
	if err == nil && os.SameFile(db.opened, now) || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("the file of the database, %s, was replaced or removed while the server ran", db.path)
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
