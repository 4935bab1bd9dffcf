package router

import (
	"maps"
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// tripsKept is how long it is known that a deployment was tripped. It is rolled
// back long before.
const tripsKept = 24 * time.Hour

// Trip takes back at once the traffic of every deployment that an alarm of a
// region guards, as its route says. It needs nothing but memory, and ends with a
// route that has no guard of that deployment: when the rollback is written.
// Tripping twice is tripping once.
func (r *Router) Trip(region string, a hosting.TrippedAlarm) {
	guards := func(g *traffic.Guard) bool {
		// What was bad of evidence before the deployment began is nothing to it.
		return g != nil && slices.Contains(g.Alarms, a.Name) && !(a.OfEvidence && !a.Shown.After(g.Begun))
	}
	r.Each(func(rt traffic.Route) {
		if rt.Scope.Region == region && guards(rt.Guard) {
			r.trip(rt.Key(), a, guards)
		}
	})
}

// TripDeployment is Trip for what gates have against a deployment, as sentences. It
// reports whether there was traffic to take back, now or before.
func (r *Router) TripDeployment(d hosting.DeploymentID, reason string) bool {
	a := hosting.TrippedAlarm{Name: "gates", Gate: true, Reason: reason, Since: clock.Now()}
	guards := func(g *traffic.Guard) bool { return g != nil && g.Deployment == string(d) }
	r.Each(func(rt traffic.Route) {
		if guards(rt.Guard) {
			r.trip(rt.Key(), a, guards)
		}
	})
	_, tripped := r.Tripped(d)
	return tripped
}

// trip takes back the traffic of k's deployment, if that is still one that guards
// says yes to.
func (r *Router) trip(k traffic.Key, a hosting.TrippedAlarm, guards func(*traffic.Guard) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	en := (*r.shard(k).table.Load())[k]
	if en == nil {
		return
	}
	old := en.route.Load()
	g := old.Guard
	if !guards(g) {
		return // it was rolled back meanwhile
	}
	if _, again := r.tripped[g.Deployment]; again {
		return
	}
	for d, t := range r.tripped {
		if time.Since(t.Taken) > tripsKept {
			delete(r.tripped, d)
		}
	}
	a.Taken = clock.Now()
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

// Guards names, by region, the alarms that guard a deployment whose traffic can be
// taken back, each once.
func (r *Router) Guards() map[string][]string {
	all := map[string]map[string]bool{}
	r.Each(func(rt traffic.Route) {
		if rt.Guard == nil {
			return
		}
		if all[rt.Scope.Region] == nil {
			all[rt.Scope.Region] = map[string]bool{}
		}
		for _, a := range rt.Guard.Alarms {
			all[rt.Scope.Region][a] = true
		}
	})
	guards := make(map[string][]string, len(all))
	for region, names := range all {
		guards[region] = slices.Sorted(maps.Keys(names))
	}
	return guards
}

// Trips returns, by deployment, the alarms by which traffic was taken back of which
// no route says yet that the rollback is written.
func (r *Router) Trips() map[string]hosting.TrippedAlarm {
	trips := map[string]hosting.TrippedAlarm{}
	r.Each(func(rt traffic.Route) {
		if rt.Guard == nil {
			return
		}
		if a, tripped := r.Tripped(hosting.DeploymentID(rt.Guard.Deployment)); tripped {
			trips[rt.Guard.Deployment] = a
		}
	})
	return trips
}

// Restore takes over the trips of an earlier life of the router: routes that are set
// from now on are without the traffic of those deployments.
func (r *Router) Restore(trips map[string]hosting.TrippedAlarm) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.tripped, trips)
}
