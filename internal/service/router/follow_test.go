package router_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/router"
)

// table is a source of routes that a test writes to.
type table struct {
	mu     sync.Mutex
	routes []traffic.Route
	fail   error
	reads  int
}

func (s *table) RoutesSince(_ context.Context, version int64) (out []traffic.Route, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	for _, r := range s.routes {
		if r.Version > version {
			out = append(out, r)
		}
	}
	return out, s.fail
}

// become changes what the source says.
func (s *table) become(fail error, routes ...traffic.Route) (reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.routes = fail, routes
	return s.reads
}

func route(version int64, id string, instances ...string) traffic.Route {
	r := to(version)
	r.Endpoint, r.Gone = id, len(instances) == 0
	f := traffic.Fleet{Config: "c", Share: 1}
	for _, i := range instances {
		f.Instances = append(f.Instances, traffic.Instance{ID: i, Address: "127.0.0.1:1"})
	}
	if !r.Gone {
		r.Variants = []traffic.Variant{{
			Name: "a", Weight: 1, Routing: traffic.LeastOutstandingRequests, Container: "primary",
			Fleets: []traffic.Fleet{f},
		}}
	}
	return r
}

func follower(t *testing.T, s *table) (*router.Follower, *router.Router) {
	t.Helper()
	r := newRouter(t, router.Config{})
	return router.NewFollower(s, r, make(chan struct{}), time.Minute, slog.New(slog.DiscardHandler)), r
}

func TestTheRouterGetsWhatTheRouteSays(t *testing.T) {
	s := &table{routes: []traffic.Route{route(1, "e-1", "i-1", "i-2")}}
	f, r := follower(t, s)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, ok := r.Route(key)
	v := e.Variants[0]
	if !ok || v.Routing != traffic.LeastOutstandingRequests || v.Container != "primary" ||
		len(v.Fleets[0].Instances) != 2 {
		t.Errorf("the router has %+v", e)
	}
}

func TestALateGoodbyeDoesNotEndTheSuccessor(t *testing.T) {
	s := &table{routes: []traffic.Route{route(1, "e-1", "i-1")}}
	f, r := follower(t, s)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.routes = []traffic.Route{route(2, "e-2", "i-2"), route(3, "e-1")}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.Route(key); !ok || e.Variants[0].Fleets[0].Instances[0].ID != "i-2" {
		t.Errorf("the successor is gone: %+v", e)
	}
	s.routes = []traffic.Route{route(4, "e-2")}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Route(key); ok {
		t.Error("the endpoint is still there")
	}
}

func TestAnInstanceDrainsOnlyAfterTheRouterLetGoOfIt(t *testing.T) {
	s := &table{routes: []traffic.Route{route(1, "e-1", "i-1")}}
	f, _ := follower(t, s)
	if err := f.Drain(t.Context(), "i-1"); !errors.Is(err, router.ErrRouted) {
		t.Errorf("Drain of a routed instance = %v", err)
	}
	s.routes = []traffic.Route{route(2, "e-1", "i-2")}
	if err := f.Drain(t.Context(), "i-1"); err != nil {
		t.Errorf("Drain = %v", err)
	}
	s.fail = errors.New("the database is away")
	if err := f.Drain(t.Context(), "i-2"); err == nil {
		t.Error("an instance was drained without knowing the routes")
	}
}

func TestAFailingSourceLeavesTheRoutesAsTheyAreAndIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &table{routes: []traffic.Route{route(1, "e-1", "i-1")}}
		f, r := follower(t, s)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		synctest.Wait()
		s.become(errors.New("away"))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		reads := s.become(nil, route(2, "e-1"))
		if _, ok := r.Route(key); !ok || reads < 4 {
			t.Errorf("routed %t after %d reads", ok, reads)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := r.Route(key); ok {
			t.Error("what changed meanwhile was not followed")
		}
		stop()
		<-done
	})
}

func TestRoutesWhoseVersionsRanBackwardsAreFollowedAnew(t *testing.T) {
	s := &table{routes: []traffic.Route{route(7, "e-1", "i-2")}}
	f, r := follower(t, s)
	other := route(8, "e-9", "i-9")
	other.Name = "other"
	s.routes = append(s.routes, other)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.become(errors.New("away"))
	if err := f.Reread(t.Context()); err == nil {
		t.Error("nothing was read, and nobody was told")
	}
	s.become(nil, route(3, "e-1", "i-1"))
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.Route(key); !ok || e.Variants[0].Fleets[0].Instances[0].ID != "i-1" {
		t.Errorf("the router has %+v", e)
	}
	if _, ok := r.Route(other.Key()); ok {
		t.Error("a route that is no more is followed")
	}
	s.become(nil, route(4, "e-1", "i-3"))
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, _ := r.Route(key); e.Variants[0].Fleets[0].Instances[0].ID != "i-3" {
		t.Errorf("then the router has %+v", e)
	}
}
