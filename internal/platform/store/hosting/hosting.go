// Package hosting keeps models, endpoint configurations, endpoints with their
// deployments, instances, routes and history, and the events that webhooks have
// still to be told of. What follows when one of them changes is worked out by
// domain/outcome; it is written as it is.
package hosting

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps what belongs to hosting.
type DB struct {
	*store.DB
	reader

	subscribers []notice.Subscriber
}

// New returns hosting's part of an open store. Every later transaction writes
// the events of what it changes to the queues of the subscribers.
func New(db *store.DB, subscribers ...notice.Subscriber) *DB {
	return &DB{DB: db, reader: reader{q: db.Read()}, subscribers: subscribers}
}

// Tx is one transaction.
type Tx struct {
	*store.Tx
	reader

	subscribers []notice.Subscriber
}

// Change runs f in a transaction; see store.DB.Change.
func (db *DB) Change(ctx context.Context, f func(Tx) error) error {
	return db.DB.Change(ctx, func(tx *store.Tx) error { return f(db.In(tx)) })
}

// In returns hosting's part of a transaction in which other records are changed,
// too. It is a method, because events are written for the subscribers.
func (db *DB) In(tx *store.Tx) Tx {
	return Tx{Tx: tx, reader: reader{q: tx, lock: tx.Dialect.ForUpdate}, subscribers: db.subscribers}
}

// reader has the reads of one statement; in a transaction they see what it wrote.
type reader struct {
	q    store.Querier
	lock string // in a transaction, for rows that are read to be changed
}
