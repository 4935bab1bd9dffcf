package runtime_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/connlimit"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// looker holds the bodies of all requests, and remembers their answers.
type looker struct {
	mu      sync.Mutex // guards what follows
	bodies  []*connlimit.Shared
	headers []string
	answers []router.Answer
	texts   []string
	asked   []string // the requests' bodies as they were at the end
}

func (l *looker) Observe(q *router.Request) (router.Exchange, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bodies = append(l.bodies, q.Hold())
	l.headers = append(l.headers, q.Header("Content-Type")+q.Header("X-Amzn-SageMaker-Inference-Id")+q.TargetVariant)
	return l, 8 << 20
}

func (l *looker) End(a *router.Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, *a)
	l.texts = append(l.texts, string(a.Body))
	l.asked = append(l.asked, string(a.Request))
}

// watched serves endpoint e before a container, with an observer.
func watched(t *testing.T, container http.HandlerFunc) (*server, *looker, *connlimit.Budget) {
	t.Helper()
	l, bodies := &looker{}, connlimit.NewBudget(1<<30)
	s := start(t, func(c *runtime.Config) { c.Bodies, c.MaxBody = bodies, 6<<20 })
	s.router.Listen("test", l)
	s.serve(t, container)
	rt, _ := s.router.Route(traffic.Key{Region: region, Name: "e"})
	f := rt.Variants[0].Fleets[0]
	f.Capture = &traffic.Capture{Percent: 100, Input: true, Output: true}
	rt.Variants = []traffic.Variant{{Name: "v1", Weight: 1, Fleets: []traffic.Fleet{f}}}
	s.router.Set(rt)
	return s, l, bodies
}

// What observers hold is what was sent, whatever its size and framing and on
// either side, long after its connection has served others.
func TestBodiesAreHeldAsTheyWereSent(t *testing.T) {
	s, l, bodies := watched(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	var sent []string
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for n, size := range []int{0, 1, 1000, 4000, 5000, 70_000, 300_000, 2 << 20, 6 << 20} {
		body := strings.Repeat(string(rune('a'+n)), size)
		for _, url := range []string{s.url, s.rest} {
			for _, op := range []string{"invocations", "invocations-response-stream"} {
				for _, chunked := range []bool{false, true} {
					framed := func(r *http.Request) {
						if chunked {
							r.ContentLength, r.Body = -1, io.NopCloser(strings.NewReader(body))
						}
					}
					req := request(t, url+"/endpoints/e/"+op, body, header("Content-Type", "text/csv"),
						header("X-Amzn-SageMaker-Inference-Id", "id"), header("X-Amzn-SageMaker-Target-Variant", "v1"),
						framed)
					resp, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					if _ = resp.Body.Close(); resp.StatusCode != 200 {
						t.Fatalf("%d bytes, %s, %s: %s", size, url, op, resp.Status)
					}
					sent = append(sent, body)
				}
			}
		}
	}
	if len(l.bodies) != len(sent) || len(l.answers) != len(sent) {
		t.Fatalf("saw %d requests and %d answers of %d", len(l.bodies), len(l.answers), len(sent))
	}
	for i, want := range sent {
		if got := l.bodies[i].Bytes(); !bytes.Equal(got, []byte(want)) {
			t.Errorf("request %d: holds %d bytes, %d were sent", i, len(got), len(want))
		}
		if l.asked[i] != want {
			t.Errorf("request %d: is %d bytes at its end, %d were sent", i, len(l.asked[i]), len(want))
		}
		if a := l.answers[i]; l.texts[i] != want || a.Status != 200 || !a.Whole || a.Truncated || a.Sample.Abandoned {
			t.Errorf("request %d: saw %d bytes of %d in the answer %+v", i, len(l.texts[i]), len(want), a.Sample)
		}
		if l.headers[i] != "text/csvidv1" {
			t.Errorf("request %d: header %q", i, l.headers[i])
		}
		l.bodies[i].Release()
	}
	if bodies.Looking() != 0 {
		t.Errorf("%d bytes are left", bodies.Looking())
	}
}

// Observers see a container's error as it was, also the part that no caller gets.
func TestErrorsOfContainersAreSeen(t *testing.T) {
	text := strings.Repeat("no ", 10_000)
	s, l, _ := watched(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusTeapot) })
	for _, url := range []string{s.url, s.rest} {
		if r := do(t, request(t, url+"/endpoints/e/invocations", "x")); r.status != 424 {
			t.Errorf("%d", r.status)
		}
	}
	for i, a := range l.answers {
		l.bodies[i].Release()
		if a.Status != http.StatusTeapot || strings.TrimSpace(l.texts[i]) != strings.TrimSpace(text) || !a.Whole {
			t.Errorf("saw %d bytes of %+v", len(l.texts[i]), a)
		}
	}
	if len(l.answers) != 2 {
		t.Errorf("saw %d answers", len(l.answers))
	}
}

// Of an error that says more than errors have room for, observers see the beginning,
// and that it was cut: nothing is wrong with it.
func TestALongErrorIsSeenCut(t *testing.T) {
	text := strings.Repeat("no ", 1<<20)
	s, l, _ := watched(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, text, http.StatusTeapot) })
	for i, url := range []string{s.url, s.rest} {
		if r := do(t, request(t, url+"/endpoints/e/invocations", "x")); r.status != 424 {
			t.Errorf("%d", r.status)
		}
		l.bodies[i].Release()
		a := l.answers[i]
		if n := len(l.texts[i]); a.Whole || !a.Cut || n < 64<<10 || !strings.HasPrefix(text, l.texts[i]) {
			t.Errorf("saw %d bytes of %+v", n, a)
		}
	}
}

// Who leaves in the middle of an answer is no failure of the model's, and seen.
func TestACallerWhoLeavesInTheAnswerIsSeen(t *testing.T) {
	s, l, _ := watched(t, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		for q.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 100_000)); err != nil {
				return
			}
		}
	})
	for _, url := range []string{s.url, s.rest} {
		req := request(t, url+"/endpoints/e/invocations", "x")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, 10))
		_ = resp.Body.Close()
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // until both have ended
		l.mu.Lock()
		n := len(l.answers)
		l.mu.Unlock()
		if n == 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of 2 have ended after 10 s", n)
		}
	}
	for i, a := range l.answers {
		l.bodies[i].Release()
		if a.Whole || !a.Sample.Abandoned || a.Sample.ModelError {
			t.Errorf("saw %+v", a)
		}
	}
}
