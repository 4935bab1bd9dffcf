package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

const instanceColumns = `id, endpoint_id, fleet_id, variant, ordinal, wanted, status, address, detail, attempts, created`

func scanInstance(scan func(...any) error, extra ...any) (i hosting.Instance, err error) {
	var wanted int
	var created int64
	err = scan(append([]any{&i.ID, &i.Endpoint, &i.Fleet, &i.Variant, &i.Ordinal, &wanted, &i.Status, &i.Address, &i.Detail, &i.Attempts, &created}, extra...)...)
	i.Wanted, i.Created = wanted == 1, FromMicros(created)
	return i, err
}

// instances returns every instance row of an endpoint, in order of creation.
func instances(ctx context.Context, q Querier, e hosting.EndpointID) (out []hosting.Instance, err error) {
	rows, err := q.QueryContext(ctx, `select `+instanceColumns+` from instance where endpoint_id = $1 order by fleet_id, variant, ordinal`, e)
	if err != nil {
		return nil, Wrap("read instances", err)
	}
	defer rows.Close()
	for rows.Next() {
		i, err := scanInstance(rows.Scan)
		if err != nil {
			return nil, Wrap("read instances", err)
		}
		out = append(out, i)
	}
	return out, Wrap("read instances", rows.Err())
}

// Instances returns every instance row of an endpoint inside the transaction.
func (tx *Tx) Instances(ctx context.Context, e hosting.EndpointID) ([]hosting.Instance, error) {
	return instances(ctx, tx, e)
}

// reconcile makes instance rows agree with what e wants and returns them.
func (tx *Tx) reconcile(ctx context.Context, e *hosting.Endpoint, is []hosting.Instance) ([]hosting.Instance, error) {
	missing, surplus := e.Reconcile(is)
	for _, id := range surplus {
		if _, err := tx.updateInstance(ctx, `wanted = 0`, id); err != nil {
			return nil, err
		}
	}
	for _, m := range missing {
		spec, err := json.Marshal(m.Spec)
		if err != nil {
			return nil, fmt.Errorf("encode instance: %w", err)
		}
		version, err := tx.Next(ctx, "instance")
		if err != nil {
			return nil, err
		}
		_, err = tx.ExecContext(ctx, `
			insert into instance (id, endpoint_id, fleet_id, variant, ordinal, wanted, status, address, detail, attempts, created, version, spec)
			values ($1, $2, $3, $4, $5, 1, $6, '', '', 0, $7, $8, $9)`,
			newInstanceID(), e.ID, m.Fleet, m.Spec.Variant.Name, m.Ordinal, hosting.InstanceStarting, Micros(e.Modified), version, string(spec))
		if err != nil {
			return nil, Wrap("insert instance", err)
		}
	}
	if len(missing)+len(surplus) == 0 {
		return is, nil
	}
	return instances(ctx, tx, e.ID)
}

// updateInstance applies a set clause of ours to one row, gives the row a new
// version, and says whether it was there.
func (tx *Tx) updateInstance(ctx context.Context, set string, id hosting.InstanceID, args ...any) (bool, error) {
	version, err := tx.Next(ctx, "instance")
	if err != nil {
		return false, err
	}
	n := len(args)
	res, err := tx.ExecContext(ctx, fmt.Sprintf(`update instance set %s, version = $%d where id = $%d`, set, n+1, n+2), append(args, version, id)...)
	if err != nil {
		return false, Wrap("update instance", err)
	}
	rows, err := res.RowsAffected()
	return rows == 1, Wrap("update instance", err)
}

// InstancesSince returns the instance rows that changed after version, oldest
// change first; version 0 returns all.
func (db *DB) InstancesSince(ctx context.Context, version int64) (out []hosting.InstanceRow, err error) {
	rows, err := db.Read().QueryContext(ctx, `select `+instanceColumns+`, version, spec from instance where version > $1 order by version`, version)
	if err != nil {
		return nil, Wrap("follow instances", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r hosting.InstanceRow
		var spec string
		if r.Instance, err = scanInstance(rows.Scan, &r.Version, &spec); err != nil {
			return nil, Wrap("follow instances", err)
		}
		if err := json.Unmarshal([]byte(spec), &r.Spec); err != nil {
			return nil, Wrap("decode instance", err)
		}
		out = append(out, r)
	}
	return out, Wrap("follow instances", rows.Err())
}

// ReportInstance records what became of an instance and everything that
// follows from it in the same transaction: its endpoint's route and status,
// and a deployment that waits for it is woken. It says whether the row still
// exists and is wanted.
func (db *DB) ReportInstance(ctx context.Context, r hosting.InstanceReport, now time.Time) (wanted bool, err error) {
	err = db.Change(ctx, func(tx *Tx) error {
		i, err := tx.instance(ctx, r.ID)
		if errors.Is(err, sql.ErrNoRows) {
			wanted = false
			return nil
		}
		if err != nil {
			return Wrap("read instance", err)
		}
		wanted = i.Wanted
		e, err := tx.EndpointByID(ctx, i.Endpoint)
		if err != nil {
			return err
		}
		if _, err := tx.updateInstance(ctx, `status = $1, address = $2, detail = $3, attempts = $4`, r.ID, r.Status, r.Address, r.Detail, r.Attempts); err != nil {
			return err
		}
		return tx.follow(ctx, e, i.Endpoint, now)
	})
	return wanted, err
}

// RemoveInstance forgets an instance that runs no more.
func (db *DB) RemoveInstance(ctx context.Context, id hosting.InstanceID, now time.Time) error {
	return db.Change(ctx, func(tx *Tx) error {
		i, err := tx.instance(ctx, id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return Wrap("read instance", err)
		}
		e, err := tx.EndpointByID(ctx, i.Endpoint)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `delete from instance where id = $1`, id); err != nil {
			return Wrap("delete instance", err)
		}
		return tx.follow(ctx, e, i.Endpoint, now)
	})
}

func (tx *Tx) instance(ctx context.Context, id hosting.InstanceID) (hosting.Instance, error) {
	return scanInstance(tx.QueryRowContext(ctx, `select `+instanceColumns+` from instance where id = $1`, id).Scan)
}

// follow brings an endpoint's rows in line after one of its instances changed.
func (tx *Tx) follow(ctx context.Context, e *hosting.Endpoint, id hosting.EndpointID, now time.Time) error {
	if e == nil {
		return nil // the endpoint is gone; only its instances are being cleared away
	}
	is, err := instances(ctx, tx, id)
	if err != nil {
		return err
	}
	if e.Deployment != nil {
		if err := tx.wake(ctx, id, now); err != nil {
			return err
		}
	}
	return tx.settle(ctx, e, is, "", now)
}

// newInstanceID returns a name that was never used, fit for a process, a
// container or a pod.
func newInstanceID() hosting.InstanceID {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hosting.InstanceID("i-" + hex.EncodeToString(b[:]))
}
