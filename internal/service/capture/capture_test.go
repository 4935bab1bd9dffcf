package capture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/service/capture"
)

// world is a service on a real object store, with a lever for each failure.
type world struct {
	t        testing.TB
	store    *objects.Store
	service  *capture.Service
	dir      string
	registry *prometheus.Registry
	log      *logBuffer
	stop     func() // and wait for it

	mu     sync.Mutex
	apart  bool          // the objects lie on another disk
	fail   error         // of every Put
	hang   chan struct{} // Puts wait for it to be closed; nil: they do not
	puts   int
	used   float64 // of the disk
	routes map[traffic.Key]traffic.Route
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

func (w *world) HeadBucket(ctx context.Context, name string) (objects.Bucket, error) {
	return w.store.HeadBucket(ctx, name)
}

func (w *world) Put(
	ctx context.Context, bucket, key string, body io.Reader, p objects.Put,
) (objects.Info, error) {
	if err := w.trouble(ctx); err != nil {
		return objects.Info{}, err
	}
	return w.store.Put(ctx, bucket, key, body, p)
}

func (w *world) Adopt(
	ctx context.Context, bucket, key string, f objects.File, p objects.Put,
) (objects.Info, error) {
	if w.apart {
		return objects.Info{}, fmt.Errorf("adopt: %w", syscall.EXDEV)
	}
	if err := w.trouble(ctx); err != nil {
		return objects.Info{}, err
	}
	return w.store.Adopt(ctx, bucket, key, f, p)
}

// trouble is what the levers do to whoever puts something.
func (w *world) trouble(ctx context.Context) error {
	w.mu.Lock()
	w.puts++
	fail, hang := w.fail, w.hang
	w.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fail
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

var (
	live = traffic.Key{Region: "us-east-1", Name: "live"}
	// both is a capture of everything.
	both = &traffic.Capture{
		Destination: "s3://kept/some/prefix/", Percent: 100, Input: true, Output: true,
		CSV: []string{"text/csv"}, JSON: []string{"application/json"},
	}
)

// newWorld returns a service that does not run yet; change may alter what it is
// made of.
func newWorld(t testing.TB, change ...func(*capture.Config)) *world {
	t.Helper()
	w := &world{
		t: t, dir: filepath.Join(t.TempDir(), "capture"), log: &logBuffer{},
		routes: map[traffic.Key]traffic.Route{},
	}
	var err error
	if w.store, err = objects.Open(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() }) // nothing is lost with it
	w.bucket("kept")
	w.routed("live", both)
	w.service = w.create(change...)
	return w
}

// create makes a service on what is there.
func (w *world) create(change ...func(*capture.Config)) *capture.Service {
	w.t.Helper()
	w.registry = prometheus.NewRegistry()
	cfg := capture.Config{
		Dir: w.dir, Objects: w, SpoolBytes: 256 << 20, StopAt: 75, ResumeBelow: 70, Registerer: w.registry,
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(w.t.Output(), w.log), nil)),
		DiskUsed: func(string) (float64, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.used, nil
		},
		Route: func(k traffic.Key) (traffic.Route, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			r, ok := w.routes[k]
			return r, ok
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := capture.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// run starts the service; it ends with the test or by w.stop.
func (w *world) run() *world {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	s := w.service
	go func() { s.Run(ctx); close(done) }()
	w.stop = func() { cancel(); <-done }
	w.t.Cleanup(w.stop)
	synctest.Wait() // it has looked for what was left
	return w
}

func (w *world) bucket(name string) {
	w.t.Helper()
	if err := w.store.CreateBucket(w.t.Context(), objects.Bucket{Name: name}); err != nil {
		w.t.Fatal(err)
	}
}

// routed sets the route of an endpoint with the variant "main": a fleet for each
// capture, nil for one without.
func (w *world) routed(endpoint string, captures ...*traffic.Capture) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var fleets []traffic.Fleet
	for _, c := range captures {
		fleets = append(fleets, traffic.Fleet{Capture: c})
	}
	w.routes[traffic.Key{Region: live.Region, Name: endpoint}] = traffic.Route{
		Variants: []traffic.Variant{{Name: "main", Fleets: fleets}},
	}
}

// record is one of the endpoint "live", over now.
func record(in, out string) capture.Record {
	return capture.Record{
		Key: live, Variant: "main", Capture: both, At: time.Now(),
		Input:  capture.Side{Taken: true, ContentType: "text/csv", Data: []byte(in)},
		Output: capture.Side{Taken: true, ContentType: "application/json", Data: []byte(out)},
	}
}

// take offers n records.
func (w *world) take(n int) {
	for range n {
		w.service.Take(record("1,2", "{}"))
	}
	time.Sleep(20 * time.Millisecond) // virtual: the writer lets records come together for 10 ms
	synctest.Wait()
}

// object is what was put.
type object struct{ key, kind, text string }

func (w *world) objects(bucket string) (all []object) {
	w.t.Helper()
	page, err := w.store.List(w.t.Context(), bucket, objects.List{Max: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, i := range page.Objects {
		r, info, err := w.store.Get(w.t.Context(), bucket, i.Key)
		if err != nil {
			w.t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, object{i.Key, info.Header["content-type"], string(text)})
	}
	return all
}

// line is a line as its readers decode it.
type line struct {
	CaptureData map[string]struct {
		ObservedContentType, Mode, Data, Encoding string
	}
	EventMetadata struct {
		EventID, InferenceID, InferenceTime string
		CustomAttributes                    []string
		Truncated                           bool
	}
	EventVersion string
}

// lines decodes an object; anything but whole lines fails the test.
func (w *world) lines(text string) (all []line) {
	w.t.Helper()
	if text != "" && !strings.HasSuffix(text, "\n") {
		w.t.Errorf("half a line: %q", text[strings.LastIndexByte(text, '\n')+1:])
	}
	for one := range strings.Lines(text) {
		var l line
		d := json.NewDecoder(strings.NewReader(one))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			w.t.Errorf("%q: %v", one, err)
		}
		all = append(all, l)
	}
	return all
}

// captured is how many lines are in a bucket.
func (w *world) captured(bucket string) (n int) {
	w.t.Helper()
	for _, o := range w.objects(bucket) {
		n += len(w.lines(o.text))
	}
	return n
}

func (w *world) wantCaptured(when, bucket string, want int) {
	w.t.Helper()
	synctest.Wait()
	if got := w.captured(bucket); got != want {
		w.t.Errorf("%s: %d requests are captured, want %d", when, got, want)
	}
}

// spooled are the files of the spool.
func (w *world) spooled() (names []string) {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.dir, "*.jsonl"))
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func (w *world) wantSpooled(when string, want int) {
	w.t.Helper()
	if got := w.spooled(); len(got) != want {
		w.t.Errorf("%s: the spool has %q, want %d files", when, got, want)
	}
}

// dropped returns slipway_capture_dropped_total of a cause.
func (w *world) dropped(cause string) int {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "slipway_capture_dropped_total" && m.GetLabel()[0].GetValue() == cause {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

func (w *world) wantStopped(when, want string) {
	w.t.Helper()
	got := w.service.Stopped(w.t.Context(), both)
	if got != want {
		w.t.Errorf("%s: stopped because %q, want %q", when, got, want)
	}
}

// plant writes a file of the spool as an earlier server may have left it.
func (w *world) plant(name, text string) {
	w.t.Helper()
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// plantLines leaves lines that are to become an object.
func (w *world) plantLines(bucket, key, lines string) {
	w.t.Helper()
	header, err := json.Marshal(capture.Header{Bucket: bucket, Key: key})
	if err != nil {
		w.t.Fatal(err)
	}
	w.plant("x.json", string(header))
	w.plant("x.jsonl", lines)
}

// shaped is a line that holds some text.
func shaped(text string) string {
	return `{"captureData":{"endpointInput":{"data":"` + text + `"}},"eventMetadata":{},"eventVersion":"0"}` + "\n"
}
