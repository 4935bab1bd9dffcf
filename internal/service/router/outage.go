package router

import (
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// tellEvery is how often the log hears of an outage that goes on.
const tellEvery = 10 * time.Second

// outage counts the requests that no instance of an endpoint could take, since
// it last had one.
type outage struct {
	mu       sync.Mutex
	requests int
	since    time.Time // when the first came
	told     time.Time // when the log last heard
}

// missed notes that no instance could take c. The first such request is logged
// at once, then how many there were, now and then.
func (r *Router) missed(c *Call) {
	en := (*r.shard(c.Key).table.Load())[c.Key]
	if en == nil {
		return // it was deleted meanwhile
	}
	if c.tally == nil {
		en.nowhere.add(&traffic.Sample{Status5XX: true, ModelError: true, Unserved: true})
	}
	now := time.Now()
	o := &en.outage
	o.mu.Lock()
	if o.requests++; o.requests == 1 {
		o.since = now
	}
	requests, since := o.requests, o.since
	tell := requests == 1 || now.Sub(o.told) >= tellEvery
	if tell {
		o.told = now
	}
	o.mu.Unlock()
	if tell {
		r.log.Error("requests are answered with 503: no instance can take them",
			"endpoint", c.Key.Name, "region", c.Key.Region, "variant", c.Variant, "requests", requests, "since", since)
	}
}

// logHealth logs when an endpoint's requests begin or cease to go to instances
// that fail their health checks, and when an outage is over.
func (r *Router) logHealth(en *entry, old, next *route) {
	able := true
	for i := range next.variants {
		v := &next.variants[i]
		able = able && len(v.fleets) > 0
		now := v.unhealthy && len(v.fleets) > 0
		before := false
		if old != nil {
			w := old.variant(v.Name)
			before = w != nil && w.unhealthy && len(w.fleets) > 0
		}
		switch {
		case now && !before:
			r.log.Error("no instance passes its health checks: requests go to all that run",
				"endpoint", next.Name, "region", next.Scope.Region, "variant", v.Name, "instances", v.active)
		case before && !now:
			r.log.Info("requests no longer go to instances that fail their health checks",
				"endpoint", next.Name, "region", next.Scope.Region, "variant", v.Name, "ready", v.active)
		}
	}
	if !able || len(next.variants) == 0 {
		return
	}
	o := &en.outage
	o.mu.Lock()
	requests, since := o.requests, o.since
	o.requests = 0
	o.mu.Unlock()
	if requests > 0 {
		r.log.Info("instances take requests again",
			"endpoint", next.Name, "region", next.Scope.Region, "requests", requests, "since", since)
	}
}
