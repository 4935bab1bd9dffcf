package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// The kinds of event rows.
const (
	phaseEvent  = "DeploymentPhase" // record.Transition
	statusEvent = "EndpointStatus"
)

// saveDeployment writes the deployment of e: a new one is due at once, an
// ended one is due never again. It reports whether the phase is another one.
func (tx *Tx) saveDeployment(ctx context.Context, e *hosting.Endpoint) (moved bool, err error) {
	d := e.Deployment
	if d == nil {
		return false, nil
	}
	doc, err := json.Marshal(d)
	if err != nil {
		return false, fmt.Errorf("encode deployment: %w", err)
	}
	var ended time.Time
	due := NullMicros(d.State.Since)
	if d.State.Phase.Terminal() {
		ended, due = d.State.Since, sql.NullInt64{}
	}
	var before string
	err = tx.QueryRowContext(ctx, `select phase from deployment where id = $1`, d.ID).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, Wrap("read deployment", err)
	}
	_, err = tx.ExecContext(ctx, `
		insert into deployment (id, endpoint_id, region, name, name_key, kind, phase, reason, begun, ended, due, doc)
		values ($1, $2, $10, $11, $12, $3, $4, $5, $6, $7, $8, $9)
		on conflict (id) do update set phase = excluded.phase, reason = excluded.reason, ended = excluded.ended,
			due = excluded.due, doc = excluded.doc, wakes = deployment.wakes + 1`,
		d.ID, e.ID, d.Plan.Kind, d.State.Phase, d.State.Reason, Micros(d.Begun), NullMicros(ended), due, string(doc),
		e.Scope.Region, e.Name, strings.ToLower(e.Name))
	if err != nil {
		return false, Wrap("save deployment", err)
	}
	if before != string(d.State.Phase) {
		t := record.Transition{From: rollout.Phase(before), To: d.State.Phase, Reason: d.State.Reason, State: d.State, Requests: d.Exposure.Requests}
		if d.State.Since.Equal(d.State.Turned) {
			t.Tripped = d.Tripped
		}
		return true, tx.record(ctx, e, d.ID, phaseEvent, t)
	}
	return false, nil
}

// wake makes an endpoint's unfinished deployment due now, however long it
// meant to wait.
func (tx *Tx) wake(ctx context.Context, id hosting.EndpointID, now time.Time) error {
	return tx.Wake(ctx, "deployment", now, "endpoint_id = ? and ended is null", id)
}

// Deploying is the queue of deployments.
func (db *DB) Deploying() *Queue { return db.Queue("deployment", "id") }

// DeploymentEndpoint returns whose deployment id is.
func (tx *Tx) DeploymentEndpoint(ctx context.Context, id hosting.DeploymentID) (e hosting.EndpointID, err error) {
	err = tx.QueryRowContext(ctx, `select endpoint_id from deployment where id = $1`, id).Scan(&e)
	return e, Wrap("read deployment", err)
}

// EndpointOf reads the endpoint that a deployment changes; nil if it is gone.
func (db *DB) EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error) {
	var e hosting.Endpoint
	err := ScanDoc(db.Read().QueryRowContext(ctx, `
		select e.doc from deployment d join endpoint e on e.id = d.endpoint_id where d.id = $1`, id), &e)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &e, Wrap("read endpoint", err)
}
