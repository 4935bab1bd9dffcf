package hosting

import (
	"slices"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Watched is what speaks for or against a deployment.
type Watched struct {
	Alarms []string
	Fleet  traffic.FleetRef // that it brings up; zero: none
	// Since is when it entered the phase that it is in: an alarm that fires and
	// recovers between two turns has fired. Zero before the first shift, when
	// only the present counts (spec §4.5).
	Since time.Time
}

// Watched returns what the endpoint's deployment has to be judged by.
func (e *Endpoint) Watched() (w Watched) {
	d := e.Deployment
	if d == nil || d.Green == nil {
		return w
	}
	w.Alarms, w.Fleet = d.Plan.Policy.Alarms, d.Green.ref()
	if d.State.Phase != rollout.Launching || d.State.Step > 0 {
		w.Since = d.State.Since
	}
	return w
}

// Facts counts the endpoint's instances the way rollout.Next asks for them.
func (e *Endpoint) Facts(instances []Instance, firing []TrippedAlarm, now time.Time) rollout.Facts {
	f := rollout.Facts{Now: now}
	d := e.Deployment
	if d == nil {
		return f
	}
	f.Orders, f.GreenRequests, f.ShadowsMissing = d.Orders, d.Exposure.Requests, e.shadowsMissing(instances)
	for _, a := range firing {
		switch {
		case a.Gate:
			f.TakenBack = a.Reason
		case a.Deleted:
			f.DeletedAlarms = append(f.DeletedAlarms, a.Name)
		default:
			f.FiringAlarms = append(f.FiringAlarms, a.Name)
		}
	}
	if d.Plan.Kind == rollout.Delete {
		f.Old = []rollout.Fleet{{Exists: len(instances)}}
		return f
	}
	for _, v := range d.Plan.Variants {
		f.Old = append(f.Old, tally(instances, e.Fleet, v.Name))
		f.New = append(f.New, tally(instances, d.Green, v.Name))
	}
	for _, i := range instances {
		if i.Status != InstanceFailed || !i.Wanted || !e.decisive(i) {
			continue
		}
		switch {
		case d.Green != nil && i.Fleet == d.Green.ID:
			f.Failure = i.Detail
		case d.Green == nil && !i.Created.Before(d.Begun): // an instance that a scale-out added
			f.Failure = i.Detail
		case !d.State.Turned.IsZero() && !i.Created.Before(d.State.Turned): // an old one that a rollback relaunched
			f.OldFailure = i.Detail
		}
	}
	return f
}

// tally counts a fleet's instances of one variant.
func tally(instances []Instance, f *Fleet, variant string) (n rollout.Fleet) {
	if f == nil {
		return n
	}
	for _, i := range instances {
		if i.Fleet != f.ID || i.Variant != variant {
			continue
		}
		n.Exists++
		if i.Wanted && i.Status == InstanceReady {
			n.Ready++
		}
	}
	return n
}

// Apply makes s the state of the endpoint's deployment, with everything that
// follows from it: what each fleet wants, and at the end the endpoint's new
// status (spec §3.2).
func (e *Endpoint) Apply(s rollout.State, now time.Time) {
	d := e.Deployment
	d.State, e.Modified = s, now
	for i, v := range d.Plan.Variants {
		c := s.Variants[i]
		if old := e.Fleet.Variant(v.Name); old != nil {
			old.Wanted, old.Active = c.OldWanted, c.OldActive
		}
		if green := d.Green.Variant(v.Name); green != nil {
			green.Wanted, green.Active = c.NewWanted, c.NewActive
		}
	}
	e.applyToShadows(s)
	if s.Reason != "" {
		e.FailureReason = clip(s.Reason)
	}
	if d.Plan.Kind == rollout.Scale && !s.Turned.IsZero() {
		e.Status = RollingBack
	}
	if s.Phase.Terminal() {
		e.finish(s.Phase)
	}
}

// clip shortens a reason to what the API takes (spec §2.3: 1024 characters).
func clip(s string) string {
	const limit = 1024
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// finish is what an ended deployment leaves behind.
func (e *Endpoint) finish(ph rollout.Phase) {
	d := e.Deployment
	switch ph {
	case rollout.Succeeded:
		if d.Green != nil {
			e.Fleet, e.ConfigName = d.Green, d.Green.ConfigName
		}
		if d.Weights != nil {
			e.Weights = slices.Clone(d.Weights)
			for i := range e.Weights {
				e.Weights[i].Current = e.Weights[i].Desired
			}
			e.ShadowWeights = slices.Clone(d.ShadowWeights)
			for i := range e.ShadowWeights {
				e.ShadowWeights[i].Current = e.ShadowWeights[i].Desired
			}
		}
		e.Status, e.Remnant = InService, nil
	case rollout.RolledBack:
		e.Status = InService
		if e.Remnant != nil {
			e.Status = UpdateRollbackFailed // as it was: it still serves a mix
		}
	case rollout.RollbackFailed:
		e.Status, e.Remnant = UpdateRollbackFailed, d.Green
	case rollout.Failed:
		e.Status = Failed
	case rollout.Launching, rollout.Shifting, rollout.Baking, rollout.Retiring, rollout.Committed,
		rollout.Returning, rollout.Restoring, rollout.Withdrawing:
	}
}

// Ended reports whether the endpoint's deployment has come to its end, so that
// it can be filed away.
func (e *Endpoint) Ended() bool {
	return e.Deployment != nil && e.Deployment.State.Phase.Terminal()
}

// fleets returns the fleets that the endpoint has something to do with.
func (e *Endpoint) fleets() (fs []*Fleet) {
	var green *Fleet
	if e.Deployment != nil {
		green = e.Deployment.Green
	}
	for _, f := range []*Fleet{e.Fleet, e.Remnant, green} {
		if f != nil && !slices.ContainsFunc(fs, func(have *Fleet) bool { return have.ID == f.ID }) {
			fs = append(fs, f)
		}
	}
	return fs
}

// Missing is an instance that is wanted and has no row yet.
type Missing struct {
	Fleet    FleetID
	Ordinal  int
	Provider ProviderName
	Spec     InstanceSpec
}

// Reconcile compares what the endpoint wants with the instances it has, and
// returns those to add and those to let go. Of too many, those that serve the
// least go first: broken ones, then the youngest, which take no traffic while
// fewer are active than wanted.
func (e *Endpoint) Reconcile(instances []Instance) (missing []Missing, surplus []InstanceID) {
	kept := map[InstanceID]bool{}
	for _, f := range e.fleets() {
		for _, v := range f.all() {
			if e.Status == Failed || e.Status == Deleting {
				continue // nothing is wanted any more
			}
			var have []Instance
			last := -1
			for _, i := range instances {
				if i.Fleet != f.ID || i.Variant != v.Name {
					continue
				}
				last = max(last, i.Ordinal)
				if i.Wanted {
					have = append(have, i)
				}
			}
			slices.SortStableFunc(have, byUsefulness)
			for _, i := range have[:min(len(have), v.Wanted)] {
				kept[i.ID] = true
			}
			spec := InstanceSpec{Endpoint: e.Name, Config: f.ConfigName, Variant: *v}
			for n := len(have); n < v.Wanted; n++ {
				last++
				missing = append(missing, Missing{Fleet: f.ID, Ordinal: last, Provider: Processes, Spec: spec})
			}
		}
	}
	for _, i := range instances {
		if i.Wanted && !kept[i.ID] {
			surplus = append(surplus, i.ID)
		}
	}
	return missing, surplus
}

// byUsefulness puts ready instances first, then older ones.
func byUsefulness(a, b Instance) int {
	ra, rb := a.Status == InstanceReady, b.Status == InstanceReady
	switch {
	case ra && !rb:
		return -1
	case rb && !ra:
		return 1
	}
	return a.Ordinal - b.Ordinal
}

// UpdateStatus derives from its instances whether an endpoint that is not being
// changed can serve: one that lost them all is OutOfService until one is back
// (spec §3.2).
func (e *Endpoint) UpdateStatus(instances []Instance, now time.Time) {
	if e.Deployment != nil || (e.Status != InService && e.Status != OutOfService) {
		return
	}
	status := OutOfService
	for _, i := range instances {
		if i.Wanted && i.Status == InstanceReady && !e.shadow(i) {
			status = InService
			break
		}
	}
	if status != e.Status {
		e.Status, e.Modified = status, now
	}
}

// Route returns where the endpoint's requests go. The split between fleets is
// the deployment's; the instances are those that are ready, as many of each
// fleet as shall take traffic, and beside them those that could stand in.
func (e *Endpoint) Route(instances []Instance) traffic.Route {
	r := traffic.Route{Endpoint: string(e.ID), Scope: e.Scope, Name: e.Name, Gone: !e.Status.Serves()}
	if !r.Gone {
		r.Variants, r.Guard = e.routeVariants(instances), e.guard(instances)
	}
	return r
}

func (e *Endpoint) routeVariants(instances []Instance) (vs []traffic.Variant) {
	seen := map[string]bool{}
	for _, f := range e.fleets() {
		for _, v := range f.Variants {
			if seen[v.Name] {
				continue
			}
			seen[v.Name] = true
			if rv, ok := e.routeVariant(v.Name, instances); ok {
				vs = append(vs, rv)
			}
		}
	}
	return vs
}

// guard returns where requests go when an alarm or a gate fires against the
// deployment; nil if there is none, or nothing to take back.
func (e *Endpoint) guard(instances []Instance) *traffic.Guard {
	d := e.Deployment
	if d == nil || d.Green == nil {
		return nil
	}
	of := d.Plan.Policy
	if len(of.Alarms) == 0 && !slices.ContainsFunc(of.Gates, gate.Gate.Judges) {
		return nil
	}
	splits, moved := d.Plan.Back(d.State, e.Facts(instances, nil, d.State.Since))
	copied := func(v traffic.Variant) bool { return v.Mirror != nil }
	if !moved && !slices.ContainsFunc(e.routeVariants(instances), copied) { // copies stop, too
		return nil
	}
	alarms := of.Alarms
	if !moved && d.State.Phase == rollout.Launching && d.State.Step == 0 {
		// Before the first shift, alarms are only read, just before it, as they are then
		// (spec §4.5): one that fires meanwhile and recovers has nothing to say.
		alarms = nil
	}
	back, deployment := *e, *d
	back.Deployment, deployment.State.Variants = &deployment, splits
	back.Fleet, deployment.Green = e.Fleet.clone(), d.Green.clone()
	for i, v := range d.Plan.Variants {
		if old := back.Fleet.Variant(v.Name); old != nil {
			old.Active = splits[i].OldActive
		}
		if green := deployment.Green.Variant(v.Name); green != nil {
			green.Active = splits[i].NewActive
		}
	}
	return &traffic.Guard{
		Deployment: string(d.ID), Alarms: alarms, Variants: unmirrored(back.routeVariants(instances)),
		Begun: d.State.Begun,
	}
}

// clone returns a copy that may be changed.
func (f *Fleet) clone() *Fleet {
	c := *f
	c.Variants, c.Shadows = slices.Clone(f.Variants), slices.Clone(f.Shadows)
	return &c
}

// routeVariant returns one variant's part of the route; false if no fleet
// shall serve it.
func (e *Endpoint) routeVariant(name string, instances []Instance) (traffic.Variant, bool) {
	rv := traffic.Variant{Name: name}
	share := e.newShare(name)
	if w := e.weight(name); w != nil {
		rv.Weight = w.Current
	}
	var from *FleetVariant
	add := func(f *Fleet, share float64) {
		v := f.Variant(name)
		if v == nil || v.Active == 0 || share <= 0 {
			return
		}
		from = v
		fleet := traffic.Fleet{
			ID: string(f.ID), Config: f.ConfigName, Role: e.role(f), Share: share,
			Instances: serving(instances, f.ID, *v), Capture: f.capture(),
		}
		fleet.Unhealthy = failing(instances, f.ID, *v, v.Active-len(fleet.Instances))
		rv.Fleets = append(rv.Fleets, fleet)
		rv.Shadows = append(rv.Shadows, e.routeShadows(f, name, instances)...)
	}
	kept := 0.0 // the part of the old requests that a remnant goes on serving
	if e.Deployment != nil {
		kept = e.remnantPart(name, instances)
	}
	add(e.Fleet, (1-share)*(1-kept))
	add(e.Remnant, (1-share)*kept)
	var green *Fleet
	if d := e.Deployment; d != nil {
		green = d.Green
		for _, w := range d.Weights {
			if w.Variant == name && (share >= 1 || e.Fleet.Variant(name) == nil) {
				rv.Weight = w.Current
			}
		}
	} else {
		green = e.Remnant
	}
	add(green, share)
	if from == nil {
		return rv, false
	}
	e.holdShare(rv.Fleets)
	rv.Routing, rv.Container = from.Routing, from.Container.Name
	rv.Mirror, rv.Reads = e.mirror(name, instances), e.reads(name)
	if len(rv.Fleets) == 1 && rv.Mirror == nil { // a route changes only when what it says of traffic does
		rv.Fleets[0].Role = traffic.NeitherFleet
	}
	return rv, true
}

// role returns what a fleet is to the deployment: nothing unless that leads from
// one fleet to another.
func (e *Endpoint) role(f *Fleet) traffic.Role {
	d := e.Deployment
	switch {
	case d == nil || d.Green == nil || e.Fleet == nil:
		return traffic.NeitherFleet
	case f.ID == d.Green.ID:
		return traffic.NewFleet
	case f.ID == e.Fleet.ID:
		return traffic.OldFleet
	}
	return traffic.NeitherFleet
}

// remnantPart is the part of a variant's requests that the instances left of
// an earlier update serve while a next one runs, as their number says: until
// its own fleet takes over, an endpoint whose rollback failed has no others to
// spare.
func (e *Endpoint) remnantPart(name string, instances []Instance) float64 {
	left := e.Remnant.Variant(name)
	if left == nil {
		return 0
	}
	n, of := len(serving(instances, e.Remnant.ID, *left)), 0
	if old := e.Fleet.Variant(name); old != nil {
		of = len(serving(instances, e.Fleet.ID, *old))
	}
	if n == 0 {
		return 0
	}
	return float64(n) / float64(n+of)
}

// newShare is the part of a variant's requests that the newer fleet takes. In
// UpdateRollbackFailed the mix stays as the instances that are left say.
func (e *Endpoint) newShare(name string) float64 {
	if d := e.Deployment; d != nil {
		for i, v := range d.Plan.Variants {
			if v.Name == name {
				return d.State.Variants[i].NewShare
			}
		}
		return 0
	}
	old, green := e.Fleet.Variant(name), e.Remnant.Variant(name)
	if green == nil || green.Active == 0 {
		return 0
	}
	if old == nil || old.Active == 0 {
		return 1
	}
	return float64(green.Active) / float64(green.Active+old.Active)
}

// serving picks as many ready instances as shall take traffic, oldest first.
func serving(instances []Instance, f FleetID, v FleetVariant) []traffic.Instance {
	out := []traffic.Instance{}
	for _, i := range instances {
		if i.Fleet == f && i.Variant == v.Name && i.Wanted && i.Status == InstanceReady && len(out) < v.Active {
			out = append(out, i.routed())
		}
	}
	return out
}

// routed returns the instance as routes name it.
func (i Instance) routed() traffic.Instance {
	return traffic.Instance{ID: string(i.ID), Address: i.Address, Slot: max(0, i.Ordinal) % traffic.Slots}
}

// failing picks at most n instances that were ready, run, and fail their health
// checks, oldest first. One that has crashed or moved has no address.
func failing(instances []Instance, f FleetID, v FleetVariant, n int) (out []traffic.Instance) {
	for _, i := range instances {
		if i.Fleet == f && i.Variant == v.Name && i.Wanted && i.Status == InstanceUnhealthy && i.Address != "" &&
			len(out) < n {
			out = append(out, i.routed())
		}
	}
	return out
}
