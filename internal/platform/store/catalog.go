package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
)

// InsertModel records a new model; an existing name is the fault that clients
// know.
func (tx *Tx) InsertModel(ctx context.Context, m hosting.Model) error {
	doc, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode model: %w", err)
	}
	_, err = tx.ExecContext(ctx, `insert into model (region, name, created, doc) values ($1, $2, $3, $4)`,
		m.Scope.Region, m.Name, Micros(m.Created), string(doc))
	if Taken(err) {
		return hosting.AlreadyExists("model", m.ARN())
	}
	return Wrap("insert model", err)
}

// Model reads a model inside the transaction.
func (tx *Tx) Model(ctx context.Context, s arn.Scope, name string) (hosting.Model, error) {
	return model(ctx, tx, s, name)
}

// Model reads a model.
func (db *DB) Model(ctx context.Context, s arn.Scope, name string) (hosting.Model, error) {
	return model(ctx, db.Read(), s, name)
}

func model(ctx context.Context, q Querier, s arn.Scope, name string) (m hosting.Model, err error) {
	err = ScanDoc(q.QueryRowContext(ctx, `select doc from model where region = $1 and name = $2`, s.Region, name), &m)
	if errors.Is(err, sql.ErrNoRows) {
		return m, hosting.NoModel(s.Model(name))
	}
	return m, Wrap("read model", err)
}

// DeleteModel removes a model's record.
func (tx *Tx) DeleteModel(ctx context.Context, s arn.Scope, name string) error {
	return tx.deleteNamed(ctx, "model", s.Region, name, hosting.NoModel(s.Model(name)))
}

// InsertEndpointConfig records a new endpoint configuration.
func (tx *Tx) InsertEndpointConfig(ctx context.Context, c hosting.EndpointConfig) error {
	doc, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode endpoint config: %w", err)
	}
	_, err = tx.ExecContext(ctx, `insert into endpoint_config (region, name, created, doc) values ($1, $2, $3, $4)`,
		c.Scope.Region, c.Name, Micros(c.Created), string(doc))
	if Taken(err) {
		return hosting.AlreadyExists("endpoint configuration", c.ARN())
	}
	return Wrap("insert endpoint config", err)
}

// EndpointConfig reads an endpoint configuration inside the transaction.
func (tx *Tx) EndpointConfig(ctx context.Context, s arn.Scope, name string) (hosting.EndpointConfig, error) {
	return endpointConfig(ctx, tx, s, name)
}

// EndpointConfig reads an endpoint configuration.
func (db *DB) EndpointConfig(ctx context.Context, s arn.Scope, name string) (hosting.EndpointConfig, error) {
	return endpointConfig(ctx, db.Read(), s, name)
}

func endpointConfig(ctx context.Context, q Querier, s arn.Scope, name string) (c hosting.EndpointConfig, err error) {
	err = ScanDoc(q.QueryRowContext(ctx, `select doc from endpoint_config where region = $1 and name = $2`, s.Region, name), &c)
	if errors.Is(err, sql.ErrNoRows) {
		return c, hosting.NoEndpointConfig(s.EndpointConfig(name))
	}
	return c, Wrap("read endpoint config", err)
}

// DeleteEndpointConfig removes a configuration's record.
func (tx *Tx) DeleteEndpointConfig(ctx context.Context, s arn.Scope, name string) error {
	return tx.deleteNamed(ctx, "endpoint_config", s.Region, name, hosting.NoEndpointConfig(s.EndpointConfig(name)))
}

// deleteNamed deletes one row of a table of ours (never a name from outside).
func (tx *Tx) deleteNamed(ctx context.Context, table, region, name string, missing error) error {
	res, err := tx.ExecContext(ctx, `delete from `+table+` where region = $1 and name = $2`, region, name)
	if err != nil {
		return Wrap("delete "+table, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, missing)
	}
	return nil
}
