package router_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// An alarm takes traffic back by the route alone: no later route of the same
// deployment gives it back, the one after it counts as it is.
func TestAnAlarmTakesTrafficBackByTheRouteAlone(t *testing.T) {
	of := func(config string) traffic.Fleet {
		in := traffic.Instance{ID: config, Address: upstream(t, says(config))}
		return traffic.Fleet{Config: config, Share: 1, Instances: []traffic.Instance{in}}
	}
	blue, green := of("blue"), of("green")
	variant := func(f traffic.Fleet) traffic.Variant {
		return traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{f}}
	}
	guarded := func(version int64, deployment string) traffic.Route {
		rt := to(version, variant(green))
		rt.Guard = &traffic.Guard{
			Deployment: deployment, Alarms: []string{"a", "errors"}, Variants: []traffic.Variant{variant(blue)},
		}
		return rt
	}
	r := newRouter(t, router.Config{})
	answers := func(want string) {
		t.Helper()
		if got, err := invoke(r, newCall()); got != want || err != nil {
			t.Errorf("%q answers, want %q: %v", got, want, err)
		}
	}
	r.Set(guarded(1, "d1"))
	r.Trip(key.Region, hosting.TrippedAlarm{Name: "another"})
	r.Trip("eu-west-1", hosting.TrippedAlarm{Name: "errors"})
	answers("green")
	r.Trip(key.Region, hosting.TrippedAlarm{Name: "errors", Reason: "too many"})
	answers("blue")
	r.Trip(key.Region, hosting.TrippedAlarm{Name: "a"})
	r.Set(guarded(2, "d1")) // a turn that was under way
	answers("blue")
	if a, ok := r.Tripped("d1"); !ok || a.Reason != "too many" {
		t.Errorf("tripped by %+v, %v", a, ok)
	}
	r.Set(to(3, variant(blue)))
	r.Set(guarded(4, "d2"))
	answers("green")
	if a, ok := r.Tripped("d2"); ok {
		t.Errorf("another deployment is tripped by %+v", a)
	}

	r.Set(guarded(5, "d1"))
	trips := r.Trips()
	if a := trips["d1"]; len(trips) != 1 || a.Name != "errors" || a.Taken.IsZero() {
		t.Errorf("what the next router has to know: %+v", trips)
	}
	if got := r.Guards(); !reflect.DeepEqual(got, map[string][]string{key.Region: {"a", "errors"}}) {
		t.Errorf("guarded by %v", got)
	}
	r.Set(to(6, variant(blue)))
	if got, more := r.Trips(), r.Guards(); len(got)+len(more) > 0 {
		t.Errorf("once the rollback is written: %v, %v", got, more)
	}
	r = newRouter(t, router.Config{}) // the next one
	r.Restore(trips)
	r.Set(guarded(5, "d1"))
	answers("blue")
	if a, ok := r.Tripped("d1"); !ok || a != trips["d1"] {
		t.Errorf("the next router knows %+v, %v", a, ok)
	}
}

// What gates find takes traffic back as an alarm does, also where the policy has no
// alarm.
func TestAGateTakesTrafficBackByTheRouteAlone(t *testing.T) {
	fleet := func(id string) traffic.Variant {
		in := traffic.Instance{ID: id, Address: upstream(t, says(id))}
		return traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{
			{ID: id, Config: "c", Share: 1, Instances: []traffic.Instance{in}},
		}}
	}
	blue, green := fleet("blue"), fleet("green")
	guarded := to(1, green)
	guarded.Guard = &traffic.Guard{Deployment: "d1", Variants: []traffic.Variant{blue}}
	r := newRouter(t, router.Config{})
	r.Set(guarded)
	if r.TripDeployment("d2", "It is another.") {
		t.Error("another deployment's traffic was taken back")
	}
	for range 2 { // twice is once
		if !r.TripDeployment("d1", "It answers otherwise.") {
			t.Error("nothing was taken back")
		}
		if got, err := invoke(r, newCall()); got != "blue" || err != nil {
			t.Errorf("%q answers: %v", got, err)
		}
	}
	if a, ok := r.Tripped("d1"); !ok || !a.Gate || a.Reason != "It answers otherwise." || a.Taken.IsZero() {
		t.Errorf("tripped by %+v", a)
	}
}

// An alarm on evidence may be in ALARM for the deployment before: that takes nothing
// from the one that follows.
func TestEvidenceFromBeforeADeploymentTakesNothingBack(t *testing.T) {
	begun := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		alarm hosting.TrippedAlarm
		trips bool
	}{
		"bad before it began":        {hosting.TrippedAlarm{Name: "a", OfEvidence: true, Shown: begun}, false},
		"known to be bad at no time": {hosting.TrippedAlarm{Name: "a", OfEvidence: true}, false},
		"bad since":                  {hosting.TrippedAlarm{Name: "a", OfEvidence: true, Shown: begun.Add(1)}, true},
		"no evidence":                {hosting.TrippedAlarm{Name: "a"}, true},
	} {
		rt := to(1)
		rt.Guard = &traffic.Guard{Deployment: "d1", Alarms: []string{"a"}, Begun: begun}
		r := newRouter(t, router.Config{})
		r.Set(rt)
		r.Trip(key.Region, c.alarm)
		if _, tripped := r.Tripped("d1"); tripped != c.trips {
			t.Errorf("%s: tripped %v", name, tripped)
		}
	}
}
