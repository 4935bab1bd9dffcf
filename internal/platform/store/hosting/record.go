package hosting

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

const recordColumns = `name, ended, doc`

// scanRecord reads a row of recordColumns.
func scanRecord(s arn.Scope, scan store.Scan) (record.Record, error) {
	r := record.Record{Scope: s}
	err := scan(&r.Name, store.Time(&r.Ended), store.JSON(&r.Deployment))
	return r, err
}

// Deployments returns one page of what is known of an endpoint's deployments,
// newest first and without their transitions, and whether more follow. The
// endpoint may be gone; a name that never was one is the fault that clients know.
func (db *DB) Deployments(ctx context.Context, s arn.Scope, name string, p record.Page) ([]record.Record, bool, error) {
	var w store.Where
	w.And("region = ? and name_key = ?", s.Region, strings.ToLower(name))
	if p.After.ID != "" {
		w.And("(begun, id) < (?, ?)", p.After.Begun, p.After.ID)
	}
	rows, err := db.Read().QueryContext(ctx, fmt.Sprintf(
		`select %s from deployment where %s order by begun desc, id desc limit %d`, recordColumns, &w, p.Limit+1),
		w.Args...)
	out, more, err := store.Page(rows, err, "list deployments", p.Limit, func(scan store.Scan) (record.Record, error) {
		return scanRecord(s, scan)
	})
	if err == nil && len(out) == 0 && p.After.ID == "" {
		return nil, false, hosting.NoEndpoint(s.Endpoint(name))
	}
	return out, more, err
}

// Deployment returns all that is known of one deployment, as of one moment.
func (db *DB) Deployment(ctx context.Context, s arn.Scope, id hosting.DeploymentID) (r record.Record, err error) {
	err = db.View(ctx, func(q store.Querier) error {
		r, err = scanRecord(s, q.QueryRowContext(ctx,
			`select `+recordColumns+` from deployment where id = $1 and region = $2`, id, s.Region).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return record.NoDeployment(id)
		}
		if err != nil {
			return store.Wrap("read deployment", err)
		}
		rows, err := q.QueryContext(ctx,
			`select at, doc from event where deployment_id = $1 and kind = $2 order by seq`, id, record.DeploymentPhase)
		r.Transitions, err = store.Collect(rows, err,
			"read history", func(scan store.Scan) (t record.Transition, err error) {
				err = scan(store.Time(&t.At), store.JSON(&t))
				return t, err
			})
		return err
	})
	return r, err
}

// PruneRecords forgets the past that keep does not ask for. What belongs to a
// deployment goes with it; what an endpoint did on its own goes by age.
func (db *DB) PruneRecords(ctx context.Context, keep record.Retention, now time.Time) error {
	const ranked = ` and id in (
		select id from (
			select id, row_number() over (partition by region, name_key order by begun desc, id desc) as n
			from deployment) r
		where n > $2)`
	old, most := store.Micros(now.Add(-keep.Age)), keep.Most
	return db.Change(ctx, func(tx Tx) error {
		for _, s := range []struct {
			text string
			args []any
		}{
			{`delete from deployment where ended < $1` + ranked, []any{old, keep.Least}},
			{`delete from deployment where ended <= $1` + ranked, []any{store.Micros(now), most}},
			{
				`delete from deployment where ended < $1 and not exists (
			select 1 from endpoint e where e.region = deployment.region and e.name_key = deployment.name_key)`,
				[]any{store.Micros(now.Add(-keep.Gone))},
			},
			{`delete from event where deployment_id <> ''
			and not exists (select 1 from deployment d where d.id = event.deployment_id)`, nil},
			{`delete from event where deployment_id = '' and at < $1`, []any{old}},
			{`delete from event where deployment_id = '' and seq in (
			select seq from (
				select seq, row_number() over (partition by endpoint_id order by seq desc) as n
				from event where deployment_id = '') r
			where n > $1)`, []any{most}},
		} {
			if err := tx.Run(ctx, "prune records", s.text, s.args...); err != nil {
				return err
			}
		}
		return nil
	})
}
