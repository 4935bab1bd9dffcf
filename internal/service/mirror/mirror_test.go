package mirror_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
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
	"github.com/slipway-ml/slipway/internal/service/mirror"
	"github.com/slipway-ml/slipway/internal/service/router"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
		Mirror: &traffic.Mirror{Deployment: "d", Ratio: 1, Outputs: outputs, To: traffic.Fleet{
			ID: "f2", Config: "c2", Role: traffic.NewFleet, Instances: []traffic.Instance{in},
		}},
	})
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
		out = append(out, fmt.Sprintf("%s %v %v %s of %s %s, slot %d, epoch %d", p.Kind, p.D, p.How, p.Cause, p.Deployment,
			p.Variant, p.Slot, p.Epoch))
	}
	return out
}

func TestAShadowGetsTheShareOfRequestsThatItsWeightSays(t *testing.T) {
	const requests, ratio = 10_000, 0.3
	w := newWorld(t)
	w.shadowed(answers("blue"), answers("shadow"), ratio)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range requests / 4 {
				if got, err := w.invoke("{}", false); got != "blue" || err != nil {
					t.Errorf("%q, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	w.close()
	sent, dropped := w.counter("slipway_shadow_copies_total"), w.counter("slipway_shadow_dropped_total")
	if got, off := (sent+dropped)/requests, 4*math.Sqrt(ratio*(1-ratio)/requests); math.Abs(got-ratio) > off {
		t.Errorf("%.4f of the requests were copied (%v sent, %v dropped), want %v", got, sent, dropped, ratio)
	}
	if sent < requests*ratio/4 {
		t.Errorf("%v sent, %v dropped", sent, dropped)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts["v"] != requests || w.counts["s"] != int(sent) || w.counts["v failed"]+w.counts["s failed"] != 0 {
		t.Errorf("counted %v", w.counts)
	}
}

func TestACopyIsWhatTheCallerSentAndSaysThatItIsOne(t *testing.T) {
	w := newWorld(t)
	got := make(chan string, 100)
	w.shadowed(answers("blue"), func(_ http.ResponseWriter, r *http.Request) {
		time.Sleep(20 * time.Millisecond) // until the request has been answered, and others have come
		b, err := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %s %v", r.Header.Get(mirror.Header), r.Header.Get("Content-Type"), b, err)
	}, 1)
	want := map[string]bool{}
	for i := range 40 {
		body := strings.Repeat(fmt.Sprint("[", i, "]"), 20_000)
		want["shadow application/json "+body+" <nil>"] = true
		w.wants(body, "blue")
		w.eventually("room for another copy", func() bool { return w.counter("slipway_copies_in_flight") < 4 })
	}
	for range 40 {
		if g := <-got; !want[g] {
			t.Fatalf("a copy is %.80q", g)
		}
	}
}

// hangs answers nothing as long as anybody waits.
func hangs(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // until then, nobody looks whether the client has left
	<-r.Context().Done()
}

// whatShadowsDo are the ways in which a shadow may be of no use.
func whatShadowsDo() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"hangs": hangs,
		"fails": func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusInternalServerError) },
		"dies": func(rw http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(rw).Hijack()
			if err == nil {
				_ = c.Close()
			}
		},
		"streams without end": func(rw http.ResponseWriter, r *http.Request) {
			for {
				select {
				case <-r.Context().Done():
					return
				case <-time.After(time.Millisecond): // a server's pace
					if _, err := rw.Write([]byte("data: x\n\n")); err != nil {
						return
					}
					_ = http.NewResponseController(rw).Flush()
				}
			}
		},
	}
}

func TestNothingThatAShadowDoesReachesTheCaller(t *testing.T) {
	for name, shadow := range whatShadowsDo() {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.shadowed(answers("blue"), shadow, 1)
			for range 300 {
				w.wants("{}", "blue")
			}
			if n := w.counter("slipway_copies_in_flight"); n > 4 {
				t.Errorf("%v copies in flight to one instance", n)
			}
			sent, dropped := w.counter("slipway_shadow_copies_total"), w.counter("slipway_shadow_dropped_total")
			w.close()
			if name == "hangs" && (sent != 4 && sent != 0 || dropped < 290) {
				t.Errorf("%v sent, %v dropped", sent, dropped)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.counts["v"] != 300 || w.counts["v failed"] != 0 {
				t.Errorf("%v", w.counts)
			}
		})
	}
}

func TestMemoryStaysFlatWithAShadowThatHangs(t *testing.T) {
	w := newWorld(t)
	w.shadowed(answers("blue"), hangs, 1)
	body := strings.Repeat("x", 1<<20)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for range 50 {
		w.wants(body, "blue")
	}
	before := heap()
	for range 400 {
		w.wants(body, "blue")
	}
	if after := heap(); after > before+16<<20 {
		t.Errorf("the heap grew from %d to %d MiB", before>>20, after>>20)
	}
}

func TestASecondAnswerIsComparedWithTheCallers(t *testing.T) {
	for name, c := range map[string]struct {
		old, green string
		outputs    []traffic.Output
		want       string
	}{
		"the same":    {`{"label":"a","p":1}`, `{"p":1,"label":"a"}`, nil, "compared 0 leaves "},
		"half":        {`{"label":"a","p":1}`, `{"p":1,"label":"b"}`, nil, "compared 0.5 leaves "},
		"of a label":  {`{"label":"a","p":1}`, `{"p":2,"label":"a"}`, outputs("json:label"), "compared 0 labels "},
		"the farther": {`{"label":"a","p":1}`, `{"p":2,"label":"a"}`, outputs("json:label", "json:p"), "compared 1 numbers "},
		"nothing":     {`{"p":1}`, `{"p":2}`, outputs("json:label"), "shed 0 labels nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mirrored(answers(c.old), answers(c.green), c.outputs...)
			w.wants(`{"x":1}`, c.old)
			w.eventually("a pair", func() bool { return len(w.outcomes()) > 0 })
			want := c.want + " of d v, slot 5, epoch 7"
			if got := w.outcomes(); len(got) != 1 || got[0] != want {
				t.Errorf("%q, want %q", got, want)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.counts["v"] != 1 || len(w.counts) != 1 {
				t.Errorf("a copy was counted as a request: %v", w.counts)
			}
		})
	}
}

func outputs(selectors ...string) (out []traffic.Output) {
	for _, s := range selectors {
		out = append(out, traffic.Output{Selector: s})
	}
	return out
}

func TestWhatCannotBeComparedIsNoAgreement(t *testing.T) {
	status := func(code int) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) }
	}
	long := answers(strings.Repeat(" ", 2<<20))
	for name, c := range map[string]struct {
		old, green http.HandlerFunc
		want       string // "": no pair
	}{
		"the new fleet fails":         {answers("{}"), status(500), "new failed"},
		"it refuses":                  {answers("{}"), status(400), "new failed"},
		"the old one fails":           {status(500), answers("{}"), ""},
		"both fail":                   {status(500), status(500), ""},
		"the new answer is too long":  {answers("{}"), long, "shed size"},
		"the old answer is too long":  {long, answers("{}"), "shed size"},
		"the new fleet breaks it off": {answers("{}"), whatShadowsDo()["dies"], "new failed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.mirrored(c.old, c.green)
			_, _ = w.invoke("{}", false)
			if c.want == "" {
				w.eventually("the copy was sent", func() bool { return w.counter("slipway_mirror_copies_total") == 1 })
				w.close()
			} else {
				w.eventually("a pair", func() bool { return len(w.outcomes()) > 0 })
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			got := ""
			for _, p := range w.pairs {
				got += strings.TrimSpace(string(p.Kind) + " " + p.Cause)
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestOneRequestMakesOnePair(t *testing.T) {
	w := newWorld(t)
	w.mirrored(answers(`1`), answers(`2`))
	for range 50 {
		w.wants(`"hot"`, `1`)
		w.eventually("the copy is done", func() bool { return w.counter("slipway_copies_in_flight") == 0 })
	}
	w.wants(`"other"`, `1`)
	w.eventually("two pairs", func() bool { return len(w.outcomes()) == 2 })
	if n := w.counter("slipway_mirror_dropped_total", "repeated"); n != 49 {
		t.Errorf("%v were left out as repeated", n)
	}
	if n := w.counter("slipway_mirror_copies_total"); n != 2 {
		t.Errorf("%v copies were sent", n)
	}
}

func TestStreamsGoToShadowsAndAreNotMirrored(t *testing.T) {
	w := newWorld(t)
	var copies atomic.Int64
	stream := func(rw http.ResponseWriter, _ *http.Request) {
		copies.Add(1)
		for range 3 {
			_, _ = io.WriteString(rw, "part")
			_ = http.NewResponseController(rw).Flush()
		}
	}
	w.shadowed(answers("blue"), stream, 1)
	if _, err := w.invoke("{}", true); err != nil {
		t.Fatal(err)
	}
	w.eventually("the shadow's stream is read", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.counts["s"] == 1
	})
	w.mirrored(answers("blue"), stream)
	if _, err := w.invoke("{}", true); err != nil {
		t.Fatal(err)
	}
	w.close()
	if copies.Load() != 1 || w.counter("slipway_mirror_copies_total") != 0 {
		t.Errorf("%d copies, %v mirrored", copies.Load(), w.counter("slipway_mirror_copies_total"))
	}
}

func TestTheNewFleetsOwnRequestsAreNotMirrored(t *testing.T) {
	w := newWorld(t)
	green := w.container(answers("green"))
	w.route(traffic.Variant{
		Fleets: []traffic.Fleet{{
			ID: "f2", Config: "c2", Share: 1, Role: traffic.NewFleet, Instances: []traffic.Instance{green},
		}},
		Mirror: &traffic.Mirror{Deployment: "d", Ratio: 1, To: traffic.Fleet{
			ID: "f2", Config: "c2", Role: traffic.NewFleet, Instances: []traffic.Instance{green},
		}},
	})
	w.wants("{}", "green")
	w.close()
	if n := w.counter("slipway_mirror_copies_total") + w.counter("slipway_mirror_dropped_total"); n != 0 {
		t.Errorf("%v copies", n)
	}
}

func TestClosingGivesUpWhatIsInFlight(t *testing.T) {
	w := newWorld(t)
	arrived := make(chan struct{}, 1)
	w.shadowed(answers("blue"), func(rw http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		hangs(rw, r)
	}, 1)
	w.wants("{}", "blue")
	<-arrived
	began := time.Now()
	w.close()
	if took := time.Since(began); took > 10*time.Second { // it would be a minute
		t.Errorf("it took %v", took)
	}
	w.wants("{}", "blue")
	if n := w.counter("slipway_shadow_dropped_total", "closed"); n != 1 {
		t.Errorf("%v left out since", n)
	}
}
