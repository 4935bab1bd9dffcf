package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
)

// Tx is one transaction.
type Tx struct {
	*sql.Tx

	Dialect  Dialect
	prepared map[string]*sql.Stmt
	call     context.Context // every statement runs under it: the caller's, bounded
}

// Change runs f in a transaction and commits unless f fails. When the database
// asks for it (a serialization failure or a deadlock), f runs again: it must
// have no effect outside the transaction. All of it is bounded by ctx and by
// callTimeout, whatever context f gives to its statements.
func (db *DB) Change(ctx context.Context, f func(*Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
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
		return Wrap("begin", err)
	}
	// After a commit there is nothing to roll back; before one the failure is already reported.
	defer tx.Rollback() //nolint:errcheck // see above
	if err := f(&Tx{tx, db.Dialect, db.preparedWrites, ctx}); err != nil {
		return classify(err)
	}
	return Wrap("commit", tx.Commit())
}

// again reports whether a transaction failed only because of another one.
func again(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		// 25P03: this process was not given time to run; nothing was committed.
		return e.Code == "40001" || e.Code == "40P01" || e.Code == "25P03"
	}
	return false
}

// Taken reports whether err says that a unique key exists already.
func Taken(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		const constraintPrimaryKey, constraintUnique = 1555, 2067 // SQLite's extended result codes
		return e.Code() == constraintPrimaryKey || e.Code() == constraintUnique
	}
	return false
}

// Run executes a statement; what says what it does, for the error.
func (tx *Tx) Run(ctx context.Context, what, query string, args ...any) error {
	_, err := tx.ExecContext(ctx, query, args...)
	return Wrap(what, err)
}

// Count is Run, and returns how many rows were written or deleted.
func (tx *Tx) Count(ctx context.Context, what, query string, args ...any) (int64, error) {
	res, err := tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, Wrap(what, err)
	}
	n, err := res.RowsAffected()
	return n, Wrap(what, err)
}

// DeleteNamed deletes the row of a name in a region from a table of ours;
// missing is the error if there is none.
func (tx *Tx) DeleteNamed(ctx context.Context, table, region, name string, missing error) error {
	n, err := tx.Count(ctx, "delete "+table, `delete from `+table+` where region = $1 and name = $2`, region, name)
	if err == nil && n == 0 {
		return missing
	}
	return err
}

// Next draws the next number of a counter; the counter's row stays locked
// until the transaction ends, so numbers become visible in their order. Draw
// as late as possible: whoever else needs the counter waits.
func (tx *Tx) Next(ctx context.Context, counter string) (int64, error) {
	return tx.NextN(ctx, counter, 1)
}

// NextN draws the next n numbers of a counter and returns the first.
func (tx *Tx) NextN(ctx context.Context, counter string, n int) (first int64, err error) {
	err = tx.QueryRowContext(ctx, `update counter set n = n + $2 where name = $1 returning n`, counter, n).Scan(&first)
	return first - int64(n) + 1, Wrap("draw from counter "+counter, err)
}

// Wake makes rows of a queue's table due, however long they meant to wait: those
// of which cond, a condition with a ? for each argument, is true.
func (tx *Tx) Wake(ctx context.Context, table string, now time.Time, cond string, args ...any) error {
	var w Where
	w.And(cond, args...)
	due := len(w.Args) + 1
	return tx.Run(ctx,
		"wake "+table, fmt.Sprintf(`update %s set due = $%d, wakes = wakes + 1 where %s`, table, due, &w),
		append(w.Args, Micros(now))...)
}

// View runs f on reads that agree with each other: the records as of one moment.
func (db *DB) View(ctx context.Context, f func(Querier) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.Dialect.snapshot})
	if err != nil {
		return Wrap("begin", err)
	}
	defer tx.Rollback() //nolint:errcheck // only read
	return classify(f(&Tx{Tx: tx, Dialect: db.Dialect, call: ctx}))
}

// Read is for reads of one statement.
func (db *DB) Read() Querier { return reader{db.read, db.preparedReads, db.sole != nil} }

type reader struct {
	*sql.DB

	prepared map[string]*sql.Stmt
	remote   bool // a read may wait for the network; one of SQLite's waits for nobody
}

// Prepare prepares statements that are executed over and over, in transactions
// and by Read, where the driver does not do so itself: SQLite spends a quarter
// of its time on that. It is called before the store is used; to prepare the
// same again does nothing.
func (db *DB) Prepare(ctx context.Context, writes, reads []string) error {
	if db.read == db.write {
		return nil // PostgreSQL's driver prepares by itself
	}
	prepare := func(on *sql.DB, texts []string, into map[string]*sql.Stmt) (err error) {
		for _, text := range texts {
			if into[text] != nil {
				continue
			}
			if into[text], err = on.PrepareContext(ctx, text); err != nil {
				return fmt.Errorf("prepare %s: %w", text, err)
			}
		}
		return nil
	}
	return errors.Join(prepare(db.write, writes, db.preparedWrites), prepare(db.read, reads, db.preparedReads))
}

// ExecContext executes a statement, the prepared one if there is one.
func (tx *Tx) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if st := tx.prepared[query]; st != nil {
		return tx.StmtContext(tx.call, st).ExecContext(tx.call, args...)
	}
	return tx.Tx.ExecContext(tx.call, query, args...)
}

// QueryRowContext reads one row, by the prepared statement if there is one.
func (tx *Tx) QueryRowContext(_ context.Context, query string, args ...any) *sql.Row {
	if st := tx.prepared[query]; st != nil {
		return tx.StmtContext(tx.call, st).QueryRowContext(tx.call, args...)
	}
	return tx.Tx.QueryRowContext(tx.call, query, args...)
}

// QueryContext reads rows.
func (tx *Tx) QueryContext(_ context.Context, query string, args ...any) (*sql.Rows, error) {
	return tx.Tx.QueryContext(tx.call, query, args...)
}

// QueryContext reads rows, by the prepared statement if there is one.
func (r reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st := r.prepared[query]; st != nil {
		return st.QueryContext(ctx, args...)
	}
	if r.remote {
		ctx = bounded(ctx)
	}
	return r.DB.QueryContext(ctx, query, args...)
}

// QueryRowContext reads one row.
func (r reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if r.remote {
		ctx = bounded(ctx)
	}
	return r.DB.QueryRowContext(ctx, query, args...)
}
