package modelserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/oiphttp"
)

func TestAModelServesRequestsOnceItIsLoaded(t *testing.T) {
	s := newServer(t, nil, nil)
	for _, path := range []string{"/ping", "/v2/health/ready", "/v2/models/model"} {
		if rec := ask(t, s, http.MethodGet, path, ""); rec.Code != http.StatusServiceUnavailable {
			t.Errorf("%s before the load: %d", path, rec.Code)
		}
	}
	if rec := invokeCSV(t, s, "1,2"); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("an invocation before the load: %d", rec.Code)
	}
	s.Attach(newLever())
	defer func() { _ = s.Detach() }()
	if rec := ask(t, s, http.MethodGet, "/ping", ""); rec.Code != http.StatusOK {
		t.Errorf("ping: %d", rec.Code)
	}
	rec := invokeCSV(t, s, "1,2\n3,4\n")
	if rec.Code != http.StatusOK || rec.Body.String() != "2,4\n6,8\n" ||
		rec.Header().Get("Content-Type") != "text/csv" {
		t.Errorf("%d %q %v", rec.Code, rec.Body, rec.Header())
	}
}

// refusals are requests that are not served, and why.
var refusals = map[string]struct {
	path, body string
	header     []string
	status     int
	want       string
}{
	"a malformed body": {
		"/invocations", "1,a", []string{"Content-Type", "text/csv"}, 400, `column 2: "a" is not a number`,
	},
	"no media type": {"/invocations", "1,2", nil, 415, "the request has no Content-Type"},
	"an unknown media": {
		"/invocations", "1,2",
		[]string{"Content-Type", "image/png"},
		415,
		`the media type "image/png" is not served`,
	},
	"an unknown answer": {
		"/invocations", "1,2",
		[]string{"Content-Type", "text/csv", "Accept", "image/png"},
		406,
		`nothing that "image/png" accepts is served`,
	},
	"too large": {
		"/invocations", strings.Repeat("1,", 40),
		[]string{"Content-Type", "text/csv"},
		413,
		"the body exceeds the limit of 64 bytes",
	},
	"the model fails": {
		"/invocations", "-1,2",
		[]string{"Content-Type", "text/csv"},
		500,
		"the model failed on this input: the model takes no negative numbers",
	},
	"the model panics": {
		"/invocations", "666,2", []string{"Content-Type", "text/csv"}, 500, "the run panicked: a bug",
	},
	"another model": {
		"/v2/models/other/infer", "{}", nil, 404, `the model "other" is not here; this server serves "model"`,
	},
	"a bad header size": {
		"/v2/models/model/infer", "{}",
		[]string{oiphttp.HeaderJSONSize, "x"},
		400,
		oiphttp.HeaderJSONSize + " must be a whole number of bytes",
	},
	"a header size ahead": {
		"/v2/models/model/infer", "{}",
		[]string{oiphttp.HeaderJSONSize, "3"},
		400,
		"the JSON part is said to have 3 bytes; the body has 2",
	},
	"an empty inference": {"/v2/models/model/infer", "{}", nil, 400, "the body must be"},
	"Triton without size": {
		"/invocations", "{}",
		[]string{"Content-Type", "application/vnd.sagemaker-triton.binary+json"},
		400,
		"json-header-size must say",
	},
}

func TestEveryRefusalHasItsStatusAndASentence(t *testing.T) {
	m := newLever()
	m.before = func(in []tensor.Tensor) error {
		if in[0].Float(0) == 666 {
			panic("a bug")
		}
		return noNegatives(in)
	}
	s := newServer(t, m, func(o *Options) { o.MaxBody = 64 })
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			rec := ask(t, s, http.MethodPost, c.path, c.body, c.header...)
			text := strings.ReplaceAll(rec.Body.String(), `\"`, `"`)
			if rec.Code != c.status || !strings.Contains(text, c.want) || !strings.HasPrefix(text, `{"error":`) {
				t.Errorf("%d %s\nwant %d %s", rec.Code, text, c.status, c.want)
			}
		})
	}
	if rec := invokeCSV(t, s, "1,2"); rec.Code != http.StatusOK {
		t.Errorf("after all that: %d %s", rec.Code, rec.Body)
	}
}

func TestABodyOfUnknownLengthIsCutAtTheLimit(t *testing.T) {
	s := newServer(t, newLever(), func(o *Options) { o.MaxBody = 1000 })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost,
		"/invocations", io.LimitReader(endless{}, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/csv")
	rec := &recorder{header: http.Header{}}
	s.Handler().ServeHTTP(rec, req)
	if rec.status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d", rec.status)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '1'
	}
	return len(p), nil
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

func TestRequestsBeyondTheQueueAreTurnedAway(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	m := newLever()
	m.before = func([]tensor.Tensor) error { started <- struct{}{}; <-release; return nil }
	s := newServer(t, m, func(o *Options) { o.Concurrency, o.Queue = 1, 1 })
	codes := make(chan int, 2)
	for range 2 {
		go func() { codes <- invokeCSV(t, s, "1").Code }()
	}
	<-started
	for len(s.slots) < 2 { // the other is on its way to the queue
		runtime.Gosched()
	}
	rec := invokeCSV(t, s, "1")
	if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("the third: %d %s", rec.Code, rec.Body)
	}
	close(release)
	<-started
	if a, b := <-codes, <-codes; a != http.StatusOK || b != http.StatusOK {
		t.Errorf("those that were taken: %d and %d", a, b)
	}
}

func TestACallerThatLeavesTheQueueCostsNoRun(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	m := newLever()
	m.before = func([]tensor.Tensor) error { started <- struct{}{}; <-release; return nil }
	s := newServer(t, m, func(o *Options) { o.Concurrency = 1 })
	first := make(chan int, 1)
	go func() { first <- invokeCSV(t, s, "1").Code }()
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if rec := askCtx(ctx, s, http.MethodPost, "/invocations", "1", "Content-Type",
		"text/csv"); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("the one that left: %d", rec.Code)
	}
	close(release)
	if code := <-first; code != http.StatusOK || m.runs.Load() != 1 {
		t.Errorf("the first: %d after %d runs", code, m.runs.Load())
	}
}

// ready tells when the log says that the model is ready.
type ready struct {
	slog.Handler
	told chan struct{}
}

func (r ready) Handle(ctx context.Context, rec slog.Record) error {
	if rec.Message == "model ready" {
		close(r.told)
	}
	return r.Handler.Handle(ctx, rec)
}

// start runs a server on a port of its own until stop is called.
func start(t *testing.T, load func() (Model, error)) (url string, told chan struct{}, stop func(), ended chan error) {
	t.Helper()
	told = make(chan struct{})
	s, err := New(Default(), slog.New(ready{slog.NewTextHandler(t.Output(), nil), told}))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- s.Run(ctx, ln, load) }()
	t.Cleanup(cancel)
	return "http://" + ln.Addr().String(), told, cancel, ended
}

func TestAStopWaitsForTheRequestsInFlight(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	m := newLever()
	m.rows.Declared = tensor.Dependent // so that loading it runs nothing
	m.before = func([]tensor.Tensor) error { started <- struct{}{}; <-release; return nil }
	url, told, stop, ended := start(t, func() (Model, error) { return m, nil })
	<-told
	answer := make(chan string, 1)
	go func() {
		resp, err := http.Post(url+"/invocations", "text/csv", strings.NewReader("21"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		answer <- resp.Status + " " + string(b)
	}()
	<-started
	stop()
	for { // until the listener is closed, which is the first thing a stop does
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		_ = c.Close()
	}
	select {
	case err := <-ended:
		t.Fatalf("it stopped with a request in flight: %v", err)
	default:
	}
	close(release)
	if got := <-answer; got != "200 OK 42\n" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-ended; err != nil || !m.closed.Load() {
		t.Errorf("stopped with %v, model closed %t", err, m.closed.Load())
	}
}

func TestALoadThatFailsEndsTheServer(t *testing.T) {
	broken := errors.New("the file is not an ONNX model")
	_, _, _, ended := start(t, func() (Model, error) { return nil, broken })
	if err := <-ended; !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestAStopDoesNotWaitForALoad(t *testing.T) {
	never := make(chan struct{})
	defer close(never)
	url, _, stop, ended := start(t, func() (Model, error) { <-never; return nil, errors.New("too late") })
	resp, err := http.Get(url + "/ping")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("ping while loading: %s", resp.Status)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("got %v", err)
	}
}

func TestOptionsReportEveryFault(t *testing.T) {
	_, err := New(Options{}, slog.Default())
	for _, part := range []string{"the body limit", "the concurrency", "the batch size", "needs a name"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not tell of %s", err, part)
		}
	}
}

func TestAnswersSayWhoGaveThemIfAsked(t *testing.T) {
	const header = "X-Amzn-SageMaker-Custom-Attributes"
	named := newServer(t, newLever(), func(o *Options) { o.CustomAttributes = "model=v2" })
	for body, status := range map[string]int{
		"1,2": http.StatusOK, "-1,2": http.StatusOK, "1,a": http.StatusBadRequest,
	} {
		if rec := invokeCSV(t, named, body); rec.Code != status || rec.Header().Get(header) != "model=v2" {
			t.Errorf("%q: %d from %q", body, rec.Code, rec.Header().Get(header))
		}
	}
	if rec := invokeCSV(t, newServer(t, newLever(), nil), "1,2"); len(rec.Header().Values(header)) != 0 {
		t.Errorf("an answer names %q unasked", rec.Header().Get(header))
	}
	for _, bad := range []string{"a\nb", "é", strings.Repeat("x", 1025)} {
		o := Default()
		o.CustomAttributes = bad
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "custom attributes") {
			t.Errorf("%.10q: %v", bad, err)
		}
	}
}

func TestTheModelFailingOnTheWarmUpIsStillServed(t *testing.T) {
	m := newLever()
	m.sig.Inputs[0].Shape[1].Size = 2
	m.before = func(in []tensor.Tensor) error {
		if in[0].Float(0) == 0 {
			return errNegative
		}
		return nil
	}
	m.rows.Declared = tensor.Dependent
	s := newServer(t, nil, nil)
	s.Attach(m)
	if m.runs.Load() != 1 {
		t.Errorf("%d warm-up runs", m.runs.Load())
	}
	if rec := invokeCSV(t, s, "1,2"); rec.Code != http.StatusOK {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}
