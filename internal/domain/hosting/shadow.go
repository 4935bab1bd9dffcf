package hosting

import (
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// A shadow variant gets copies of what the production variant of the same
// configuration answers, and nobody waits for what it makes of them. It belongs to
// its configuration's fleet: it is launched with it, before any traffic moves, gets
// copies of that fleet's requests alone, and goes when the fleet goes. No step of a
// deployment is about it, and nothing it does undoes one but that it cannot start.

// All returns the production variants, and after them the shadows.
func (c EndpointConfig) All() []Variant { return slices.Concat(c.Variants, c.Shadows) }

// checkShadows refuses shadows that AWS has not: one production variant with one
// shadow is what it serves, though lists of ten may be written.
func (c EndpointConfig) checkShadows() error {
	if len(c.Shadows) == 0 {
		return nil
	}
	if len(c.Variants) != 1 || len(c.Shadows) != 1 {
		return fault.New(fault.Invalid,
			"ShadowProductionVariants requires exactly one production variant and one shadow variant, but there are "+
				"%d and %d.", len(c.Variants), len(c.Shadows))
	}
	for _, v := range c.Shadows {
		if v.InstanceType == "" || v.InstanceCount < 1 {
			return fault.New(fault.Invalid,
				"ShadowProductionVariant %q must specify InstanceType and InitialInstanceCount.", v.Name)
		}
	}
	return nil
}

// all returns the fleet's production variants, and after them its shadows.
func (f *Fleet) all() (vs []*FleetVariant) {
	for i := range f.Variants {
		vs = append(vs, &f.Variants[i])
	}
	for i := range f.Shadows {
		vs = append(vs, &f.Shadows[i])
	}
	return vs
}

// any returns the fleet's variant or shadow of that name, or nil.
func (f *Fleet) any(name string) *FleetVariant {
	if v := f.Variant(name); v != nil || f == nil {
		return v
	}
	return named(f.Shadows, name)
}

// shadow reports whether an instance is one of a shadow.
func (e *Endpoint) shadow(i Instance) bool {
	return slices.ContainsFunc(e.fleets(), func(f *Fleet) bool {
		return f.ID == i.Fleet && named(f.Shadows, i.Variant) != nil
	})
}

// decisive reports whether it matters to the deployment that an instance fails: a
// shadow's does as long as traffic has not moved, or if it is what is changed.
func (e *Endpoint) decisive(i Instance) bool {
	s := e.Deployment.State
	return !e.shadow(i) || s.Turned.IsZero() && s.Phase == rollout.Launching && s.Step == 0
}

// shadowsMissing counts the instances of shadows that the deployment waits for.
func (e *Endpoint) shadowsMissing(instances []Instance) (n int) {
	f := e.Deployment.Green
	if f == nil {
		f = e.Fleet
	}
	if f == nil {
		return 0
	}
	grows := func(name string) bool {
		to, from := weightOf(e.Deployment.ShadowWeights, name), weightOf(e.ShadowWeights, name)
		return to != nil && (from == nil || to.DesiredCount > from.DesiredCount)
	}
	for _, v := range f.Shadows {
		if e.Deployment.Plan.Kind == rollout.Scale && !grows(v.Name) {
			continue // one that is broken keeps nobody else from being scaled
		}
		n += max(0, v.Wanted-tally(instances, f, v.Name).Ready)
	}
	return n
}

// applyToShadows says how many instances of its shadows each fleet wants: the
// deployment's as long as it goes forward, those in service until it has come to
// where it cannot go back.
func (e *Endpoint) applyToShadows(s rollout.State) {
	d := e.Deployment
	forward := s.Turned.IsZero()
	past := s.Phase == rollout.Committed || s.Phase == rollout.Succeeded
	if d.Green != nil {
		want(d.Green, d.ShadowWeights, forward)
	}
	switch {
	case s.Phase == rollout.RollbackFailed && d.Green != nil: // each fleet that serves keeps its own
		want(d.Green, e.ShadowWeights, serves(d.Green))
		want(e.Fleet, e.ShadowWeights, serves(e.Fleet))
	case e.Fleet == nil || d.Plan.Kind == rollout.Delete:
	case d.Plan.Kind == rollout.Scale && forward:
		want(e.Fleet, d.ShadowWeights, true)
	default:
		want(e.Fleet, e.ShadowWeights, d.Green == nil || !past)
	}
}

// serves reports whether a fleet takes traffic of a production variant.
func serves(f *Fleet) bool {
	return slices.ContainsFunc(f.Variants, func(v FleetVariant) bool { return v.Active > 0 })
}

func want(f *Fleet, weights []Weight, stays bool) {
	for i := range f.Shadows {
		v := &f.Shadows[i]
		v.Wanted = 0
		if w := weightOf(weights, v.Name); w != nil && stays {
			v.Wanted = w.DesiredCount
		}
		v.Active = v.Wanted
	}
}

// routeShadows returns the shadows that get copies of what a fleet answers of its
// production variant: a part of them, as its weight says against that variant's.
func (e *Endpoint) routeShadows(f *Fleet, variant string, instances []Instance) (out []traffic.Shadow) {
	weights, shadows := e.Weights, e.ShadowWeights
	if d := e.Deployment; d != nil && d.Green == f {
		weights, shadows = d.Weights, d.ShadowWeights
	}
	of := 0.0
	if w := weightOf(weights, variant); w != nil {
		of = w.Current
	}
	for _, v := range f.Shadows {
		w := weightOf(shadows, v.Name)
		if w == nil || w.Current <= 0 || v.Active == 0 {
			continue
		}
		ratio := 1.0
		if of > w.Current {
			ratio = w.Current / of
		}
		out = append(out, traffic.Shadow{
			Name: v.Name, Ratio: ratio, Routing: v.Routing, Container: v.Container.Name,
			Fleets: []traffic.Fleet{{
				ID: string(f.ID), Config: f.ConfigName, Share: 1, Instances: serving(instances, f.ID, v),
				Capture: f.capture(),
			}},
		})
	}
	return out
}
