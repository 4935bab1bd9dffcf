package instance_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
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
	"github.com/slipway-ml/slipway/internal/service/evidence"
	"github.com/slipway-ml/slipway/internal/service/instance"
)

// plant is a store, the deployer and the instance service over a world.
type plant struct {
	t       *testing.T
	db      *store.DB
	world   *world
	drained sync.Map    // instance IDs whose drain was asked for
	busy    atomic.Bool // their requests do not end
	logged  logged

	providers provider.Set
	download  time.Duration // of the endpoint that is created
	unknown   error         // why the image cannot run
	version   func(ctx context.Context, id hosting.InstanceID, d hosting.ModelData, served bool) (string, error)
	digest    string // of all model data
	stop      func()
	manager   *instance.Manager
}

// logged is what the services said.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

func newPlant(t *testing.T) *plant {
	db, err := base.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	p := &plant{t: t, db: store.New(db), world: newWorld(t)}
	p.providers = provider.Set{hosting.Processes: p.world}
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
	if err := p.db.Deploying().ForgetLeases(ctx); err != nil { // nobody else works
		p.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(p.t.Output(), &p.logged), nil))
	rows, turns := loop.NewWakeup(), loop.NewWakeup()
	ring := func() { rows.Notify(); turns.Notify() }
	d := &deployer.Deployer{
		Log: log, Changed: ring, Change: p.db.Change,
		Evidence: &evidence.Source{Endpoints: p.db, Watch: evidence.NewWatch(nil)},
	}
	runner := &loop.Runner{
		Queue: p.db.Deploying(), Turn: d.Turn, Log: log, Wake: turns, Poll: 100 * time.Millisecond,
		Lease: time.Minute, Retry: 50 * time.Millisecond,
	}
	m := instance.New(instance.Config{
		Store: p.db, Providers: p.providers, Changed: ring, Wake: rows, Log: log,
		Command: func(hosting.Container) ([]string, error) { return []string{"x"}, p.unknown }, Version: p.version,
		Digest: func(hosting.ModelData) string { return p.digest },
		Drain: func(ctx context.Context, id hosting.InstanceID) error {
			p.drained.Store(id, true)
			if p.busy.Load() {
				<-ctx.Done()
			}
			return ctx.Err()
		},
		Tuning: instance.Tuning{
			Poll: 50 * time.Millisecond, PingInterval: 20 * time.Millisecond, PingTimeout: time.Second,
			StartupTimeout: 400 * time.Millisecond, BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
		},
	})
	p.manager = m
	var wg sync.WaitGroup
	wg.Go(func() { runner.Run(ctx) })
	wg.Go(func() { m.Run(ctx) })
	p.stop = func() { cancel(); wg.Wait() }
}

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

func (p *plant) create(n int) {
	p.t.Helper()
	l := launch("c1", n)
	l.Config.Variants[0].DownloadTimeout = p.download
	e, err := hosting.Create("e-1", "e", l, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.db.Change(p.t.Context(), func(tx store.Tx) error { return tx.Write(p.t.Context(), outcome.OfCreation(e)) })
	if err != nil {
		p.t.Fatal(err)
	}
}

func launch(config string, n int) hosting.Launch {
	return hosting.Launch{
		Deployment: hosting.DeploymentID("d-" + config), Fleet: hosting.FleetID("f-" + config),
		Now: time.Now().UTC().Truncate(time.Microsecond),
		Config: hosting.EndpointConfig{Scope: scope, Name: config, Variants: []hosting.Variant{{
			Name: "a", ModelName: "m", InstanceType: "ml.m5.large", InstanceCount: n, Weight: 1,
		}}},
		Models: map[string]hosting.Model{"m": {Containers: []hosting.Container{{
			Name: "primary", Image: "i", ModelData: &hosting.ModelData{URI: "s3://b/k", Layout: hosting.Archive},
		}}}},
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
func (p *plant) until(what string, ok func(*hosting.Endpoint, []hosting.Instance) bool) (*hosting.Endpoint,
	[]hosting.Instance,
) {
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

func (p *plant) wantStarts(id hosting.InstanceID, want int) {
	p.t.Helper()
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	if n := p.world.starts[provider.ID(id)]; n != want {
		p.t.Errorf("%s was started %d times, want %d", id, n, want)
	}
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

func fetchFails(err error) func(*plant) {
	return func(p *plant) {
		p.world.fetch.Store(new(func(context.Context, hosting.ModelData) error { return err }))
	}
}

func refused(err error) func(*plant) {
	return func(p *plant) { p.world.refuse.Store(&err) }
}

func TestWhatAVariantAsksForReachesTheProvider(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, is := p.until("in service", inService)
	p.world.alter(is[0].ID, func(s *server) {
		want := provider.Spec{
			Image: "i", Command: []string{"x"}, ModelData: &hosting.ModelData{URI: "s3://b/k", Layout: hosting.Archive},
			InstanceType: "ml.m5.large", Endpoint: "e", Variant: "a",
			DownloadTimeout: 20 * time.Minute, StopGrace: 30 * time.Second,
		}
		if !reflect.DeepEqual(s.spec, want) {
			t.Errorf("%+v\nwant %+v", s.spec, want)
		}
	})
}

func TestAnAddressMayComeLate(t *testing.T) {
	p := newPlant(t)
	p.world.late.Store(true)
	p.create(1)
	waits := func(why string) func(*hosting.Endpoint, []hosting.Instance) bool {
		return func(_ *hosting.Endpoint, is []hosting.Instance) bool {
			return len(is) == 1 && is[0].Detail == why && is[0].Status == hosting.InstanceStarting &&
				is[0].Address == ""
		}
	}
	_, is := p.until("waiting for its image", waits("Its image is being pulled."))
	p.world.alter(is[0].ID, func(s *server) { s.waiting = "There is no room for it." })
	p.until("waiting for room", waits("There is no room for it."))
	p.world.alter(is[0].ID, func(s *server) { s.waiting = "" })
	_, is = p.until("in service", inService)
	if is[0].Address == "" || is[0].Detail != "" {
		t.Errorf("it is %+v", is[0])
	}
	p.wantStarts(is[0].ID, 1)
}

func TestAnInstanceThatMovedIsReportedWhereItAnswers(t *testing.T) {
	p := newPlant(t)
	p.create(1)
	_, before := p.until("in service", inService)
	p.world.alter(before[0].ID, func(s *server) {
		s.healthy.Store(false) // at the new address, for now
		if err := s.listen(); err != nil {
			t.Error(err)
		}
	})
	p.until("out of service", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return e.Status == hosting.OutOfService && is[0].Address == ""
	})
	p.world.alter(before[0].ID, func(s *server) { s.healthy.Store(true) })
	_, after := p.until("back in service", inService)
	p.world.alter(before[0].ID, func(s *server) {
		if after[0].Address != s.address || after[0].Address == before[0].Address {
			t.Errorf("it was at %s, is at %s and reported at %s", before[0].Address, s.address, after[0].Address)
		}
	})
	p.wantStarts(before[0].ID, 1)
}

func TestTheNextServerGoesOnWaitingForAnAddress(t *testing.T) {
	p := newPlant(t)
	p.world.late.Store(true)
	p.create(1)
	_, is := p.until("waiting", func(_ *hosting.Endpoint, is []hosting.Instance) bool {
		return len(is) == 1 && is[0].Detail != ""
	})
	p.stop()
	p.start()
	p.world.alter(is[0].ID, func(s *server) { s.waiting = "" })
	p.until("in service", inService)
	p.wantStarts(is[0].ID, 1)
}

func TestWhatIsFetchedForAnInstanceThatNobodyWantsAnyMoreStops(t *testing.T) {
	p := newPlant(t)
	var calls atomic.Int64
	stopped := make(chan struct{})
	p.world.fetch.Store(new(func(ctx context.Context, _ hosting.ModelData) error {
		if calls.Add(1) > 1 {
			return fault.New(fault.NotFound, "no such object") // which fails the endpoint
		}
		defer close(stopped)
		<-ctx.Done()
		return ctx.Err()
	}))
	p.create(2)
	<-stopped
	p.until("failed, and both gone", func(e *hosting.Endpoint, is []hosting.Instance) bool {
		return e.Status == hosting.Failed && len(is) == 0
	})
}

func TestAnInstanceThatCannotStartFailsTheEndpointWithTheReason(t *testing.T) {
	const (
		container = "The primary container for production variant a "
		notWell   = container + "did not pass the ping health check. Please check CloudWatch logs for this endpoint. "
		itsLog    = " Last lines of its log: cannot open model.onnx"
		noModel   = `Failed to download model data for container "primary" from URL: "s3://b/k". Please ensure that ` +
			"there is an object located at the URL and that the role passed to CreateModel has permissions to " +
			"download the object."
	)
	for name, tt := range map[string]struct {
		harm func(*plant)
		want string
	}{
		"it exits": {
			func(p *plant) { p.world.die.Store(true) },
			notWell + "The process ended: exit status 3." + itsLog,
		},
		"it never gets healthy": {
			func(p *plant) { p.world.stall.Store(true) },
			notWell + "No health check passed within 400ms: /ping answered 503." + itsLog,
		},
		"its model is missing": {
			fetchFails(fault.New(fault.NotFound, "no such object")),
			noModel,
		},
		"its model is broken": {
			fetchFails(fault.New(fault.Invalid, "The archive is truncated.")),
			`The model data for container "primary" from URL "s3://b/k" cannot be used: The archive is truncated.`,
		},
		"its model does not arrive in time": {
			fetchFails(fmt.Errorf("fetch: %w", context.DeadlineExceeded)),
			noModel,
		},
		"it never gets an address": {
			func(p *plant) { p.download = 100 * time.Millisecond; p.world.late.Store(true) },
			container + "could not be started: it was not started within 100ms. Its image is being pulled.",
		},
		"its model finds no room": {
			fetchFails(fault.New(fault.Unavailable, "It could not be stored.").Because(
				fmt.Errorf("write: %w", syscall.ENOSPC))),
			`The model data for container "primary" from URL "s3://b/k" could not be stored on this server: no space ` +
				"is left on the server's disk.",
		},
		"the provider refuses": {
			refused(errors.New("no room")), container + "could not be started: the server's log says why.",
		},
		"there is no room for its log": {
			refused(fmt.Errorf("open log: %w", syscall.ENOSPC)),
			container + "could not be started: no space is left on the server's disk.",
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
	for _, i := range is {
		p.wantStarts(i.ID, 1)
	}
	if n := len(p.world.ids()); n != 2 {
		t.Errorf("running: %d", n)
	}
}

func TestAnInstanceIsTheBusinessOfTheProviderThatItsRowNames(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, is := p.until("in service", inService)
	p.stop()
	const alone = "instance is left alone: its provider is not configured"
	other := newWorld(t)
	p.providers = provider.Set{"another": other}
	p.start()
	p.until("said", func(*hosting.Endpoint, []hosting.Instance) bool { return p.logged.count(alone) == 2 })
	p.change(func(e *hosting.Endpoint) error { return e.Delete("d-x", time.Now()) })
	p.until("said again", func(*hosting.Endpoint, []hosting.Instance) bool { return p.logged.count(alone) == 4 })
	if n := len(p.world.ids()); n != 2 {
		t.Errorf("%d instances run", n)
	}
	p.stop()
	// What another provider has under the same name is not what the row means.
	if _, err := other.Ensure(t.Context(), provider.ID(is[0].ID), provider.Spec{}); err != nil {
		t.Fatal(err)
	}
	p.providers = provider.Set{"another": other, hosting.Processes: p.world}
	p.start()
	p.until("gone", func(e *hosting.Endpoint, _ []hosting.Instance) bool { return e == nil && len(other.ids()) == 0 })
	if running := p.world.ids(); len(running) != 0 {
		t.Errorf("still running: %v", running)
	}
	for _, i := range is {
		p.wantStarts(i.ID, 1)
		if _, ok := p.drained.Load(i.ID); !ok {
			t.Errorf("%s was stopped without being drained", i.ID)
		}
	}
}

func TestScalingOutAndInKeepsTheOldestInstances(t *testing.T) {
	p := newPlant(t)
	p.create(2)
	_, before := p.until("in service", inService)
	scale := func(n int) {
		p.change(func(e *hosting.Endpoint) error {
			return e.Scale(hosting.DeploymentID(fmt.Sprint("d-", n)), []hosting.Desire{{Variant: "a", Count: &n}},
				time.Now().UTC())
		})
		p.until("scaled", func(e *hosting.Endpoint, is []hosting.Instance) bool {
			return inService(e, is) &&
				ready(n)(e, is)
		})
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
