package mirror_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/mirror"
	"github.com/slipway-ml/slipway/internal/service/router"
)

var key = traffic.Key{Region: "us-east-1", Name: "e"}

// world is a router with a Mirror, before containers that tests provide.
type world struct {
	t      testing.TB
	r      *router.Router
	m      *mirror.Mirror
	reg    *prometheus.Registry
	mu     sync.Mutex
	pairs  []mirror.Pair
	counts map[string]int // samples by variant
	close  func()
	served []*httptest.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, reg: prometheus.NewRegistry(), counts: map[string]int{}}
	var err error
	w.r, err = router.New(router.Config{OnSample: func(s traffic.Sample) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.counts[s.Variant]++
		if s.ModelError {
			w.counts[s.Variant+" failed"]++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.m, err = mirror.New(mirror.Config{
		Router: w.r, Timeout: time.Minute, StreamTimeout: time.Minute, Registerer: w.reg,
		Pairs: func(p mirror.Pair) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.pairs = append(w.pairs, p)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.m.Listen()
	w.close = sync.OnceFunc(w.m.Close)
	t.Cleanup(func() {
		w.close()
		w.r.Close()
		for _, s := range w.served {
			s.CloseClientConnections() // those that hang end by it
			s.Close()
		}
	})
	return w
}

// container starts a container and returns an instance of it.
func (w *world) container(h http.HandlerFunc) traffic.Instance {
	w.t.Helper()
	s := httptest.NewServer(h)
	w.served = append(w.served, s)
	addr := strings.TrimPrefix(s.URL, "http://")
	return traffic.Instance{ID: addr, Address: addr}
}

// answers says the same to every request, in JSON.
func answers(body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rw.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(rw, body)
	}
}

func (w *world) route(v traffic.Variant) {
	v.Name, v.Weight, v.Container = "v", 1, "primary"
	w.r.Set(traffic.Route{
		Scope: arn.Scope{Region: key.Region, Account: "000000000000"}, Name: key.Name, Version: 7,
		Variants: []traffic.Variant{v},
	})
}

// shadowed routes to one instance, and copies a part to a shadow of another.
func (w *world) shadowed(own, shadow http.HandlerFunc, ratio float64) {
	w.route(traffic.Variant{
		Fleets: []traffic.Fleet{{
			ID: "f1", Config: "c1", Share: 1, Instances: []traffic.Instance{w.container(own)},
		}},
		Shadows: []traffic.Shadow{{Name: "s", Ratio: ratio, Container: "primary", Fleets: []traffic.Fleet{{
			ID: "f1", Config: "c1", Share: 1, Instances: []traffic.Instance{w.container(shadow)},
		}}}},
	})
}

// mirrored routes to an old fleet, and copies all to the new one.
func (w *world) mirrored(old, green http.HandlerFunc, outputs ...traffic.Output) {
	in := w.container(green)
	in.Slot = 5
	w.route(traffic.Variant{
		Fleets: []traffic.Fleet{{
			ID: "f1", Config: "c1", Share: 1, Role: traffic.OldFleet, Instances: []traffic.Instance{w.container(old)},
		}},
		Mirror: &traffic.Mirror{Deployment: "d", From: "f1", Ratio: 1, Outputs: outputs, To: traffic.Fleet{
			ID: "f2", Config: "c2", Role: traffic.NewFleet, Instances: []traffic.Instance{in},
		}},
	})
}

// judge says whether a gate that judges has the answers compared.
func (w *world) judge(judged bool) {
	rt, _ := w.r.Route(key)
	v := rt.Variants[0]
	m := *v.Mirror
	m.Judged = judged
	v.Mirror = &m
	w.route(v)
}

// invoke sends one request and returns its answer.
func (w *world) invoke(body string, streaming bool) (string, error) {
	c := &router.Call{Key: key, Arrived: time.Now(), Streaming: streaming, Request: http1.Outgoing{
		Method: "POST", Path: "/invocations", Body: []byte(body), Length: true, Before: time.Now().Add(time.Minute),
		Fields: []http1.Field{{Name: "Content-Type", Value: "application/json"}},
	}}
	defer c.Finish()
	err := w.r.Do(c)
	var got []byte
	for err == nil {
		var part []byte
		part, err = c.Next()
		got = append(got, part...)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err == nil && c.Response.Status != http.StatusOK {
		err = fmt.Errorf("status %d", c.Response.Status)
	}
	return string(got), err
}

// wants sends one request that has to be answered with want.
func (w *world) wants(body, want string) {
	w.t.Helper()
	if got, err := w.invoke(body, false); got != want || err != nil {
		w.t.Fatalf("%q, %v; want %q", got, err, want)
	}
}

// counter sums a counter over its labels, of those that have all of the values.
func (w *world) counter(name string, values ...string) (n float64) {
	w.t.Helper()
	all, err := w.reg.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if !slices.ContainsFunc(values, func(v string) bool { return !slices.Contains(have, v) }) {
				n += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return n
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for range 2000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond) // between two looks at what goroutines have done
	}
	w.t.Fatalf("never: %s", what)
}

// outcomes are the pairs so far, in words.
func (w *world) outcomes() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pairs {
		out = append(out, fmt.Sprintf("%s %v %v %s of %s %s, slot %d, epoch %d", p.Kind, p.D, p.How, p.Cause,
			p.Deployment, p.Variant, p.Slot, p.Epoch))
	}
	return out
}
