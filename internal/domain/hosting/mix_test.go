package hosting_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// shares draws where the only variant's requests go.
func shares(r traffic.Route) (out []string) {
	for _, v := range r.Variants {
		for _, f := range v.Fleets {
			out = append(out, fmt.Sprintf("%s %.2f on %d", f.Config, f.Share, len(f.Instances)))
		}
	}
	return out
}

// mixed returns an endpoint whose rolling update and its rollback both failed:
// one instance of four is left of the old fleet, three serve the new one.
func mixed(t *testing.T) (*hosting.Endpoint, []hosting.Instance) {
	t.Helper()
	e, is := inService(t, v("a", 4, 1))
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	missing, _ := e.Reconcile(is)
	is = is[:1]
	for _, m := range missing[:3] {
		is = append(is, hosting.Instance{
			ID: hosting.InstanceID(fmt.Sprint(m.Fleet, m.Ordinal)), Endpoint: e.ID, Fleet: m.Fleet, Variant: "a",
			Ordinal: m.Ordinal,
			Wanted:  true, Status: hosting.InstanceReady, Address: "a", Created: t0,
		})
	}
	e.Apply(rollout.State{Phase: rollout.RollbackFailed, Reason: "No luck.", Since: t0, Variants: []rollout.Split{
		{OldWanted: 1, OldActive: 1, NewWanted: 3, NewActive: 3, NewShare: 0.75},
	}}, t0)
	e.Deployment = nil
	return e, is
}

// Spec §3.3: UpdateEndpoint is the cure of UpdateRollbackFailed. It must not
// take off the route what serves until then.
func TestAMixServesOnWhileTheNextUpdateRuns(t *testing.T) {
	e, is := mixed(t)
	want := []string{"c1 0.25 on 1", "c2 0.75 on 3"}
	if diff := cmp.Diff(want, shares(e.Route(is))); diff != "" {
		t.Errorf("at rest (-want +got):\n%s", diff)
	}
	if err := e.Update(hosting.Update{Launch: launch("c3", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, shares(e.Route(is))); diff != "" {
		t.Errorf("while the next fleet comes up (-want +got):\n%s", diff)
	}
	if _, surplus := e.Reconcile(is); len(surplus) > 0 {
		t.Errorf("%v are let go before others serve", surplus)
	}
	back := e.Deployment.State
	back.Phase, back.Reason, back.Variants = rollout.RolledBack, "It broke.", []rollout.Split{{
		OldWanted: 4,
		OldActive: 4,
	}}
	e.Apply(back, t0)
	if e.Status != hosting.UpdateRollbackFailed || e.Remnant == nil {
		t.Errorf("rolled back to %s with remnant %v: it still serves a mix", e.Status, e.Remnant)
	}
}

func TestAMixEndsWhenTheNextUpdateSucceeds(t *testing.T) {
	e, is := mixed(t)
	if err := e.Update(hosting.Update{Launch: launch("c3", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	is = settle(t, e, is)
	if diff := cmp.Diff([]string{"c3 1.00 on 4"}, shares(e.Route(is))); diff != "" || e.Status != hosting.InService ||
		len(is) != 4 {
		t.Errorf("%s with %d instances (-want +got):\n%s", e.Status, len(is), diff)
	}
}

// The next update may lead to the configuration of what is left of the last one:
// the deployment is judged by its own fleet alone.
func TestARemnantOfTheSameConfigurationIsNotTheNewFleet(t *testing.T) {
	e, is := mixed(t)
	next := launch("c2", v("a", 4, 1))
	next.Fleet = "f-next"
	if err := e.Update(hosting.Update{Launch: next}); err != nil {
		t.Fatal(err)
	}
	missing, _ := e.Reconcile(is)
	for _, m := range missing {
		if m.Fleet == e.Deployment.Green.ID {
			is = append(is, hosting.Instance{
				ID: hosting.InstanceID(fmt.Sprint(m.Fleet, m.Ordinal)), Endpoint: e.ID, Fleet: m.Fleet, Variant: "a",
				Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceReady, Address: "a", Created: t0,
			})
		}
	}
	s := e.Deployment.State
	s.Phase, s.Variants = rollout.Baking, []rollout.Split{
		{OldWanted: 4, OldActive: 1, NewWanted: 4, NewActive: 2, NewShare: 0.5},
	}
	e.Apply(s, t0)
	roles := map[traffic.Role]traffic.Fleet{}
	for _, f := range e.Route(is).Variants[0].Fleets {
		roles[f.Role] = f
	}
	green, rest := roles[traffic.NewFleet], roles[traffic.NeitherFleet]
	if len(roles) != 3 || green.Config != rest.Config || green.ID == rest.ID || roles[traffic.OldFleet].Config != "c1" {
		t.Errorf("the route has %+v", roles)
	}
	if w := e.Watched(); w.Fleet != green.Ref() {
		t.Errorf("watched is %+v, the new fleet is %+v", w.Fleet, green.Ref())
	}
	if len(green.Instances) != 2 || green.Instances[0].Slot == green.Instances[1].Slot {
		t.Errorf("the instances have the places %+v", green.Instances)
	}
}

// Nothing is compared where no deployment leads from one fleet to another.
func TestAFleetHasNoRoleWithoutADeploymentThatReplacesIt(t *testing.T) {
	rest, is := inService(t, v("a", 1, 1))
	for _, f := range rest.Route(is).Variants[0].Fleets {
		if f.Role != traffic.NeitherFleet || f.ID == "" {
			t.Errorf("at rest: %+v", f)
		}
	}
	mix, is := mixed(t)
	for _, f := range mix.Route(is).Variants[0].Fleets {
		if f.Role != traffic.NeitherFleet {
			t.Errorf("after a rollback that failed: %+v", f)
		}
	}
}

// What a gate may take back needs a guard as what an alarm may.
func TestARouteIsGuardedForGatesAsForAlarms(t *testing.T) {
	for action, want := range map[gate.Action]bool{gate.Report: false, gate.Rollback: true, gate.Hold: true} {
		e, is := inService(t, v("a", 4, 1))
		if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
			t.Fatal(err)
		}
		e.Deployment.Plan.Policy.Gates = []gate.Gate{{Kind: gate.Errors, Action: action}}
		missing, _ := e.Reconcile(is)
		for _, m := range missing {
			is = append(is, hosting.Instance{
				ID: hosting.InstanceID(fmt.Sprint(m.Fleet, m.Ordinal)), Endpoint: e.ID, Fleet: m.Fleet, Variant: "a",
				Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceReady, Address: "a", Created: t0,
			})
		}
		s := e.Deployment.State
		s.Phase, s.Variants = rollout.Baking, []rollout.Split{
			{OldWanted: 4, OldActive: 4, NewWanted: 4, NewActive: 4, NewShare: 0.5},
		}
		e.Apply(s, t0)
		if got := e.Route(is).Guard != nil; got != want {
			t.Errorf("action %s: guarded %v, want %v", action, got, want)
		}
	}
}
