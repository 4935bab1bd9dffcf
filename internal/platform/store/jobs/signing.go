package jobs

import (
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// NextSerial draws the serial of a packaging job: it grows without end.
func (tx Tx) NextSerial(ctx context.Context) (uint64, error) {
	n, err := tx.Next(ctx, "package")
	return uint64(n), err
}

// Floor returns the least serial of a model's packages that devices accept.
func (r reader) Floor(ctx context.Context, s arn.Scope, model string) (floor uint64, err error) {
	err = r.q.QueryRowContext(ctx, `select serial from package_floor where region = $1 and model_name = $2`,
		s.Region, model).Scan(&floor)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return floor, store.Wrap("read floor", err)
}

// SetFloor records a floor; it never falls.
func (tx Tx) SetFloor(ctx context.Context, s arn.Scope, model string, floor uint64) error {
	return tx.Run(ctx, "set floor", `
		insert into package_floor (region, model_name, serial) values ($1, $2, $3)
		on conflict (region, model_name) do update set serial = excluded.serial
		where package_floor.serial < excluded.serial`,
		s.Region, model, int64(floor))
}

// SigningRoots returns every root, oldest first.
func (r reader) SigningRoots(ctx context.Context) ([]packaging.SigningRoot, error) {
	rows, err := r.q.QueryContext(ctx,
		`select id, created, trusted, certificate, private_key from signing_root order by created, id`)
	return store.Collect(rows, err, "read signing roots", func(scan store.Scan) (r packaging.SigningRoot, err error) {
		return r, scan(&r.ID, store.Time(&r.Created), &r.Trusted, &r.Certificate, &r.PrivateKey)
	})
}

// SigningKeys returns every signing key, oldest first.
func (r reader) SigningKeys(ctx context.Context) ([]packaging.SigningKey, error) {
	rows, err := r.q.QueryContext(ctx,
		`select number, root_id, created, revoked, certificate, private_key from signing_key order by number`)
	return store.Collect(rows, err, "read signing keys", func(scan store.Scan) (k packaging.SigningKey, err error) {
		return k, scan(&k.Number, &k.Root, store.Time(&k.Created), &k.Revoked, &k.Certificate, &k.PrivateKey)
	})
}

// NextSigningKey draws the number of a new signing key. Who has it is alone
// until the transaction ends.
func (tx Tx) NextSigningKey(ctx context.Context) (uint64, error) {
	n, err := tx.Next(ctx, "signing_key")
	return uint64(n), err
}

// InsertSigningRoot records a root.
func (tx Tx) InsertSigningRoot(ctx context.Context, r packaging.SigningRoot) error {
	return tx.Run(ctx, "insert signing root",
		`insert into signing_root (id, created, trusted, certificate, private_key) values ($1, $2, $3, $4, $5)`,
		r.ID, store.Micros(r.Created), store.Flag(r.Trusted), r.Certificate, r.PrivateKey)
}

// InsertSigningKey records a signing key.
func (tx Tx) InsertSigningKey(ctx context.Context, k packaging.SigningKey) error {
	return tx.Run(ctx, "insert signing key", `
		insert into signing_key (number, root_id, created, revoked, certificate, private_key)
		values ($1, $2, $3, $4, $5, $6)`,
		int64(k.Number), k.Root, store.Micros(k.Created), store.Flag(k.Revoked), k.Certificate, k.PrivateKey)
}

// RetireSigningKeys forgets the private half of every key with a number below
// the given one, and marks them as revoked if they shall be.
func (tx Tx) RetireSigningKeys(ctx context.Context, below uint64, revoke bool) error {
	return tx.Run(ctx, "retire signing keys", `
		update signing_key set revoked = case when $1 = 1 then 1 else revoked end, private_key = ''
		where number < $2`, store.Flag(revoke), int64(below))
}

// RetireSigningRoots forgets the private half of every root but one, and marks
// them as no longer trusted if they shall not be.
func (tx Tx) RetireSigningRoots(ctx context.Context, but string, distrust bool) error {
	return tx.Run(ctx, "retire signing roots", `
		update signing_root set trusted = case when $1 = 1 then 0 else trusted end, private_key = ''
		where id <> $2`, store.Flag(distrust), but)
}
