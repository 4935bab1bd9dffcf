package router

import (
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// tripsKept is how long it is known that a deployment was tripped. It is rolled
// back long before.
const tripsKept = 24 * time.Hour

// Trip takes back at once the traffic of every deployment that an alarm of a
// region guards, as its route says. It needs nothing but memory, and ends with a
// route that has no guard of that deployment: when the rollback is written.
// Tripping twice is tripping once.
func (r *Router) Trip(region string, a hosting.TrippedAlarm) {
	r.Each(func(rt traffic.Route) {
		if rt.Scope.Region == region && rt.Guard != nil && slices.Contains(rt.Guard.Alarms, a.Name) {
			r.trip(rt.Key(), a)
		}
	})
}

func (r *Router) trip(k traffic.Key, a hosting.TrippedAlarm) {
	r.mu.Lock()
	defer r.mu.Unlock()
	en := (*r.shard(k).table.Load())[k]
	if en == nil {
		return
	}
	old := en.route.Load()
	g := old.Guard
	if g == nil || !slices.Contains(g.Alarms, a.Name) {
		return // it was rolled back meanwhile
	}
	if _, again := r.tripped[g.Deployment]; again {
		return
	}
	for d, t := range r.tripped {
		if time.Since(t.Since) > tripsKept {
			delete(r.tripped, d)
		}
	}
	r.tripped[g.Deployment] = a
	next := r.build(en, old, r.diverted(old.Route))
	en.route.Store(next)
	en.retire(old, next)
	r.leave(old)
	r.log.Warn("traffic moves back ahead of the rollback", "endpoint", k.Name, "deployment", g.Deployment,
		"alarm", a.Name)
}

// diverted returns to with the traffic of a deployment that was tripped taken
// back. r.mu is held.
func (r *Router) diverted(to traffic.Route) traffic.Route {
	if g := to.Guard; g != nil {
		if _, tripped := r.tripped[g.Deployment]; tripped {
			to.Variants = g.Variants
		}
	}
	return to
}

// Tripped returns the alarm by which a deployment's traffic was taken back, if
// it was: it must be rolled back even if the alarm is not known to have fired.
func (r *Router) Tripped(d hosting.DeploymentID) (a hosting.TrippedAlarm, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok = r.tripped[string(d)]
	return a, ok
}
