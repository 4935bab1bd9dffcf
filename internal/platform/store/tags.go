package store

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Tags returns a resource's tags by key.
func (db *DB) Tags(ctx context.Context, arn string) ([]hosting.Tag, error) {
	return tags(ctx, db.read, arn)
}

// Tags returns a resource's tags inside the transaction.
func (tx *Tx) Tags(ctx context.Context, arn string) ([]hosting.Tag, error) { return tags(ctx, tx, arn) }

func tags(ctx context.Context, q querier, arn string) (out []hosting.Tag, err error) {
	rows, err := q.QueryContext(ctx, `select key, value from tag where resource = $1 order by key`, arn)
	if err != nil {
		return nil, wrap("read tags", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t hosting.Tag
		if err := rows.Scan(&t.Key, &t.Value); err != nil {
			return nil, wrap("read tags", err)
		}
		out = append(out, t)
	}
	return out, wrap("read tags", rows.Err())
}

// PutTags adds tags to a resource, replacing the values of keys it has.
func (tx *Tx) PutTags(ctx context.Context, arn string, ts []hosting.Tag) error {
	for _, t := range ts {
		_, err := tx.ExecContext(ctx, `
			insert into tag (resource, key, value) values ($1, $2, $3)
			on conflict (resource, key) do update set value = excluded.value`, arn, t.Key, t.Value)
		if err != nil {
			return wrap("put tag", err)
		}
	}
	return nil
}

// DeleteTags removes tags by key; no keys means all of them.
func (tx *Tx) DeleteTags(ctx context.Context, arn string, keys ...string) error {
	if len(keys) == 0 {
		_, err := tx.ExecContext(ctx, `delete from tag where resource = $1`, arn)
		return wrap("delete tags", err)
	}
	for _, k := range keys {
		if _, err := tx.ExecContext(ctx, `delete from tag where resource = $1 and key = $2`, arn, k); err != nil {
			return wrap("delete tag", err)
		}
	}
	return nil
}
