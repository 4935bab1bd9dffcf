package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// withCopies is a route of the variant "v" of fleet "f1" whose requests are copied
// to the shadow "s" and mirrored to the fleet "f2".
func withCopies(version int64, shadow, green []traffic.Instance, own ...traffic.Instance) traffic.Route {
	return to(version, traffic.Variant{
		Name: "v", Weight: 1, Container: "primary",
		Fleets: []traffic.Fleet{{ID: "f1", Config: "c1", Share: 1, Role: traffic.OldFleet, Instances: own}},
		Shadows: []traffic.Shadow{{
			Name: "s", Ratio: 1, Container: "shadowy",
			Fleets: []traffic.Fleet{{ID: "f1", Config: "c1", Share: 1, Instances: shadow}},
		}},
		Mirror: &traffic.Mirror{
			Deployment: "d", Ratio: 1,
			To: traffic.Fleet{ID: "f2", Config: "c2", Role: traffic.NewFleet, Instances: green},
		},
	})
}

var (
	theShadow = router.Receiver{Variant: "v", Shadow: "s", Fleet: "f1"}
	theGreen  = router.Receiver{Variant: "v", Fleet: "f2"}
)

// copied sends one copy and reads what comes of it.
func copied(r *router.Router, to router.Receiver) (*router.Call, error) {
	c := newCall()
	defer c.Finish()
	err := r.DoCopy(c, to)
	for err == nil {
		_, err = c.Next()
	}
	return c, err
}

func TestCopiesGoToTheirReceiversAndCountForTheShadowAlone(t *testing.T) {
	var mu sync.Mutex
	var samples []traffic.Sample
	r := newRouter(t, router.Config{OnSample: func(s traffic.Sample) {
		mu.Lock()
		defer mu.Unlock()
		samples = append(samples, s)
	}})
	broken := upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	r.Set(withCopies(1,
		[]traffic.Instance{{ID: "s0", Address: broken}},
		[]traffic.Instance{{ID: "n0", Address: upstream(t, says("green")), Slot: 3}},
		traffic.Instance{ID: "o0", Address: upstream(t, says("blue"))}))
	if got, err := invoke(r, newCall()); got != "blue" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
	if c, _ := copied(r, theShadow); c.Variant != "s" || c.Container != "shadowy" || c.Response.Status != 500 {
		t.Errorf("%s, %s: %d", c.Variant, c.Container, c.Response.Status)
	}
	if c, _ := copied(r, theGreen); c.Variant != "v" || c.Slot != 3 || c.Response.Status != 200 {
		t.Errorf("%s, %d: %d", c.Variant, c.Slot, c.Response.Status)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(samples) != 2 || samples[0].Variant != "v" || samples[1].Variant != "s" || !samples[1].ModelError {
		t.Errorf("%+v", samples)
	}
	for _, c := range r.Counts(key) {
		want := map[string]traffic.Counts{
			"v": {Variant: "v", Fleet: "f1", Config: "c1", Invocations: 1},
			"s": {Variant: "s", Fleet: "f1", Config: "c1", Invocations: 1, Status5XX: 1, ModelErrors: 1},
		}[c.Variant]
		if c != want {
			t.Errorf("%+v, want %+v", c, want)
		}
	}
	for _, f := range []traffic.FleetRef{{ID: "f1"}, {ID: "f2"}} {
		want := map[string]int64{"f1": 1, "f2": 0}[f.ID]
		if got := r.Answered(key, f)[0].Requests; got != want {
			t.Errorf("fleet %s answered %d requests, want %d", f.ID, got, want)
		}
	}
}

func TestACallerCannotNameAShadow(t *testing.T) {
	r := newRouter(t, router.Config{})
	r.Set(withCopies(1, []traffic.Instance{{ID: "s0", Address: refused(t)}}, nil))
	c := newCall()
	c.TargetVariant = "s"
	if _, err := invoke(r, c); !errors.Is(err, router.ErrNoVariant) {
		t.Error(err)
	}
}

func TestACopyIsNotSentAgain(t *testing.T) {
	r := newRouter(t, router.Config{})
	dead := refused(t)
	r.Set(withCopies(1, []traffic.Instance{{ID: "s0", Address: dead}, {ID: "s1", Address: dead}}, nil))
	if _, err := copied(r, theShadow); err == nil {
		t.Error("nobody listens, and it was answered")
	}
	counts := r.Counts(key)
	i := slices.IndexFunc(counts, func(c traffic.Counts) bool { return c.Variant == "s" })
	if counts[i].Invocations != 1 {
		t.Errorf("%+v", counts)
	}
	for _, to := range []router.Receiver{theGreen, {Variant: "v", Shadow: "s", Fleet: "f9"}, {Variant: "w"}} {
		if _, err := copied(r, to); !errors.Is(err, router.ErrNoInstance) {
			t.Errorf("%+v: %v", to, err)
		}
	}
}

func TestAnInstanceThatGetsCopiesIsDrainedOfThem(t *testing.T) {
	r := newRouter(t, router.Config{})
	arrived, leave := make(chan struct{}), make(chan struct{})
	slow := upstream(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-leave })
	r.Set(withCopies(1, []traffic.Instance{{ID: "s0", Address: slow}}, nil))
	done := make(chan error)
	go func() {
		_, err := copied(r, theShadow)
		done <- err
	}()
	<-arrived
	r.Set(withCopies(2, nil, nil))
	// Long enough for a wait to end that does not wait.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Drained(ctx, "s0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained with a copy in flight: %v", err)
	}
	close(leave)
	<-done
	if err := r.Drained(t.Context(), "s0"); err != nil {
		t.Error(err)
	}
}

// seer remembers what observers are shown.
type seer struct{ saw []string }

func (s *seer) Observe(q *router.Request) (router.Exchange, int) {
	s.saw = append(s.saw, q.Variant.Name+" was sent "+string(q.Body))
	return s, 100
}

func (s *seer) End(a *router.Answer) {
	s.saw = append(s.saw, fmt.Sprintf("and said %s: sent %v, whole %v", a.Body, a.Sent, a.Whole))
}

func TestWhatAShadowAnswersIsCapturedUnderItsName(t *testing.T) {
	r := newRouter(t, router.Config{})
	var s seer
	r.Listen("capture", &s)
	rt := withCopies(1, []traffic.Instance{{ID: "s0", Address: upstream(t, says("shadow"))}}, nil)
	rt.Variants[0].Shadows[0].Fleets[0].Capture = &traffic.Capture{Percent: 100, Output: true}
	r.Set(rt)
	if _, err := copied(r, theShadow); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if want := []string{"s was sent x", "and said shadow: sent true, whole true"}; !slices.Equal(s.saw, want) {
		t.Errorf("%q, want %q", s.saw, want)
	}
}
