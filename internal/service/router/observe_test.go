package router_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// looker looks at every request, and keeps what it sees.
type looker struct {
	keep int

	mu   sync.Mutex // guards what follows
	seen []*sight
}

// sight is what a looker saw of a request.
type sight struct {
	request router.Request
	body    *connlimit.Shared
	answers int
	answer  router.Answer
	held    *connlimit.Shared
}

func (l *looker) Observe(q *router.Request) (router.Exchange, int) {
	s := &sight{request: *q, body: q.Hold()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, s)
	return s, l.keep
}

func (s *sight) End(a *router.Answer) {
	s.answers++
	s.answer = *a
	s.held = a.Hold()
}

// release lets go of all that was seen, and says how often each ended.
func (l *looker) release(t *testing.T) {
	t.Helper()
	for _, s := range l.seen {
		if s.answers != 1 {
			t.Errorf("a request ended %d times", s.answers)
		}
		for _, h := range []*connlimit.Shared{s.body, s.held} {
			if h != nil {
				h.Release()
			}
		}
	}
}

// watchedBy is a route to instances whose requests observers are asked about.
func watchedBy(in ...traffic.Instance) traffic.Route {
	rt := one("c", in...)
	rt.Variants[0].Fleets[0].Capture = &traffic.Capture{Percent: 100, Input: true, Output: true}
	return rt
}

// Whatever becomes of a request, an observer hears of its end once, and how it
// ended.
func TestAnObserverHearsOnceWhatBecameOfARequest(t *testing.T) {
	for name, tt := range map[string]struct {
		container http.HandlerFunc
		edit      func(*router.Call)
		want      string
	}{
		"an answer":  {says("hello"), nil, `200 "hello" whole`},
		"a longer":   {says("hello world"), nil, `200 "hello wo" truncated whole`},
		"in chunks":  {chunks("he", "llo"), nil, `200 "hello" whole`},
		"an error":   {refuses, nil, `418 "no" whole failed`},
		"it dies":    {dies, nil, `200 "he" failed`},
		"no answer":  {hangs, func(c *router.Call) { c.Request.Before = time.Now() }, `0 "" late failed`},
		"it is left": {hangs, func(c *router.Call) { c.Request.Client = gone(true) }, `0 "" abandoned`},
		"dead":       {nil, nil, `0 "" failed`},
	} {
		l, b := &looker{keep: 8}, connlimit.NewBudget(1<<20)
		r := newRouter(t, router.Config{
			Bodies: b, Client: http1.NewClient(http1.UpstreamConfig{Tick: time.Millisecond}),
		})
		r.Listen("test", l)
		addr := refused(t)
		if tt.container != nil {
			addr = upstream(t, tt.container)
		}
		r.Set(watchedBy(traffic.Instance{ID: "i", Address: addr}))
		c := newCall()
		c.Request.Body = []byte("question")
		if tt.edit != nil {
			tt.edit(c)
		}
		_, _ = invoke(r, c)
		if len(l.seen) != 1 || string(l.seen[0].body.Bytes()) != "question" {
			t.Fatalf("%s: saw %d", name, len(l.seen))
		}
		if got := describe(&l.seen[0].answer, l.seen[0].held.Bytes()); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if d := l.seen[0].answer.Sample.Draw; d.At.IsZero() || d.Instance != "i" {
			t.Errorf("%s: drawn %+v", name, d)
		}
		if l.release(t); b.Used() != 0 {
			t.Errorf("%s: %d bytes are left", name, b.Used())
		}
	}
}

func chunks(parts ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, p := range parts {
			_, _ = io.WriteString(w, p)
			_ = http.NewResponseController(w).Flush()
		}
	}
}

func refuses(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusTeapot) }

func dies(w http.ResponseWriter, _ *http.Request) {
	chunks("he")(w, nil)
	panic(http.ErrAbortHandler)
}

func hangs(_ http.ResponseWriter, q *http.Request) {
	_, _ = io.Copy(io.Discard, q.Body) // who has not read it does not hear that the client leaves
	<-q.Context().Done()
}

func describe(a *router.Answer, body []byte) string {
	s := fmt.Sprintf("%d %q", a.Status, strings.TrimSpace(string(body[:min(len(body), 8)])))
	for _, f := range []struct {
		word string
		is   bool
	}{
		{"truncated", a.Truncated},
		{"dropped", a.Dropped},
		{"whole", a.Whole},
		{"late", a.Timeout},
		{"failed", a.Sample.ModelError},
		{"abandoned", a.Sample.Abandoned},
	} {
		if f.is {
			s += " " + f.word
		}
	}
	return s
}

// A request that is offered to a second instance is one request, seen as the
// first was drawn.
func TestARetryIsSeenOnce(t *testing.T) {
	l := &looker{keep: 8}
	r := newRouter(t, router.Config{})
	r.Listen("test", l)
	alive := upstream(t, says("a"))
	r.Set(watchedBy(traffic.Instance{ID: "dead", Address: refused(t)}, traffic.Instance{ID: "alive", Address: alive}))
	for range 20 {
		if _, err := invoke(r, newCall()); err != nil {
			t.Fatal(err)
		}
	}
	retried := 0
	for _, s := range l.seen {
		if s.answer.Sample.Retried {
			retried++
		}
		if s.request.Draw != s.answer.Sample.Draw || s.answer.Sample.Retried != (s.request.Draw.Instance == "dead") {
			t.Errorf("drawn %+v, ended %+v", s.request.Draw, s.answer.Sample)
		}
	}
	if l.release(t); len(l.seen) != 20 || retried == 0 {
		t.Errorf("saw %d requests, %d of them twice offered", len(l.seen), retried)
	}
}

// The route may be gone when a second instance is looked for: the observer hears
// of the end all the same.
func TestAnEndpointThatIsDeletedMeanwhileEndsWhatWasSeen(t *testing.T) {
	l := &looker{}
	r := newRouter(t, router.Config{})
	r.Listen("test", observerFunc(func(q *router.Request) (router.Exchange, int) {
		r.Delete(key)
		return l.Observe(q)
	}))
	r.Set(watchedBy(
		traffic.Instance{ID: "1", Address: refused(t)}, traffic.Instance{ID: "2", Address: refused(t)},
	))
	if _, err := invoke(r, newCall()); err == nil {
		t.Error("it was answered")
	}
	if l.release(t); len(l.seen) != 1 {
		t.Errorf("saw %d", len(l.seen))
	}
}

type observerFunc func(q *router.Request) (router.Exchange, int)

func (f observerFunc) Observe(q *router.Request) (router.Exchange, int) { return f(q) }

// Nobody is asked where the route says that nobody listens, and each sees as much
// as it asked for.
func TestObserversSeeWhatTheyAskFor(t *testing.T) {
	none, some, all := &looker{}, &looker{keep: 3}, &looker{keep: 100}
	r := newRouter(t, router.Config{})
	r.Listen("none", none)
	r.Listen("some", some)
	r.Listen("nobody", observerFunc(func(*router.Request) (router.Exchange, int) { return nil, 1 << 30 }))
	r.Listen("all", all)
	in := traffic.Instance{ID: "i", Address: upstream(t, says("hello"))}
	for i, rt := range []traffic.Route{one("c", in), watchedBy(in)} {
		rt.Version = int64(i)
		r.Set(rt)
		if body, err := invoke(r, newCall()); body != "hello" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
	}
	for l, want := range map[*looker]string{none: "", some: "hel", all: "hello"} {
		if len(l.seen) != 1 {
			t.Fatalf("saw %d", len(l.seen))
		}
		a := l.seen[0].answer
		if string(a.Body) != want || a.Truncated != (want != "hello") || a.Dropped {
			t.Errorf("saw %q of the answer, want %q", a.Body, want)
		}
		l.release(t)
	}
}

// What there is no room for is dropped and counted, and the request is answered.
func TestWhatThereIsNoRoomForIsDroppedAndCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	l := &looker{keep: 1 << 20}
	b := connlimit.NewBudget(64 << 10)
	r := newRouter(t, router.Config{Bodies: b, Registerer: reg})
	r.Listen("test", l)
	large := strings.Repeat("x", 100_000)
	r.Set(watchedBy(traffic.Instance{ID: "i", Address: upstream(t, says(large))}))
	c := newCall()
	c.Request.Body = []byte(large)
	if body, err := invoke(r, c); body != large || err != nil {
		t.Fatalf("%d bytes, %v", len(body), err)
	}
	s := l.seen[0]
	if s.body != nil || s.held != nil || !s.answer.Dropped || len(s.answer.Body) > 0 || !s.answer.Whole {
		t.Errorf("saw %+v", s)
	}
	if l.release(t); b.Used() != 0 {
		t.Errorf("%d bytes are left", b.Used())
	}
	if got := counted(t, reg, "slipway_hook_dropped_total"); got != 2 {
		t.Errorf("%v are counted as dropped", got)
	}
}

// Requests of all kinds at the same time, looked at by two: what each holds is
// what passed, and nothing is left.
func TestManyRequestsAreSeenAsTheyPassed(t *testing.T) {
	small, large := &looker{keep: 64}, &looker{keep: 1 << 20}
	b := connlimit.NewBudget(1 << 30)
	r := newRouter(t, router.Config{Bodies: b})
	r.Listen("small", small)
	r.Listen("large", large)
	r.Set(watchedBy(traffic.Instance{ID: "i", Address: upstream(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		if len(body)%7 == 0 {
			_ = http.NewResponseController(w).Flush() // no length
		}
		_, _ = w.Write(body)
	})}))
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			c := newCall()
			for n := range 50 {
				c.Arrived, c.Request.Before = time.Now(), time.Now().Add(time.Minute)
				c.Request.Body = bytes.Repeat([]byte{byte(i*50 + n)}, 1+n*997)
				if body, err := invoke(r, c); body != string(c.Request.Body) || err != nil {
					t.Errorf("%d bytes of %d: %v", len(body), len(c.Request.Body), err)
				}
			}
		})
	}
	wg.Wait()
	for _, l := range []*looker{small, large} {
		if len(l.seen) != 400 {
			t.Errorf("saw %d", len(l.seen))
		}
		for _, s := range l.seen {
			want := s.body.Bytes()
			if len(want) == 0 || bytes.Count(want, want[:1]) != len(want) {
				t.Fatalf("another request's bytes are in this one's: %d", len(want))
			}
			if got := s.answer.Body; !bytes.Equal(got, want[:min(len(want), l.keep)]) ||
				!bytes.HasPrefix(s.held.Bytes(), got) {
				t.Fatalf("saw %d bytes of the answer to %d", len(got), len(want))
			}
		}
		l.release(t)
	}
	if b.Used() != 0 || b.Looking() != 0 {
		t.Errorf("%d bytes are left", b.Used())
	}
}
