// Package metrics keeps the samples of metrics: series in packed chunks. What a
// chunk holds, and for how long, is decided by domain/alarm/metric.
package metrics

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// DB keeps samples. Its methods are transactions.
type DB struct{ *store.DB }

// New returns the samples of an open store.
func New(db *store.DB) DB { return DB{db} }

// SaveSamples writes changed chunks of series, all or none, and drops chunks
// that have no data any more, of a series that is written anew all others, too.
func (db DB) SaveSamples(ctx context.Context, all []metric.Stored) error {
	return db.Change(ctx, func(tx *store.Tx) error {
		for _, s := range all {
			id, err := seriesID(ctx, tx, s)
			if err != nil {
				return err
			}
			if s.Anew {
				if err := tx.Run(ctx, "delete chunks", `delete from chunk where series_id = $1`, id); err != nil {
					return err
				}
			}
			for _, c := range s.Chunks {
				if err := saveChunk(ctx, tx, id, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// which is the condition of one series; see name.
const which = `region = $1 and namespace = $2 and name = $3 and dimensions = $4 and unit = $5`

// name returns the arguments of which: the order of the dimensions is part of
// a series' name.
func name(s metric.Stored) ([]any, error) {
	dims := "[]"
	if len(s.Metric.Dimensions) > 0 {
		b, err := json.Marshal(s.Metric.Dimensions)
		if err != nil {
			return nil, fmt.Errorf("encode dimensions: %w", err)
		}
		dims = string(b)
	}
	return []any{s.Region, s.Metric.Namespace, s.Metric.Name, dims, string(s.Unit)}, nil
}

// seriesID returns the number of a series, a new one if it has none yet.
func seriesID(ctx context.Context, tx *store.Tx, s metric.Stored) (id int64, err error) {
	args, err := name(s)
	if err != nil {
		return 0, err
	}
	err = tx.QueryRowContext(ctx, `select coalesce(max(id), 0) from series where `+which, args...).Scan(&id)
	if err != nil || id != 0 {
		return id, store.Wrap("find series", err)
	}
	if id, err = tx.Next(ctx, "series"); err != nil {
		return 0, err
	}
	return id, tx.Run(ctx, "insert series", `
		insert into series (region, namespace, name, dimensions, unit, id) values ($1, $2, $3, $4, $5, $6)`,
		append(args, id)...)
}

func saveChunk(ctx context.Context, tx *store.Tx, series int64, c metric.Chunk) error {
	if len(c.Data) == 0 {
		return tx.Run(ctx, "delete chunk",
			`delete from chunk where series_id = $1 and tier = $2 and start = $3`, series, c.Tier, c.Start)
	}
	return tx.Run(ctx, "save chunk", `
		insert into chunk (series_id, tier, start, data) values ($1, $2, $3, $4)
		on conflict (series_id, tier, start) do update set data = excluded.data`, series, c.Tier, c.Start, c.Data)
}

// ForgetSeries removes series with all their samples.
func (db DB) ForgetSeries(ctx context.Context, all []metric.Stored) error {
	return db.Change(ctx, func(tx *store.Tx) error {
		for _, s := range all {
			args, err := name(s)
			if err != nil {
				return err
			}
			chunks := `delete from chunk where series_id in (select id from series where ` + which + `)`
			if err := tx.Run(ctx, "delete chunks", chunks, args...); err != nil {
				return err
			}
			if err := tx.Run(ctx, "delete series", `delete from series where `+which, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// seriesPage is how many series are read at a time.
const seriesPage = 2000

// Samples calls each with every series and all its chunks.
func (db DB) Samples(ctx context.Context, each func(metric.Stored) error) error {
	for last := int64(-1); ; {
		page, next, err := db.samples(ctx, last)
		if err != nil {
			return err
		}
		for _, s := range page {
			if err := each(s); err != nil {
				return err
			}
		}
		if next == last {
			return nil
		}
		last = next
	}
}

// samples reads the page of series after one, and returns its last.
func (db DB) samples(ctx context.Context, after int64) (page []metric.Stored, last int64, err error) {
	rows, err := db.Read().QueryContext(ctx, `
		select s.id, s.region, s.namespace, s.name, s.dimensions, s.unit, c.tier, c.start, c.data
		from series s left join chunk c on c.series_id = s.id
		where s.id in (select id from series where id > $1 order by id limit $2)
		order by s.id`, after, seriesPage)
	last = after
	_, err = store.Collect(rows, err, "read samples", func(scan store.Scan) (none struct{}, err error) {
		var id int64
		var s metric.Stored
		var tier, start sql.NullInt64
		var data []byte
		err = scan(&id, &s.Region, &s.Metric.Namespace, &s.Metric.Name, store.JSON(&s.Metric.Dimensions), &s.Unit,
			&tier, &start, &data)
		if err != nil {
			return none, err
		}
		isNew := id != last
		last = id
		if !tier.Valid {
			return none, nil // a series without a sample
		}
		if isNew {
			page = append(page, s)
		}
		p := &page[len(page)-1]
		p.Chunks = append(p.Chunks, metric.Chunk{Tier: int(tier.Int64), Start: start.Int64, Data: data})
		return none, nil
	})
	return page, last, err
}
