package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// saveRoute writes an endpoint's route if it differs from the stored one.
func (tx *Tx) saveRoute(ctx context.Context, r traffic.Route) error {
	r.Version = 0
	doc, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode route: %w", err)
	}
	var same int
	err = tx.QueryRowContext(ctx, `select count(*) from route where endpoint_id = $1 and doc = $2`, r.Endpoint, string(doc)).Scan(&same)
	if err != nil || same > 0 {
		return Wrap("read route", err)
	}
	version, err := tx.Next(ctx, "route")
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `
		insert into route (endpoint_id, version, gone, doc) values ($1, $2, $3, $4)
		on conflict (endpoint_id) do update set version = excluded.version, gone = excluded.gone, doc = excluded.doc`,
		r.Endpoint, version, Flag(r.Gone), string(doc))
	return Wrap("save route", err)
}

// RoutesSince returns the routes that changed after version, oldest change
// first; version 0 returns all.
func (db *DB) RoutesSince(ctx context.Context, version int64) (out []traffic.Route, err error) {
	rows, err := db.Read().QueryContext(ctx, `select version, doc from route where version > $1 order by version`, version)
	if err != nil {
		return nil, Wrap("follow routes", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r traffic.Route
		var v int64
		var doc string
		if err := rows.Scan(&v, &doc); err != nil {
			return nil, Wrap("follow routes", err)
		}
		if err := json.Unmarshal([]byte(doc), &r); err != nil {
			return nil, Wrap("decode route", err)
		}
		r.Version = v
		out = append(out, r)
	}
	return out, Wrap("follow routes", rows.Err())
}

// PruneRoutes removes the rows of gone endpoints, except the newest row of all
// so that a follower never sees the versions run backwards.
func (db *DB) PruneRoutes(ctx context.Context, before time.Time) error {
	_, err := db.write.ExecContext(ctx, `
		delete from route where gone = 1 and version < (select max(version) from route)
			and endpoint_id not in (select endpoint_id from event where at > $1)`, Micros(before))
	return Wrap("prune routes", err)
}
