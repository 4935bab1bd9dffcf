package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/platform/connlimit"
)

// admission is what bounds the connections of every listener, and the memory of their
// requests.
type admission struct {
	invocations *connlimit.Budget
	others      *connlimit.Budget // of all other APIs, those of devices included
	turned      *prometheus.CounterVec
}

func (a *App) newAdmission() admission {
	d := admission{
		invocations: connlimit.NewBudget(a.cfg.Limits.RequestMemoryBytes),
		others:      connlimit.NewBudget(a.cfg.Limits.RequestMemoryBytes / 2),
		turned: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "slipway_connections_turned_away_total",
			Help: "Connections that were closed before a request of theirs was answered, or told that there are too " +
				"many: by listener, and by reason (connections, address, key, memory).",
		}, []string{"listener", "reason"}),
	}
	a.registry.MustRegister(d.turned)
	for _, listener := range []string{"data", "control", "tunnels", "devices"} {
		for _, why := range connlimit.Reasons() {
			d.turned.WithLabelValues(listener, why.String()) // zero is a fact, too
		}
	}
	return d
}

// takeOver takes over what has changed while the server runs.
func (d admission) takeOver(memory int64) {
	d.invocations.SetLimit(memory)
	d.others.SetLimit(memory / 2)
}

// told returns what counts a connection that a listener turned away.
func (d admission) told(listener string) func(connlimit.Reason) {
	return func(why connlimit.Reason) { d.turned.WithLabelValues(listener, why.String()).Inc() }
}

// part returns the bounds of what has one of so many parts of the connections of the
// main address.
func (a *App) part(of int64, listener string) connlimit.Config {
	l := a.cfg.Limits
	most := max(1, l.Connections/of)
	return connlimit.Config{
		Max: int(most), PerAddress: int(max(1, min(l.ConnectionsPerAddress, most/2))),
		PerKey: int(max(1, min(l.ConnectionsPerKey, most*3/4))),
		Heads:  a.admission.others, Turned: a.admission.told(listener), Log: a.log, Listener: listener,
	}
}

// ofDevices returns the bounds of the connections of devices.
func (a *App) ofDevices() connlimit.Config {
	d := a.cfg.Devices
	return connlimit.Config{
		Max: int(d.Connections), PerAddress: int(d.ConnectionsPerAddress), PerKey: int(d.ConnectionsPerCertificate),
		Heads: a.admission.others, Turned: a.admission.told("devices"), Log: a.log,
	}
}
