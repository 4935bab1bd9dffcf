package app

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// allowance is how long instances may take, for plans.
func (a *App) allowance() control.Allowance {
	t, l := a.manager.Tuning, a.cfg.Limits
	return control.Allowance{Download: t.DownloadTimeout, Startup: time.Duration(l.StartupWindow), Stop: t.DrainLimit + t.StopGrace}
}

// suspect adds to a plan what only the running server knows.
func (a *App) suspect(_ context.Context, e *hosting.Endpoint) (out []record.Finding, err error) {
	var answered uint64
	for _, c := range a.router.Counts(router.Key{Region: e.Scope.Region, Name: e.Name}) {
		answered += c.Invocations
	}
	if answered == 0 {
		out = append(out, record.Finding{
			Severity: record.Warning, Code: "NoTraffic",
			Message: "The endpoint has answered no request since the server started: without traffic, a deployment proves nothing.",
		})
	}
	return out, nil
}
