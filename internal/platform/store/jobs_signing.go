package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/packaging"
)

// NextSerial draws the serial of a packaging job: it grows without end.
func (tx *Tx) NextSerial(ctx context.Context) (uint64, error) {
	n, err := tx.Next(ctx, "package")
	return uint64(n), err
}

// Floor returns the least serial of a model's packages that devices accept.
func (db *DB) Floor(ctx context.Context, s arn.Scope, model string) (floor uint64, err error) {
	err = db.Read().QueryRowContext(ctx, `select serial from package_floor where region = $1 and model_name = $2`, s.Region, model).Scan(&floor)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return floor, Wrap("read floor", err)
}

// SetFloor records a floor; it never falls.
func (tx *Tx) SetFloor(ctx context.Context, s arn.Scope, model string, floor uint64) error {
	_, err := tx.ExecContext(ctx, `
		insert into package_floor (region, model_name, serial) values ($1, $2, $3)
		on conflict (region, model_name) do update set serial = excluded.serial where package_floor.serial < excluded.serial`,
		s.Region, model, int64(floor))
	return Wrap("set floor", err)
}

// SigningRoots returns every root, oldest first.
func (db *DB) SigningRoots(ctx context.Context) ([]packaging.SigningRoot, error) {
	return signingRoots(ctx, db.read)
}

// SigningRoots returns every root, oldest first.
func (tx *Tx) SigningRoots(ctx context.Context) ([]packaging.SigningRoot, error) {
	return signingRoots(ctx, tx)
}

func signingRoots(ctx context.Context, q Querier) (out []packaging.SigningRoot, err error) {
	rows, err := q.QueryContext(ctx, `select id, created, trusted, certificate, private_key from signing_root order by created, id`)
	if err != nil {
		return nil, Wrap("read signing roots", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r packaging.SigningRoot
		var created int64
		if err := rows.Scan(&r.ID, &created, &r.Trusted, &r.Certificate, &r.PrivateKey); err != nil {
			return nil, Wrap("read signing roots", err)
		}
		r.Created = FromMicros(created)
		out = append(out, r)
	}
	return out, Wrap("read signing roots", rows.Err())
}

// SigningKeys returns every signing key, oldest first.
func (db *DB) SigningKeys(ctx context.Context) ([]packaging.SigningKey, error) {
	return signingKeys(ctx, db.read)
}

// SigningKeys returns every signing key, oldest first.
func (tx *Tx) SigningKeys(ctx context.Context) ([]packaging.SigningKey, error) {
	return signingKeys(ctx, tx)
}

func signingKeys(ctx context.Context, q Querier) (out []packaging.SigningKey, err error) {
	rows, err := q.QueryContext(ctx, `select number, root_id, created, revoked, certificate, private_key from signing_key order by number`)
	if err != nil {
		return nil, Wrap("read signing keys", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k packaging.SigningKey
		var created int64
		if err := rows.Scan(&k.Number, &k.Root, &created, &k.Revoked, &k.Certificate, &k.PrivateKey); err != nil {
			return nil, Wrap("read signing keys", err)
		}
		k.Created = FromMicros(created)
		out = append(out, k)
	}
	return out, Wrap("read signing keys", rows.Err())
}

// NextSigningKey draws the number of a new signing key. Who has it is alone
// until the transaction ends.
func (tx *Tx) NextSigningKey(ctx context.Context) (uint64, error) {
	n, err := tx.Next(ctx, "signing_key")
	return uint64(n), err
}

// InsertSigningRoot records a root.
func (tx *Tx) InsertSigningRoot(ctx context.Context, r packaging.SigningRoot) error {
	_, err := tx.ExecContext(ctx, `insert into signing_root (id, created, trusted, certificate, private_key) values ($1, $2, $3, $4, $5)`,
		r.ID, Micros(r.Created), Flag(r.Trusted), r.Certificate, r.PrivateKey)
	return Wrap("insert signing root", err)
}

// InsertSigningKey records a signing key.
func (tx *Tx) InsertSigningKey(ctx context.Context, k packaging.SigningKey) error {
	_, err := tx.ExecContext(ctx, `insert into signing_key (number, root_id, created, revoked, certificate, private_key) values ($1, $2, $3, $4, $5, $6)`,
		int64(k.Number), k.Root, Micros(k.Created), Flag(k.Revoked), k.Certificate, k.PrivateKey)
	return Wrap("insert signing key", err)
}

// RetireSigningKeys forgets the private half of every key with a number below
// the given one, and marks them as revoked if they shall be.
func (tx *Tx) RetireSigningKeys(ctx context.Context, below uint64, revoke bool) error {
	_, err := tx.ExecContext(ctx, `update signing_key set revoked = case when $1 = 1 then 1 else revoked end, private_key = '' where number < $2`, Flag(revoke), int64(below))
	return Wrap("retire signing keys", err)
}

// RetireSigningRoots forgets the private half of every root but one, and marks
// them as no longer trusted if they shall not be.
func (tx *Tx) RetireSigningRoots(ctx context.Context, but string, distrust bool) error {
	_, err := tx.ExecContext(ctx, `update signing_root set trusted = case when $1 = 1 then 0 else trusted end, private_key = '' where id <> $2`, Flag(distrust), but)
	return Wrap("retire signing roots", err)
}
