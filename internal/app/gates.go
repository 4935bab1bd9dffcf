package app

import (
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
	"github.com/slipway-ml/slipway/internal/service/mirror"
)

// openGates has what becomes of requests compared between the fleets of
// deployments.
func (a *App) openGates() {
	a.gates = gates.New(gates.Config{
		Deployments: a.hosting, Begin: a.alarms.Begin, Put: a.metrics.PutEvidence,
		Trip: func(id hosting.DeploymentID, why string) {
			a.router.TripDeployment(id, why)
			a.wakeups.trips.Notify()
			a.wakeups.turns.Notify()
		},
		Log: a.log,
	})
}

// sample tells of a request.
func (a *App) sample(s traffic.Sample) {
	a.metrics.Sample(s)
	a.gates.Sample(s)
}

// pair tells of a request that both fleets were sent.
func (a *App) pair(p mirror.Pair) {
	id := hosting.DeploymentID(p.Deployment)
	switch p.Kind {
	case mirror.Compared:
		a.gates.Pair(id, p.Variant, p.Slot, p.D)
	case mirror.NewFailed:
		a.gates.Failure(id, p.Variant, p.Slot, true)
	case mirror.OldFailed:
		a.gates.Failure(id, p.Variant, p.Slot, false)
	case mirror.Shed:
		a.gates.Shed(id, p.Variant)
	}
}
