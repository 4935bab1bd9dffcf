// Package device is the device agent's state machine: what to ask of the
// server and when, which package to fetch, load and flip to, when to go back,
// and what to report. It promises:
//
//   - after a power cut at any operation each handle serves the package from
//     before the deployment or the one after it, all handles of a deployment
//     the same side (unless the policy is DO_NOTHING), never none of them;
//   - nothing is loaded that is not, in every byte, what a trusted key signed;
//   - a result is reported until the server took it, and says what is true;
//   - it works without a network for any time, and whatever the clock shows.
//
// Everything that it touches is behind an interface, so that a process can run
// very many. It never sleeps: Step does one thing and says when to come again.
//
//	(offered) → preparing: fetch → verify → load, each model
//	               │  all ready                     │ one failed
//	               │                                ▼ ROLLBACK_ON_FAILURE: as before; DO_NOTHING: flip what is ready
//	               │ if asked for: each runs beside what it replaces, and they are compared ──▶ one disagrees: failed
//	               ▼
//	            flipped (one save of the state) → pointers flipped → old ones drained → result
package device

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// Cloud is the server.
type Cloud interface {
	// Registration says whether the device may use the server, and for how long
	// that answer holds.
	Registration(ctx context.Context) (active bool, ttl time.Duration, err error)
	Deployments(ctx context.Context) ([]edge.Deployment, edge.Hints, error)
	Heartbeat(ctx context.Context, h edge.Heartbeat) (edge.Hints, error)
	// Fetch opens an object from offset on. size is that of the whole object;
	// etag changes when the object does. An error that is a fault.Conflict says
	// that nothing can be continued at this offset.
	Fetch(ctx context.Context, s3url string, offset int64) (body io.ReadCloser, size int64, etag string, err error)
}

// Table is what a device needs of the loaded models by handle (see
// handles.Table). SwapAll flips several handles in one step.
type Table interface {
	SwapAll(flips map[string]*model.Loaded) (old map[string]*model.Loaded)
	Gap(handle string, until context.Context)
	List() []model.Info
}

// Mirrors lets models that are ready run beside those that serve.
type Mirrors interface {
	// Begin gives fresh what applications ask of handle from now on. It fails while
	// the handle means no model.
	Begin(handle string, fresh model.Runner, m *edge.Mirror) (Mirroring, error)
}

// Mirroring is a model that runs beside another.
type Mirroring interface {
	Old() model.Info            // the model that serves meanwhile
	On() bool                   // the handle still means that model
	Take() edge.Pairs           // what was counted since it was last asked
	Memory() (old, fresh int64) // bytes, 0 if not known
	End()
}

// Config is a device and what it works with. Golden, Mirrors, Metrics, Rand, Log
// and Settings may be left out.
type Config struct {
	Fleet, Name, AgentVersion string

	Disk     disk.FS
	Cloud    Cloud
	Engine   model.Engine
	Table    Table
	Verifier *bundle.Verifier // its Trust is not used: the disk keeps that
	Machine  Machine
	// Golden runs the cases of a package's golden.json on a model and says
	// which failed. Without it a package that has some is refused.
	Golden func(ctx context.Context, r model.Runner, cases []byte) error
	// Mirrors compares models on live requests. Without it a deployment that asks for
	// that is refused.
	Mirrors  Mirrors
	Metrics  func() []edge.Metric
	Rand     *rand.Rand
	Log      *slog.Logger
	Settings *Settings // may be shared between devices
}

// Settings is how a device behaves. A zero field is its default.
type Settings struct {
	Poll, Heartbeat  time.Duration // between two; the server's hints win; 5 min
	MinWait, MaxWait time.Duration // no hint goes beyond these; 5 s, 24 h
	Spread           time.Duration // the first poll and heartbeat come within; 10 s
	Call             time.Duration // one call to the server; 30 s
	Load, Golden     time.Duration // loading a model and its golden cases; 5 min, 1 min
	Drain            time.Duration // calls that an old model has to finish; 30 s
	Gap              time.Duration // calls wait so long in a declared gap; 2 min
	Slice            int64         // bytes of a download before anything else gets a turn; 8 MiB
	SliceTime        time.Duration // and how long that may take; 30 s
	Tries            int           // of a download that brings nothing new; 8
	Loads            int           // of a model that ends the process or the machine; 5
	Look, Keep       time.Duration // at models that are compared, and between saves of that; 5 s, 30 s
	Reserve          uint64        // bytes of the disk that stay free; 1 MiB
	Growth           int64         // a package is expected to unpack to so many times its size; 2
	MaxBackoff       time.Duration // between attempts; 5 min
}

// WithDefaults returns the settings with no field left to its default; many
// devices can share it.
func (s *Settings) WithDefaults() *Settings {
	var d Settings
	if s != nil {
		d = *s
	}
	d.Poll, d.Heartbeat = cmp.Or(d.Poll, 5*time.Minute), cmp.Or(d.Heartbeat, 5*time.Minute)
	d.MinWait, d.MaxWait = cmp.Or(d.MinWait, 5*time.Second), cmp.Or(d.MaxWait, 24*time.Hour)
	d.Spread = cmp.Or(d.Spread, 10*time.Second)
	d.Call = cmp.Or(d.Call, 30*time.Second)
	d.Load, d.Golden = cmp.Or(d.Load, 5*time.Minute), cmp.Or(d.Golden, time.Minute)
	d.Drain, d.Gap = cmp.Or(d.Drain, 30*time.Second), cmp.Or(d.Gap, 2*time.Minute)
	d.Slice, d.SliceTime = cmp.Or(d.Slice, 8<<20), cmp.Or(d.SliceTime, 30*time.Second)
	d.Tries, d.Loads = cmp.Or(d.Tries, 8), cmp.Or(d.Loads, 5)
	d.Look, d.Keep = cmp.Or(d.Look, 5*time.Second), cmp.Or(d.Keep, 30*time.Second)
	d.Reserve, d.Growth = cmp.Or(d.Reserve, 1<<20), cmp.Or(d.Growth, 2)
	d.MaxBackoff = cmp.Or(d.MaxBackoff, 5*time.Minute)
	if s != nil && d == *s {
		return s // shared by many
	}
	return &d
}

// Device is one device. It is for one goroutine at a time.
type Device struct {
	cfg   *Config
	depot *depot.Depot
	state *depot.State // what is true; the disk has it too unless unsaved

	last  time.Time     // the now of the last Step
	clock time.Duration // passed since Open; never goes back

	registered, unsaved, more            bool
	offline, denied                      bool // the last call got no answer, or a refusal
	regAt, beatAt, pollAt, workAt        time.Duration
	retryAt, saveAt                      time.Duration
	beatFails, pollFails, regFails       uint8
	workFails, retryFails, saveFails     uint8
	collectFails                         uint8
	garbage                              bool // something on the disk waits to be removed
	collectAt                            time.Duration
	refused                              uint8 // how often the server refused the oldest result
	trouble                              *trouble
	serving                              []served
	work                                 *working // nil without a deployment under way
	registeredUntil, pollEvery, beatWait time.Duration
}

// trouble is what is in the way of a deployment that is not over.
type trouble struct {
	edge.Result // without an outcome
	kind        string
	told        bool
}

// served is what the table has for a handle.
type served struct {
	handle string
	id     depot.ID
	loaded *model.Loaded
}

// working is what is only in memory of the deployment under way.
type working struct {
	ready   map[string]*model.Loaded     // loaded and checked, not flipped to
	known   map[depot.ID]bundle.Manifest // verified in this life of the process
	refetch map[depot.ID]bool            // on the disk, but damaged
	tight   map[string]bool              // does not fit beside the old one
	gaps    map[string]context.CancelFunc
	beside  map[string]*beside // what runs beside the model that serves
	kept    time.Duration      // when that was last saved
}

func newWorking() *working {
	return &working{
		ready: map[string]*model.Loaded{}, known: map[depot.ID]bundle.Manifest{},
		refetch: map[depot.ID]bool{}, tight: map[string]bool{}, gaps: map[string]context.CancelFunc{},
		beside: map[string]*beside{},
	}
}

// Open starts a device from what is on its disk, also after a power cut:
// handles serve again when it returns, as far as their packages can be loaded.
// Only a disk that cannot be used fails it.
func Open(ctx context.Context, cfg Config) (*Device, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	cfg.Settings = cfg.Settings.WithDefaults()
	dep, found, err := depot.Open(cfg.Disk)
	if err != nil {
		return nil, err
	}
	d := &Device{cfg: &cfg, depot: dep, state: dep.State()}
	for _, what := range found.Damaged {
		cfg.Log.ErrorContext(ctx, "part of the device's state was damaged", "err", what)
	}
	if found.Lost {
		cfg.Log.ErrorContext(ctx, "the device's state is lost; its packages are kept until the next deployment")
	} else {
		d.collect(ctx)
	}
	d.regAt = d.within(cfg.Settings.Spread)
	d.pollEvery, d.beatWait = cfg.Settings.Poll, cfg.Settings.Heartbeat
	d.resume(ctx)
	return d, nil
}

// Close stops serving: the models are drained and freed. The disk stays as it is.
func (d *Device) Close(ctx context.Context) {
	d.dropReady(ctx)
	flips := map[string]*model.Loaded{}
	for _, s := range d.serving {
		flips[s.handle] = nil
	}
	d.cfg.Table.SwapAll(flips)
	for _, s := range d.serving {
		d.close(ctx, s.handle, s.loaded)
	}
	d.serving = nil
}

// State returns what the device remembers; it must not be changed.
func (d *Device) State() *depot.State { return d.state }

// Step does at most one thing that is due, and returns when the next will be.
// Time is only ever compared with earlier values of now: a clock that is wrong
// or jumps does no more than one wait that is too short or too long.
func (d *Device) Step(ctx context.Context, now time.Time) (wake time.Time) {
	if !d.last.IsZero() && now.After(d.last) {
		d.clock += now.Sub(d.last)
	}
	d.last = now
	if act := d.due(); act != nil {
		act(ctx)
	}
	return now.Add(max(0, d.next()-d.clock))
}

// task is something that may be due.
type task struct {
	at time.Duration
	do func(context.Context)
}

// tasks lists what waits to be done, the most urgent first. Downloads wait
// while the server cannot be reached; all else goes on without it.
func (d *Device) tasks() []task {
	list := make([]task, 0, 6)
	if d.unsaved {
		list = append(list, task{d.saveAt, d.saveAgain})
	}
	if d.registered && d.clock < d.registeredUntil {
		list = append(list, task{d.beatAt, d.heartbeat}, task{d.pollAt, d.poll})
	} else {
		list = append(list, task{d.regAt, d.register})
	}
	if d.state.Job != nil && d.state.Job.Phase != depot.Ended && !d.unsaved &&
		(!d.offline && d.registered || !d.needsNetwork()) {
		list = append(list, task{d.workAt, d.turn})
	}
	if d.garbage && !d.unsaved {
		list = append(list, task{d.collectAt, d.collect})
	}
	if d.missing() {
		list = append(list, task{d.retryAt, d.serveMissing})
	}
	return list
}

func (d *Device) due() func(context.Context) {
	for _, t := range d.tasks() {
		if t.at <= d.clock {
			return t.do
		}
	}
	return nil
}

func (d *Device) next() time.Duration {
	at := d.clock + d.cfg.Settings.MaxWait
	for _, t := range d.tasks() {
		at = min(at, t.at)
	}
	return at
}

// within returns a random time up to t.
func (d *Device) within(t time.Duration) time.Duration {
	return time.Duration(d.cfg.Rand.Int64N(int64(t) + 1))
}

// backoff returns how long to wait after fails failures in a row: twice as long
// each time, and a random half of it, so that a fleet does not return at once.
func (d *Device) backoff(fails *uint8) time.Duration {
	t := time.Second << min(*fails, 20)
	*fails = min(*fails+1, 20)
	t = min(t, d.cfg.Settings.MaxBackoff)
	return t/2 + d.within(t/2)
}

// save makes next what is true. When the disk refuses, what was true stays so,
// and is saved again before anything relies on the disk.
func (d *Device) save(ctx context.Context, next *depot.State) error {
	err := d.depot.Save(next)
	if err != nil {
		d.unsaved = true
		d.saveAt = d.clock + d.backoff(&d.saveFails)
		d.cfg.Log.ErrorContext(ctx, "the device's state could not be saved", "err", err)
		reason := fmt.Sprintf("the device's state could not be saved: %v", err)
		if disk.Full(err) {
			reason = "the disk is full: " + reason
		}
		if next.Job != nil {
			d.troubled(next.Job.Name, "disk", reason)
		} else if n := len(next.Results); n > 0 {
			d.troubled(next.Results[n-1].Deployment, "disk", reason)
		}
		return err
	}
	d.state, d.unsaved, d.saveFails = next, false, 0
	return nil
}

// setAndSave is save for what is true whatever the disk says.
func (d *Device) setAndSave(ctx context.Context, next *depot.State) error {
	err := d.save(ctx, next)
	d.state = next
	return err
}

func (d *Device) saveAgain(ctx context.Context) {
	if d.save(ctx, d.state) != nil {
		return
	}
	d.collect(ctx)
	if len(d.state.Results) > 0 && !d.offline {
		d.beatAt = d.clock
	}
}

// collect clears the disk up. It may fail for a while.
func (d *Device) collect(ctx context.Context) {
	err := d.depot.Collect()
	d.garbage = err != nil
	if err == nil {
		d.collectFails = 0
		return
	}
	d.collectAt = d.clock + d.backoff(&d.collectFails)
	if d.collectFails == 1 {
		d.cfg.Log.WarnContext(ctx, "what is not needed any more could not be removed", "err", err)
	}
}
