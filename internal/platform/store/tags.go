package store

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// Tags returns a resource's tags by key.
func (db *DB) Tags(ctx context.Context, arn string) ([]hosting.Tag, error) {
	return tags(ctx, db.Read(), arn)
}

// Tags returns a resource's tags inside the transaction.
func (tx *Tx) Tags(ctx context.Context, arn string) ([]hosting.Tag, error) { return tags(ctx, tx, arn) }

func tags(ctx context.Context, q Querier, arn string) ([]hosting.Tag, error) {
	rows, err := q.QueryContext(ctx, `select key, value from tag where resource = $1 order by key`, arn)
	return Collect(rows, err, "read tags", func(scan Scan) (t hosting.Tag, err error) {
		err = scan(&t.Key, &t.Value)
		return t, err
	})
}

// PutTags adds tags to a resource, replacing the values of keys it has; what
// breaks the rules of a set of tags is refused (hosting.CheckTags).
func (tx *Tx) PutTags(ctx context.Context, arn string, add []hosting.Tag) error {
	if len(add) == 0 {
		return nil
	}
	have, err := tx.Tags(ctx, arn)
	if err != nil {
		return err
	}
	if err := hosting.CheckTags(have, add); err != nil {
		return err
	}
	for _, t := range add {
		err := tx.Run(ctx, "put tag", `
			insert into tag (resource, key, value) values ($1, $2, $3)
			on conflict (resource, key) do update set value = excluded.value`, arn, t.Key, t.Value)
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteTags removes tags by key; no keys means all of them.
func (tx *Tx) DeleteTags(ctx context.Context, arn string, keys ...string) error {
	if len(keys) == 0 {
		return tx.Run(ctx, "delete tags", `delete from tag where resource = $1`, arn)
	}
	for _, k := range keys {
		if err := tx.Run(ctx, "delete tag", `delete from tag where resource = $1 and key = $2`, arn, k); err != nil {
			return err
		}
	}
	return nil
}
