// Package identity keeps who devices are: the device CA, certificates and what
// is attached to them, things and their types, policies, role aliases, and
// tokens to enroll with. What a certificate is good for is decided by
// domain/trust and service/identity; only a device CA and the records that the
// Insert methods write are kept if nobody was faster, which the database alone
// can decide.
package identity

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps identities. Its methods are transactions.
type DB struct {
	*store.DB
	reader
}

// New returns the identities of an open store.
func New(db *store.DB) DB { return DB{db, reader{db.Read(), ""}} }

// Tx is one transaction on identities. It locks what it reads by name or ID, but
// for thing types, which never change.
type Tx struct {
	*store.Tx
	reader
}

// In returns the identities in a transaction that other records are changed in,
// too.
func In(tx *store.Tx) Tx { return Tx{tx, reader{tx, tx.Dialect.ForUpdate}} }

// Change runs f in a transaction; see store.DB.Change.
func (db DB) Change(ctx context.Context, f func(Tx) error) error {
	return db.DB.Change(ctx, func(tx *store.Tx) error { return f(In(tx)) })
}

// reader has the reads that are the same inside a transaction and outside.
type reader struct {
	q    store.Querier
	lock string // at the end of a select of one record
}

// names reads at most limit rows of one column of text.
func (r reader) names(ctx context.Context, limit int, query string, args ...any) ([]string, error) {
	rows, err := r.q.QueryContext(ctx, fmt.Sprintf("%s limit %d", query, limit), args...)
	return store.Collect(rows, err, "read names", func(scan store.Scan) (s string, err error) { return s, scan(&s) })
}

// theCA is the name of the one device CA.
const theCA = "devices"

// DeviceCA returns the device CA; false if there is none yet.
func (db DB) DeviceCA(ctx context.Context) (a trust.Authority, ok bool, err error) {
	var seed string
	err = db.q.QueryRowContext(ctx, `select created, certificate, private_key, seed from device_ca where name = $1`,
		theCA).
		Scan(store.Time(&a.Created), &a.Certificate, &a.Key, &seed)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	if err != nil {
		return a, false, store.Wrap("read device CA", err)
	}
	a.Seed, err = hex.DecodeString(seed)
	return a, true, store.Wrap("read device CA", err)
}

// KeepDeviceCA keeps a device CA unless there is one: of servers that start at
// once, one wins.
func (db DB) KeepDeviceCA(ctx context.Context, a trust.Authority) error {
	return db.Change(ctx, func(tx Tx) error {
		return tx.Run(ctx, "keep device CA", `
			insert into device_ca (name, created, certificate, private_key, seed) values ($1, $2, $3, $4, $5)
			on conflict (name) do nothing`,
			theCA, store.Micros(a.Created), a.Certificate, a.Key, hex.EncodeToString(a.Seed))
	})
}
