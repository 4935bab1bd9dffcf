package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var key = traffic.Key{Region: "us-east-1", Name: "e"}

func newRouter(t *testing.T, cfg router.Config) *router.Router {
	t.Helper()
	r, err := router.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// upstream starts a container that answers with h and returns its address.
func upstream(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// refused returns an address at which nobody listens.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// to is a route of the endpoint that key names.
func to(version int64, vs ...traffic.Variant) traffic.Route {
	return traffic.Route{
		Scope: arn.Scope{Region: key.Region, Account: "000000000000"}, Name: key.Name, Version: version, Variants: vs,
	}
}

func one(config string, in ...traffic.Instance) traffic.Route {
	return to(1, traffic.Variant{
		Name: "v", Weight: 1, Container: "primary",
		Fleets: []traffic.Fleet{{Config: config, Share: 1, Instances: in}},
	})
}

func newCall() *router.Call {
	return &router.Call{Key: key, Arrived: time.Now(), Request: http1.Outgoing{
		Method: "POST", Path: "/invocations", Body: []byte("x"), Before: time.Now().Add(10 * time.Second),
	}}
}

// invoke sends one request and returns the body of the response.
func invoke(r *router.Router, c *router.Call) (string, error) {
	defer c.Finish()
	if err := r.Do(c); err != nil {
		return "", err
	}
	var body []byte
	for {
		p, err := c.Next()
		body = append(body, p...)
		if errors.Is(err, io.EOF) {
			return string(body), nil
		}
		if err != nil {
			return string(body), err
		}
	}
}

func TestARequestWithNowhereToGoSaysWhy(t *testing.T) {
	r := newRouter(t, router.Config{})
	if _, err := invoke(r, newCall()); !errors.Is(err, router.ErrNoEndpoint) {
		t.Errorf("unknown endpoint: %v", err)
	}
	r.Set(one("c"))
	if _, err := invoke(r, newCall()); !errors.Is(err, router.ErrNoInstance) {
		t.Errorf("no instance: %v", err)
	}
	c := newCall()
	c.TargetVariant = "w"
	if _, err := invoke(r, c); !errors.Is(err, router.ErrNoVariant) {
		t.Errorf("unknown variant: %v", err)
	}
	c = newCall()
	c.Key.Name = "E"
	if _, err := invoke(r, c); !errors.Is(err, router.ErrNoEndpoint) {
		t.Errorf("wrong case: %v", err)
	}
}

func TestRequestsFollowWeightsAndShares(t *testing.T) {
	a, b, c := upstream(t, says("a")), upstream(t, says("b")), upstream(t, says("c"))
	fleet := func(config, addr string, share float64) traffic.Fleet {
		f := traffic.Fleet{Config: config, Share: share}
		if addr != "" {
			f.Instances = []traffic.Instance{{ID: addr, Address: addr}}
		}
		return f
	}
	variant := func(name string, weight float64, f ...traffic.Fleet) traffic.Variant {
		return traffic.Variant{Name: name, Weight: weight, Fleets: f}
	}
	for name, tc := range map[string]struct {
		variants []traffic.Variant
		target   string
		want     map[string]float64
	}{
		"three to one": {[]traffic.Variant{
			variant("v", 3, fleet("1", a, 1)), variant("w", 1, fleet("1", b, 1)),
		}, "", map[string]float64{"a": .75, "b": .25}},
		"all zero is equal": {[]traffic.Variant{
			variant("v", 0, fleet("1", a, 1)), variant("w", 0, fleet("1", b, 1)),
		}, "", map[string]float64{"a": .5, "b": .5}},
		"weight zero gets none": {[]traffic.Variant{
			variant("v", 0, fleet("1", a, 1)), variant("w", 1, fleet("1", b, 1)),
		}, "", map[string]float64{"b": 1}},
		"weight zero may be named": {[]traffic.Variant{
			variant("v", 0, fleet("1", a, 1)), variant("w", 1, fleet("1", b, 1)),
		}, "v", map[string]float64{"a": 1}},
		"fleets by share": {[]traffic.Variant{
			variant("v", 1, fleet("1", a, .9), fleet("2", b, .1)),
		}, "", map[string]float64{"a": .9, "b": .1}},
		"the split holds for a named variant": {[]traffic.Variant{
			variant("v", 0, fleet("1", a, .8), fleet("2", b, .2)), variant("w", 1, fleet("1", c, 1)),
		}, "v", map[string]float64{"a": .8, "b": .2}},
		"an empty fleet's share falls to others": {[]traffic.Variant{
			variant("v", 1, fleet("1", "", .5), fleet("2", b, .25), fleet("3", c, .25)),
		}, "", map[string]float64{"b": .5, "c": .5}},
		"even to one without a share": {
			[]traffic.Variant{variant("v", 1, fleet("1", "", 1), fleet("2", b, 0))}, "", map[string]float64{"b": 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t, router.Config{})
			r.Set(to(0, tc.variants...))
			const n = 2000
			got := map[string]int{}
			for range n {
				call := newCall()
				call.TargetVariant = tc.target
				body, err := invoke(r, call)
				if err != nil {
					t.Fatal(err)
				}
				got[body]++
			}
			for who, share := range tc.want {
				// Five standard deviations.
				if diff := math.Abs(float64(got[who])/n - share); diff > 5*math.Sqrt(share*(1-share)/n) {
					t.Errorf("%s got %d of %d, want %v", who, got[who], n, share)
				}
			}
			if len(got) != len(tc.want) {
				t.Errorf("answers from %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAnOlderVersionNeverReplacesANewerOne(t *testing.T) {
	r := newRouter(t, router.Config{})
	e := one("new")
	e.Version = 7
	r.Set(e)
	r.Set(one("old"))
	if got, _ := r.Route(key); got.Version != 7 {
		t.Errorf("version %d", got.Version)
	}
}

func TestLeastOutstandingGoesWhereTheLeastIsInFlight(t *testing.T) {
	hold := make(chan struct{})
	var arrived sync.WaitGroup
	slow := func(w http.ResponseWriter, _ *http.Request) { arrived.Done(); <-hold }
	e := one("c")
	for i := range 4 {
		e.Variants[0].Fleets[0].Instances = append(e.Variants[0].Fleets[0].Instances,
			traffic.Instance{ID: fmt.Sprint(i), Address: upstream(t, slow)})
	}
	e.Variants[0].Routing = traffic.LeastOutstandingRequests
	r := newRouter(t, router.Config{})
	r.Set(e)
	var wg sync.WaitGroup
	for range 3 {
		arrived.Add(4)
		for range 4 {
			wg.Go(func() { _, _ = invoke(r, newCall()) })
		}
		arrived.Wait()
	}
	total := 0
	for i := range 4 {
		n := r.Outstanding(fmt.Sprint(i))
		total += n
		if n < 2 || n > 4 {
			t.Errorf("instance %d has %d in flight, want about 3", i, n)
		}
	}
	if total != 12 {
		t.Errorf("%d in flight, want 12", total)
	}
	close(hold)
	wg.Wait()
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("it did not happen in 10 s")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestARequestThatNobodyTookIsOfferedToAnotherInstance(t *testing.T) {
	dead, alive := refused(t), upstream(t, says("alive"))
	for _, s := range []traffic.Strategy{traffic.Random, traffic.LeastOutstandingRequests} {
		r := newRouter(t, router.Config{})
		e := one("c", traffic.Instance{ID: "dead", Address: dead}, traffic.Instance{ID: "alive", Address: alive})
		e.Variants[0].Routing = s
		r.Set(e)
		for range 50 {
			if body, err := invoke(r, newCall()); body != "alive" || err != nil {
				t.Fatalf("%q, %v", body, err)
			}
		}
		if n := r.Counts(key)[0]; n.Invocations != 50 || n.ModelErrors != 0 || n.InFlight != 0 {
			t.Errorf("%+v", n)
		}
	}
}

func TestOutcomesAreCountedByTheirClass(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "123")
	}
	status := func(n int) string {
		return upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) })
	}
	for name, tc := range map[string]struct {
		addr          string
		s4, s5, model bool
	}{
		"200":             {status(200), false, false, false},
		"201":             {status(201), false, false, false},
		"302":             {status(302), false, false, true},
		"400":             {status(400), true, false, true},
		"503":             {status(503), false, true, true},
		"refused":         {refused(t), false, true, true},
		"a broken answer": {upstream(t, broken), false, true, true},
		"no answer":       {upstream(t, func(http.ResponseWriter, *http.Request) { <-hang }), false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			var samples []traffic.Sample
			r := newRouter(t, router.Config{OnSample: func(s traffic.Sample) { samples = append(samples, s) }})
			r.Set(one("c", traffic.Instance{ID: "i", Address: tc.addr}))
			c := newCall()
			if name == "no answer" {
				c.Request.Before = time.Now().Add(50 * time.Millisecond)
			}
			_, err := invoke(r, c)
			if f, ok := errors.AsType[*http1.Failure](err); name == "no answer" && (!ok || !f.Timeout) {
				t.Errorf("%v is no timeout", err)
			}
			if len(samples) != 1 {
				t.Fatalf("%d samples", len(samples))
			}
			if s := samples[0]; s.Status4XX != tc.s4 || s.Status5XX != tc.s5 || s.ModelError != tc.model ||
				s.Config != "c" {
				t.Errorf("%+v", s)
			}
			n := r.Counts(key)[0]
			if n.Invocations != 1 || (n.Status4XX == 1) != tc.s4 || (n.Status5XX == 1) != tc.s5 ||
				(n.ModelErrors == 1) != tc.model {
				t.Errorf("%+v", n)
			}
		})
	}
}

func TestCountersAreShownAndLeaveWithTheirEndpoint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := newRouter(t, router.Config{Registerer: reg})
	in := traffic.Instance{ID: "i", Address: upstream(t, says("ok"))}
	r.Set(one("c1", in))
	for range 3 {
		if _, err := invoke(r, newCall()); err != nil {
			t.Fatal(err)
		}
	}
	e := one("c2", in)
	e.Version = 2
	r.Set(e)
	if _, err := invoke(r, newCall()); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "config" {
					n := m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
					got[f.GetName()+" "+l.GetValue()] = n
				}
			}
		}
	}
	for name, want := range map[string]float64{
		"slipway_endpoint_invocations_total c1":        3,
		"slipway_endpoint_invocations_total c2":        1,
		"slipway_endpoint_model_latency_seconds c1":    3,
		"slipway_endpoint_overhead_latency_seconds c2": 1,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	r.Delete(key)
	if families, err = reg.Gather(); err != nil {
		t.Error(err)
	}
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "slipway_endpoint_") {
			t.Errorf("after the endpoint was deleted: %v", f)
		}
	}
}

// The promise on which updates without loss rest: after Set and Drained have
// returned, nothing reaches the instances that were taken out, however many
// requests are choosing at that moment.
func TestNoRequestLandsOnAnInstanceThatIsDraining(t *testing.T) {
	const generations = 60
	var closed [generations]atomic.Bool
	var late atomic.Int64
	addr := make([]string, generations)
	for g := range generations {
		addr[g] = upstream(t, func(w http.ResponseWriter, _ *http.Request) {
			if closed[g].Load() {
				late.Add(1)
			}
			_, _ = io.WriteString(w, "ok")
			if closed[g].Load() {
				late.Add(1)
			}
		})
	}
	r := newRouter(t, router.Config{ // connecting to so many may take a while
		Client: http1.NewClient(http1.UpstreamConfig{DialTimeout: 10 * time.Second}),
	})
	set := func(g int) {
		e := one(fmt.Sprint(g), traffic.Instance{ID: fmt.Sprint(g), Address: addr[g]})
		e.Version = int64(g + 1)
		r.Set(e)
	}
	set(0)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done atomic.Int64
	for range 16 {
		wg.Go(func() {
			c := newCall()
			for ctx.Err() == nil {
				c.Request.Before = time.Now().Add(10 * time.Second)
				if _, err := invoke(r, c); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	for g := 1; g < generations; g++ {
		seen := done.Load()
		waitFor(t, func() bool { return done.Load() > seen+20 || t.Failed() })
		set(g)
		if err := r.Drained(ctx, fmt.Sprint(g-1)); err != nil {
			t.Fatal(err)
		}
		closed[g-1].Store(true)
		if n := r.Outstanding(fmt.Sprint(g - 1)); n != 0 {
			t.Errorf("%d in flight on a drained instance", n)
		}
	}
	stop()
	wg.Wait()
	if n := late.Load(); n > 0 {
		t.Errorf("%d requests reached an instance after it was drained", n)
	}
}

func TestDrainedWaitsForWhatIsInFlight(t *testing.T) {
	hold := make(chan struct{})
	in := traffic.Instance{ID: "i", Address: upstream(t, func(http.ResponseWriter, *http.Request) { <-hold })}
	r := newRouter(t, router.Config{})
	r.Set(one("c", in))
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = invoke(r, newCall()) })
	waitFor(t, func() bool { return r.Outstanding("i") == 1 })
	if err := r.Drained(t.Context(), "i"); !errors.Is(err, router.ErrRouted) {
		t.Errorf("drained while routed: %v", err)
	}
	r.Set(one("c"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.Drained(ctx, "i"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained with a request in flight: %v", err)
	}
	waiting := make(chan error)
	go func() { waiting <- r.Drained(t.Context(), "i") }()
	r.Set(one("c", in)) // it comes back before it was idle
	if err := <-waiting; err != nil && !errors.Is(err, router.ErrRouted) {
		t.Error(err)
	}
	r.Delete(key)
	go func() { waiting <- r.Drained(t.Context(), "i") }()
	close(hold)
	if err := <-waiting; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := r.Drained(t.Context(), "never heard of"); err != nil {
		t.Error(err)
	}
}

func BenchmarkSetOneOfTenThousandEndpoints(b *testing.B) {
	r, err := router.New(router.Config{})
	if err != nil {
		b.Fatal(err)
	}
	named := func(i int) traffic.Route {
		e := one("c", traffic.Instance{ID: fmt.Sprint(i), Address: "127.0.0.1:1"})
		e.Name = fmt.Sprint("e", i)
		return e
	}
	for i := range 10000 {
		r.Set(named(i))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		e := named(i % 10000)
		r.Delete(e.Key())
		r.Set(e)
	}
}
