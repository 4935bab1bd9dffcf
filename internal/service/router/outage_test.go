package router_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// A total outage must be louder than silence: in the counters, in what alarms see,
// and in the log, though not once for each request.
func TestARequestThatNoInstanceCanTakeIsCountedAndLogged(t *testing.T) {
	var logged bytes.Buffer
	var samples []traffic.Sample
	r := newRouter(t, router.Config{
		Log:      slog.New(slog.NewTextHandler(&logged, nil)),
		OnSample: func(s traffic.Sample) { samples = append(samples, s) },
	})
	r.Set(one("c"))
	for range 3 {
		if _, err := invoke(r, newCall()); !errors.Is(err, router.ErrNoInstance) {
			t.Fatal(err)
		}
	}
	for _, s := range samples {
		if !s.Status5XX || !s.ModelError || !s.Unserved || s.Variant != "v" || s.Config != "c" || s.Instances != 0 {
			t.Errorf("sample %+v", s)
		}
	}
	n := r.Counts(key)[0]
	if len(samples) != 3 || n.Invocations != 3 || n.Status5XX != 3 || n.InFlight != 0 {
		t.Errorf("%d samples, counted %+v", len(samples), n)
	}
	if got := r.Answered(key, traffic.FleetRef{Config: "c"})[0].Requests; got != 0 {
		t.Errorf("%d requests count as answered", got)
	}
	if got := strings.Count(logged.String(), "no instance can take them"); got != 1 {
		t.Errorf("logged %d times:\n%s", got, &logged)
	}
	r.Set(one("c", traffic.Instance{ID: "i", Address: upstream(t, says("hi"))}))
	if !strings.Contains(logged.String(), "take requests again") || !strings.Contains(logged.String(), "requests=3") {
		t.Errorf("the end is not logged:\n%s", &logged)
	}
}

// CloudWatch's metrics are a variant's: where there is none, nothing is there that
// they could be of. Prometheus counts without one.
func TestARequestForARouteWithoutAVariantIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	sampled := 0
	r := newRouter(t, router.Config{Registerer: registry, OnSample: func(traffic.Sample) { sampled++ }})
	r.Set(to(1))
	for range 3 {
		if _, err := invoke(r, newCall()); !errors.Is(err, router.ErrNoInstance) {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "variant" && l.GetValue() == "" {
					counted[f.GetName()] = m.GetCounter().GetValue()
				}
			}
		}
	}
	for _, name := range []string{"invocations", "unserved", "invocation_5xx_errors", "invocation_model_errors"} {
		if got := counted["slipway_endpoint_"+name+"_total"]; got != 3 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if sampled != 0 {
		t.Errorf("%d samples", sampled)
	}
}

func TestWithNoHealthyInstanceRequestsGoToAllThatRun(t *testing.T) {
	var logged bytes.Buffer
	r := newRouter(t, router.Config{Log: slog.New(slog.NewTextHandler(&logged, nil))})
	a := traffic.Instance{ID: "a", Address: upstream(t, says("a"))}
	b := traffic.Instance{ID: "b", Address: upstream(t, says("b"))}
	with := func(ready, unhealthy []traffic.Instance) map[string]bool {
		t.Helper()
		r.Set(to(1, traffic.Variant{
			Name: "v", Weight: 1, Fleets: []traffic.Fleet{
				{Config: "c", Share: 0.5, Instances: ready, Unhealthy: unhealthy},
				{Config: "d", Share: 0.5}, // its part goes to what there is
			},
		}))
		got := map[string]bool{}
		for range 60 {
			body, err := invoke(r, newCall())
			if err != nil {
				t.Fatal(err)
			}
			got[body] = true
		}
		return got
	}
	if got := with([]traffic.Instance{a}, []traffic.Instance{b}); !got["a"] || got["b"] {
		t.Errorf("with one ready: %v", got)
	}
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
	if got := with(nil, []traffic.Instance{a, b}); !got["a"] || !got["b"] {
		t.Errorf("with none ready: %v", got)
	}
	if got := with([]traffic.Instance{b}, []traffic.Instance{a}); got["a"] || !got["b"] {
		t.Errorf("with one ready again: %v", got)
	}
	for _, line := range []string{"requests go to all that run", "no longer go to instances that fail"} {
		if strings.Count(logged.String(), line) != 1 {
			t.Errorf("%q is not there once:\n%s", line, &logged)
		}
	}
}
