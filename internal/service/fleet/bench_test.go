package fleet_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/loop"
	"github.com/slipway-ml/slipway/internal/service/fleet"
)

// benchDevices is how many devices SLIPWAY_BENCH_DEVICES asks for.
func benchDevices(b *testing.B) int {
	text := os.Getenv("SLIPWAY_BENCH_DEVICES")
	if text == "" {
		b.Skip("SLIPWAY_BENCH_DEVICES says with how many devices to measure")
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// benchWorld is a service with many devices, whose loop runs.
type benchWorld struct {
	*fleet.Service
	b    *testing.B
	n    int
	wake loop.Wakeup
}

func newBenchWorld(b *testing.B, n int) *benchWorld {
	db, err := openSQLite(b.Context(), filepath.Join(b.TempDir(), "x.db"))
	if err != nil {
		b.Fatal(err)
	}
	y := &benchWorld{b: b, n: n, wake: loop.NewWakeup()}
	log := slog.New(slog.DiscardHandler)
	y.Service = fleet.New(fleet.Config{
		Store: db, Packages: &depot{}, Log: log, Wake: y.wake,
	})
	begun := time.Now()
	if err := y.CreateFleet(b.Context(), edge.Fleet{Scope: scope, Name: "f"}, nil, nil); err != nil {
		b.Fatal(err)
	}
	for from := 0; from < n; from += edge.MaxRegister {
		var ds []edge.Device
		for i := from; i < min(n, from+edge.MaxRegister); i++ {
			ds = append(ds, edge.Device{Name: name(i)})
		}
		if err := y.Register(b.Context(), scope, "f", ds, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("registered %d devices in %v", n, time.Since(begun).Round(time.Millisecond))
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { y.Run(ctx) })
	r := loop.Runner{
		Queue: db.Stages(), Turn: y.Turn, Log: log, Wake: y.wake, Poll: time.Second, Lease: 30 * time.Second,
		Retry: time.Second,
	}
	wg.Go(func() { r.Run(ctx) })
	b.Cleanup(func() {
		stop()
		wg.Wait()
		_ = db.Close()
	})
	return y
}

func name(i int) string { return fmt.Sprintf("device-%07d", i) }

// latencies are measured by many.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) time(f func()) {
	begun := time.Now()
	f()
	took := time.Since(begun)
	l.mu.Lock()
	l.all = append(l.all, took)
	l.mu.Unlock()
}

func (l *latencies) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return "none"
	}
	slices.Sort(l.all)
	at := func(q float64) time.Duration { return l.all[int(q*float64(len(l.all)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d, p50 %v, p99 %v, max %v", len(l.all), at(.5), at(.99), at(1))
}

// crowd lets devices check in at a rate, a heartbeat and a poll each, until ctx
// ends. A device does what it is told, and reports it with its next heartbeat.
func (y *benchWorld) crowd(ctx context.Context, rate int, beats, polls *latencies, done *atomic.Int64) {
	var wg sync.WaitGroup
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	slots := make(chan struct{}, 2000)
	due := make([]string, y.n)
	for next := 0; ; {
		select {
		case <-ctx.Done():
			wg.Wait()
			return
		case <-tick.C:
		}
		for range max(1, rate/200) {
			i := next % y.n
			next++
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				continue
			}
			wg.Go(func() {
				defer func() { <-slots }()
				y.checkIn(context.Background(), i, &due[i], beats, polls, done)
			})
		}
	}
}

func (y *benchWorld) checkIn(ctx context.Context, i int, due *string, beats, polls *latencies, done *atomic.Int64) {
	h := edge.Heartbeat{Fleet: "f", Device: name(i), AgentVersion: "1.0", HasModels: true, Models: []edge.LoadedModel{
		{Name: "defects", Version: "1.0", LatestInference: time.Now()},
	}}
	if *due != "" {
		h.Result = &edge.Result{Deployment: *due, Status: "SUCCESS"}
	}
	beats.time(func() {
		if _, err := y.Heartbeat(ctx, scope, edge.Caller{}, h); err != nil {
			y.b.Error(err)
		}
	})
	if *due != "" {
		*due = ""
		done.Add(1)
	}
	polls.time(func() {
		ds, _, err := y.Deployments(ctx, scope, edge.Caller{}, "f", h.Device)
		if err != nil {
			y.b.Error(err)
		}
		if len(ds) > 0 {
			*due = ds[0].Name
		}
	})
}

// Heartbeats and polls through the service, at the rate at which devices send
// them once a minute each.
func BenchmarkCheckins(b *testing.B) {
	n := benchDevices(b)
	y := newBenchWorld(b, n)
	for _, rate := range []int{n / 30, n / 15, n / 6} {
		var beats, polls latencies
		var done atomic.Int64
		ctx, stop := context.WithTimeout(b.Context(), 15*time.Second)
		before := cpu()
		y.crowd(ctx, rate, &beats, &polls, &done)
		stop()
		b.Logf(
			"%d requests/s asked for: heartbeats %v; polls %v; %.0f %% of a core", rate, &beats, &polls,
			float64(cpu()-before)/15e9*100,
		)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("heap %d MiB, from the system %d MiB", m.HeapAlloc>>20, m.Sys>>20)
	for b.Loop() { // the numbers are those above
	}
}

// A tenth of the devices is selected, written, offered and deployed to while all
// of them check in and somebody looks.
func BenchmarkAStage(b *testing.B) {
	n := benchDevices(b)
	y := newBenchWorld(b, n)
	percentage := 10
	if text := os.Getenv("SLIPWAY_BENCH_PERCENT"); text != "" {
		percentage, _ = strconv.Atoi(text)
	}
	p := edge.Plan{
		Scope: scope, Name: "p", Fleet: "f", Models: []edge.ModelConfig{{Handle: "m", Job: "j"}},
		Stages: []edge.Stage{percent("s", percentage)},
	}
	if _, err := y.CreatePlan(b.Context(), p, nil); err != nil {
		b.Fatal(err)
	}
	var beats, polls, describes latencies
	var done atomic.Int64
	ctx, stop := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { y.crowd(ctx, 3300, &beats, &polls, &done) })
	begun := time.Now()
	var call latencies
	call.time(func() {
		if err := y.StartStage(b.Context(), scope, "p", "s"); err != nil {
			b.Fatal(err)
		}
	})
	b.Logf("StartEdgeDeploymentStage answered after %v", &call)
	target := edge.Target(percentage, n)
	wrote := false
	for limit := begun.Add(2 * time.Minute); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		var got *edge.Plan
		describes.time(func() { got, _ = y.Plan(b.Context(), scope, "p") })
		c := got.Stages[0].Counts
		if !wrote && got.Stages[0].Status == edge.StageInProgress {
			wrote = true
			b.Logf(
				"%d rows were selected, written and offered after %v; describing meanwhile: %v; heartbeats: %v; "+
					"polls: %v",
				c.Total(), time.Since(begun).Round(time.Millisecond), &describes, &beats, &polls,
			)
		}
		if c.Deployed == target {
			break
		}
	}
	stop()
	wg.Wait()
	got, err := y.Plan(b.Context(), scope, "p")
	b.Logf(
		"after %v: %+v %v; describing: %v; heartbeats: %v; polls: %v", time.Since(begun).Round(time.Millisecond),
		got.Stages[0].Counts, err, &describes, &beats, &polls,
	)
	begun = time.Now()
	_, r, _, err := y.Report(b.Context(), scope, "f")
	b.Logf("GetDeviceFleetReport of %d devices: %v %v", r.Registered, time.Since(begun).Round(time.Millisecond), err)
	for b.Loop() { // the numbers are those above
	}
}

// All devices are selected, and their rows written, while nobody else asks for
// anything.
func BenchmarkWritingRows(b *testing.B) {
	n := benchDevices(b)
	y := newBenchWorld(b, n)
	stages := []edge.Stage{percent("tenth", 10), percent("rest", 100)}
	if _, err := y.CreatePlan(
		b.Context(),
		edge.Plan{
			Scope: scope, Name: "p", Fleet: "f", Models: []edge.ModelConfig{{Handle: "m", Job: "j"}}, Stages: stages,
		},
		nil,
	); err != nil {
		b.Fatal(err)
	}
	for i, st := range stages {
		begun, before := time.Now(), cpu()
		if err := y.StartStage(b.Context(), scope, "p", st.Name); err != nil {
			b.Fatal(err)
		}
		for {
			p, err := y.Plan(b.Context(), scope, "p")
			if err != nil {
				b.Fatal(err)
			}
			if got := p.Stages[i]; got.Status == edge.StageInProgress {
				b.Logf(
					"%d rows of %d devices in %v, %v of a processor", got.Counts.Total(), n,
					time.Since(begun).Round(time.Millisecond), (cpu() - before).Round(time.Millisecond),
				)
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for b.Loop() { // the numbers are those above
	}
}
