package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// hotWrites and hotReads are the statements that devices cause by the thousand
// in a second.
func hotWrites() []string {
	return []string{saveRow, countRows, touchPlan, checkinDevice, saveCheckin, saveHeartbeat, rowOf, ordered, putHandle, insertDevice}
}

func hotReads() []string { return []string{pollDevice, pollOrders} }

// prepared prepares the hot statements; it closes db if that fails.
func (db *DB) prepared(ctx context.Context) (*DB, error) {
	var err error
	prepare := func(on *sql.DB, texts []string) map[string]*sql.Stmt {
		out := make(map[string]*sql.Stmt, len(texts))
		for _, text := range texts {
			st, e := on.PrepareContext(ctx, text)
			if e != nil {
				err = errors.Join(err, fmt.Errorf("prepare %s: %w", text, e))
				continue
			}
			out[text] = st
		}
		return out
	}
	db.hotWrite, db.hotRead = prepare(db.write, hotWrites()), prepare(db.read, hotReads())
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// exec is ExecContext, by the prepared statement if there is one.
func (tx *Tx) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if st := tx.hot[query]; st != nil {
		return tx.StmtContext(ctx, st).ExecContext(ctx, args...)
	}
	return tx.ExecContext(ctx, query, args...)
}

// row is QueryRowContext, by the prepared statement if there is one.
func (tx *Tx) row(ctx context.Context, query string, args ...any) *sql.Row {
	if st := tx.hot[query]; st != nil {
		return tx.StmtContext(ctx, st).QueryRowContext(ctx, args...)
	}
	return tx.QueryRowContext(ctx, query, args...)
}

// query is QueryContext of the pool of readers, by the prepared statement if
// there is one.
func (db *DB) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st := db.hotRead[query]; st != nil {
		return st.QueryContext(ctx, args...)
	}
	return db.read.QueryContext(ctx, query, args...)
}
