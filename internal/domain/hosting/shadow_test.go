package hosting_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// shadowed adds shadows to a launch.
func shadowed(l hosting.Launch, shadows ...hosting.Variant) hosting.Launch {
	for i := range shadows {
		shadows[i].ModelName = "m"
	}
	l.Config.Shadows = shadows
	return l
}

// serves returns an endpoint in service with the production variant "a" and the
// shadow "s" of two instances and the given weight.
func serves(t *testing.T, weight float64) (*hosting.Endpoint, []hosting.Instance) {
	t.Helper()
	e, err := hosting.Create("e-1", "e", shadowed(launch("c1", v("a", 4, 2)), v("s", 2, weight)), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := settle(t, e, nil)
	if e.Status != hosting.InService {
		t.Fatalf("status %s: %s", e.Status, e.FailureReason)
	}
	return e, is
}

// copies draws who gets copies of which fleet's requests.
func copies(r traffic.Route) (out []string) {
	for _, v := range r.Variants {
		for _, s := range v.Shadows {
			for _, f := range s.Fleets {
				out = append(out, fmt.Sprintf("%s of %s: %.2f on %d", s.Name, f.Config, s.Ratio, len(f.Instances)))
			}
		}
	}
	return out
}

func TestAConfigurationHasOneShadowOfOneVariant(t *testing.T) {
	of := func(prod, shadows []hosting.Variant) hosting.EndpointConfig {
		return hosting.EndpointConfig{Scope: scope, Name: "c", Variants: prod, Shadows: shadows}
	}
	vs := func(names ...string) (out []hosting.Variant) {
		for _, n := range names {
			out = append(out, hosting.Variant{Name: n, InstanceType: "t", InstanceCount: 1, Weight: 1})
		}
		return out
	}
	if err := of(vs("a"), vs("s")).Check(); err != nil {
		t.Error(err)
	}
	for want, c := range map[string]hosting.EndpointConfig{
		"there are 2 and 1":                     of(vs("a", "b"), vs("s")),
		"there are 1 and 2":                     of(vs("a"), vs("s", "u")),
		"Found duplicates: [a]":                 of(vs("a"), vs("a")),
		`ShadowProductionVariant "s" must`:      of(vs("a"), []hosting.Variant{{Name: "s", InstanceCount: 1}}),
		`ShadowProductionVariant "s" must spec`: of(vs("a"), []hosting.Variant{{Name: "s", InstanceType: "t"}}),
	} {
		if err := c.Check(); !errors.Is(err, fault.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestAShadowGetsAShareOfItsFleetsRequests(t *testing.T) {
	for weight, want := range map[float64][]string{
		0.6: {"s of c1: 0.30 on 2"}, 2: {"s of c1: 1.00 on 2"}, 5: {"s of c1: 1.00 on 2"}, 0: nil,
	} {
		e, is := serves(t, weight)
		r := e.Route(is)
		if diff := cmp.Diff(want, copies(r)); diff != "" {
			t.Errorf("weight %v (-want +got):\n%s", weight, diff)
		}
		if len(r.Variants) != 1 || len(is) != 6 {
			t.Errorf("%d variants, %d instances", len(r.Variants), len(is))
		}
	}
}

func TestWeightsAndCountsOfAShadowChangeByItsName(t *testing.T) {
	e, is := serves(t, 2)
	half, three := 1.0, 3
	if err := e.Scale("d-2", []hosting.Desire{{Variant: "s", Weight: &half, Count: &three}}, t0); err != nil {
		t.Fatal(err)
	}
	next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
	if next.Phase != rollout.Launching {
		t.Errorf("%s before the instance is there", next.Phase)
	}
	is = settle(t, e, is)
	if diff := cmp.Diff([]string{"s of c1: 0.50 on 3"}, copies(e.Route(is))); diff != "" ||
		e.Status != hosting.InService {
		t.Errorf("%s (-want +got):\n%s", e.Status, diff)
	}
	view := e.View(is)
	if s := view.Shadows[0]; s.CurrentWeight != 1 || s.DesiredWeight != 1 || s.CurrentCount != 3 ||
		s.DesiredCount != 3 {
		t.Errorf("%+v", s)
	}
	if view.Variants[0].CurrentCount != 4 {
		t.Errorf("%+v", view.Variants[0])
	}
}

// A shadow that is broken is waited for by whoever asks for more of it, and by
// nobody else.
func TestABrokenShadowKeepsNobodyElseFromBeingScaled(t *testing.T) {
	for name, c := range map[string]struct {
		desire hosting.Desire
		want   rollout.Phase
	}{
		"its production variant": {hosting.Desire{Variant: "a", Count: new(3)}, rollout.Committed},
		"a weight":               {hosting.Desire{Variant: "a", Weight: new(5.0)}, rollout.Committed},
		"less of it":             {hosting.Desire{Variant: "s", Count: new(1)}, rollout.Committed},
		"more of it":             {hosting.Desire{Variant: "s", Count: new(3)}, rollout.Launching},
	} {
		e, is := serves(t, 2)
		for i := range is {
			if is[i].Variant == "s" {
				is[i].Status = hosting.InstanceUnhealthy
			}
		}
		if err := e.Scale("d-2", []hosting.Desire{c.desire}, t0); err != nil {
			t.Fatal(err)
		}
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
		if next.Phase != c.want {
			t.Errorf("%s: %s, want %s", name, next.Phase, c.want)
		}
	}
}

// steps drives an update under a canary and returns its transitions.
func steps(t *testing.T, e *hosting.Endpoint, is []hosting.Instance, to hosting.Launch) (out, shadows []string) {
	t.Helper()
	policy := &rollout.Policy{
		Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
		WaitInterval: time.Minute,
	}
	dc := &hosting.DeploymentConfig{Policy: policy}
	if err := e.Update(hosting.Update{Launch: to, DeploymentConfig: dc}); err != nil {
		t.Fatal(err)
	}
	now, phase := t0, rollout.Phase("")
	for range 200 {
		now = now.Add(10 * time.Second)
		missing, surplus := e.Reconcile(is)
		var kept []hosting.Instance
		for _, i := range is {
			gone := false
			for _, s := range surplus {
				gone = gone || s == i.ID
			}
			if !gone {
				i.Status = hosting.InstanceReady
				kept = append(kept, i)
			}
		}
		is = kept
		for _, m := range missing {
			is = append(is, hosting.Instance{
				ID:       hosting.InstanceID(fmt.Sprint(m.Fleet, m.Spec.Variant.Name, m.Ordinal)),
				Endpoint: e.ID, Fleet: m.Fleet, Variant: m.Spec.Variant.Name, Ordinal: m.Ordinal, Wanted: true,
				Status: hosting.InstanceStarting, Address: "a", Created: now,
			})
		}
		facts := e.Facts(is, nil, now)
		facts.Observed.Until = now
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, facts)
		e.Apply(next, now)
		if next.Phase != phase {
			phase = next.Phase
			out = append(out, fmt.Sprintf("%s %d %+v", next.Phase, next.Step, next.Variants))
			shadows = append(shadows, fmt.Sprint(phase, " ", copies(e.Route(is))))
		}
		if e.Ended() {
			e.Deployment = nil
			return out, shadows
		}
	}
	t.Fatalf("never ended: %v", out)
	return nil, nil
}

func TestADeploymentTakesTheSameStepsWithAShadow(t *testing.T) {
	plain, is := inService(t, v("a", 4, 2))
	want, _ := steps(t, plain, is, launch("c2", v("a", 4, 2)))
	for name, to := range map[string]hosting.Launch{
		"replaced": shadowed(launch("c2", v("a", 4, 2)), v("s", 1, 1)),
		"dropped":  launch("c2", v("a", 4, 2)),
		"renamed":  shadowed(launch("c2", v("a", 4, 2)), v("t", 1, 1)),
	} {
		e, is := serves(t, 2)
		got, _ := steps(t, e, is, to)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-without +with):\n%s", name, diff)
		}
	}
	added, is := inService(t, v("a", 4, 2))
	got, shadows := steps(t, added, is, shadowed(launch("c2", v("a", 4, 2)), v("s", 1, 1)))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("added (-without +with):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"Launching []", "Shifting [s of c2: 0.50 on 1]", "Baking [s of c2: 0.50 on 1]", "Shifting [s of c2: 0.50 on 1]",
		"Committed [s of c2: 0.50 on 1]", "Succeeded [s of c2: 0.50 on 1]",
	}, shadows); diff != "" {
		t.Errorf("added (-want +got):\n%s", diff)
	}
}

func TestEachFleetsRequestsAreCopiedToItsOwnShadow(t *testing.T) {
	e, is := serves(t, 2)
	_, shadows := steps(t, e, is, shadowed(launch("c2", v("a", 4, 2)), v("s", 1, 1)))
	if diff := cmp.Diff([]string{
		"Launching [s of c1: 1.00 on 2]",
		"Shifting [s of c1: 1.00 on 2 s of c2: 0.50 on 1]",
		"Baking [s of c1: 1.00 on 2 s of c2: 0.50 on 1]",
		"Shifting [s of c2: 0.50 on 1]",
		"Committed [s of c2: 0.50 on 1]",
		"Succeeded [s of c2: 0.50 on 1]",
	}, shadows); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if w := e.ShadowWeights; len(w) != 1 || w[0].DesiredCount != 1 || w[0].Current != 1 {
		t.Errorf("%+v", w)
	}
}

// ready brings up what the endpoint lacks; what is of a variant named bad fails.
func ready(e *hosting.Endpoint, is []hosting.Instance, bad string) []hosting.Instance {
	missing, _ := e.Reconcile(is)
	for _, m := range missing {
		i := hosting.Instance{
			ID: hosting.InstanceID(fmt.Sprint(m.Fleet, m.Spec.Variant.Name, m.Ordinal)), Endpoint: e.ID, Fleet: m.Fleet,
			Variant: m.Spec.Variant.Name, Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceReady, Address: "a",
			Created: t0,
		}
		if i.Variant == bad {
			i.Status, i.Detail = hosting.InstanceFailed, "It does not start."
		}
		is = append(is, i)
	}
	return is
}

func TestAShadowThatCannotStartFailsTheDeployment(t *testing.T) {
	e, is := serves(t, 2)
	if err := e.Update(hosting.Update{Launch: shadowed(launch("c2", v("a", 4, 2)), v("new", 1, 1))}); err != nil {
		t.Fatal(err)
	}
	is = ready(e, is, "new")
	next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
	if next.Reason != "It does not start." || next.Variants[0].NewShare != 0 {
		t.Fatalf("%s: %q", next.Phase, next.Reason)
	}
	e.Apply(next, t0)
	if diff := cmp.Diff([]string{"s of c1: 1.00 on 2"}, copies(e.Route(is))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if e.Deployment.Green.Shadows[0].Wanted != 0 {
		t.Error("the shadow is wanted though its fleet is withdrawn")
	}
}

func TestWhatAShadowDoesLaterUndoesNothing(t *testing.T) {
	e, is := serves(t, 2)
	if err := e.Update(hosting.Update{
		Launch: shadowed(launch("c2", v("a", 4, 2)), v("new", 1, 1)),
		DeploymentConfig: &hosting.DeploymentConfig{Policy: &rollout.Policy{
			Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
			WaitInterval: time.Hour,
		}},
	}); err != nil {
		t.Fatal(err)
	}
	is = ready(e, is, "")
	for range 3 {
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
		e.Apply(next, t0)
	}
	if e.Deployment.State.Phase != rollout.Baking {
		t.Fatal(e.Deployment.State.Phase)
	}
	for i := range is {
		if is[i].Variant == "new" {
			is[i].Status, is[i].Detail = hosting.InstanceFailed, "It crashed."
		}
	}
	if f := e.Facts(is, nil, t0); f.Failure != "" {
		t.Errorf("%q speaks against the deployment", f.Failure)
	}
	e, is = serves(t, 2)
	only := is[:0:0]
	for _, i := range is {
		if i.Variant == "s" {
			only = append(only, i)
		}
	}
	if e.UpdateStatus(only, t0); e.Status != hosting.OutOfService {
		t.Errorf("%s with nothing but shadows", e.Status)
	}
}

func TestRetainedPropertiesAreRetainedOfShadows(t *testing.T) {
	e, is := serves(t, 2)
	one, half := 1, 0.5
	if err := e.Scale("d-2", []hosting.Desire{{Variant: "s", Weight: &half, Count: &one}}, t0); err != nil {
		t.Fatal(err)
	}
	is = settle(t, e, is)
	if err := e.Update(hosting.Update{
		Launch: shadowed(launch("c2", v("a", 4, 2)), v("s", 5, 2)), RetainAll: true,
	}); err != nil {
		t.Fatal(err)
	}
	is = settle(t, e, is)
	if diff := cmp.Diff([]string{"s of c2: 0.25 on 1"}, copies(e.Route(is))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// When a rolling update and its rollback both failed, a shadow gets copies of what
// its own fleet answers, and one of a fleet that answers nothing is not wanted.
func TestAMixKeepsTheShadowsOfWhoServes(t *testing.T) {
	for name, c := range map[string]struct {
		end      rollout.Split
		old, new int
	}{
		"both serve": {
			rollout.Split{OldWanted: 2, OldActive: 2, NewWanted: 2, NewActive: 2, NewShare: 0.5}, 2, 2,
		},
		"the old one alone": {rollout.Split{OldWanted: 2, OldActive: 2}, 2, 0},
		"the new one alone": {rollout.Split{NewWanted: 2, NewActive: 2, NewShare: 1}, 0, 2},
	} {
		e, _ := serves(t, 2)
		to := shadowed(launch("c2", v("a", 4, 2)), v("s", 1, 1))
		if err := e.Update(hosting.Update{Launch: to}); err != nil {
			t.Fatal(err)
		}
		e.Apply(rollout.State{
			Phase: rollout.RollbackFailed, Reason: "No luck.", Since: t0, Turned: t0,
			Variants: []rollout.Split{c.end},
		}, t0)
		if old, fresh := e.Fleet.Shadows[0].Wanted, e.Remnant.Shadows[0].Wanted; old != c.old || fresh != c.new {
			t.Errorf("%s: %d of the old shadow are wanted, %d of the new one", name, old, fresh)
		}
	}
}
