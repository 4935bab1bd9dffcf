package instance_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/outcome"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/platform/provider"
	base "github.com/slipway-ml/slipway/internal/platform/store"
	store "github.com/slipway-ml/slipway/internal/platform/store/hosting"
	"github.com/slipway-ml/slipway/internal/service/deployer"
	"github.com/slipway-ml/slipway/internal/service/instance"
)

// world is a provider whose instances are HTTP servers in this process, with a
// lever for each thing that can go wrong.
type world struct {
	mu      sync.Mutex
	servers map[provider.ID]*server
	changes chan struct{}
	starts  map[provider.ID]int

	refuse atomic.Bool // Ensure fails
	stall  atomic.Bool // instances never get healthy
	die    atomic.Bool // instances exit as soon as they start
}

type server struct {
	srv     *http.Server
	address string
	healthy atomic.Bool
	exited  bool
}

func newWorld(t *testing.T) *world {
	w := &world{servers: map[provider.ID]*server{}, starts: map[provider.ID]int{}, changes: make(chan struct{}, 1)}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, s := range w.servers {
			_ = s.srv.Close()
		}
	})
	return w
}

func (w *world) Ensure(_ context.Context, id provider.ID, _ provider.Spec) (provider.Status, error) {
	if w.refuse.Load() {
		return provider.Status{}, errors.New("no room")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[id]; s != nil && !s.exited {
		return provider.Status{ID: id, Address: s.address}, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return provider.Status{}, err
	}
	s := &server{address: l.Addr().String()}
	s.healthy.Store(!w.stall.Load())
	s.srv = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if !s.healthy.Load() {
			rw.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	w.servers[id] = s
	w.starts[id]++
	if w.die.Load() {
		_ = l.Close()
		w.exitLocked(id)
	} else {
		go func() { _ = s.srv.Serve(l) }() // ends with the server's Close
	}
	return provider.Status{ID: id, Address: s.address}, nil
}

func (w *world) exitLocked(id provider.ID) {
	w.servers[id].exited = true
	_ = w.servers[id].srv.Close()
	select {
	case w.changes <- struct{}{}:
	default:
	}
}

func (w *world) kill(id provider.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exitLocked(id)
}

func (w *world) Remove(_ context.Context, id provider.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.servers[id]; s != nil {
		_ = s.srv.Close()
		delete(w.servers, id)
	}
	return nil
}

func (w *world) List(context.Context) (out []provider.Status, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.servers {
		st := provider.Status{ID: id, Address: s.address, Exited: s.exited}
		if s.exited {
			st.Address, st.Detail = "", "exit status 3"
		}
		out = append(out, st)
	}
	return out, nil
}

func (w *world) Changes() <-chan struct{} { return w.changes }

func (w *world) Logs(context.Context, provider.ID, int) ([]byte, error) {
	return []byte("cannot open model.onnx\n"), nil
}

func (w *world) ids() (ids []provider.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.servers {
		ids = append(ids, id)
	}
	return ids
}

// plant is a store, the deployer and the instance service over a world.
type plant struct {
	t       *testing.T
	db      *store.DB
	world   *world
	fetch   atomic.Pointer[error]
	drained sync.Map // instance IDs whose drain was asked for
	stop    func()
}

func newPlant(t *testing.T) *plant {
	db, err := base.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{t: t, db: store.New(db), world: newWorld(t)}
	p.start()
	t.Cleanup(func() {
		p.stop()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// start runs the services as a server does; stop is that server's end.
func (p *plant) start() {
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(p.t.Output(), nil))
	rows, turns := loop.NewWakeup(), loop.NewWakeup()
	ring := func() { rows.Notify(); turns.Notify() }
	d := &deployer.Deployer{Log: log, Changed: ring, Change: p.db.Change}
	runner := &loop.Runner{Queue: p.db.Deploying(), Turn: d.Turn, Log: log, Wake: turns, Poll: 100 * time.Millisecond, Lease: time.Minute, Retry: 50 * time.Millisecond}
	m := instance.New(instance.Config{
		Store: p.db, Provider: p.world, Changed: ring, Wake: rows, Log: log,
		Command: func(string) ([]string, error) { return []string{"x"}, nil },
		Fetch: func(context.Context, hosting.ModelData) (string, error) {
			if err := p.fetch.Load(); err != nil {
				return "", *err
			}
			return "/models/1", nil
		},
		Drain: func(_ context.Context, id hosting.InstanceID) error { p.drained.Store(id, true); return nil },
		Tuning: instance.Tuning{
			Poll: 50 * time.Millisecond, PingInterval: 20 * time.Millisecond, PingTimeout: time.Second,
			StartupTimeout: 400 * time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
		},
	})
	var wg sync.WaitGroup
	wg.Go(func() { runner.Run(ctx) })
	wg.Go(func() { m.Run(ctx) })
	p.stop = func() { cancel(); wg.Wait() }
}

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

func (p *plant) create(n int) {
	p.t.Helper()
	e, err := hosting.Create("e-1", "e", launch("c1", n), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.db.Change(p.t.Context(), func(tx store.Tx) error { return tx.Write(p.t.Context(), outcome.OfCreation(e)) }); err != nil {
		p.t.Fatal(err)
	}
}

func launch(config string, n int) hosting.Launch {
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + config), Fleet: hosting.FleetID("f-" + config), Now: time.Now().UTC().Truncate(time.Microsecond),
		Config: hosting.EndpointConfig{Scope: scope, Name: config, Variants: []hosting.Variant{{Name: "a", ModelName: "m", InstanceCount: n, Weight: 1}}},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{Name: "primary", Image: "i", ModelData: &hosting.ModelData{URI: "s3://b/k", Layout: hosting.Archive}}}}},
	}
}

func (p *plant) change(f func(*hosting.Endpoint) error) {
	p.t.Helper()
	err := p.db.ChangeEndpoint(p.t.Context(), scope, "e", func(_ store.Tx, e *hosting.Endpoint) error { return f(e) })
	if err != nil {
		p.t.Fatal(err)
	}
}

// until waits for a state of the endpoint and its instances.
func (p *plant) until(what string, ok func(*hosting.Endpoint, []hosting.Instance) bool) (*hosting.Endpoint, []hosting.Instance) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		e, is, err := p.db.EndpointView(p.t.Context(), scope, "e")
		if err == nil && ok(e, is) {
			return e, is
		}
		if errors.Is(err, fault.NotFound) && ok(nil, nil) {
			return nil, nil
		}
	}
	e, is, err := p.db.EndpointView(p.t.Context(), scope, "e")
	p.t.Fatalf("never %s: %+v %+v %v", what, e, is, err)
	return nil, nil
}

func inService(e *hosting.Endpoint, _ []hosting.Instance) bool {
	return e != nil && e.Status == hosting.InService
}

func ready(n int) func(*hosting.Endpoint, []hosting.Instance) bool {
	return func(e *hosting.Endpoint, is []hosting.Instance) bool {
		count := 0
		for _, i := range is {
			if i.Status == hosting.InstanceReady {
				count++
			}
		}
		return e != nil && count == n && len(is) == n
	}
}

func TestAnEndpointComesUpMovesToANewConfigurationAndGoes(t *testing.T) {
	p := newPlant(t)
	p.create(3)
	_, old := p.until("in service", inService)
	p.change(func(e *hosting.Endpoint) error { return e.Update(hosting.Update{Launch: launch("c2", 2)}) })
	_, is := p.until("updated", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return inService(e, is) && e.ConfigName == "c2" && len(is) == 2
	})
	for _, i := range old {
		if _, ok := p.drained.Load(i.ID); !ok {
			t.Errorf("%s was stopped without being drained", i.ID)
		}
	}
	if got := len(p.world.ids()); got != len(is) {
		t.Errorf("%d instances run, %d are known", got, len(is))
	}
	p.change(func(e *hosting.Endpoint) error { return e.Delete("d-x", time.Now()) })
	p.until("gone", func(e *hosting.Endpoint, _ []hosting.Instance) bool { return e == nil })
	if got := p.world.ids(); len(got) != 0 {
		t.Errorf("still running: %v", got)
	}
}

func TestACrashedInstanceIsRestartedAndLeavesTheRouteMeanwhile(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, is := p.until("in service", inService)
	p.world.kill(provider.ID(is[0].ID))
	p.until("restarted", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		starts := p.world.starts[provider.ID(is[0].ID)]
		p.world.mu.Unlock()
		return starts == 2 && ready(2)(e, is)
	})
}

func TestAnUnhealthyInstanceIsReplaced(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	p.world.mu.Lock()
	p.world.servers[provider.ID(is[0].ID)].healthy.Store(false)
	p.world.mu.Unlock()
	p.until("out of service", func(e *hosting.Endpoint, _ []hosting.Instance) bool { return e.Status == hosting.OutOfService })
	p.until("back in service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		p.world.mu.Lock()
		defer p.world.mu.Unlock()
		return inService(e, is) && p.world.starts[provider.ID(is[0].ID)] == 2
	})
}

func TestAnInstanceThatCannotStartFailsTheEndpointWithTheReason(t *testing.T) {
	for name, tt := range map[string]struct {
		harm func(*plant)
		want string
	}{
		"it exits": {
			func(p *plant) { p.world.die.Store(true) },
			"The primary container for production variant a did not pass the ping health check. Please check CloudWatch logs for this endpoint. The process ended: exit status 3. Last lines of its log: cannot open model.onnx",
		},
		"it never gets healthy": {
			func(p *plant) { p.world.stall.Store(true) },
			"The primary container for production variant a did not pass the ping health check. Please check CloudWatch logs for this endpoint. No health check passed within 400ms: /ping answered 503. Last lines of its log: cannot open model.onnx",
		},
		"its model is missing": {
			func(p *plant) { p.fetch.Store(new(error(fault.New(fault.NotFound, "no such object")))) },
			`Failed to download model data for container "primary" from URL: "s3://b/k". Please ensure that there is an object located at the URL and that the role passed to CreateModel has permissions to download the object.`,
		},
		"its model is broken": {
			func(p *plant) { p.fetch.Store(new(error(fault.New(fault.Invalid, "The archive is truncated.")))) },
			`The model data for container "primary" from URL "s3://b/k" cannot be used: The archive is truncated.`,
		},
		"the provider refuses": {
			func(p *plant) { p.world.refuse.Store(true) },
			"The primary container for production variant a could not be started: the server's log says why.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			tt.harm(p)
			p.create(1)
			e, _ := p.until("failed", func(e *hosting.Endpoint, is []hosting.Instance) bool {
				return e.Status == hosting.Failed && len(is) == 0
			})
			if e.FailureReason != tt.want {
				t.Errorf("FailureReason = %s\nwant %s", e.FailureReason, tt.want)
			}
			if strings.Contains(e.FailureReason, "trust relationship") {
				t.Error("Terraform takes this reason for a role that is not ready yet")
			}
		})
	}
}

func TestTheNextServerAdoptsWhatRunsAndRemovesWhatNobodyWants(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, is := p.until("in service", inService)
	p.stop()
	if _, err := p.world.Ensure(t.Context(), "i-orphan", provider.Spec{}); err != nil {
		t.Fatal(err)
	}
	p.start()
	for end := time.Now().Add(10 * time.Second); len(p.world.ids()) != 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	p.until("still ready", ready(2))
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	for _, i := range is {
		if n := p.world.starts[provider.ID(i.ID)]; n != 1 {
			t.Errorf("%s was started %d times", i.ID, n)
		}
	}
	if len(p.world.servers) != 2 {
		t.Errorf("running: %v", fmt.Sprint(len(p.world.servers)))
	}
}

func TestScalingOutAndInKeepsTheOldestInstances(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, before := p.until("in service", inService)
	scale := func(n int) {
		p.change(func(e *hosting.Endpoint) error {
			return e.Scale(hosting.DeploymentID(fmt.Sprint("d-", n)), []hosting.Desire{{Variant: "a", Count: &n}}, time.Now().UTC())
		})
		p.until("scaled", func(e *hosting.Endpoint, is []hosting.Instance) bool { return inService(e, is) && ready(n)(e, is) })
	}
	scale(4)
	scale(2)
	_, after := p.until("in service", inService)
	for i := range before {
		if before[i].ID != after[i].ID {
			t.Errorf("instance %d changed from %s to %s", i, before[i].ID, after[i].ID)
		}
	}
}
