package store

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
)

// SaveSamples writes changed chunks of series, all or none, and drops chunks
// that have no data any more.
func (db *DB) SaveSamples(ctx context.Context, all []metric.Stored) error {
	return db.Change(ctx, func(tx *Tx) error {
		for _, s := range all {
			id, err := tx.series(ctx, s)
			if err != nil {
				return err
			}
			for _, c := range s.Chunks {
				if err := tx.saveChunk(ctx, id, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// series returns the number of a series, a new one if it has none yet.
func (tx *Tx) series(ctx context.Context, s metric.Stored) (id int64, err error) {
	dims, err := dimensions(s.Metric)
	if err != nil {
		return 0, err
	}
	find := func() error {
		return tx.QueryRowContext(ctx, `select coalesce(max(id), 0) from series where region = $1 and namespace = $2 and name = $3 and dimensions = $4 and unit = $5`,
			s.Region, s.Metric.Namespace, s.Metric.Name, dims, string(s.Unit)).Scan(&id)
	}
	if err := find(); err != nil || id != 0 {
		return id, Wrap("find series", err)
	}
	if id, err = tx.Next(ctx, "series"); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, `insert into series (id, region, namespace, name, dimensions, unit) values ($1, $2, $3, $4, $5, $6)`,
		id, s.Region, s.Metric.Namespace, s.Metric.Name, dims, string(s.Unit))
	return id, Wrap("insert series", err)
}

func (tx *Tx) saveChunk(ctx context.Context, series int64, c metric.Chunk) error {
	if len(c.Data) == 0 {
		_, err := tx.ExecContext(ctx, `delete from chunk where series_id = $1 and tier = $2 and start = $3`, series, c.Tier, c.Start)
		return Wrap("delete chunk", err)
	}
	_, err := tx.ExecContext(ctx, `
		insert into chunk (series_id, tier, start, data) values ($1, $2, $3, $4)
		on conflict (series_id, tier, start) do update set data = excluded.data`, series, c.Tier, c.Start, c.Data)
	return Wrap("save chunk", err)
}

// ForgetSeries removes series with all their samples.
func (db *DB) ForgetSeries(ctx context.Context, all []metric.Stored) error {
	return db.Change(ctx, func(tx *Tx) error {
		for _, s := range all {
			dims, err := dimensions(s.Metric)
			if err != nil {
				return err
			}
			const which = `region = $1 and namespace = $2 and name = $3 and dimensions = $4 and unit = $5`
			args := []any{s.Region, s.Metric.Namespace, s.Metric.Name, dims, string(s.Unit)}
			if _, err := tx.ExecContext(ctx, `delete from chunk where series_id in (select id from series where `+which+`)`, args...); err != nil {
				return Wrap("delete chunks", err)
			}
			if _, err := tx.ExecContext(ctx, `delete from series where `+which, args...); err != nil {
				return Wrap("delete series", err)
			}
		}
		return nil
	})
}

// Samples calls each with every series and all its chunks.
func (db *DB) Samples(ctx context.Context, each func(metric.Stored) error) error {
	rows, err := db.Read().QueryContext(ctx, `
		select s.id, s.region, s.namespace, s.name, s.dimensions, s.unit, c.tier, c.start, c.data
		from series s join chunk c on c.series_id = s.id order by s.id`)
	if err != nil {
		return Wrap("read samples", err)
	}
	defer rows.Close()
	var current metric.Stored
	last := int64(-1)
	for rows.Next() {
		var id int64
		var s metric.Stored
		var c metric.Chunk
		var dims string
		if err := rows.Scan(&id, &s.Region, &s.Metric.Namespace, &s.Metric.Name, &dims, &s.Unit, &c.Tier, &c.Start, &c.Data); err != nil {
			return Wrap("read samples", err)
		}
		if id != last {
			if last >= 0 {
				if err := each(current); err != nil {
					return err
				}
			}
			if err := json.Unmarshal([]byte(dims), &s.Metric.Dimensions); err != nil {
				return Wrap("decode dimensions", err)
			}
			current, last = s, id
		}
		current.Chunks = append(current.Chunks, c)
	}
	if err := rows.Err(); err != nil {
		return Wrap("read samples", err)
	}
	if last >= 0 {
		return each(current)
	}
	return nil
}

// dimensions is how a metric's dimensions are written; the order is part of it.
func dimensions(id metric.ID) (string, error) {
	if len(id.Dimensions) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(id.Dimensions)
	if err != nil {
		return "", fmt.Errorf("encode dimensions: %w", err)
	}
	return string(b), nil
}
