package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// routedTo counts the instances that a route names of each configuration.
func routedTo(r traffic.Route, variant string) map[string]int {
	n := map[string]int{}
	for _, v := range r.Variants {
		if v.Name != variant {
			continue
		}
		for _, f := range v.Fleets {
			n[f.Config] += len(f.Instances)
		}
	}
	return n
}

// count counts all instances that a route names of a variant.
func count(r traffic.Route, variant string) (n int) {
	for _, of := range routedTo(r, variant) {
		n += of
	}
	return n
}

// undoesTrafficFirst: an update lets no instance go in the write that takes it
// off the route, except at an end that leaves what is healthy.
func (s *slot) undoesTrafficFirst(had []hosting.Instance, route traffic.Route) error {
	d := s.stored.Deployment
	if d == nil || d.Plan.Kind != rollout.Update {
		return nil
	}
	wanted := map[string]bool{}
	for _, i := range s.is {
		wanted[string(i.ID)] = i.Wanted
	}
	for _, i := range had {
		for _, v := range route.Variants {
			for _, f := range v.Fleets {
				if i.Wanted && !wanted[string(i.ID)] &&
					slices.ContainsFunc(f.Instances, func(r traffic.Instance) bool { return r.ID == string(i.ID) }) {
					return fmt.Errorf("%s/%s/%d was let go while it was routed", i.Fleet, i.Variant, i.Ordinal)
				}
			}
		}
	}
	return nil
}

// keepsRouted: to accept a change takes no instance off the route.
func (s *slot) keepsRouted(accepted bool, had traffic.Route) error {
	for _, v := range had.Variants {
		if n, now := count(had, v.Name), count(s.route, v.Name); accepted && now < n {
			return fmt.Errorf("accepting a change took %d of %d instances of %s off the route", n-now, n, v.Name)
		}
	}
	return nil
}

// keepsCapacity: as long as no instance died, what is routed is never less
// than one whole fleet, old and new together.
func (s *slot) keepsCapacity() error {
	e := s.stored
	d := e.Deployment
	if s.hurt || !e.Status.Serves() || e.Status == hosting.UpdateRollbackFailed {
		return nil
	}
	if d == nil {
		for _, wt := range e.Weights {
			if n := routedTo(s.route, wt.Variant)[e.ConfigName]; n != wt.DesiredCount {
				return fmt.Errorf("%d instances of %s are routed at rest, want %d", n, wt.Variant, wt.DesiredCount)
			}
		}
		return nil
	}
	for _, v := range d.Plan.Variants {
		n := routedTo(s.route, v.Name)
		switch old := n[e.ConfigName]; d.Plan.Kind {
		case rollout.Scale:
			if old < min(v.Old, v.New) {
				return fmt.Errorf("%d instances of %s are routed while scaling from %d to %d",
					old, v.Name, v.Old, v.New)
			}
		case rollout.Update:
			if s.base.Remnant != nil {
				break // what it had was no whole fleet
			}
			if green := n[d.Green.ConfigName]; v.Old > 0 && v.New > 0 && old*v.New+green*v.Old < v.Old*v.New {
				return fmt.Errorf("capacity of %s fell: %d of %d old and %d of %d new instances are routed",
					v.Name, old, v.Old, green, v.New)
			}
		case rollout.Create, rollout.Delete:
		}
	}
	return nil
}

// rejects: after the verdict no fleet that was rejected gets more traffic than
// it had. With blue/green the very write of the verdict leaves it none of a
// variant that has an old instance alive, and the cleanup waits for the others.
func (s *slot) rejects(verdict bool) error {
	d := s.stored.Deployment
	if d == nil || d.State.Turned.IsZero() || d.Plan.Kind != rollout.Update {
		return nil
	}
	for _, v := range s.route.Variants {
		alive := false
		for _, i := range s.is {
			alive = alive ||
				i.Fleet == s.stored.Fleet.ID && i.Variant == v.Name && i.Wanted && i.Status == hosting.InstanceReady
		}
		for _, f := range v.Fleets {
			if f.Config != d.Green.ConfigName {
				continue
			}
			if f.Share > s.shares[v.Name] {
				return fmt.Errorf("the rejected fleet of %s has %v of the traffic, had %v when the verdict fell",
					v.Name, f.Share, s.shares[v.Name])
			}
			if blue := s.stored.Fleet.Variant(v.Name); blue != nil && d.Plan.Policy.Strategy != rollout.Rolling &&
				(verdict && alive || d.State.Phase == rollout.Withdrawing) {
				return fmt.Errorf("the rejected fleet of %s has %v of the traffic, an old instance is ready: %v",
					v.Name, f.Share, alive)
			}
		}
	}
	return nil
}

// describe draws an endpoint before and after.
func describe(prev *hosting.Endpoint, s *slot) string {
	return fmt.Sprintf("endpoint %s\n  was %s\n  is  %s", s.name, draw(prev), draw(s.stored)) + drawRows(s)
}

func draw(e *hosting.Endpoint) string {
	if e == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s %q", e.Status, e.ConfigName, e.FailureReason)
	for _, wt := range e.Weights {
		fmt.Fprintf(&b, " %s×%d", wt.Variant, wt.DesiredCount)
	}
	if d := e.Deployment; d != nil {
		fmt.Fprintf(&b, ", %s %s %s step %d %+v of %+v because %q", d.ID, d.Plan.Kind, d.State.Phase,
			d.State.Step, d.State.Variants, d.Plan, d.State.Reason)
	}
	return b.String()
}

func drawRows(s *slot) string {
	var b strings.Builder
	for _, i := range s.is {
		fmt.Fprintf(&b, "\n    %s/%s/%d %s wanted %v", i.Fleet, i.Variant, i.Ordinal, i.Status, i.Wanted)
	}
	fmt.Fprintf(&b, "\n  route %+v", s.route.Variants)
	return b.String()
}
