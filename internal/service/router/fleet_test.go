package router_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// After a rollback that failed an endpoint may be updated to the configuration
// that its remnant has: what that answers is no request of the new fleet.
func TestFleetsOfOneConfigurationAreCountedApart(t *testing.T) {
	in := []traffic.Instance{{ID: "i", Address: upstream(t, says("hi"))}}
	green := traffic.Fleet{ID: "f-2", Config: "c", Role: traffic.NewFleet, Share: 1, Instances: in}
	remnant := traffic.Fleet{ID: "f-1", Config: "c", Share: 1, Instances: in}
	reg := prometheus.NewRegistry()
	r := newRouter(t, router.Config{Registerer: reg})
	for i, f := range []traffic.Fleet{remnant, green} {
		r.Set(to(int64(i+1), traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{f}}))
		for range 3 + i {
			if _, err := invoke(r, newCall()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for ref, want := range map[traffic.FleetRef]int64{
		green.Ref(): 4, remnant.Ref(): 3, {ID: "f-3", Config: "c"}: 0, {Config: "c"}: 7,
	} {
		if got := r.Answered(key, ref)[0].Requests; got != want {
			t.Errorf("%+v has answered %d, want %d", ref, got, want)
		}
	}
	if got := counted(t, reg, "slipway_endpoint_invocations_total"); got != 7 {
		t.Errorf("the configuration has %v, want 7", got)
	}
}

// counted returns the value of the only series of a counter.
func counted(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			if n := len(f.GetMetric()); n != 1 {
				t.Fatalf("%s has %d series", name, n)
			}
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// Counters of a configuration do not shrink however many fleets it has had: that
// would look like a restart.
func TestCountersOfManyFleetsDoNotShrink(t *testing.T) {
	in := []traffic.Instance{{ID: "i", Address: upstream(t, says("hi"))}}
	reg := prometheus.NewRegistry()
	r := newRouter(t, router.Config{Registerer: reg})
	for n := range 50 {
		f := traffic.Fleet{ID: string(rune('a' + n)), Config: "c", Share: 1, Instances: in}
		r.Set(to(int64(n), traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{f}}))
		if _, err := invoke(r, newCall()); err != nil {
			t.Fatal(err)
		}
		if got := counted(t, reg, "slipway_endpoint_invocations_total"); got != float64(n+1) {
			t.Fatalf("%d requests, counted %v", n+1, got)
		}
	}
}

// The first route after an upgrade has no ids: what is counted by it belongs to
// the fleet that the next route names.
func TestAnUpgradesFirstRouteCountsForItsFleet(t *testing.T) {
	in := traffic.Instance{ID: "i", Address: upstream(t, says("hi"))}
	r := newRouter(t, router.Config{})
	before := one("c", in)
	r.Set(before)
	after := one("c", in)
	after.Version, after.Variants[0].Fleets[0].ID = 2, "f-1"
	ref := traffic.FleetRef{ID: "f-1", Config: "c"}
	for i, rt := range []traffic.Route{before, after} {
		r.Set(rt)
		if _, err := invoke(r, newCall()); err != nil {
			t.Fatal(err)
		}
		if got := r.Answered(key, ref)[0].Requests; got != int64(i+1) {
			t.Errorf("%d requests, %d answered", i+1, got)
		}
	}
}

// compared is a route between an old and a new fleet.
func compared(blue, green string) traffic.Route {
	fleet := func(id, addr string, role traffic.Role) traffic.Fleet {
		in := []traffic.Instance{{ID: id + "-1", Address: addr, Slot: 3}}
		return traffic.Fleet{ID: id, Config: "c", Role: role, Share: .5, Instances: in}
	}
	return to(7, traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{
		fleet("old", blue, traffic.OldFleet), fleet("new", green, traffic.NewFleet),
	}})
}

// A new fleet that refuses connections does not look clean because the old one
// answers for it, which it does each time.
func TestARequestCountsForTheFleetThatWasDrawnFirst(t *testing.T) {
	var samples []traffic.Sample
	r := newRouter(t, router.Config{OnSample: func(s traffic.Sample) { samples = append(samples, s) }})
	r.Set(compared(upstream(t, says("old")), refused(t)))
	for range 200 {
		if body, err := invoke(r, newCall()); body != "old" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
	}
	n := 0
	for _, s := range samples {
		green := s.Draw.Role == traffic.NewFleet
		if green {
			n++
		}
		if s.Retried != green || s.ModelError || s.Fleet != "old" || s.Draw.Share != .5 || s.Draw.Epoch != 7 ||
			s.Draw.Slot != 3 || s.Draw.Variant != "v" || s.Draw.At.Before(s.At) {
			t.Fatalf("sample %+v", s)
		}
	}
	if n < 50 || n > 150 {
		t.Errorf("%d of 200 were drawn for the new fleet", n)
	}
}

// gone is a caller who has left.
type gone bool

func (g gone) Gone() bool { return bool(g) }

func TestACallerWhoLeavesIsNotAFailureButIsSaid(t *testing.T) {
	for name, leave := range map[string]func(r *router.Router, c *router.Call){
		"before the answer": func(r *router.Router, c *router.Call) {
			c.Request.Client = gone(true)
			if err := r.Do(c); !errors.Is(err, http1.ErrGone) {
				t.Errorf("want that the caller is gone: %v", err)
			}
		},
		"in it": func(r *router.Router, c *router.Call) {
			if err := r.Do(c); err != nil {
				t.Error(err)
			}
			if _, err := c.Next(); err != nil {
				t.Error(err)
			}
			c.Abandon()
		},
	} {
		var got traffic.Sample
		r := newRouter(t, router.Config{
			Client:   http1.NewClient(http1.UpstreamConfig{Tick: time.Millisecond}),
			OnSample: func(s traffic.Sample) { got = s },
		})
		stop := make(chan struct{})
		addr := upstream(t, func(w http.ResponseWriter, q *http.Request) {
			if name == "in it" {
				_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
				_ = http.NewResponseController(w).Flush()
			}
			select {
			case <-stop:
			case <-q.Context().Done():
			}
		})
		r.Set(compared(addr, addr))
		c := newCall()
		leave(r, c)
		c.Finish()
		close(stop)
		if !got.Abandoned || got.ModelError || got.Draw.At.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A call is used again: what an earlier response left is nothing of a request that
// got none.
func TestACallThatIsUsedAgainForgetsTheLastResponse(t *testing.T) {
	var got traffic.Sample
	r := newRouter(t, router.Config{OnSample: func(s traffic.Sample) { got = s }})
	addr := upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		chunks("no")(w, nil)
		time.Sleep(20 * time.Millisecond) // the answer takes so long
	})
	r.Set(one("c", traffic.Instance{ID: "i", Address: addr}))
	c := newCall()
	if _, err := invoke(r, c); err != nil || !got.Status5XX {
		t.Fatalf("%+v, %v", got, err)
	}
	r.Set(to(2, traffic.Variant{Name: "v", Weight: 1, Fleets: []traffic.Fleet{
		{Config: "c", Share: 1, Instances: []traffic.Instance{{ID: "j", Address: refused(t)}}},
	}}))
	c.Request.Client, c.Arrived = gone(true), time.Now()
	if _, err := invoke(r, c); !errors.Is(err, http1.ErrGone) {
		t.Errorf("want that the caller is gone: %v", err)
	}
	if got.Status5XX || got.ModelError || !got.Abandoned || got.ModelLatency > 10*time.Millisecond {
		t.Errorf("it counts as %+v", got)
	}
}
