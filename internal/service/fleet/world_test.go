package fleet_test

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	store "github.com/slipway-ml/slipway/internal/platform/store/edge"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

// depot has every package that is asked for, but those that are missing; what
// was tampered with has another SHA-1.
type depot struct {
	mu       sync.Mutex
	missing  map[string]bool
	tampered map[string]bool
}

func (d *depot) Package(_ context.Context, _ arn.Scope, job string) (edge.Package, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.missing[job] {
		return edge.Package{}, fault.New(fault.Invalid, "Edge packaging job '%s' is not COMPLETED.", job)
	}
	return edge.Package{Job: job, S3URL: "s3://b/" + job, SHA1: "sha1-of-" + job}, nil
}

func (d *depot) SHA1Now(_ context.Context, s3url string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sum := "sha1-of-" + strings.TrimPrefix(s3url, "s3://b/")
	if d.tampered[s3url] {
		sum = "0000"
	}
	return sum, nil
}

// world is a service on a store, whose turns are taken when a test says so.
type world struct {
	*fleet.Service
	t     *testing.T
	db    store.DB
	depot *depot
}

// onWorlds runs f in a world on each database.
func onWorlds(t *testing.T, f func(w *world)) {
	t.Helper()
	onBoth(t, func(t *testing.T, db store.DB) { f(newWorld(t, db, fleet.Config{})) })
}

func newWorld(t *testing.T, db store.DB, c fleet.Config) *world {
	w := &world{t: t, db: db, depot: &depot{missing: map[string]bool{}, tampered: map[string]bool{}}}
	c.Store, c.Packages = db, w.depot
	c.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	w.Service = fleet.New(c)
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return w
}

// settle takes the turns that are due until none is, now or within soon.
func (w *world) settle() {
	w.t.Helper()
	const soon = 2 * time.Second // results are looked at together, a second later
	for range 10_000 {
		at := time.Now().Add(soon)
		c, _, err := w.db.Stages().Claim(w.t.Context(), at, at.Add(time.Minute))
		ok(w.t, err)
		if c.Key == "" {
			return
		}
		due, err := w.Turn(w.t.Context(), c.Key)
		ok(w.t, err)
		ok(w.t, w.db.Stages().Release(w.t.Context(), c, due))
	}
	w.t.Fatal("it never settles")
}

// plan creates a plan of one model with stages.
func (w *world) plan(name string, stages ...edge.Stage) {
	w.t.Helper()
	w.planOf(name, []edge.ModelConfig{{Handle: "m", Job: name + "-job"}}, stages...)
}

func (w *world) planOf(name string, models []edge.ModelConfig, stages ...edge.Stage) {
	w.t.Helper()
	_, err := w.CreatePlan(
		w.t.Context(), edge.Plan{Scope: scope, Name: name, Fleet: "f", Models: models, Stages: stages}, nil,
	)
	ok(w.t, err)
}

func percent(name string, p int) edge.Stage {
	return edge.Stage{Name: name, Selection: edge.Selection{Type: edge.ByPercentage, Percentage: p}}
}

func named(name string, devices ...string) edge.Stage {
	return edge.Stage{Name: name, Selection: edge.Selection{Type: edge.ByName, Names: devices}}
}

func containing(name, part string) edge.Stage {
	return edge.Stage{Name: name, Selection: edge.Selection{Type: edge.ByNameContains, NameContains: part}}
}

func (w *world) start(plan, stage string) {
	w.t.Helper()
	ok(w.t, w.StartStage(w.t.Context(), scope, plan, stage))
	w.settle()
}

func (w *world) stage(plan, stage string) edge.Stage {
	w.t.Helper()
	p, err := w.Plan(w.t.Context(), scope, plan)
	ok(w.t, err)
	i := p.Stage(stage)
	if i < 0 {
		w.t.Fatalf("no stage %s", stage)
	}
	return p.Stages[i]
}

// want compares a stage with a status and its counters; those that are left out
// are zero.
func (w *world) want(plan, stage string, status edge.StageStatus, c edge.Counts) {
	w.t.Helper()
	st := w.stage(plan, stage)
	if st.Status != status || st.Counts != c {
		w.t.Errorf("%s of %s is %s %+v, want %s %+v (%s)", stage, plan, st.Status, st.Counts, status, c, st.Message)
	}
}

// rows returns what ListStageDevices shows, by device.
func (w *world) rows(plan, stage string) map[string]edge.StageDevice {
	w.t.Helper()
	out := map[string]edge.StageDevice{}
	f := edge.RowFilter{Limit: 7}
	for more := true; more; {
		var page []edge.StageDevice
		var err error
		page, more, err = w.StageDevices(w.t.Context(), scope, plan, stage, f)
		ok(w.t, err)
		for _, d := range page {
			if _, twice := out[d.Device]; twice {
				w.t.Errorf("%s was listed twice", d.Device)
			}
			out[d.Device] = d
		}
		if more {
			f.After = f.Cursor(page[len(page)-1])
		}
	}
	return out
}

func devices(m map[string]edge.StageDevice) []string { return slices.Sorted(maps.Keys(m)) }

func (w *world) poll(device string) []edge.Deployment {
	w.t.Helper()
	ds, _, err := w.Deployments(w.t.Context(), scope, edge.Caller{}, "f", device)
	ok(w.t, err)
	return ds
}

func (w *world) beat(h edge.Heartbeat) {
	w.t.Helper()
	h.Fleet = "f"
	_, err := w.Heartbeat(w.t.Context(), scope, edge.Caller{}, h)
	ok(w.t, err)
}

// report says how a deployment went on a device.
func (w *world) report(device, deployment, status string) {
	w.t.Helper()
	w.beat(
		edge.Heartbeat{Device: device, AgentVersion: "1", Result: &edge.Result{Deployment: deployment, Status: status}},
	)
}

// work lets devices do what they are told, with an outcome.
func (w *world) work(status string, devices ...string) {
	w.t.Helper()
	for _, d := range devices {
		for _, o := range w.poll(d) {
			w.report(d, o.Name, status)
		}
	}
	w.settle()
}
