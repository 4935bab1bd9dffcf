package edge

import (
	"context"
	"database/sql"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// FleetObjects returns the URLs of the packages that all devices of a fleet may
// be told to fetch: those of every stage that was started.
func (db DB) FleetObjects(ctx context.Context, s arn.Scope, fleet string) (map[string]bool, error) {
	return db.packageURLs(ctx, `
		select orders from edge_stage join fleet on fleet.id = edge_stage.fleet_id
		where region = $1 and fleet.name = $2 and orders <> ''`, s.Region, fleet)
}

// ActiveObject reports whether a stage that is being carried out deploys the
// object of a URL.
func (db DB) ActiveObject(ctx context.Context, url string) (bool, error) {
	urls, err := db.packageURLs(ctx, `select orders from edge_stage where active = 1 and orders <> ''`)
	return urls[url], err
}

// packageURLs returns the URLs of the packages in the orders that a query selects.
func (db DB) packageURLs(ctx context.Context, query string, args ...any) (map[string]bool, error) {
	rows, err := db.q.QueryContext(ctx, query, args...)
	orders, err := store.Collect(rows, err, "read orders", func(scan store.Scan) (o edge.Order, err error) {
		return o, scan(store.JSON(&o))
	})
	urls := map[string]bool{}
	for _, o := range orders {
		for _, m := range o.Models {
			urls[m.S3URL] = true
		}
	}
	return urls, err
}

// DeviceOfThing returns the ID of a device of a fleet that acts as a thing (edge
// specification §5.1), and whether there is one.
func (db DB) DeviceOfThing(
	ctx context.Context, s arn.Scope, fleet, thing string,
) (id int64, found bool, err error) {
	if thing == "" {
		return 0, false, nil // the device without a thing is another
	}
	err = db.q.QueryRowContext(ctx, `
		select d.id from fleet f join device d on d.fleet_id = f.id
		where f.region = $1 and f.name = $2 and d.thing = $3
		union all
		select d.id from fleet f join device d on d.fleet_id = f.id
		where f.region = $1 and f.name = $2 and d.name = $3 and d.thing = ''
		limit 1`, s.Region, fleet, thing).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, store.Wrap("read device", err)
}

// DeviceHadObject reports whether plans have deployed the object of a URL to a
// device, or replaced it there: a stage that is undone brings it back.
func (db DB) DeviceHadObject(ctx context.Context, device int64, url string) (bool, error) {
	return db.exists(ctx, `
		select 1 from device_handle h join edge_package p on p.id in (h.package_id, h.before_id)
		where h.device_id = $1 and p.s3url = $2 limit 1`, device, url)
}
