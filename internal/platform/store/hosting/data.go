package hosting

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// PinModelData fixes the version of the model data that an instance's variant
// serves in its fleet, and returns the one that counts: whoever came first fixed
// it for all of them.
func (db *DB) PinModelData(ctx context.Context, id hosting.InstanceID, version string) (pinned string, err error) {
	err = db.Change(ctx, func(tx Tx) error {
		pinned = version
		i, err := tx.instance(ctx, id)
		if err != nil || i == nil {
			return err
		}
		e, err := tx.EndpointByID(ctx, i.Endpoint)
		if err != nil || e == nil {
			return err
		}
		pinned = e.PinModelData(i.Fleet, i.Variant, version)
		return tx.Write(ctx, outcome.Outcome{Endpoint: e})
	})
	return pinned, err
}

// FleetModelData returns the model data that an instance's variant serves in its
// fleet, with the version and the digest that are known; nil if there is none.
func (db *DB) FleetModelData(ctx context.Context, id hosting.InstanceID) (d *hosting.ModelData, err error) {
	err = db.Change(ctx, func(tx Tx) error {
		d = nil
		i, err := tx.instance(ctx, id)
		if err != nil || i == nil {
			return err
		}
		e, err := tx.EndpointByID(ctx, i.Endpoint)
		if err == nil && e != nil {
			d = e.FleetData(i.Fleet, i.Variant)
		}
		return err
	})
	return d, err
}

// ModelDataNamed returns the model data that models name, in whatever version,
// and those that fleets serve, in the version that they serve.
func (db *DB) ModelDataNamed(ctx context.Context) (named, served []hosting.ModelData, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		named, served = nil, nil
		rows, err := q.QueryContext(ctx, `select doc from model`)
		models, err := store.Collect(rows, err, "read models", func(scan store.Scan) (m hosting.Model, err error) {
			return m, scan(store.JSON(&m))
		})
		if err != nil {
			return err
		}
		for _, m := range models {
			for _, c := range m.Containers {
				if c.ModelData != nil {
					named = append(named, *c.ModelData)
				}
			}
		}
		rows, err = q.QueryContext(ctx, `select doc from endpoint`)
		endpoints, err := store.Collect(rows, err,
			"read endpoints", func(scan store.Scan) (e *hosting.Endpoint, err error) {
				e = &hosting.Endpoint{}
				return e, scan(store.JSON(e))
			})
		for _, e := range endpoints {
			served = append(served, e.ModelData()...)
		}
		return err
	})
	return named, served, err
}
