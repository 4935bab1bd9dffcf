package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
)

// Allowance is how long an instance may take for what it does.
type Allowance struct {
	Download time.Duration // to fetch its model
	Startup  time.Duration // from then until it is healthy
	Stop     time.Duration // from losing its traffic until it is gone
}

// of returns what the slowest instance of a fleet may take.
func (a Allowance) of(f *hosting.Fleet) record.Allowance {
	out := record.Allowance{Stop: a.Stop}
	for _, v := range slices.Concat(f.Variants, f.Shadows) {
		download, startup := a.Download, a.Startup
		if v.DownloadTimeout > 0 {
			download = v.DownloadTimeout
		}
		if v.StartupTimeout > 0 {
			startup = v.StartupTimeout
		}
		out.Launch = max(out.Launch, download+startup)
	}
	return out
}

// UpdatePlan is what an update would do.
type UpdatePlan struct {
	Endpoint *hosting.Endpoint // as it would be once the update is accepted
	Forecast record.Forecast
	Findings []record.Finding
}

// PlanUpdate checks an update as UpdateEndpoint does, refuses what that would
// refuse, and returns what would run. Nothing is stored.
func (c *Control) PlanUpdate(ctx context.Context, in UpdateEndpointInput) (p UpdatePlan, err error) {
	err = c.Store.Change(ctx, func(tx store.Tx) error {
		e, err := tx.Endpoint(ctx, in.Scope, in.Name)
		if err != nil {
			return err
		}
		p.Endpoint = e
		return c.update(ctx, tx, e, in)
	})
	if err != nil {
		return UpdatePlan{}, err
	}
	d := p.Endpoint.Deployment
	p.Forecast = record.Foresee(d.Plan, c.Allowance.of(d.Green))
	p.Findings = record.Suspicious(p.Endpoint)
	if c.Suspect != nil {
		more, err := c.Suspect(ctx, p.Endpoint)
		if err != nil {
			return UpdatePlan{}, err
		}
		p.Findings = append(p.Findings, more...)
	}
	return p, nil
}

// Deployments returns a page of an endpoint's deployments, newest first, also
// when the endpoint is gone, and whether more follow.
func (c *Control) Deployments(ctx context.Context, s arn.Scope, name string, p record.Page) ([]record.Record, bool,
	error,
) {
	return c.Store.Deployments(ctx, s, name, p)
}

// Events returns what happened to an endpoint beside the steps of its deployments,
// newest first and limit at most.
func (c *Control) Events(ctx context.Context, s arn.Scope, name string, limit int) ([]record.Event, error) {
	return c.Store.Events(ctx, s, name, limit)
}

// OldTrouble says how the fleet does that a deployment leads away from; "" if it does
// as it should, or the deployment is over.
func (c *Control) OldTrouble(ctx context.Context, s arn.Scope, r record.Record) (string, error) {
	if !r.Ended.IsZero() {
		return "", nil
	}
	e, instances, err := c.Store.EndpointView(ctx, s, r.Name)
	if errors.Is(err, fault.NotFound) || err == nil && (e.Deployment == nil || e.Deployment.ID != r.ID) {
		return "", nil // it is over by now
	}
	if err != nil {
		return "", err
	}
	return e.OldTrouble(instances), nil
}
