package notify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/notice"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/notify"
)

const secret = "a-secret-that-nobody-prints"

// station is a store with events to be told, and services that tell them.
type station struct {
	t    *testing.T
	path string
	db   *store.DB
	log  *lockedBuffer
	reg  *prometheus.Registry
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newStation(t *testing.T, webhooks ...string) *station {
	t.Helper()
	s := &station{t: t, path: filepath.Join(t.TempDir(), "x.db"), log: &lockedBuffer{}}
	s.open(webhooks...)
	t.Cleanup(func() { _ = s.db.Close() })
	return s
}

// open opens the store, again after a restart.
func (s *station) open(webhooks ...string) {
	s.t.Helper()
	db, err := base.OpenSQLite(s.t.Context(), s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	var to []notice.Subscriber
	for _, name := range webhooks {
		to = append(to, notice.Subscriber{Name: name, Kinds: []notice.Kind{notice.StateChange}})
	}
	s.db = store.New(db, to...)
}

// events makes an endpoint whose status changes n times; change i gives i as
// its reason. The first change is its creation, without one.
func (s *station) events(name string, n int) {
	s.t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	l := hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + name), Fleet: hosting.FleetID("f-" + name), Now: now,
		Config: hosting.EndpointConfig{
			Scope: arn.Scope{Region: "us-east-1", Account: "000000000000"}, Name: "c",
			Variants: []hosting.Variant{{Name: "a", ModelName: "m", InstanceCount: 1}},
		},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i"}}}},
	}
	e, err := hosting.Create(hosting.EndpointID("e-"+name), name, l, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		err := s.db.Change(s.t.Context(), func(tx store.Tx) error {
			if i == 0 {
				return tx.Write(s.t.Context(), outcome.OfCreation(e))
			}
			was := outcome.StandingOf(e)
			e.Status, e.FailureReason = []hosting.Status{hosting.Updating, hosting.RollingBack}[i%2], strconv.Itoa(i)
			is, err := tx.Instances(s.t.Context(), e.ID)
			if err != nil {
				return err
			}
			return tx.Write(s.t.Context(), outcome.OfChange(was, e, is))
		})
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// run runs a service until stop.
func (s *station) run(tuning notify.Tuning, webhooks map[string]string) (stop func()) {
	s.t.Helper()
	s.reg = prometheus.NewRegistry()
	c := notify.Config{
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(s.log, s.t.Output()), nil)), Tuning: tuning, Registerer: s.reg,
		Wake: loop.NewWakeup(),
	}
	for name, url := range webhooks {
		c.Webhooks = append(c.Webhooks, notify.Webhook{
			Name: name, URL: url, Key: []byte(secret), Outbox: s.db.Outbox(name),
		})
	}
	n, err := notify.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	s.t.Cleanup(stop)
	return stop
}

func (s *station) metric(name string) float64 {
	s.t.Helper()
	all, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range all {
		for _, m := range f.Metric {
			if f.GetName() == name {
				sum += m.Counter.GetValue()
			}
		}
	}
	return sum
}

var fast = notify.Tuning{
	Timeout: 5 * time.Second, BackoffMin: time.Millisecond, BackoffMax: 5 * time.Millisecond,
	Poll: 10 * time.Millisecond,
}

// receiver is a webhook that checks what it is sent.
type receiver struct {
	*httptest.Server
	t      *testing.T
	answer func(attempt int, name, reason string) int // of attempt i at anything, from 0

	mu       sync.Mutex
	attempts int
	taken    map[string][]string // reasons by endpoint
	ids      map[string]string   // of events, by endpoint and reason
	changed  chan struct{}
}

func receive(t *testing.T, answer func(attempt int, name, reason string) int) *receiver {
	t.Helper()
	r := &receiver{
		t: t, answer: answer, taken: map[string][]string{}, ids: map[string]string{}, changed: make(chan struct{}, 1),
	}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var e struct {
		ID     string
		Detail struct{ EndpointName, FailureReason string }
	}
	if err != nil || json.Unmarshal(body, &e) != nil {
		r.t.Errorf("a body of %q: %v", body, err)
	}
	id, stamp := q.Header.Get("Webhook-Id"), q.Header.Get("Webhook-Timestamp")
	if want := notify.Signature([]byte(secret), id, stamp, body); q.Header.Get("Webhook-Signature") != want ||
		id != e.ID {
		r.t.Errorf("signed %q for %q, want %q for %q", q.Header.Get("Webhook-Signature"), id, want, e.ID)
	}
	if at, err := strconv.ParseInt(stamp, 10, 64); err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
		r.t.Errorf("the timestamp is %q", stamp)
	}
	if q.Method != http.MethodPost || q.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s of %s", q.Method, q.Header.Get("Content-Type"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name, reason := e.Detail.EndpointName, e.Detail.FailureReason
	if before, seen := r.ids[name+reason]; seen && before != id {
		r.t.Errorf("the same event has two ids: %s and %s", before, id)
	}
	r.ids[name+reason] = id
	status := r.answer(r.attempts, name, reason)
	r.attempts++
	if status == http.StatusOK {
		r.taken[name] = append(r.taken[name], reason)
	}
	w.Header().Set("Location", "/elsewhere") // counts for answers of 3xx only
	w.WriteHeader(status)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// until waits until f holds of what was received.
func (r *receiver) until(what string, f func() bool) {
	r.t.Helper()
	late := time.After(30 * time.Second)
	for {
		r.mu.Lock()
		ok := f()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.changed:
		case <-time.After(10 * time.Millisecond): // f may ask about other things
		case <-late:
			r.t.Fatalf("not in time: %s (%v)", what, r.taken)
		}
	}
}

func always(int, string, string) int { return http.StatusOK }

// numbers is what an endpoint of n events is told of, in order.
func numbers(n int) []string {
	out := []string{""}
	for i := 1; i < n; i++ {
		out = append(out, strconv.Itoa(i))
	}
	return out
}

func TestEventsArriveInOrderThoughTheReceiverFails(t *testing.T) {
	s := newStation(t, "w")
	s.events("a", 8)
	s.events("b", 8)
	r := receive(t, func(attempt int, _, _ string) int {
		return []int{200, 500, 302, 404, 200}[attempt%5]
	})
	s.run(fast, map[string]string{"w": r.URL})
	r.until("everything arrived", func() bool { return len(r.taken["a"]) >= 8 && len(r.taken["b"]) >= 8 })
	want := map[string][]string{"a": numbers(8), "b": numbers(8)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := cmp.Diff(want, r.taken); d != "" {
		t.Error(d)
	}
}

func TestAnEndpointWhoseEventsAreRefusedDoesNotHoldUpAnother(t *testing.T) {
	s := newStation(t, "w")
	s.events("bad", 3)
	s.events("good", 3)
	r := receive(t, func(_ int, name, _ string) int {
		if name == "bad" {
			return http.StatusBadRequest
		}
		return http.StatusOK
	})
	s.run(fast, map[string]string{"w": r.URL})
	r.until("the good one's arrived", func() bool { return len(r.taken["good"]) == 3 })
}

func TestARestartForgetsNeitherEventsNorTheirBackOff(t *testing.T) {
	s := newStation(t, "w")
	s.events("a", 3)
	up := false
	r := receive(t, func(int, string, string) int {
		if up {
			return http.StatusOK
		}
		return http.StatusServiceUnavailable
	})
	patient := fast
	patient.BackoffMin, patient.BackoffMax = time.Hour, time.Hour
	stop := s.run(patient, map[string]string{"w": r.URL})
	r.until("it was refused", func() bool { return strings.Contains(s.log.String(), "it answered 503") })
	stop()
	if err := s.db.Close(); err != nil {
		t.Fatal(err)
	}

	s.open("w")
	c, next, err := s.db.Outbox("w").Claim(t.Context(), time.Now(), time.Now().Add(time.Minute))
	if wait := time.Until(next); err != nil || c.Key != "" || wait < 47*time.Minute || wait > time.Hour {
		t.Fatalf("after the restart: claimed %q, due in %v, %v", c.Key, wait, err)
	}
	// An hour later:
	c, _, err = s.db.Outbox("w").Claim(t.Context(), time.Now().Add(time.Hour), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n, ok, err := s.db.Outbox("w").Notice(t.Context(), c.Key)
	if err != nil || !ok || n.Attempts != 1 {
		t.Fatalf("%+v, %t, %v", n, ok, err)
	}
	if err := s.db.Outbox("w").Failed(t.Context(), c.Key, n.Attempts, time.Now()); err != nil {
		t.Fatal(err)
	}
	r.mu.Lock()
	up = true
	r.mu.Unlock()
	s.run(fast, map[string]string{"w": r.URL})
	r.until("everything arrived", func() bool { return len(r.taken["a"]) == 3 })
	if d := cmp.Diff(numbers(3), r.taken["a"]); d != "" {
		t.Error(d)
	}
}

func TestASlowWebhookDoesNotHoldUpAnother(t *testing.T) {
	s := newStation(t, "slow", "fast")
	s.events("a", 5)
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	r := receive(t, always)
	tuning := fast
	tuning.Timeout = time.Minute
	stop := s.run(tuning, map[string]string{"slow": slow.URL, "fast": r.URL})
	r.until("everything arrived", func() bool { return len(r.taken["a"]) == 5 })
	stop() // breaks off the delivery that hangs: this returns long before its timeout
	c, _, err := s.db.Outbox("slow").Claim(t.Context(), time.Now(), time.Now().Add(time.Minute))
	if err != nil || c.Key == "" {
		t.Fatalf("what was broken off is not due: %q, %v", c.Key, err)
	}
	if n, ok, err := s.db.Outbox("slow").Notice(t.Context(), c.Key); err != nil || !ok || n.Attempts != 0 {
		t.Errorf("what was broken off counts as %d attempts: %t, %v", n.Attempts, ok, err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	s := newStation(t, "w")
	s.events("a", 1)
	r := receive(t, func(attempt int, _, _ string) int {
		if attempt == 0 {
			return http.StatusTemporaryRedirect
		}
		return http.StatusOK
	})
	followed := false
	mux := http.NewServeMux()
	mux.Handle("/hook", r)
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed = true })
	r.Config.Handler = mux
	stop := s.run(fast, map[string]string{"w": r.URL + "/hook"})
	r.until("it was tried again", func() bool { return len(r.taken["a"]) == 1 })
	stop()
	if followed {
		t.Error("the event was sent elsewhere")
	}
}

func TestNeitherTheSecretNorTheURLIsLogged(t *testing.T) {
	s := newStation(t, "nowhere", "refuses")
	s.events("a", 1)
	closed := httptest.NewServer(nil)
	closed.Close()
	r := receive(t, func(int, string, string) int { return http.StatusForbidden })
	stop := s.run(fast, map[string]string{
		"nowhere": closed.URL + "/token-in-path?token=in-query", "refuses": r.URL + "/token-in-path",
	})
	r.until("it was refused a few times", func() bool {
		return r.attempts > 3 && strings.Contains(s.log.String(), "webhook=nowhere")
	})
	stop()
	for _, word := range []string{secret, "token"} {
		if strings.Contains(s.log.String(), word) {
			t.Errorf("%q is in the log:\n%s", word, s.log.String())
		}
	}
	if !strings.Contains(s.log.String(), "it answered 403") {
		t.Errorf("the log does not say why:\n%s", s.log.String())
	}
}

func TestWhatIsNotTakenInTimeIsDroppedAndCounted(t *testing.T) {
	s := newStation(t, "w")
	s.events("a", 10)
	r := receive(t, func(_ int, _, reason string) int {
		if n, _ := strconv.Atoi(reason); n < 6 { // "" is 0
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	tuning := fast
	tuning.Most, tuning.Trim = 4, 20*time.Millisecond
	s.run(tuning, map[string]string{"w": r.URL})
	r.until("the youngest arrived", func() bool { return len(r.taken["a"]) == 4 })
	if d := cmp.Diff([]string{"6", "7", "8", "9"}, r.taken["a"]); d != "" {
		t.Error(d)
	}
	if n := s.metric("slipway_webhook_dropped_total"); n != 6 {
		t.Errorf("%g events count as dropped", n)
	}
}

// The example that Standard Webhooks gives to those who implement it.
func TestTheSignatureIsThatOfStandardWebhooks(t *testing.T) {
	key, err := notify.SigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := notify.Signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if key, err = notify.SigningKey("plain"); string(key) != "plain" || err != nil {
		t.Errorf("%q, %v", key, err)
	}
	if _, err = notify.SigningKey("whsec_s%cret"); err == nil || strings.Contains(fmt.Sprint(err), "cret") {
		t.Errorf("a broken secret: %v", err)
	}
}
