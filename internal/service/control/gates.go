package control

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// GatesView is what judges the deployment of an endpoint in progress.
type GatesView struct {
	Endpoint *hosting.Endpoint
	Record   *record.Record // of the deployment, as of now; nil: none is in progress
	Chances  record.Chances
}

// chancesSince is how far back updates are counted.
const chancesSince = 30 * 24 * time.Hour

// GatesOf returns what judges an endpoint's deployment, and how it stands.
func (c *Control) GatesOf(ctx context.Context, s arn.Scope, name string) (v GatesView, err error) {
	if v.Endpoint, _, err = c.Store.EndpointView(ctx, s, name); err != nil || v.Endpoint.Deployment == nil {
		return v, err
	}
	r, err := c.Deployment(ctx, s, v.Endpoint.Deployment.ID)
	if errors.Is(err, fault.NotFound) || err == nil && !r.Ended.IsZero() {
		return v, nil // it has just ended
	}
	if err != nil {
		return v, err
	}
	v.Record = &r
	updates, err := c.Store.UpdatesSince(ctx, clock.Now().Add(-chancesSince))
	if err != nil {
		return v, err
	}
	var alarms []float64
	if c.Chances != nil {
		alarms = c.Chances(s, r.Plan.Policy.Alarms)
	}
	v.Chances = record.ChancesOf(r.Plan, alarms, updates)
	return v, nil
}

// Deployment returns all that is known of a deployment; of one in progress also
// what its gates have seen since it was last written.
func (c *Control) Deployment(ctx context.Context, s arn.Scope, id hosting.DeploymentID) (record.Record, error) {
	r, err := c.Store.Deployment(ctx, s, id)
	if err == nil && r.Ended.IsZero() && c.Seen != nil {
		r.Note(c.Seen(id), r.State, clock.Now())
	}
	return r, err
}

// gatesBy reads the gates that tags and the server set. Those of which nobody
// works anything out are left out if nobody asked for them, and refused with
// fault.Invalid if somebody did.
func (c *Control) gatesBy(tags []hosting.Tag) (kept []gate.Gate, err error) {
	all, err := hosting.Gates(tags, c.guardrails.Load().gates)
	if err != nil || c.Unweighed == nil {
		return all, err
	}
	for _, g := range all {
		why := c.Unweighed(g)
		if why != "" && g.Origin() != gate.BuiltIn {
			return nil, fault.New(fault.Invalid, "%s", why)
		}
		if why == "" {
			kept = append(kept, g)
		}
	}
	return kept, nil
}
