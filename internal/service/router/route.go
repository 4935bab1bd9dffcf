package router

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
)

// route is a route prepared for choosing. It is immutable.
type route struct {
	traffic.Route
	variants  []variant
	total     float64  // of the weights
	tallies   []*tally // one for each fleet, also those without instances
	observers []*observer
}

type variant struct {
	*traffic.Variant
	weight    float64
	leastBusy bool       // the instance with the least requests in flight is chosen, not any
	fleets    []fleet    // those that have instances
	active    int        // their instances
	total     float64    // of their shares
	newShare  float64    // the chance that the new fleet is drawn, of the new and the old one
	unhealthy bool       // none is ready: the instances are those that fail their health checks
	unserved  *tally     // counts the requests that no instance can take; nil: the variant has no fleet
	copies    []receiver // of its requests
}

type fleet struct {
	*traffic.Fleet
	share     float64
	instances []*instance
	tally     *tally
	observed  bool // observers are asked about its requests
}

// instance is one life of an instance at one address.
type instance struct {
	traffic.Instance
	up          *http1.Upstream
	slot        atomic.Int32 // as the last route says
	outstanding atomic.Int64
	draining    atomic.Bool   // set after the table no longer names it
	routes      int           // that name it; guarded by Router.mu
	idle        chan struct{} // closed when it is draining and idle; guarded by Router.mu
}

// build prepares to, keeping instances and counters of old that to still names.
func (r *Router) build(en *entry, old *route, to traffic.Route) *route {
	rt := &route{Route: to, variants: make([]variant, len(to.Variants)), observers: r.observers}
	for i := range to.Variants {
		v := &to.Variants[i]
		rv := r.prepare(en, old, rt, v)
		rv.copies = r.receivers(en, old, rt, v)
		rt.variants[i] = rv
		rt.total += rv.weight
	}
	if rt.total == 0 {
		for i := range rt.variants {
			rt.variants[i].weight = 1
			rt.total++
		}
	}
	return rt
}

// prepare prepares a variant of rt. r.mu is held.
func (r *Router) prepare(en *entry, old, rt *route, v *traffic.Variant) variant {
	rv := variant{Variant: v, weight: max(0, v.Weight), leastBusy: v.Routing == traffic.LeastOutstandingRequests}
	rv.unhealthy = !slices.ContainsFunc(v.Fleets, func(f traffic.Fleet) bool { return len(f.Instances) > 0 })
	for j := range v.Fleets {
		f := &v.Fleets[j]
		t := rt.tally(v.Name, f.Ref())
		if t == nil {
			t = en.tally(old, v.Name, f.Ref())
			rt.tallies = append(rt.tallies, t)
		}
		rv.unserved = cmp.Or(rv.unserved, t)
		rf := fleet{Fleet: f, share: max(0, f.Share), tally: t, observed: r.observed(v, f)}
		instances := f.Instances
		if rv.unhealthy {
			// Most likely it is the checks that fail, or requests that are late: any
			// answer is better than none (Envoy's panic threshold).
			instances = f.Unhealthy
		}
		for _, in := range instances {
			rf.instances = append(rf.instances, r.join(in))
		}
		if len(rf.instances) > 0 {
			rv.fleets = append(rv.fleets, rf)
			rv.total += rf.share
		}
	}
	for j := range rv.fleets {
		f := &rv.fleets[j]
		if rv.total == 0 { // what traffic there is goes to what can take it
			f.share = 1
		}
		if f.share > 0 { // one that only gets copies takes no traffic
			rv.active += len(f.instances)
		}
	}
	if rv.total == 0 {
		rv.total = float64(len(rv.fleets))
	}
	rv.newShare = rv.chance()
	return rv
}

// chance returns the probability that the new fleet is drawn, given that it is the
// new or the old one: 0 if there is no new one to draw.
func (v *variant) chance() float64 {
	var green, both float64
	for i := range v.fleets {
		switch f := &v.fleets[i]; f.Role {
		case traffic.NewFleet:
			green += f.share
			both += f.share
		case traffic.OldFleet:
			both += f.share
		case traffic.NeitherFleet:
		}
	}
	if both == 0 {
		return 0
	}
	return green / both
}

// join returns the instance that lives at in's address. r.mu is held.
func (r *Router) join(in traffic.Instance) *instance {
	for _, i := range r.instances[in.ID] {
		if i.Address == in.Address {
			if i.routes++; i.routes == 1 { // it is back before it was idle: tell those who wait for that
				close(i.idle)
				i.idle = make(chan struct{})
			}
			i.draining.Store(false)
			i.slot.Store(int32(in.Slot))
			return i
		}
	}
	i := &instance{Instance: in, up: r.client.Upstream(in.Address), routes: 1, idle: make(chan struct{})}
	i.slot.Store(int32(in.Slot))
	r.instances[in.ID] = append(r.instances[in.ID], i)
	return i
}

// leave takes a route's claim from its instances; those that no route names
// any more are draining from here on. r.mu is held and rt is out of the table.
func (r *Router) leave(rt *route) {
	for i := range rt.variants {
		v := &rt.variants[i]
		r.leaveVariant(v)
		for j := range v.copies {
			r.leaveVariant(&v.copies[j].variant)
		}
	}
}

func (r *Router) leaveVariant(v *variant) {
	for _, f := range v.fleets {
		for _, in := range f.instances {
			if in.routes--; in.routes == 0 {
				in.draining.Store(true)
				r.reap(in)
			}
		}
	}
}

// reap forgets an instance that is draining and idle. r.mu is held.
func (r *Router) reap(in *instance) {
	if in.routes > 0 || in.outstanding.Load() > 0 {
		return
	}
	lives := r.instances[in.ID]
	for i, l := range lives {
		if l != in {
			continue
		}
		rest := append(append([]*instance(nil), lives[:i]...), lives[i+1:]...)
		if r.instances[in.ID] = rest; len(rest) == 0 {
			delete(r.instances, in.ID)
		}
		in.up.Close()
		close(in.idle)
	}
}

// claim counts a request in on the instance, unless it is draining. Counting
// first and looking second is what makes Drained true: whoever is counted in
// after Drained has looked sees the flag.
func (r *Router) claim(in *instance) bool {
	in.outstanding.Add(1)
	if !in.draining.Load() {
		return true
	}
	r.release(in)
	return false
}

// release counts a request out.
func (r *Router) release(in *instance) {
	if in.outstanding.Add(-1) == 0 && in.draining.Load() {
		r.mu.Lock()
		r.reap(in)
		r.mu.Unlock()
	}
}

// variant chooses by weight, or by name if there is one.
func (rt *route) variant(name string) *variant {
	if name != "" {
		for i := range rt.variants {
			if rt.variants[i].Name == name {
				return &rt.variants[i]
			}
		}
		return nil
	}
	n := len(rt.variants)
	if n == 1 {
		return &rt.variants[0]
	}
	x := rand.Float64() * rt.total
	var last *variant // of those with weight: rounding must not pick another
	for i := range rt.variants {
		if v := &rt.variants[i]; v.weight > 0 {
			last = v
			if x < v.weight {
				break
			}
			x -= v.weight
		}
	}
	return last
}

// fleet chooses by share among those that have instances.
func (v *variant) fleet() *fleet {
	if len(v.fleets) == 1 {
		return &v.fleets[0]
	}
	x := rand.Float64() * v.total
	var last *fleet
	for i := range v.fleets {
		if f := &v.fleets[i]; f.share > 0 {
			last = f
			if x < f.share {
				break
			}
			x -= f.share
		}
	}
	return last
}

// untried returns f if it has an instance that is not in tried, else another fleet
// that takes traffic and has one, if there is one: a request that a whole fleet
// refuses is better answered by the other.
func (v *variant) untried(f *fleet, tried []*instance) *fleet {
	if f.offers(tried) {
		return f
	}
	for i := range v.fleets {
		if o := &v.fleets[i]; o.share > 0 && o.offers(tried) {
			return o
		}
	}
	return f
}

// offers reports whether f has an instance that is not in tried.
func (f *fleet) offers(tried []*instance) bool {
	return slices.ContainsFunc(f.instances, func(in *instance) bool { return !contains(tried, in) })
}

// instance chooses one that is not in tried, or one in tried if there is no
// other.
func (f *fleet) instance(leastBusy bool, tried []*instance) *instance {
	n := len(f.instances)
	at := 0
	if n > 1 {
		at = rand.IntN(n)
	}
	if !leastBusy && len(tried) == 0 {
		return f.instances[at]
	}
	var best *instance
	least, bestTried := int64(0), false
	for i := range n {
		in := f.instances[(at+i)%n]
		was := contains(tried, in)
		load := in.outstanding.Load()
		if !leastBusy {
			load = 0
		}
		if best == nil || bestTried && !was || bestTried == was && load < least {
			best, least, bestTried = in, load, was
		}
	}
	return best
}

func contains(s []*instance, in *instance) bool {
	for _, i := range s {
		if i == in {
			return true
		}
	}
	return false
}
