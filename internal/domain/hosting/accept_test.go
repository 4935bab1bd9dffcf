package hosting_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

var (
	t0    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}
)

// launch describes a configuration by its variants: "a" is one instance of
// weight 1 of model "m".
func launch(config string, variants ...hosting.Variant) hosting.Launch {
	for i := range variants {
		variants[i].ModelName = "m"
	}
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + config), Fleet: hosting.FleetID("f-" + config), Now: t0,
		Config: hosting.EndpointConfig{Scope: scope, Name: config, Variants: variants},
		Models: map[string]hosting.Model{"m": {
			Scope: scope, Name: "m",
			Containers: []hosting.Container{{Name: "primary", Image: "i"}},
		}},
	}
}

func v(name string, n int, w float64) hosting.Variant {
	return hosting.Variant{Name: name, InstanceCount: n, Weight: w}
}

// settle brings every wanted instance up, every other one down, and takes
// turns until nothing moves.
func settle(t *testing.T, e *hosting.Endpoint, is []hosting.Instance) []hosting.Instance {
	t.Helper()
	for range 100 {
		missing, surplus := e.Reconcile(is)
		kept := is[:0:0]
		for _, i := range is {
			gone := false
			for _, s := range surplus {
				gone = gone || s == i.ID
			}
			if !gone {
				kept = append(kept, i)
			}
		}
		is = kept
		for _, m := range missing {
			is = append(is, hosting.Instance{
				ID:       hosting.InstanceID(string(m.Fleet) + "/" + m.Spec.Variant.Name + string(rune('0'+m.Ordinal))),
				Endpoint: e.ID, Fleet: m.Fleet,
				Variant: m.Spec.Variant.Name, Ordinal: m.Ordinal, Wanted: true, Status: hosting.InstanceReady,
				Address: "a", Created: t0,
			})
		}
		if e.Deployment == nil {
			return is
		}
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, e.Facts(is, nil, t0))
		e.Apply(next, t0)
		if e.Ended() {
			e.Deployment = nil
		}
	}
	t.Fatalf("never settled: %+v", e.Deployment)
	return nil
}

func inService(t *testing.T, variants ...hosting.Variant) (*hosting.Endpoint, []hosting.Instance) {
	t.Helper()
	e, err := hosting.Create("e-1", "e", launch("c1", variants...), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := settle(t, e, nil)
	if e.Status != hosting.InService {
		t.Fatalf("status %s: %s", e.Status, e.FailureReason)
	}
	return e, is
}

func TestACreatedEndpointServesWhatItsConfigurationSays(t *testing.T) {
	e, is := inService(t, v("a", 2, 1), v("b", 1, 3))
	got := e.Route(is)
	if len(got.Variants) != 2 || got.Gone {
		t.Fatalf("Route = %+v", got)
	}
	a, b := got.Variants[0], got.Variants[1]
	if a.Weight != 1 || b.Weight != 3 || len(a.Fleets[0].Instances) != 2 || len(b.Fleets[0].Instances) != 1 ||
		a.Fleets[0].Share != 1 {
		t.Errorf("Route = %+v", got)
	}
}

func TestRetainedPropertiesOfAnUpdate(t *testing.T) {
	type want struct {
		Count  int
		Weight float64
	}
	tests := map[string]struct {
		retain  bool
		exclude []hosting.Property
		want    want
	}{
		"nothing is retained by default":    {false, nil, want{1, 1}},
		"everything is retained when asked": {true, nil, want{4, 0.5}},
		"all but the instance count": {
			true,
			[]hosting.Property{hosting.DesiredInstanceCount},
			want{1, 0.5},
		},
		"all but the weight":                      {true, []hosting.Property{hosting.DesiredWeight}, want{4, 1}},
		"excluding data capture has no effect":    {true, []hosting.Property{hosting.DataCaptureConfig}, want{4, 0.5}},
		"excluding without retaining is accepted": {false, []hosting.Property{hosting.DesiredWeight}, want{1, 1}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, is := inService(t, v("a", 2, 1))
			if err := e.Scale("d-s", []hosting.Desire{{Variant: "a", Weight: new(0.5), Count: new(4)}},
				t0); err != nil {
				t.Fatal(err)
			}
			is = settle(t, e, is)
			if err := e.Update(hosting.Update{
				Launch: launch("c2", v("a", 1, 1)), RetainAll: tt.retain,
				Exclude: tt.exclude,
			}); err != nil {
				t.Fatal(err)
			}
			if e.Status != hosting.Updating || e.ConfigName != "c1" {
				t.Fatalf("after acceptance: %s %s", e.Status, e.ConfigName)
			}
			is = settle(t, e, is)
			got := want{len(is), e.Weights[0].Current}
			if d := cmp.Diff(tt.want, got); d != "" || e.ConfigName != "c2" || e.Status != hosting.InService {
				t.Errorf("%s %s %s", e.Status, e.ConfigName, d)
			}
		})
	}
}

func TestWhatIsRefusedInWhichState(t *testing.T) {
	up := func(e *hosting.Endpoint) error { return e.MayUpdate() }
	scale := func(e *hosting.Endpoint) error { return e.Scale("d", []hosting.Desire{{Variant: "a"}}, t0) }
	del := func(e *hosting.Endpoint) error { return e.Delete("d", t0) }
	const busy, ok = "Cannot update in-progress endpoint", ""
	tests := []struct {
		status             hosting.Status
		update, scale, del string
	}{
		{hosting.Creating, busy, busy, busy},
		{hosting.InService, ok, ok, ok},
		{hosting.Updating, busy, busy, busy},
		{hosting.SystemUpdating, busy, busy, busy},
		{hosting.RollingBack, busy, busy, busy},
		{hosting.UpdateRollbackFailed, ok, busy, ok},
		{hosting.OutOfService, ok, ok, ok},
		{hosting.Failed, "Cannot update failed endpoint", "Cannot update failed endpoint", ok},
		{hosting.Deleting, busy, busy, ok},
	}
	for _, tt := range tests {
		for verb, c := range map[string]struct {
			do   func(*hosting.Endpoint) error
			want string
		}{"UpdateEndpoint": {up, tt.update}, "UpdateWeights": {scale, tt.scale}, "DeleteEndpoint": {del, tt.del}} {
			e, _ := inService(t, v("a", 1, 1))
			e.Status = tt.status
			err := c.do(e)
			if (err == nil) != (c.want == "") || err != nil &&
				!strings.HasPrefix(err.Error(), c.want+` "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e".`) {
				t.Errorf("%s in %s = %v, want %q", verb, tt.status, err, c.want)
			}
		}
	}
}

func TestScalingRefusesWhatDoesNotFit(t *testing.T) {
	tests := map[string]struct {
		ask  []hosting.Desire
		want string
	}{
		"an unknown variant": {
			[]hosting.Desire{{Variant: "z"}},
			`The variant name(s) "z" is/are not present within endpoint configuration "c1".`,
		},
		"a variant twice": {
			[]hosting.Desire{{Variant: "a"}, {Variant: "a"}},
			`The variant name "a" was non-unique within the request.`,
		},
		"no instances at all": {
			[]hosting.Desire{{Variant: "a", Count: new(0)}},
			`The DesiredInstanceCount of variant "a" must be at least 1: only asynchronous endpoints can be scaled to 0.`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e, _ := inService(t, v("a", 1, 1))
			before := *e
			err := e.Scale("d", tt.ask, t0)
			if !errors.Is(err, fault.Invalid) || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			if d := cmp.Diff(before, *e); d != "" {
				t.Errorf("a refusal changed the endpoint: %s", d)
			}
		})
	}
}

func TestAnUpdateMayAddAndDropVariants(t *testing.T) {
	e, is := inService(t, v("a", 1, 1), v("b", 2, 1))
	if err := e.Update(hosting.Update{Launch: launch("c2", v("b", 1, 5), v("c", 1, 2))}); err != nil {
		t.Fatal(err)
	}
	for _, rv := range e.Route(is).Variants {
		if rv.Name == "c" || len(rv.Fleets) != 1 || rv.Fleets[0].Config != "c1" {
			t.Errorf("before the shift: %+v", rv)
		}
	}
	is = settle(t, e, is)
	var names []string
	for _, rv := range e.Route(is).Variants {
		names = append(names, rv.Name)
		if rv.Fleets[0].Config != "c2" || rv.Fleets[0].Share != 1 {
			t.Errorf("after the update: %+v", rv)
		}
	}
	if d := cmp.Diff([]string{"b", "c"}, names); d != "" {
		t.Error(d)
	}
}

func TestAFailedCreationWantsNothingAndCanBeDeleted(t *testing.T) {
	e, err := hosting.Create("e-1", "e", launch("c1", v("a", 1, 1)), nil)
	if err != nil {
		t.Fatal(err)
	}
	is := []hosting.Instance{{
		ID: "i", Fleet: "f-c1", Variant: "a", Wanted: true, Status: hosting.InstanceFailed,
		Detail: "no ping", Created: t0,
	}}
	is = settle(t, e, is)
	if e.Status != hosting.Failed || e.FailureReason != "no ping" || len(is) != 0 || !e.Route(is).Gone {
		t.Fatalf("%s %q %d instances", e.Status, e.FailureReason, len(is))
	}
	if err := e.Delete("d", t0); err != nil || e.Status != hosting.Deleting {
		t.Errorf("Delete = %v, %s", err, e.Status)
	}
}

func TestAnUpdateThatFailsLeavesTheOldFleetServing(t *testing.T) {
	e, is := inService(t, v("a", 2, 1))
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 1, 1))}); err != nil {
		t.Fatal(err)
	}
	is = append(is, hosting.Instance{
		ID: "bad", Fleet: "f-c2", Variant: "a", Wanted: true,
		Status: hosting.InstanceFailed, Detail: "no ping", Created: t0,
	})
	is = settle(t, e, is)
	if e.Status != hosting.InService || e.ConfigName != "c1" || e.FailureReason != "no ping" || len(is) != 2 {
		t.Errorf("%s %s %q, %d instances", e.Status, e.ConfigName, e.FailureReason, len(is))
	}
}

func TestAnEndpointThatLostEveryInstanceIsOutOfServiceUntilOneIsBack(t *testing.T) {
	e, is := inService(t, v("a", 1, 1))
	is[0].Status = hosting.InstanceUnhealthy
	if e.UpdateStatus(is, t0); e.Status != hosting.OutOfService {
		t.Errorf("status %s", e.Status)
	}
	if r := e.Route(is); r.Gone || len(r.Variants[0].Fleets[0].Instances) != 0 {
		t.Errorf("route %+v", r)
	}
	is[0].Status = hosting.InstanceReady
	if e.UpdateStatus(is, t0); e.Status != hosting.InService {
		t.Errorf("status %s", e.Status)
	}
}

func TestARouteNamesWhatCouldStandInWhenNothingIsReady(t *testing.T) {
	e, is := inService(t, v("a", 4, 1))
	for n, i := range []struct {
		status  hosting.InstanceStatus
		address string
	}{
		{hosting.InstanceUnhealthy, "fails its checks"},
		{hosting.InstanceUnhealthy, ""}, // crashed
		{hosting.InstanceStarting, "was never ready"},
		{hosting.InstanceFailed, "given up"},
	} {
		is[n].Status, is[n].Address = i.status, i.address
	}
	f := e.Route(is).Variants[0].Fleets[0]
	if len(f.Instances) != 0 || len(f.Unhealthy) != 1 || f.Unhealthy[0].Address != "fails its checks" {
		t.Errorf("%+v", f)
	}
	is[0].Wanted = false
	if f := e.Route(is).Variants[0].Fleets[0]; len(f.Unhealthy) != 0 {
		t.Errorf("not wanted: %+v", f)
	}
}

func TestTagsKeepTheirRules(t *testing.T) {
	many := make([]hosting.Tag, 51)
	for i := range many {
		many[i].Key = strings.Repeat("k", i+1)
	}
	for name, tt := range map[string]struct {
		have, add []hosting.Tag
		ok        bool
	}{
		"a key may be replaced at the limit":   {many[:50], many[:1], true},
		"a key may not be given twice":         {nil, []hosting.Tag{{Key: "a"}, {Key: "a"}}, false},
		"aws: is reserved":                     {nil, []hosting.Tag{{Key: "AWS:x"}}, false},
		"the fifty-first is one too many":      {many[:50], many[50:], false},
		"keys differ by case":                  {nil, []hosting.Tag{{Key: "a"}, {Key: "A"}}, true},
		"fifty are allowed on a bare resource": {nil, many[:50], true},
	} {
		if err := hosting.CheckTags(tt.have, tt.add); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnOrderIsGivenToTheDeploymentInProgress(t *testing.T) {
	e, is := inService(t, v("a", 2, 1))
	if err := e.Order(rollout.Abort, "me", t0); err == nil ||
		err.Error() != `Endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/e" has no deployment in progress.` {
		t.Errorf("an endpoint at rest was given an order: %v", err)
	}
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 2, 1))}); err != nil {
		t.Fatal(err)
	}
	if err := e.Order(rollout.Resume, "me", t0); err == nil {
		t.Error("what is not paused was resumed")
	}
	if err := e.Order(rollout.Abort, "me", t0); err != nil {
		t.Fatal(err)
	}
	if err := e.Order(rollout.Pause, "me", t0); err == nil {
		t.Error("what is to be rolled back was paused")
	}
	settle(t, e, is)
	if e.Status != hosting.InService || e.ConfigName != "c1" ||
		e.FailureReason != "Endpoint deployment was aborted by me." {
		t.Errorf("%s of %s: %s", e.Status, e.ConfigName, e.FailureReason)
	}
}

// While an update runs, a canary of a quarter must not get what the old fleet no
// longer says it can take.
func TestAnOldFleetThatFailsItsChecksKeepsItsShare(t *testing.T) {
	e, is := inService(t, v("a", 4, 1))
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	for n := range is {
		is[n].Status, is[n].Address, is[n].Detail = hosting.InstanceUnhealthy, "old", "/ping answered 503"
	}
	green := e.Deployment.Green
	green.Variants[0].Active = 1
	e.Deployment.State.Variants[0] = rollout.Split{
		NewShare: 0.25, OldActive: 3, NewActive: 1, OldWanted: 4, NewWanted: 4,
	}
	e.Fleet.Variants[0].Active = 3
	all := append(is, hosting.Instance{
		ID: "new", Fleet: green.ID, Variant: "a", Wanted: true, Status: hosting.InstanceReady, Address: "new",
	})
	shares := func() (old, fresh traffic.Fleet) {
		fs := e.Route(all).Variants[0].Fleets
		if len(fs) != 2 {
			t.Fatalf("%+v", fs)
		}
		return fs[0], fs[1]
	}
	old, fresh := shares()
	if old.Share != 0.75 || len(old.Instances) != 3 || len(fresh.Instances) != 1 {
		t.Errorf("old %+v, new %+v", old, fresh)
	}
	if got := e.OldTrouble(all); !strings.Contains(got, "0 of 3") || !strings.Contains(got, "/ping answered 503") ||
		!strings.Contains(got, "all that run, 3") {
		t.Errorf("said of it: %q", got)
	}
	for n := range is { // they have ended
		all[n].Address = ""
	}
	if old, fresh = shares(); len(old.Instances) != 0 || len(fresh.Instances) != 1 {
		t.Errorf("of an old fleet that has ended: %+v, %+v", old, fresh)
	}
	for n := range is {
		all[n].Status, all[n].Address = hosting.InstanceReady, "old"
	}
	all[len(all)-1].Status = hosting.InstanceUnhealthy
	if old, fresh = shares(); len(old.Instances) != 3 || len(fresh.Instances) != 0 || len(fresh.Unhealthy) != 1 {
		t.Errorf("of a new fleet that fails: %+v, %+v", old, fresh)
	}
	if got := e.OldTrouble(all); got != "" {
		t.Errorf("said of one that is well: %q", got)
	}
}
