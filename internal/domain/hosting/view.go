package hosting

import (
	"cmp"
	"fmt"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// View is an endpoint as DescribeEndpoint shows it (spec §3.4).
type View struct {
	*Endpoint
	FailureReason string        // the endpoint's own, or why its instances do not run
	Variants      []VariantView // of the fleet in service; empty while creating
	Shadows       []VariantView // likewise
	Pending       *PendingView  // only while a new configuration is brought up
	// Capturing says that requests are captured as the configuration in service
	// asks for; false if it does not.
	Capturing bool
	// OldTrouble says how the fleet that a deployment leads away from does; "" if as it
	// should.
	OldTrouble string
}

// PendingView is the fleet that a deployment brings up.
type PendingView struct {
	ConfigName string
	Start      time.Time
	Variants   []VariantView
	Shadows    []VariantView
}

// VariantView is one variant of one fleet.
type VariantView struct {
	FleetVariant
	CurrentWeight, DesiredWeight float64
	CurrentCount, DesiredCount   int
	Statuses                     []rollout.VariantStatus // empty in steady state
}

// View puts together what DescribeEndpoint shows from the endpoint and its
// instances.
func (e *Endpoint) View(instances []Instance) View {
	v := View{Endpoint: e, FailureReason: e.Reason(instances), OldTrouble: e.OldTrouble(instances)}
	statuses := map[rollout.Side]map[string][]rollout.VariantStatus{rollout.Old: {}, rollout.New: {}}
	d := e.Deployment
	if d != nil {
		for _, s := range rollout.Statuses(d.Plan, d.State, e.Facts(instances, nil, d.State.Since)) {
			statuses[s.Fleet][s.Variant] = append(statuses[s.Fleet][s.Variant], s)
		}
	}
	if e.Fleet != nil {
		for _, fv := range e.Fleet.Variants {
			v.Variants = append(v.Variants, e.inService(fv, instances, statuses[rollout.Old][fv.Name]))
		}
		desired := e.ShadowWeights
		if d != nil && d.Plan.Kind == rollout.Scale && d.State.Turned.IsZero() {
			desired = d.ShadowWeights
		}
		v.Shadows = shadowViews(e.Fleet, e.ShadowWeights, desired, instances)
	}
	if d != nil && d.Green != nil {
		v.Pending = &PendingView{ConfigName: d.Green.ConfigName, Start: d.Begun}
		for _, fv := range d.Green.Variants {
			pv := VariantView{FleetVariant: fv, Statuses: statuses[rollout.New][fv.Name]}
			for _, w := range d.Weights {
				if w.Variant == fv.Name {
					pv.CurrentWeight, pv.DesiredWeight, pv.DesiredCount = w.Current, w.Desired, w.DesiredCount
				}
			}
			pv.CurrentCount = min(fv.Active, tally(instances, d.Green, fv.Name).Ready)
			if d.Plan.Kind == rollout.Create {
				pv.CurrentCount = tally(instances, d.Green, fv.Name).Ready
			}
			v.Pending.Variants = append(v.Pending.Variants, pv)
		}
		v.Pending.Shadows = shadowViews(d.Green, d.ShadowWeights, d.ShadowWeights, instances)
	}
	return v
}

// shadowViews shows a fleet's shadows. They have no status of their own: no step
// of a deployment is about them.
func shadowViews(f *Fleet, current, desired []Weight, instances []Instance) (vs []VariantView) {
	for _, fv := range f.Shadows {
		vv := VariantView{
			FleetVariant: fv, CurrentCount: min(fv.Wanted, tally(instances, f, fv.Name).Ready), DesiredCount: fv.Wanted,
		}
		if w := weightOf(current, fv.Name); w != nil {
			vv.CurrentWeight = w.Current
		}
		if w := weightOf(desired, fv.Name); w != nil {
			vv.DesiredWeight = w.Desired
		}
		vs = append(vs, vv)
	}
	return vs
}

// Reason is the endpoint's FailureReason. At rest it is that requests go to
// instances that fail their checks, and why an instance cannot be started, as long
// as that lasts: after its first failure if nothing else serves, and else once it was
// given up, for most instances that end are back at once.
func (e *Endpoint) Reason(instances []Instance) string {
	if e.Deployment != nil {
		return e.FailureReason
	}
	if n := e.standIns(instances); n > 0 && e.Status == OutOfService {
		reason := fmt.Sprintf("No instance passes its health checks: requests go to all that run, %d.", n)
		if why := e.unstarted(instances); why != "" {
			reason += " " + why
		}
		return clip(reason)
	}
	return cmp.Or(e.unstarted(instances), e.FailureReason)
}

// standIns counts the instances that get requests though they fail their checks.
func (e *Endpoint) standIns(instances []Instance) (n int) {
	for _, v := range e.Route(instances).Variants {
		for _, f := range v.Fleets {
			n += len(f.Unhealthy)
		}
	}
	return n
}

// unstarted is why an instance cannot be started; "" if none is in the way.
func (e *Endpoint) unstarted(instances []Instance) (reason string) {
	for _, i := range instances {
		switch {
		case !i.Wanted || i.Attempts == 0 || i.Detail == "":
		case i.Status == InstanceFailed:
			return i.Detail
		case e.Status == OutOfService && i.Status != InstanceReady:
			reason = i.Detail
		}
	}
	return reason
}

// inService is a variant of the fleet in service. Its desired count and weight
// are at once what a scaling asks for; the current ones follow.
func (e *Endpoint) inService(fv FleetVariant, instances []Instance, st []rollout.VariantStatus) VariantView {
	vv := VariantView{
		FleetVariant: fv, Statuses: st,
		CurrentCount: min(fv.Wanted, tally(instances, e.Fleet, fv.Name).Ready),
	}
	if w := e.weight(fv.Name); w != nil {
		vv.CurrentWeight, vv.DesiredWeight, vv.DesiredCount = w.Current, w.Desired, w.DesiredCount
	}
	d := e.Deployment
	if d == nil {
		return vv
	}
	if d.Plan.Kind == rollout.Scale && d.State.Turned.IsZero() {
		for _, w := range d.Weights {
			if w.Variant == fv.Name {
				vv.DesiredWeight, vv.DesiredCount = w.Desired, w.DesiredCount
			}
		}
	}
	if d.Plan.Kind == rollout.Update {
		vv.DesiredCount = fv.Wanted
	}
	return vv
}
