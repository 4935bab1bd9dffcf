package capture_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/capture"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// One draw for each request, at the share that was asked for.
func TestAShareOfTheRequestsIsDrawn(t *testing.T) {
	for percent, within := range map[int][2]int{0: {0, 0}, 20: {1800, 2200}, 100: {10000, 10000}} { // 20 %: 5 σ
		w := newWorld(t)
		q := router.Request{
			Key: live, Variant: &traffic.Variant{Name: "main"},
			Fleet: &traffic.Fleet{Capture: &traffic.Capture{Destination: "s3://kept", Percent: percent, Output: true}},
		}
		drawn := 0
		for range 10000 {
			if x, keep := w.service.Observe(&q); x != nil {
				if drawn++; keep != 6<<20 {
					t.Fatalf("%d bytes of the answer are asked for", keep)
				}
			}
		}
		if drawn < within[0] || drawn > within[1] {
			t.Errorf("of 10,000 requests at %d %%, %d were drawn", percent, drawn)
		}
	}
	w := newWorld(t)
	if x, _ := w.service.Observe(&router.Request{Fleet: &traffic.Fleet{}}); x != nil {
		t.Error("a request of a fleet without a capture is drawn")
	}
}

// routed is a real router before a container, with the service as its observer.
type routed struct {
	*world
	router *router.Router
}

func newRouted(t *testing.T, c *traffic.Capture, container http.HandlerFunc) *routed {
	t.Helper()
	w := newWorld(t)
	r, err := router.New(router.Config{ // on a busy machine, connecting takes a while
		Registerer: w.registry, Client: http1.NewClient(http1.UpstreamConfig{DialTimeout: 10 * time.Second}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	r.Listen("capture", w.service)
	srv := httptest.NewServer(container)
	t.Cleanup(srv.Close)
	rt := &routed{w, r}
	rt.serve(c, strings.TrimPrefix(srv.URL, "http://"))
	return rt
}

// serve sets the route to one instance.
func (r *routed) serve(c *traffic.Capture, address string) {
	r.router.Set(traffic.Route{
		Scope: arn.Scope{Region: live.Region, Account: "000000000000"}, Name: live.Name,
		Variants: []traffic.Variant{{Name: "main", Weight: 1, Fleets: []traffic.Fleet{{
			ID: "f", Config: "c", Share: 1, Capture: c, Instances: []traffic.Instance{{ID: address, Address: address}},
		}}}},
	})
}

// call is a request that is yet to be sent.
func (r *routed) call(body string, fields ...http1.Field) *router.Call {
	patience := time.Minute
	if body == "slow" {
		patience = time.Second
	}
	return &router.Call{
		Key: live, Arrived: time.Now(),
		Request: http1.Outgoing{
			Method: "POST", Path: "/invocations", Fields: fields, Body: []byte(body), Length: true,
			Before: time.Now().Add(patience),
		},
	}
}

// invoke sends a request and reads the answer, up to so many bytes.
func (r *routed) invoke(body string, upTo int, fields ...http1.Field) (status int, text string, err error) {
	c := r.call(body, fields...)
	defer c.Finish()
	if err := r.router.Do(c); err != nil {
		return 0, "", err
	}
	var b bytes.Buffer
	for b.Len() < upTo {
		p, err := c.Next()
		b.Write(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c.Response.Status, b.String(), err
		}
	}
	if b.Len() >= upTo {
		c.Abandon()
	}
	return c.Response.Status, b.String(), nil
}

// all stops the service and returns what it captured, by the input.
func (r *routed) all() map[string]line {
	r.t.Helper()
	r.stop()
	found := map[string]line{}
	for _, o := range r.objects("kept") {
		for _, l := range r.lines(o.text) {
			found[l.CaptureData["endpointInput"].Data] = l
		}
	}
	return found
}

// begin runs the service without a bubble: the router's connections are real.
func (r *routed) begin() {
	ctx, cancel := context.WithCancel(r.t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { r.service.Run(ctx) })
	r.stop = func() { cancel(); wg.Wait() }
	r.t.Cleanup(r.stop)
}

const everything = 1 << 30

// moody is a container that does what the body says.
func moody(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body) // its end is what the caller sent
	w.Header().Set("Content-Type", "application/json; x=1")
	switch string(body) {
	case "400":
		w.WriteHeader(400)
		_, _ = io.WriteString(w, "no") // the caller is there
	case "500":
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "sorry") // as above
	case "slow":
		<-q.Context().Done()
	case "reset":
		panic(http.ErrAbortHandler)
	case "broken", "left":
		_, _ = io.WriteString(w, strings.Repeat("a", 100_000)) // as above
		_ = http.NewResponseController(w).Flush()              // as above
		panic(http.ErrAbortHandler)
	case "empty":
	case "chunks":
		for _, p := range []string{"a", "b", "c"} {
			_, _ = io.WriteString(w, p)               // as above
			_ = http.NewResponseController(w).Flush() // as above
		}
	default:
		_, _ = io.WriteString(w, `{"a":1}`) // as above
	}
}

func TestEachOutcomeIsCapturedAsItIs(t *testing.T) {
	rt := newRouted(t, both, moody)
	rt.begin()
	want := map[string]string{ // by input, the output
		"": `{"a":1}`, "1": `{"a":1}`, "400": "no", "500": "sorry", "empty": "", "chunks": "abc",
		"slow": "none", "reset": "none", "broken": "none", "left": "none",
	}
	for body := range want {
		upTo := everything
		if body == "left" {
			upTo = 10
		}
		_, _, _ = rt.invoke(body, upTo, http1.Field{Name: "Content-Type", Value: "text/csv"}, // it is captured, too
			http1.Field{Name: "Accept", Value: "a/b"},
			http1.Field{Name: "X-Amzn-SageMaker-Custom-Attributes", Value: "x"},
			http1.Field{Name: "X-Amzn-SageMaker-Inference-Id", Value: "id-" + body})
	}
	// Nobody takes it: there is nothing to capture.
	rt.serve(both, closedPort(t))
	if _, _, err := rt.invoke("dial", everything); err == nil {
		t.Error("a closed port answered")
	}

	got := rt.all()
	for input, output := range want {
		l, ok := got[input]
		if !ok {
			t.Errorf("%q is not captured", input)
			continue
		}
		out, answered := l.CaptureData["endpointOutput"]
		if answered != (output != "none") || answered && (out.Data != output || out.Encoding != "JSON" ||
			out.ObservedContentType != "application/json; x=1" || out.Mode != "OUTPUT") {
			t.Errorf("%q: the output is %+v", input, out)
		}
		if l.EventMetadata.InferenceID != "id-"+input || len(l.EventMetadata.CustomAttributes) != 1 {
			t.Errorf("%q: %+v", input, l.EventMetadata)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d requests are captured: %v", len(got), got)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// A side that is not asked for is not kept, and a request of which nothing would
// be kept has no line.
func TestOnlyTheSidesThatAreAskedForAreCaptured(t *testing.T) {
	for name, c := range map[string]struct {
		in, out bool
		lines   int
	}{"input": {true, false, 2}, "output": {false, true, 1}} {
		t.Run(name, func(t *testing.T) {
			half := *both
			half.Input, half.Output = c.in, c.out
			rt := newRouted(t, &half, func(w http.ResponseWriter, q *http.Request) {
				if body, _ := io.ReadAll(q.Body); string(body) == "reset" { // as above
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, "{}")
			})
			rt.begin()
			for _, body := range []string{"1", "reset"} {
				_, _, _ = rt.invoke(body, everything) // it is captured, or not
			}
			rt.stop()
			n := 0
			for _, o := range rt.objects("kept") {
				for _, l := range rt.lines(o.text) {
					n++
					_, in := l.CaptureData["endpointInput"]
					_, out := l.CaptureData["endpointOutput"]
					if in != c.in || out != c.out {
						t.Errorf("%+v", l)
					}
				}
			}
			if n != c.lines {
				t.Errorf("%d lines, want %d", n, c.lines)
			}
		})
	}
}

func TestALargeAnswerIsCut(t *testing.T) {
	rt := newRouted(t, both, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // its end is what the caller sent
		_, _ = io.WriteString(w, strings.Repeat("x", 7<<20))
	})
	rt.begin()
	_, text, err := rt.invoke("1", everything, http1.Field{Name: "Content-Type", Value: "text/csv"})
	if err != nil || len(text) != 7<<20 {
		t.Fatalf("%d bytes came, %v", len(text), err)
	}
	l := rt.all()["1"]
	if n := len(l.CaptureData["endpointOutput"].Data); n != 8<<20 || !l.EventMetadata.Truncated { // in base 64
		t.Errorf("%d letters are captured, truncated: %v", n, l.EventMetadata.Truncated)
	}
}

// An error of which nobody reads on is captured as far as it was read.
func TestALongErrorIsCapturedCut(t *testing.T) {
	rt := newRouted(t, both, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body) // its end is what the caller sent
		http.Error(w, strings.Repeat("x", 1<<20), http.StatusTeapot)
	})
	rt.begin()
	c := rt.call("1")
	if err := rt.router.Do(c); err != nil {
		t.Fatal(err)
	}
	part, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	want := base64.StdEncoding.EncodeToString(part)
	c.Finish()
	l := rt.all()["MQ=="]
	if got := l.CaptureData["endpointOutput"].Data; got != want || !l.EventMetadata.Truncated {
		t.Errorf("%d letters are captured, want %d; truncated: %v", len(got), len(want), l.EventMetadata.Truncated)
	}
}

// While the destination hangs and the spool is full, every request is answered:
// all are over before the destination moves again.
func TestRequestsDoNotWaitForTheDestination(t *testing.T) {
	rt := newRouted(t, both, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(w, q.Body) // the caller compares
	})
	hang := make(chan struct{})
	rt.hang = hang
	rt.service.SpoolBytes = 1 << 20
	rt.begin()
	body := strings.Repeat("1", 1<<20)
	for range 200 {
		if status, text, err := rt.invoke(body, everything); err != nil || status != 200 || text != body {
			t.Fatalf("while the destination hangs: %d, %v", status, err)
		}
	}
	if why := rt.service.Stopped(t.Context(), both); why == "" {
		t.Error("nothing shows that nothing is captured")
	}
	rt.set(func() { rt.hang = nil })
	close(hang)
	rt.stop()
	lost := 0
	for _, cause := range []string{"full", "stopped", "memory"} {
		lost += rt.dropped(cause)
	}
	if got := rt.captured("kept"); got+lost != 200 || lost == 0 {
		t.Errorf("of 200 requests %d are captured and %d dropped", got, lost)
	}
}

var _ router.Observer = (*capture.Service)(nil)
