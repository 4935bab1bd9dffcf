package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// FleetObjects returns the URLs of the packages that all devices of a fleet may
// be told to fetch: those of every stage that was started.
func (db *DB) FleetObjects(ctx context.Context, s arn.Scope, fleet string) (map[string]bool, error) {
	urls := map[string]bool{}
	return urls, db.eachText(ctx, func(text string) error {
		var o edge.Order
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return fmt.Errorf("decode an order: %w", err)
		}
		for _, m := range o.Models {
			urls[m.S3URL] = true
		}
		return nil
	}, `select orders from edge_stage join fleet on fleet.id = edge_stage.fleet_id
		where region = $1 and fleet.name = $2 and orders <> ''`, s.Region, fleet)
}

// DeviceOfThing returns the ID of a device of a fleet that acts as a thing (edge
// specification §5.1), and whether there is one.
func (db *DB) DeviceOfThing(ctx context.Context, s arn.Scope, fleet, thing string) (id int64, found bool, err error) {
	if thing == "" {
		return 0, false, nil // the device without a thing is another
	}
	err = db.Read().QueryRowContext(ctx, `
		select d.id from fleet f join device d on d.fleet_id = f.id where f.region = $1 and f.name = $2 and d.thing = $3
		union all
		select d.id from fleet f join device d on d.fleet_id = f.id where f.region = $1 and f.name = $2 and d.name = $3 and d.thing = ''
		limit 1`, s.Region, fleet, thing).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return id, err == nil, Wrap("read device", err)
}

// DeviceHadObject reports whether plans have deployed the object of a URL to a
// device, or replaced it there: a stage that is undone brings it back.
func (db *DB) DeviceHadObject(ctx context.Context, device int64, url string) (had bool, err error) {
	err = db.eachText(ctx, func(one string) error { had = had || one == url; return nil }, `
		select p.s3url from device_handle h join edge_package p on p.id in (h.package_id, h.before_id) where h.device_id = $1`, device)
	return had, err
}

// ActiveObject reports whether a stage that is being carried out deploys the
// object of a URL.
func (db *DB) ActiveObject(ctx context.Context, url string) (found bool, err error) {
	err = db.eachText(ctx, func(text string) error {
		var o edge.Order
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			return fmt.Errorf("decode an order: %w", err)
		}
		for _, m := range o.Models {
			found = found || m.S3URL == url
		}
		return nil
	}, `select orders from edge_stage where active = 1 and orders <> ''`)
	return found, err
}

// eachText calls f with every row of a query of one column.
func (db *DB) eachText(ctx context.Context, f func(string) error, query string, args ...any) error {
	rows, err := db.Read().QueryContext(ctx, query, args...)
	if err != nil {
		return Wrap("read texts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return Wrap("read texts", err)
		}
		if err := f(text); err != nil {
			return err
		}
	}
	return Wrap("read texts", rows.Err())
}
