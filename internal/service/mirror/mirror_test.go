package mirror_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/mirror"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

// Times are compared within one run, in turns, so that it does not matter how busy
// the machine is.
func TestRequestsTakeAsLongWithAShadowThatHangs(t *testing.T) {
	with, without := newWorld(t), newWorld(t)
	with.shadowed(answers("blue"), hangs, 1)
	without.shadowed(answers("blue"), hangs, 0)
	body := strings.Repeat("x", 1<<10)
	var slow, quick []time.Duration
	for range 41 {
		for w, all := range map[*world]*[]time.Duration{with: &slow, without: &quick} {
			began := time.Now()
			for range 20 {
				w.wants(body, "blue")
			}
			*all = append(*all, time.Since(began))
		}
	}
	slices.Sort(slow)
	slices.Sort(quick)
	if a, b := slow[len(slow)/2], quick[len(quick)/2]; a > 2*b {
		t.Errorf("20 requests take %v with a shadow that hangs, and %v without", a, b)
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
		"the farther": {`{"l":"a","p":1}`, `{"p":2,"l":"a"}`, outputs("json:l", "json:p"), "compared 1 numbers "},
		// One output that cannot be compared hides nothing of the others, wherever it is.
		"the second absent": {`{"l":"a"}`, `{"l":"b"}`, outputs("json:l", "json:p"), "compared 1 labels "},
		"the first absent":  {`{"l":"a"}`, `{"l":"b"}`, outputs("json:p", "json:l"), "compared 1 labels "},
		"both absent":       {`{"x":"a"}`, `{"x":"b"}`, outputs("json:p", "json:l"), "shed 0 labels nothing"},
		"nothing":           {`{"p":1}`, `{"p":2}`, outputs("json:label"), "shed 0 labels nothing"},
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
		"the old one fails":           {status(500), answers("{}"), "old failed"},
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

// Two answers of one model may be different texts, or bytes that nobody can read. A gate
// that can undo a deployment learns nothing from that; where it only tells, it may.
func TestTextsAndBytesAreNotComparedWhereADeploymentDependsOnIt(t *testing.T) {
	typed := func(contentType, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(rw, body)
		}
	}
	chat := func(text string) http.HandlerFunc {
		return answers(`{"choices":[{"message":{"role":"assistant","content":"` + text + `"}}]}`)
	}
	said, absent := outputs("json:choices.0.message.content"), outputs("json:b")
	for name, c := range map[string]struct {
		old, green     http.HandlerFunc
		outputs        []traffic.Output
		judged, report string // what comes of it
	}{
		"chat":        {chat("Yes."), chat("Indeed."), nil, "shed loose", "compared 1"},
		"equal chats": {chat("Yes."), chat("Yes."), nil, "shed loose", "compared 0"},
		"plain text":  {typed("text/plain", "a"), typed("text/plain", "b"), nil, "shed loose", "compared 1"},
		"binary":      {typed("image/png", "\x89a"), typed("image/png", "\x89b"), nil, "shed loose", "compared 1"},
		"broken JSON": {answers(`{"a":`), answers(`{"b":`), nil, "shed loose", "compared 1"},
		// What can be read in one answer alone is a difference, whatever the other is.
		"now binary":     {answers(`{"a":1}`), typed("image/png", "\x89"), nil, "compared 1", "compared 1"},
		"another shape":  {answers(`[[1,2]]`), answers(`[1,2]`), nil, "compared 1", "compared 1"},
		"one more":       {answers(`[1,2,3]`), answers(`[1,2,3,4]`), nil, "compared 0.25", "compared 0.25"},
		"a part of it":   {chat("Yes."), chat("No."), said, "compared 1", "compared 1"},
		"not that part":  {answers(`{"a":1}`), answers(`{"a":2}`), absent, "shed nothing", "shed nothing"},
		"text, selected": {typed("text/plain", "a"), typed("text/plain", "b"), absent, "shed nothing", "shed nothing"},
	} {
		for judged, want := range map[bool]string{true: c.judged, false: c.report} {
			w := newWorld(t)
			w.mirrored(c.old, c.green, c.outputs...)
			w.judge(judged)
			_, _ = w.invoke(`{"x":1}`, false)
			w.eventually("a pair", func() bool { return len(w.outcomes()) > 0 })
			w.mu.Lock()
			p := w.pairs[0]
			w.mu.Unlock()
			got := fmt.Sprintf("%s %s", p.Kind, p.Cause)
			if p.Kind == mirror.Compared {
				got = fmt.Sprintf("%s %v", p.Kind, p.D)
			}
			if got != want {
				t.Errorf("%s, judged %v: %s, want %s", name, judged, got, want)
			}
			if n := p.Unread.Blank + p.Unread.Loose; (n == 1) != (p.Kind == mirror.Shed) {
				t.Errorf("%s: %+v of %s", name, p.Unread, p.Kind)
			}
		}
	}
}

// A pair says where its request is captured, if that is sure, and nothing of it.
func TestAPairSaysWhereItsRequestIsCaptured(t *testing.T) {
	for name, c := range map[string]struct {
		capture *traffic.Capture
		want    string
	}{
		"all are":     {&traffic.Capture{Destination: "s3://b/p/", Percent: 100, Input: true}, "s3://b/p/e/v/"},
		"some are":    {&traffic.Capture{Destination: "s3://b/p/", Percent: 99, Input: true}, ""},
		"none is":     {nil, ""},
		"in a bucket": {&traffic.Capture{Destination: "s3://b", Percent: 100, Output: true}, "s3://b/e/v/"},
	} {
		w := newWorld(t)
		w.mirrored(answers(`{"a":1}`), answers(`{"a":2}`))
		rt, _ := w.r.Route(key)
		v := rt.Variants[0]
		v.Fleets = slices.Clone(v.Fleets)
		v.Fleets[0].Capture = c.capture
		w.route(v)
		before := time.Now().UTC().Truncate(time.Second)
		w.wants(`{"x":1}`, `{"a":1}`)
		w.eventually("a pair", func() bool { return len(w.outcomes()) > 0 })
		w.mu.Lock()
		got := w.pairs[0].Example
		w.mu.Unlock()
		want := c.want
		if want != "" {
			want += got.At.Format("2006/01/02/15/")
		}
		if got.Under != want || c.want != "" && got.At.Before(before) {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
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
		Mirror: &traffic.Mirror{Deployment: "d", From: "f1", Ratio: 1, To: traffic.Fleet{
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
