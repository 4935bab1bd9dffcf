package hosting

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/store"
)

// InsertModel records a new model; an existing name is the fault that clients
// know.
func (tx Tx) InsertModel(ctx context.Context, m hosting.Model) error {
	err := tx.Run(ctx, "insert model", `insert into model (region, name, created, doc) values ($1, $2, $3, $4)`,
		m.Scope.Region, m.Name, store.Micros(m.Created), store.JSON(m))
	if store.Taken(err) {
		return hosting.AlreadyExists("model", m.ARN())
	}
	return err
}

// Model reads a model.
func (r reader) Model(ctx context.Context, s arn.Scope, name string) (m hosting.Model, err error) {
	err = r.named(ctx, "model", s, name, &m)
	if errors.Is(err, sql.ErrNoRows) {
		return m, hosting.NoModel(s.Model(name))
	}
	return m, err
}

// DeleteModel removes a model's record.
func (tx Tx) DeleteModel(ctx context.Context, s arn.Scope, name string) error {
	return tx.DeleteNamed(ctx, "model", s.Region, name, hosting.NoModel(s.Model(name)))
}

// InsertEndpointConfig records a new endpoint configuration.
func (tx Tx) InsertEndpointConfig(ctx context.Context, c hosting.EndpointConfig) error {
	err := tx.Run(ctx, "insert endpoint config",
		`insert into endpoint_config (region, name, created, doc) values ($1, $2, $3, $4)`,
		c.Scope.Region, c.Name, store.Micros(c.Created), store.JSON(c))
	if store.Taken(err) {
		return hosting.AlreadyExists("endpoint configuration", c.ARN())
	}
	return err
}

// EndpointConfig reads an endpoint configuration.
func (r reader) EndpointConfig(ctx context.Context, s arn.Scope, name string) (c hosting.EndpointConfig, err error) {
	err = r.named(ctx, "endpoint_config", s, name, &c)
	if errors.Is(err, sql.ErrNoRows) {
		return c, hosting.NoEndpointConfig(s.EndpointConfig(name))
	}
	return c, err
}

// DeleteEndpointConfig removes a configuration's record.
func (tx Tx) DeleteEndpointConfig(ctx context.Context, s arn.Scope, name string) error {
	return tx.DeleteNamed(ctx, "endpoint_config", s.Region, name, hosting.NoEndpointConfig(s.EndpointConfig(name)))
}

// named reads the document of a name in a table of ours.
func (r reader) named(ctx context.Context, table string, s arn.Scope, name string, into any) error {
	row := r.q.QueryRowContext(ctx, `select doc from `+table+` where region = $1 and name = $2`, s.Region, name)
	return store.Wrap("read "+table, row.Scan(store.JSON(into)))
}

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

// list filters, then sorts, then pages. table is one of ours.
func (db *DB) list(ctx context.Context, table string, s arn.Scope, f hosting.Filter) ([]hosting.Summary, bool, error) {
	var w store.Where
	w.And("region = ?", s.Region)
	w.AndText(db.Dialect.Contains("lower(name)", "?"), strings.ToLower(f.NameContains))
	w.AndTime("created >= ?", f.CreatedFrom)
	w.AndTime("created < ?", f.CreatedBefore)
	columns := "name, created, created, ''"
	if table == "endpoint" {
		columns = "name, created, modified, status"
		w.AndTime("modified > ?", f.ModifiedAfter)
		w.AndTime("modified < ?", f.ModifiedBefore)
		w.AndText("status = ?", string(f.Status))
	}
	k := store.Keyset{
		By: "created", After: f.After.Micro, AfterName: f.After.Name, Descending: !f.Ascending, Limit: f.Limit,
	}
	switch f.SortBy {
	case hosting.ByName:
		k.By, k.After = "name", f.After.Value
	case hosting.ByStatus:
		k.By, k.After = "status", f.After.Value
	case hosting.ByCreationTime:
	}
	if k.Limit <= 0 {
		k.Limit = 10
	}
	query := fmt.Sprintf(`select %s from %s where %s`, columns, table, w.Page(k))
	rows, err := db.Read().QueryContext(ctx, query, w.Args...)
	return store.Page(rows, err, "list "+table, k.Limit, func(scan store.Scan) (s hosting.Summary, err error) {
		err = scan(&s.Name, store.Time(&s.Created), store.Time(&s.Modified), &s.Status)
		return s, err
	})
}
