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
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Endpoint reads an endpoint by name, without regard to case, and locks it
// until the transaction ends.
func (tx *Tx) Endpoint(ctx context.Context, s arn.Scope, name string) (*hosting.Endpoint, error) {
	return endpoint(ctx, tx, s, name, tx.Dialect.ForUpdate)
}

// EndpointByID reads and locks an endpoint; nil if it is gone.
func (tx *Tx) EndpointByID(ctx context.Context, id hosting.EndpointID) (*hosting.Endpoint, error) {
	var e hosting.Endpoint
	err := ScanDoc(tx.QueryRowContext(ctx, `select doc from endpoint where id = $1`+tx.Dialect.ForUpdate, id), &e)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &e, Wrap("read endpoint", err)
}

func endpoint(ctx context.Context, q Querier, s arn.Scope, name, lock string) (*hosting.Endpoint, error) {
	var e hosting.Endpoint
	err := ScanDoc(q.QueryRowContext(ctx, `select doc from endpoint where region = $1 and name_key = $2`+lock, s.Region, strings.ToLower(name)), &e)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, hosting.NoEndpoint(s.Endpoint(name))
	}
	if err != nil {
		return nil, Wrap("read endpoint", err)
	}
	return &e, nil
}

// EndpointView reads an endpoint and its instances as of one moment.
func (db *DB) EndpointView(ctx context.Context, s arn.Scope, name string) (e *hosting.Endpoint, is []hosting.Instance, err error) {
	tx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelDefault})
	if err != nil {
		return nil, nil, Wrap("begin", err)
	}
	defer tx.Rollback() //nolint:errcheck // only read
	if e, err = endpoint(ctx, tx, s, name, ""); err != nil {
		return nil, nil, err
	}
	is, err = instances(ctx, tx, e.ID)
	return e, is, err
}

// InsertEndpoint records a new endpoint and everything that hangs on it.
func (tx *Tx) InsertEndpoint(ctx context.Context, e *hosting.Endpoint) error {
	_, err := tx.ExecContext(ctx, `
		insert into endpoint (id, region, name, name_key, status, created, modified, version, doc)
		values ($1, $2, $3, $4, '', $5, $6, 1, '{}')`, // the status changes from none to its first
		e.ID, e.Scope.Region, e.Name, strings.ToLower(e.Name), Micros(e.Created), Micros(e.Modified))
	if Taken(err) {
		return hosting.AlreadyExists("endpoint", e.ARN())
	}
	if err != nil {
		return Wrap("insert endpoint", err)
	}
	return tx.SaveEndpoint(ctx, e)
}

// SaveEndpoint makes every row agree with e, in this transaction: the endpoint
// itself, its deployment (due at once), the instances it wants, its route, a line
// of history, and the events that subscribers wait for. That traffic and phase are written together is what makes
// a crash harmless.
func (tx *Tx) SaveEndpoint(ctx context.Context, e *hosting.Endpoint) error {
	is, err := instances(ctx, tx, e.ID)
	if err != nil {
		return err
	}
	if is, err = tx.reconcile(ctx, e, is); err != nil {
		return err
	}
	moved, err := tx.saveDeployment(ctx, e)
	if err != nil {
		return err
	}
	var filed hosting.DeploymentID
	if e.Ended() {
		// Its row is the record from here on; the endpoint is free again.
		filed, e.Deployment = e.Deployment.ID, nil
	}
	if err := tx.settle(ctx, e, is, filed, e.Modified); err != nil || !moved {
		return err
	}
	return tx.tell(ctx, notice.DeploymentChange, e, is, e.Modified)
}

// settle writes the endpoint's row and its route as they follow from its
// instances. filed is the deployment that has just ended, for the history.
func (tx *Tx) settle(ctx context.Context, e *hosting.Endpoint, is []hosting.Instance, filed hosting.DeploymentID, now time.Time) error {
	e.Settle(is, now)
	doc, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encode endpoint: %w", err)
	}
	var before string
	if err := tx.QueryRowContext(ctx, `select status from endpoint where id = $1`, e.ID).Scan(&before); err != nil {
		return Wrap("read endpoint status", err)
	}
	_, err = tx.ExecContext(ctx, `
		update endpoint set status = $1, modified = $2, version = version + 1, doc = $3 where id = $4`,
		e.Status, Micros(e.Modified), string(doc), e.ID)
	if err != nil {
		return Wrap("save endpoint", err)
	}
	if before != string(e.Status) {
		if err := tx.record(ctx, e, filed, statusEvent, map[string]string{"from": before, "to": string(e.Status), "reason": e.FailureReason}); err != nil {
			return err
		}
		if err := tx.tell(ctx, notice.StateChange, e, is, now); err != nil {
			return err
		}
	}
	return tx.saveRoute(ctx, e.Route(is))
}

// DeleteEndpoint removes what is left of an endpoint; its route row stays,
// gone, so that routers learn of it.
func (tx *Tx) DeleteEndpoint(ctx context.Context, e *hosting.Endpoint, at time.Time) error {
	if d := e.Deployment; d != nil {
		if _, err := tx.saveDeployment(ctx, e); err != nil {
			return err
		}
	}
	if err := tx.record(ctx, e, "", statusEvent, map[string]string{"from": string(e.Status), "to": "Deleted"}); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `delete from endpoint where id = $1`, e.ID); err != nil {
		return Wrap("delete endpoint", err)
	}
	if err := tx.DeleteTags(ctx, e.ARN()); err != nil {
		return err
	}
	return tx.saveRoute(ctx, traffic.Route{Endpoint: string(e.ID), Scope: e.Scope, Name: e.Name, Gone: true})
}

// record appends a line to the history of e, and of its deployment or the one
// that has just been filed.
func (tx *Tx) record(ctx context.Context, e *hosting.Endpoint, d hosting.DeploymentID, kind string, what any) error {
	doc, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	seq, err := tx.Next(ctx, "event")
	if err != nil {
		return err
	}
	if e.Deployment != nil {
		d = e.Deployment.ID
	}
	_, err = tx.ExecContext(ctx, `insert into event (seq, endpoint_id, deployment_id, at, kind, doc) values ($1, $2, $3, $4, $5, $6)`,
		seq, e.ID, d, Micros(e.Modified), kind, string(doc))
	return Wrap("record event", err)
}
