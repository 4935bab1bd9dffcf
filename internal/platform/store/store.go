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
	"errors"
	"os"
)

// DB is an open store. Its methods are transactions and may be called from
// many goroutines.
type DB struct {
	write *sql.DB
	read  *sql.DB

	Dialect Dialect

	migration int64 // the newest

	lost chan error // gets one: why this server may use the database no longer
	sole *sole      // of a PostgreSQL database: this server alone uses it

	path   string      // of a SQLite database
	opened os.FileInfo // the file there when it was opened

	preparedWrites, preparedReads map[string]*sql.Stmt
}

// Close closes the database.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	if db.sole != nil {
		db.sole.release() // last: nothing of this server uses the database any more
	}
	return err
}

// Lost gets the reason when this server may use the database no longer: another
// one has it. It must stop.
func (db *DB) Lost() <-chan error { return db.lost }

// SchemaIsOurs asks the database whether its newest migration is this program's.
func (db *DB) SchemaIsOurs(ctx context.Context) (ours bool, err error) {
	var newest int64
	err = db.Read().QueryRowContext(ctx, `select max(version_id) from goose_db_version`).Scan(&newest)
	return newest == db.migration, Wrap("read the migrations", err)
}
