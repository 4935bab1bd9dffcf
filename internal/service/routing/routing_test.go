package routing_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/service/routing"
)

// table is a source of routes that a test writes to.
type table struct {
	mu     sync.Mutex
	routes []hosting.Route
	fail   error
	reads  int
}

func (s *table) RoutesSince(_ context.Context, version int64) (out []hosting.Route, err error) {
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
func (s *table) become(fail error, routes ...hosting.Route) (reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.routes = fail, routes
	return s.reads
}

var key = router.Key{Region: "us-east-1", Name: "e"}

func route(version int64, id hosting.EndpointID, instances ...string) hosting.Route {
	r := hosting.Route{Endpoint: id, Scope: arn.Scope{Region: key.Region, Account: "1"}, Name: key.Name, Version: version, Gone: len(instances) == 0}
	f := hosting.RouteFleet{Config: "c", Share: 1}
	for _, i := range instances {
		f.Instances = append(f.Instances, hosting.RouteInstance{ID: i, Address: "127.0.0.1:1"})
	}
	if !r.Gone {
		r.Variants = []hosting.RouteVariant{{Name: "a", Weight: 1, Routing: hosting.LeastOutstandingRequests, Container: "primary", Fleets: []hosting.RouteFleet{f}}}
	}
	return r
}

func follower(t *testing.T, s *table) (*routing.Follower, *router.Router) {
	t.Helper()
	r, err := router.New(router.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return routing.NewFollower(s, r, make(chan struct{}), time.Minute, slog.New(slog.DiscardHandler)), r
}

func TestTheRouterGetsWhatTheRouteSays(t *testing.T) {
	s := &table{routes: []hosting.Route{route(1, "e-1", "i-1", "i-2")}}
	f, r := follower(t, s)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, ok := r.Endpoint(key)
	v := e.Variants[0]
	if !ok || v.Strategy != router.LeastOutstandingRequests || v.Container != "primary" || len(v.Fleets[0].Instances) != 2 {
		t.Errorf("the router has %+v", e)
	}
}

func TestALateGoodbyeDoesNotEndTheSuccessor(t *testing.T) {
	s := &table{routes: []hosting.Route{route(1, "e-1", "i-1")}}
	f, r := follower(t, s)
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.routes = []hosting.Route{route(2, "e-2", "i-2"), route(3, "e-1")}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, ok := r.Endpoint(key); !ok || e.Variants[0].Fleets[0].Instances[0].ID != "i-2" {
		t.Errorf("the successor is gone: %+v", e)
	}
	s.routes = []hosting.Route{route(4, "e-2")}
	if err := f.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Endpoint(key); ok {
		t.Error("the endpoint is still there")
	}
}

func TestAnInstanceDrainsOnlyAfterTheRouterLetGoOfIt(t *testing.T) {
	s := &table{routes: []hosting.Route{route(1, "e-1", "i-1")}}
	f, _ := follower(t, s)
	if err := f.Drain(t.Context(), "i-1"); !errors.Is(err, router.ErrRouted) {
		t.Errorf("Drain of a routed instance = %v", err)
	}
	s.routes = []hosting.Route{route(2, "e-1", "i-2")}
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
		s := &table{routes: []hosting.Route{route(1, "e-1", "i-1")}}
		f, r := follower(t, s)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.Run(ctx) }()
		synctest.Wait()
		s.become(errors.New("away"))
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		reads := s.become(nil, route(2, "e-1"))
		if _, ok := r.Endpoint(key); !ok || reads < 4 {
			t.Errorf("routed %t after %d reads", ok, reads)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if _, ok := r.Endpoint(key); ok {
			t.Error("what changed meanwhile was not followed")
		}
		stop()
		<-done
	})
}
