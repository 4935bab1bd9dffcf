package hosting

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// RoutesSince returns the routes that changed after version, oldest change
// first; version 0 returns all.
func (db *DB) RoutesSince(ctx context.Context, version int64) ([]traffic.Route, error) {
	rows, err := db.Read().QueryContext(ctx,
		`select doc, version from route where version > $1 order by version`, version)
	return store.Collect(rows, err, "follow routes", func(scan store.Scan) (r traffic.Route, err error) {
		err = scan(store.JSON(&r), &r.Version) // in this order: the document has a version that means nothing
		return r, err
	})
}

// PruneRoutes removes the rows of gone endpoints, except the newest row of all
// so that a follower never sees the versions run backwards.
func (db *DB) PruneRoutes(ctx context.Context, before time.Time) error {
	return db.Change(ctx, func(tx Tx) error {
		return tx.Run(ctx, "prune routes", `
			delete from route where gone = 1 and version < (select max(version) from route)
				and endpoint_id not in (select endpoint_id from event where at > $1)`, store.Micros(before))
	})
}
