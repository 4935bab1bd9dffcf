package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
)

// FleetObjects returns the URLs of the packages that the devices of a fleet may
// be told to fetch: those of every stage that was started, and what plans have
// deployed before, which a stage that is undone brings back.
func (db *DB) FleetObjects(ctx context.Context, s arn.Scope, fleet string) (map[string]bool, error) {
	urls := map[string]bool{}
	err := db.eachText(ctx, func(text string) error {
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
	if err != nil || len(urls) == 0 {
		return urls, err
	}
	return urls, db.eachText(ctx, func(url string) error { urls[url] = true; return nil }, `select s3url from edge_package`)
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
	rows, err := db.read.QueryContext(ctx, query, args...)
	if err != nil {
		return wrap("read texts", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return wrap("read texts", err)
		}
		if err := f(text); err != nil {
			return err
		}
	}
	return wrap("read texts", rows.Err())
}
