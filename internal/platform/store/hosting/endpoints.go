package hosting

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// Endpoint reads an endpoint by name, without regard to case. In a transaction
// it is locked until the transaction ends.
func (r reader) Endpoint(ctx context.Context, s arn.Scope, name string) (*hosting.Endpoint, error) {
	e, err := endpoint(r.q.QueryRowContext(ctx,
		`select doc from endpoint where region = $1 and name_key = $2`+r.lock, s.Region, strings.ToLower(name)))
	if err == nil && e == nil {
		return nil, hosting.NoEndpoint(s.Endpoint(name))
	}
	return e, err
}

// EndpointByID reads an endpoint; nil if it is gone. In a transaction it is
// locked.
func (r reader) EndpointByID(ctx context.Context, id hosting.EndpointID) (*hosting.Endpoint, error) {
	return endpoint(r.q.QueryRowContext(ctx, `select doc from endpoint where id = $1`+r.lock, id))
}

// EndpointOf reads the endpoint that a deployment changes; nil if it is gone. In
// a transaction it is locked.
func (r reader) EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error) {
	return endpoint(r.q.QueryRowContext(ctx,
		`select doc from endpoint where id = (select endpoint_id from deployment where id = $1)`+r.lock, id))
}

// endpoint reads a row; nil if there is none.
func endpoint(row *sql.Row) (*hosting.Endpoint, error) {
	var e hosting.Endpoint
	err := row.Scan(store.JSON(&e))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &e, store.Wrap("read endpoint", err)
}

// EndpointView reads an endpoint and its instances as of one moment.
func (db *DB) EndpointView(
	ctx context.Context, s arn.Scope, name string,
) (e *hosting.Endpoint, is []hosting.Instance, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		r := reader{q: q}
		if e, err = r.Endpoint(ctx, s, name); err != nil {
			return err
		}
		is, err = r.Instances(ctx, e.ID)
		return err
	})
	return e, is, err
}

const instanceColumns = `id, endpoint_id, fleet_id, variant, ordinal, wanted, provider,
	status, address, detail, attempts, created`

func scanInstance(scan store.Scan, more ...any) (i hosting.Instance, err error) {
	err = scan(append([]any{
		&i.ID, &i.Endpoint, &i.Fleet, &i.Variant, &i.Ordinal, &i.Wanted, &i.Provider,
		&i.Status, &i.Address, &i.Detail, &i.Attempts, store.Time(&i.Created),
	}, more...)...)
	return i, err
}

// Instances returns every instance of an endpoint, in order of creation.
func (r reader) Instances(ctx context.Context, e hosting.EndpointID) ([]hosting.Instance, error) {
	rows, err := r.q.QueryContext(ctx,
		`select `+instanceColumns+` from instance where endpoint_id = $1 order by fleet_id, variant, ordinal`, e)
	return store.Collect(rows, err, "read instances", func(scan store.Scan) (hosting.Instance, error) {
		return scanInstance(scan)
	})
}

// instance reads an instance; nil if it is gone.
func (r reader) instance(ctx context.Context, id hosting.InstanceID) (*hosting.Instance, error) {
	i, err := scanInstance(r.q.QueryRowContext(ctx, `select `+instanceColumns+` from instance where id = $1`, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &i, store.Wrap("read instance", err)
}

// InstancesSince returns the instances that changed after version, oldest
// change first; version 0 returns all.
func (db *DB) InstancesSince(ctx context.Context, version int64) ([]hosting.InstanceRow, error) {
	rows, err := db.Read().QueryContext(ctx,
		`select `+instanceColumns+`, version, spec from instance where version > $1 order by version`, version)
	return store.Collect(rows, err, "follow instances", func(scan store.Scan) (r hosting.InstanceRow, err error) {
		r.Instance, err = scanInstance(scan, &r.Version, store.JSON(&r.Spec))
		return r, err
	})
}

// KnownInstances returns how many of the instances there is a row of.
func (db *DB) KnownInstances(ctx context.Context, ids []string) (n int, err error) {
	err = db.Read().QueryRowContext(ctx,
		`select count(*) from instance where `+db.Dialect.AmongTexts("id", "$1"), store.JSON(&ids)).Scan(&n)
	return n, store.Wrap("count the known instances", err)
}
