package app

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/service/watch"
)

// allowance is how long instances may take, for plans.
func (a *App) allowance() control.Allowance {
	t, l := a.manager.Tuning, a.cfg.Limits
	return control.Allowance{Download: t.DownloadTimeout, Startup: time.Duration(l.StartupWindow), Stop: t.DrainLimit + t.StopGrace}
}

// suspect adds to a plan what only the running server knows: how the alarms
// stand, and whether there is traffic to judge by.
func (a *App) suspect(_ context.Context, e *hosting.Endpoint) (out []record.Finding, err error) {
	p := e.Deployment.Plan
	g := alarm.Guarded{Endpoint: e.Name, From: e.Deployment.From, To: e.Deployment.To()}
	g.Step, g.Bake = record.ShortestBake(p)
	for _, v := range p.Variants {
		if v.New > 0 {
			g.Variants = append(g.Variants, v.Name)
		}
	}
	for _, s := range a.watch.Suspicions(e.Scope, p.Policy.Alarms, g) {
		out = append(out, record.Finding{Severity: record.Warning, Code: string(s.Kind), Message: s.Text})
	}
	const lately = 5 * time.Minute
	var answered float64
	end := time.Now().Truncate(time.Second).Add(time.Second)
	for _, v := range p.Variants {
		points, err := a.watch.Statistics(e.Scope, watch.StatisticsQuery{
			Metric: metric.ID{Namespace: watch.Namespace, Name: "Invocations", Dimensions: []metric.Dimension{
				{Name: "EndpointName", Value: e.Name}, {Name: "VariantName", Value: v.Name},
			}},
			Start: end.Add(-lately), End: end, Period: time.Minute, Stats: []metric.Stat{metric.Sum},
		})
		if err != nil {
			return nil, err
		}
		for _, at := range points {
			if n := at.Values[0]; n != nil {
				answered += *n
			}
		}
	}
	return append(out, record.Starved(p, int64(answered), lately)...), nil
}
