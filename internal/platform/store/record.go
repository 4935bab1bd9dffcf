package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
)

const recordColumns = `name, ended, doc`

// scanRecord reads a row of recordColumns.
func scanRecord(s arn.Scope, scan func(...any) error) (r record.Record, err error) {
	var ended sql.NullInt64
	var doc string
	if err := scan(&r.Name, &ended, &doc); err != nil {
		return r, err
	}
	r.Scope = s
	if ended.Valid {
		r.Ended = FromMicros(ended.Int64)
	}
	return r, json.Unmarshal([]byte(doc), &r.Deployment)
}

// Deployments returns one page of what is known of an endpoint's deployments,
// newest first and without their transitions, and whether more follow. The
// endpoint may be gone; a name that never was one is the fault that clients know.
func (db *DB) Deployments(ctx context.Context, s arn.Scope, name string, p record.Page) ([]record.Record, bool, error) {
	query := `select ` + recordColumns + ` from deployment where region = $1 and name_key = $2`
	args := []any{s.Region, strings.ToLower(name)}
	if p.After.ID != "" {
		query += ` and (begun, id) < ($3, $4)`
		args = append(args, p.After.Begun, p.After.ID)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(`%s order by begun desc, id desc limit %d`, query, p.Limit+1), args...)
	if err != nil {
		return nil, false, Wrap("list deployments", err)
	}
	defer rows.Close()
	var out []record.Record
	for rows.Next() {
		r, err := scanRecord(s, rows.Scan)
		if err != nil {
			return nil, false, Wrap("list deployments", err)
		}
		out = append(out, r)
	}
	if err := rows.Err(); err != nil {
		return nil, false, Wrap("list deployments", err)
	}
	switch {
	case len(out) > p.Limit:
		return out[:p.Limit], true, nil
	case len(out) == 0 && p.After.ID == "":
		return nil, false, hosting.NoEndpoint(s.Endpoint(name))
	}
	return out, false, nil
}

// Deployment returns all that is known of one deployment, as of one moment.
func (db *DB) Deployment(ctx context.Context, s arn.Scope, id hosting.DeploymentID) (r record.Record, err error) {
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.Dialect.snapshot})
	if err != nil {
		return r, Wrap("begin", err)
	}
	defer tx.Rollback() //nolint:errcheck // only read
	r, err = scanRecord(s, tx.QueryRowContext(ctx, `select `+recordColumns+` from deployment where id = $1 and region = $2`, id, s.Region).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return r, record.NoDeployment(id)
	}
	if err != nil {
		return r, Wrap("read deployment", err)
	}
	rows, err := tx.QueryContext(ctx, `select at, doc from event where deployment_id = $1 and kind = $2 order by seq`, id, phaseEvent)
	if err != nil {
		return r, Wrap("read history", err)
	}
	defer rows.Close()
	for rows.Next() {
		var t record.Transition
		var at int64
		var doc string
		if err := rows.Scan(&at, &doc); err != nil {
			return r, Wrap("read history", err)
		}
		if err := json.Unmarshal([]byte(doc), &t); err != nil {
			return r, Wrap("decode history", err)
		}
		t.At = FromMicros(at)
		r.Transitions = append(r.Transitions, t)
	}
	return r, Wrap("read history", rows.Err())
}

// PruneRecords forgets the past that keep does not ask for. What belongs to a
// deployment goes with it; what an endpoint did on its own goes by age.
func (db *DB) PruneRecords(ctx context.Context, keep record.Retention, now time.Time) error {
	const ranked = ` and id in (
		select id from (
			select id, row_number() over (partition by region, name_key order by begun desc, id desc) as n from deployment) r
		where n > $2)`
	old, most := Micros(now.Add(-keep.Age)), keep.Most
	for _, s := range []struct {
		text string
		args []any
	}{
		{`delete from deployment where ended < $1` + ranked, []any{old, keep.Least}},
		{`delete from deployment where ended <= $1` + ranked, []any{Micros(now), most}},
		{`delete from deployment where ended < $1 and not exists (
			select 1 from endpoint e where e.region = deployment.region and e.name_key = deployment.name_key)`, []any{Micros(now.Add(-keep.Gone))}},
		{`delete from event where deployment_id <> '' and not exists (select 1 from deployment d where d.id = event.deployment_id)`, nil},
		{`delete from event where deployment_id = '' and at < $1`, []any{old}},
		{`delete from event where deployment_id = '' and seq in (
			select seq from (
				select seq, row_number() over (partition by endpoint_id order by seq desc) as n from event where deployment_id = '') r
			where n > $1)`, []any{most}},
	} {
		if _, err := db.write.ExecContext(ctx, s.text, s.args...); err != nil {
			return Wrap("prune records", err)
		}
	}
	return nil
}
