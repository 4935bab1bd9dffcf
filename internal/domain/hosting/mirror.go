package hosting

import (
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// busier is how much more the instances of a new fleet may have to do because of
// copies, when all of them answer requests as well: more, and they would be slower
// than the old ones for no fault of theirs.
const busier = 0.1

// mirror returns which requests of the old fleet are also sent to the new one, if a
// gate of the deployment asks for it; nil if none does, or no instance can take
// them.
func (e *Endpoint) mirror(name string, instances []Instance) *traffic.Mirror {
	d := e.Deployment
	if d == nil || d.Green == nil || !d.State.Phase.Undoable() {
		return nil
	}
	asked := gate.MirrorOf(d.Plan.Policy.Gates)
	old, green := e.Fleet.Variant(name), d.Green.Variant(name)
	if asked == nil || old == nil || green == nil {
		return nil
	}
	share := e.newShare(name)
	to, ratio := spared(share, instancesOf(instances, d.Green.ID, *green), green.Active,
		len(serving(instances, e.Fleet.ID, *old)))
	if ratio = min(ratio, asked.Share); ratio <= 0 {
		return nil
	}
	m := &traffic.Mirror{
		Deployment: string(d.ID), From: string(e.Fleet.ID), Ratio: ratio,
		To: traffic.Fleet{ID: string(d.Green.ID), Config: d.Green.ConfigName, Role: e.role(d.Green), Instances: to},
	}
	if g, ok := gate.Find(d.Plan.Policy.Gates, gate.Disagreement); ok {
		m.Judged = g.Judges()
		for _, o := range g.Outputs {
			m.Outputs = append(m.Outputs, traffic.Output{Selector: o.Selector, Within: o.Within})
		}
	}
	return m
}

// spared returns the instances of a new fleet that copies go to, and which part of
// the old fleet's requests may be copied, so that none of them has more to do than
// an old one. The first active ones answer requests, a share of all. Copies go to
// the others as long as there are any: what is measured of those that answer is
// then what they do for callers.
func spared(share float64, green []traffic.Instance, active, old int) (to []traffic.Instance, ratio float64) {
	active = min(active, len(green))
	switch idle := green[active:]; {
	case old == 0 || len(green) == 0 || share >= 1:
		return nil, 0
	case len(idle) > 0:
		return idle, min(1, float64(len(idle))/float64(old))
	}
	return green, min(1, busier*share/(1-share))
}

// instancesOf returns a fleet's instances of a variant that are ready, oldest
// first.
func instancesOf(instances []Instance, f FleetID, v FleetVariant) []traffic.Instance {
	v.Active = v.Wanted
	return serving(instances, f, v)
}

// reads returns the deployment whose gates read answers of a variant, from its begin
// on: what the old fleet answered before is what both are compared with. "" if none
// does.
func (e *Endpoint) reads(name string) string {
	d := e.Deployment
	if d == nil || d.Green == nil || !d.State.Phase.Undoable() {
		return ""
	}
	_, asked := gate.Find(d.Plan.Policy.Gates, gate.Drift)
	if !asked || e.Fleet.Variant(name) == nil || d.Green.Variant(name) == nil {
		return ""
	}
	return string(d.ID)
}

// unmirrored takes out what is mirrored and read: nothing is compared once a verdict
// fell.
func unmirrored(vs []traffic.Variant) []traffic.Variant {
	for i := range vs {
		vs[i].Mirror, vs[i].Reads = nil, ""
	}
	return vs
}
