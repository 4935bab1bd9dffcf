package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// ListModels returns one page of models, and whether more follow.
func (db *DB) ListModels(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	return db.list(ctx, "model", s, f)
}

// ListEndpointConfigs returns one page of configurations, and whether more follow.
func (db *DB) ListEndpointConfigs(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	return db.list(ctx, "endpoint_config", s, f)
}

// ListEndpoints returns one page of endpoints, and whether more follow.
func (db *DB) ListEndpoints(ctx context.Context, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	return db.list(ctx, "endpoint", s, f)
}

func (db *DB) list(ctx context.Context, table string, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	if f.Limit <= 0 {
		f.Limit = 10
	}
	query, args := db.listQuery(table, s, f)
	rows, err := db.Read().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, false, Wrap("list "+table, err)
	}
	defer rows.Close()
	var out []hosting.Summary
	for rows.Next() {
		var sum hosting.Summary
		var created, modified int64
		if err := rows.Scan(&sum.Name, &created, &modified, &sum.Status); err != nil {
			return nil, false, Wrap("list "+table, err)
		}
		sum.Created, sum.Modified = FromMicros(created), FromMicros(modified)
		out = append(out, sum)
	}
	if err := rows.Err(); err != nil {
		return nil, false, Wrap("list "+table, err)
	}
	if len(out) > f.Limit {
		return out[:f.Limit], true, nil
	}
	return out, false, nil
}

// listQuery filters, then sorts, then pages: by keyset, so that a page costs
// the same wherever it starts. table is one of ours, never a name from outside.
func (db *DB) listQuery(table string, s arn.Scope, f hosting.Filter) (string, []any) {
	var w Where
	w.And("region = ?", s.Region)
	if f.NameContains != "" {
		w.And(db.Dialect.Contains("lower(name)", "?"), strings.ToLower(f.NameContains))
	}
	bound := func(cond string, t time.Time) {
		if !t.IsZero() {
			w.And(cond, Micros(t))
		}
	}
	bound("created >= ?", f.CreatedFrom)
	bound("created < ?", f.CreatedBefore)
	cols := "name, created, created, ''"
	if table == "endpoint" {
		cols = "name, created, modified, status"
		bound("modified > ?", f.ModifiedAfter)
		bound("modified < ?", f.ModifiedBefore)
		if f.Status != "" {
			w.And("status = ?", string(f.Status))
		}
	}
	by, after := "created", any(f.After.Micro)
	switch f.SortBy {
	case hosting.ByName:
		by, after = "name", f.After.Value
	case hosting.ByStatus:
		by, after = "status", f.After.Value
	case hosting.ByCreationTime:
	}
	dir, beyond := " desc", "<"
	if f.Ascending {
		dir, beyond = "", ">"
	}
	if f.After.Name != "" {
		w.And("("+by+", name) "+beyond+" (?, ?)", after, f.After.Name)
	}
	order := by + dir + ", name" + dir
	return fmt.Sprintf(`select %s from %s where %s order by %s limit %d`,
		cols, table, w.String(), order, f.Limit+1), w.Args
}
