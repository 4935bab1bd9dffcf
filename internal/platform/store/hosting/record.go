package hosting

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
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
		if err != nil {
			return err
		}
		rows, err = q.QueryContext(ctx, `
			select at, deployment_id, kind, doc from event where deployment_id = $1 and `+untold+` order by seq`, id)
		r.Events, err = store.Collect(rows, err, "read history", scanEvent)
		return err
	})
	return r, err
}

// untold selects what neither the steps of a deployment say nor its verdict: how its
// previous fleet did, and when an endpoint was out of service.
const untold = `(kind = 'PreviousFleet' or kind = 'EndpointStatus' and doc like '%"OutOfService"%')`

// Events returns what happened to an endpoint beside the steps of its deployments, or
// to those that had its name before, newest first and limit at most.
func (db *DB) Events(ctx context.Context, s arn.Scope, name string, limit int) ([]record.Event, error) {
	rows, err := db.Read().QueryContext(ctx, `
		select at, deployment_id, kind, doc from event
		where endpoint_id in (select endpoint_id from deployment where region = $1 and name_key = $2) and `+untold+`
		order by seq desc limit $3`, s.Region, strings.ToLower(name), limit)
	return store.Collect(rows, err, "read history", scanEvent)
}

func scanEvent(scan store.Scan) (e record.Event, err error) {
	var doc string
	if err := scan(store.Time(&e.At), &e.Deployment, &e.Kind, &doc); err != nil {
		return e, err
	}
	switch e.Kind {
	case record.EndpointStatus:
		var c record.StatusChange
		err = json.Unmarshal([]byte(doc), &c)
		e.Message = c.Message()
	case record.PreviousFleet:
		var t record.FleetTrouble
		err = json.Unmarshal([]byte(doc), &t)
		e.Message = t.Message()
	case record.DeploymentPhase: // not asked for
	}
	return e, err
}

// UpdatesSince counts the updates of endpoints of all regions that were accepted
// since then and are still on record.
func (db *DB) UpdatesSince(ctx context.Context, since time.Time) (n int64, err error) {
	err = db.Read().QueryRowContext(ctx,
		`select count(*) from deployment where kind = 'Update' and begun >= $1`, since.UnixMicro()).Scan(&n)
	return n, store.Wrap("count updates", err)
}

// pruneBatch is how many rows are forgotten in a transaction: the first time there
// may be millions.
const pruneBatch = 500

// PruneRecords forgets the past that keep does not ask for. What belongs to a
// deployment goes with it; what an endpoint did on its own goes by age.
func (db *DB) PruneRecords(ctx context.Context, keep record.Retention, now time.Time) error {
	const (
		ranked = ` and id in (
			select id from (
				select id, row_number() over (partition by region, name_key order by begun desc, id desc) as n
				from deployment) r
			where n > $2)`
		gone = `not exists (
			select 1 from endpoint e where e.region = deployment.region and e.name_key = deployment.name_key)`
	)
	old, most := store.Micros(now.Add(-keep.Age)), keep.Most
	for _, what := range []struct {
		table, key, cond string
		args             []any
	}{
		{"deployment", "id", `ended < $1` + ranked, []any{old, keep.Least}},
		{"deployment", "id", `ended <= $1` + ranked, []any{store.Micros(now), most}},
		{"deployment", "id", `ended < $1 and ` + gone, []any{store.Micros(now.Add(-keep.Gone))}},
		{"deployment", "id", `ended is not null and id in (
			select id from (
				select id, row_number() over (order by begun desc, id desc) as n from deployment where ` + gone + `) r
			where n > $1)`, []any{cmp.Or(keep.GoneMost, math.MaxInt)}},
		{"event", "seq", `deployment_id <> ''
			and not exists (select 1 from deployment d where d.id = event.deployment_id)`, nil},
		{"event", "seq", `deployment_id = '' and at < $1`, []any{old}},
		{"event", "seq", `deployment_id = '' and seq in (
			select seq from (
				select seq, row_number() over (partition by endpoint_id order by seq desc) as n
				from event where deployment_id = '') r
			where n > $1)`, []any{most}},
	} {
		if err := db.prune(ctx, what.table, what.key, what.cond, what.args); err != nil {
			return err
		}
	}
	return nil
}

// prune deletes the rows of a table that meet a condition, a batch at a time.
func (db *DB) prune(ctx context.Context, table, key, cond string, args []any) error {
	query := fmt.Sprintf(`delete from %[1]s where %[2]s in (select %[2]s from %[1]s where %[3]s limit %[4]d)`,
		table, key, cond, pruneBatch)
	for n := int64(pruneBatch); n == pruneBatch; {
		err := db.Change(ctx, func(tx Tx) (err error) {
			n, err = tx.Count(ctx, "prune "+table, query, args...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
