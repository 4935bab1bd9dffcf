package app

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	storealarms "github.com/slipway-ml/slipway/internal/platform/store/alarms"
	storemetrics "github.com/slipway-ml/slipway/internal/platform/store/metrics"
	"github.com/slipway-ml/slipway/internal/service/alarms"
	"github.com/slipway-ml/slipway/internal/service/metrics"
)

// openAlarms reads alarms, and the samples that they are judged by.
func (a *App) openAlarms(ctx context.Context) (err error) {
	a.metrics, err = metrics.New(ctx, metrics.Config{
		Store: storemetrics.New(a.db), Log: a.log, Instances: a.metered,
		Counts: func(k traffic.Key) []traffic.Counts { return a.router.Counts(k) },
	})
	if err != nil {
		return err
	}
	a.onStop("metrics", a.metrics.Close)
	a.alarms, err = alarms.New(ctx, alarms.Config{
		Store: storealarms.New(a.db), Metrics: a.metrics, Account: a.cfg.Account, Wake: a.wakeups.turns.Notify,
		Trip: func(region string, t hosting.TrippedAlarm) {
			a.router.Trip(region, t)
			a.wakeups.trips.Notify()
		},
		Guards: func() map[string][]string { return a.router.Guards() }, Log: a.log,
	})
	return err
}

// metered returns what the instances that take traffic take of this host.
func (a *App) metered(ctx context.Context) (out []metrics.Instance, err error) {
	used, err := a.process.Usage(ctx)
	if err != nil {
		return nil, err
	}
	a.router.Each(func(r traffic.Route) {
		for _, v := range r.Variants {
			for _, f := range v.Fleets {
				for _, i := range f.Instances {
					if u, ok := used[provider.ID(i.ID)]; ok {
						out = append(out, metrics.Instance{
							Endpoint: r.Key(), Variant: v.Name, ID: i.ID, CPU: u.CPU, Memory: u.Memory,
						})
					}
				}
			}
		}
	})
	return out, nil
}
