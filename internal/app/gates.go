package app

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
	"github.com/slipway-ml/slipway/internal/service/mirror"
)

// openGates has what becomes of requests compared between the fleets of
// deployments.
func (a *App) openGates() (err error) {
	l := a.cfg.Limits
	const slack = 5 * time.Second // for what is passed on after the answer
	a.gates, err = gates.New(gates.Config{
		Deployments: a.hosting, Store: a.hosting, Begin: a.alarms.Begin, Put: a.metrics.PutEvidence,
		Route: func(k traffic.Key) (traffic.Route, bool) { return a.router.Route(k) },
		Trip: func(id hosting.DeploymentID, why string) {
			a.router.TripDeployment(id, why)
			a.wakeups.trips.Notify()
			a.wakeups.turns.Notify()
		},
		Longest:     max(time.Duration(l.ModelTimeout), time.Duration(l.StreamTimeout)) + slack,
		LongestPair: time.Duration(l.ModelTimeout) + slack,
		Anew:        a.directory.Accepted(), Registerer: a.registry, Log: a.log,
	})
	return err
}

// sample tells of a request.
func (a *App) sample(s traffic.Sample) {
	a.metrics.Sample(s)
	a.gates.Sample(s)
}

// pair tells of a request that both fleets were sent.
func (a *App) pair(p mirror.Pair) {
	of := gates.Pair{
		Deployment: hosting.DeploymentID(p.Deployment), Variant: p.Variant, Drawn: p.Drawn, Slot: p.Slot,
		Example: p.Example,
	}
	switch p.Kind {
	case mirror.Compared:
		a.gates.Compared(of, p.D)
	case mirror.NewFailed:
		a.gates.Failed(of, true)
	case mirror.OldFailed:
		a.gates.Failed(of, false)
	case mirror.Shed:
		a.gates.Shed(of, p.Answered, p.Unread)
	}
}
