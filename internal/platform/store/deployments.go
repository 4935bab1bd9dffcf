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
	"github.com/slipway-ml/slipway/internal/platform/loop"
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
	due := nullMicros(d.State.Since)
	if d.State.Phase.Terminal() {
		ended, due = d.State.Since, sql.NullInt64{}
	}
	var before string
	err = tx.QueryRowContext(ctx, `select phase from deployment where id = $1`, d.ID).Scan(&before)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return false, wrap("read deployment", err)
	}
	_, err = tx.ExecContext(ctx, `
		insert into deployment (id, endpoint_id, region, name, name_key, kind, phase, reason, begun, ended, due, doc)
		values ($1, $2, $10, $11, $12, $3, $4, $5, $6, $7, $8, $9)
		on conflict (id) do update set phase = excluded.phase, reason = excluded.reason, ended = excluded.ended,
			due = excluded.due, doc = excluded.doc, wakes = deployment.wakes + 1`,
		d.ID, e.ID, d.Plan.Kind, d.State.Phase, d.State.Reason, micros(d.Begun), nullMicros(ended), due, string(doc),
		e.Scope.Region, e.Name, strings.ToLower(e.Name))
	if err != nil {
		return false, wrap("save deployment", err)
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
	_, err := tx.ExecContext(ctx, `update deployment set due = $1, wakes = wakes + 1 where endpoint_id = $2 and ended is null`, micros(now), id)
	return wrap("wake deployment", err)
}

// Claim implements loop.Queue over deployments.
func (db *DB) Claim(ctx context.Context, now, until time.Time) (c loop.Claim, next time.Time, err error) {
	err = db.write.QueryRowContext(ctx, `
		update deployment set leased_until = $1
		where id = (
			select id from deployment
			where due <= $2 and leased_until <= $2
			order by due limit 1`+db.d.skipLocked+`)
		returning id, wakes`, micros(until), micros(now)).Scan(&c.Key, &c.Wakes)
	if err == nil {
		c.Until = until
		return c, next, nil
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return c, next, wrap("claim", err)
	}
	var at sql.NullInt64
	err = db.read.QueryRowContext(ctx, `select min(case when leased_until > due then leased_until else due end) from deployment where due is not null`).Scan(&at)
	if at.Valid {
		next = fromMicros(at.Int64)
	}
	return loop.Claim{}, next, wrap("look for the next deployment", err)
}

// ForgetLeases makes every deployment that is due claimable at once. Only a
// server that knows itself to be the only one may call it, before it works:
// whoever held the leases is dead, and an update need not wait for them to lapse.
func (db *DB) ForgetLeases(ctx context.Context) error {
	_, err := db.write.ExecContext(ctx, `update deployment set leased_until = 0 where leased_until > 0`)
	return wrap("forget leases", err)
}

// Release implements loop.Queue. A row that somebody woke during the turn
// keeps the due time it was given.
func (db *DB) Release(ctx context.Context, c loop.Claim, due time.Time) error {
	_, err := db.write.ExecContext(ctx, `
		update deployment set leased_until = 0,
			due = case when ended is not null then null when wakes = $4 then $1 else due end
		where id = $2 and leased_until = $3`, nullMicros(due), c.Key, micros(c.Until), c.Wakes)
	return wrap("release", err)
}

// DeploymentEndpoint returns whose deployment id is.
func (tx *Tx) DeploymentEndpoint(ctx context.Context, id hosting.DeploymentID) (e hosting.EndpointID, err error) {
	err = tx.QueryRowContext(ctx, `select endpoint_id from deployment where id = $1`, id).Scan(&e)
	return e, wrap("read deployment", err)
}

// EndpointOf reads the endpoint that a deployment changes; nil if it is gone.
func (db *DB) EndpointOf(ctx context.Context, id hosting.DeploymentID) (*hosting.Endpoint, error) {
	var e hosting.Endpoint
	err := scanDoc(db.read.QueryRowContext(ctx, `
		select e.doc from deployment d join endpoint e on e.id = d.endpoint_id where d.id = $1`, id), &e)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &e, wrap("read endpoint", err)
}
