// Package simdevices runs a fleet of simulated devices in one process: up to a
// hundred thousand, each the state machine of the real agent (agent/device) on
// a simulated disk, with an engine that loads nothing. Packages are real: each
// device downloads them, checks digest, signature, manifest and every file, and
// unpacks them. It promises
//
//   - never a goroutine for a device: a heap of wake times feeds a fixed number
//     of workers, and everything ends when Run returns;
//   - bad days by seed: replies that are lost before or after the server acted,
//     devices that are away, packages that a device refuses. What a device
//     refuses depends on the seed alone; when calls are lost also on how many
//     there are, and so on the server;
//   - to say what each device believes, so that a server can be compared with it.
//
// It does not simulate connections: all devices share those of the workers, and
// the credentials of one operator.
package simdevices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/depot"
	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// Version is what simulated devices call their agent.
const Version = "0.1.0.sim"

// MaxDevices is how many devices a fleet may have.
const MaxDevices = 1_000_000

// Server is what the devices together need of a server: the calls of
// device.Cloud, with the device named in each.
type Server interface {
	Registration(ctx context.Context, fleet, device string) (active bool, ttl time.Duration, err error)
	Deployments(ctx context.Context, fleet, device string) ([]edge.Deployment, edge.Hints, error)
	Heartbeat(ctx context.Context, h edge.Heartbeat) (edge.Hints, error)
	Fetch(ctx context.Context, s3url string, offset int64) (body io.ReadCloser, size int64, etag string, err error)
}

// Config is a fleet of simulated devices.
type Config struct {
	Server   Server
	Verifier *bundle.Verifier
	Fleet    string
	Count    int
	Seed     uint64

	// Loss is the fraction of calls that fail: every other one before the server
	// is asked, the rest after it acted, when the reply is lost.
	Loss float64
	// Offline is the fraction of the devices that are away at a time, each for a
	// span around Away; 0 is two minutes.
	Offline float64
	Away    time.Duration
	// Fail is the fraction of the devices that refuse a package: half of them
	// cannot load it, the others find its golden inputs wrong if it has any.
	Fail float64
	// Requests is how many applications make of each model in a second, Differ the
	// fraction of the devices on which a new version answers one of ten wrongly, or,
	// of every second such device, fails it.
	Requests, Differ float64

	// Poll and Heartbeat are the times between two; 0 is what the server asks for.
	Poll, Heartbeat time.Duration
	// Workers is how many devices act at a time; 0 is 256.
	Workers int
}

func (c *Config) validate() error {
	var faults []error
	if c.Count < 1 || c.Count > MaxDevices {
		faults = append(faults, fmt.Errorf("the count must be 1 to %d", MaxDevices))
	}
	for name, p := range map[string]float64{"loss": c.Loss, "offline": c.Offline} {
		if p < 0 || p > 0.95 {
			faults = append(faults, fmt.Errorf("%s must be 0 to 95 %%", name))
		}
	}
	if c.Fail < 0 || c.Fail > 1 {
		faults = append(faults, errors.New("fail must be 0 to 100 %"))
	}
	if !(c.Differ >= 0 && c.Differ <= 1) || !(c.Requests >= 0 && c.Requests <= 1000) {
		faults = append(faults, errors.New("differ must be 0 to 100 %, requests 0 to 1000 a second"))
	}
	if c.Poll < 0 || c.Heartbeat < 0 || c.Away < 0 || c.Workers < 0 {
		faults = append(faults, errors.New("a time or a number is negative"))
	}
	return errors.Join(faults...)
}

// defaultWorkers is how many devices act at a time, and connections, unless the
// configuration says otherwise.
const defaultWorkers = 256

// Name returns the name of the i-th device, from 0.
func Name(i int) string { return fmt.Sprintf("sim-%06d", i) }

// Fleet is a fleet that can be run once.
type Fleet struct {
	cfg      Config
	settings *device.Settings
	pool     *disk.Pool
	sims     []sim
	queue    queue
	begun    time.Time
	tally    tally
	packages sync.Map // of string to *runner: what is loaded, shared by devices
}

// New returns a fleet whose devices have empty disks and are not switched on.
func New(cfg Config) (*Fleet, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg.Workers = min(cmp.Or(cfg.Workers, defaultWorkers), cfg.Count)
	cfg.Away = cmp.Or(cfg.Away, 2*time.Minute)
	f := &Fleet{
		cfg: cfg, settings: settings(cfg), pool: disk.NewPool(), sims: make([]sim, cfg.Count), begun: time.Now(),
	}
	f.queue.wakeup = make(chan struct{}, 1)
	for i := range f.sims {
		s := &f.sims[i]
		s.fleet, s.name = f, Name(i)
		s.network.Seed(cfg.Seed, uint64(i)<<1)
		s.agent.Seed(cfg.Seed, uint64(i)<<1|1)
		s.disk = disk.NewMemory(f.pool, 0)
		s.start(cfg)
	}
	return f, nil
}

// settings makes the times of the agent's fit polls that may be a second apart.
func settings(cfg Config) *device.Settings {
	s := &device.Settings{Poll: cfg.Poll, Heartbeat: cfg.Heartbeat}
	s = s.WithDefaults()
	often := min(s.Poll, s.Heartbeat)
	s.MinWait = min(s.MinWait, often)
	s.Spread = min(often, time.Minute)
	s.MaxBackoff = min(s.MaxBackoff, max(5*often, 2*time.Second))
	return s
}

// stopTime is how long the calls under way may take when a fleet stops.
const stopTime = 5 * time.Second

// Run switches the devices on and lets them act until ctx ends, which is no
// error. It may be called once.
func (f *Fleet) Run(ctx context.Context) {
	f.begun = time.Now()
	f.Reset()
	for i := range f.sims {
		f.queue.push(&f.sims[i]) // due now: a device spreads its first call itself
	}
	// What a device has in hand it ends, unless that takes too long.
	steps, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()

	work := make(chan *sim)
	var workers sync.WaitGroup
	for range f.cfg.Workers {
		workers.Go(func() {
			for s := range work {
				s.step(steps)
				f.queue.push(s)
			}
		})
	}
	f.dispatch(ctx, work)
	close(work)
	timer := time.AfterFunc(stopTime, abort)
	defer timer.Stop()
	workers.Wait()
}

// dispatch hands devices that are due to the workers until ctx ends.
func (f *Fleet) dispatch(ctx context.Context, work chan<- *sim) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s, wait := f.queue.next(f.clock())
		if s != nil {
			select {
			case work <- s:
			case <-ctx.Done():
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.queue.wakeup:
		case <-ctx.Done():
			return
		}
	}
}

// clock is how long the fleet runs.
func (f *Fleet) clock() time.Duration { return time.Since(f.begun) }

// Idle reports whether every device has asked the server, was offered nothing
// the last time, and has nothing left to do or to report.
func (f *Fleet) Idle() bool {
	for i := range f.sims {
		if f.sims[i].flags.Load()&flagIdle == 0 {
			return false
		}
	}
	return true
}

// Device is what a device believes.
type Device struct {
	Name  string
	State *depot.State // nil: it was never switched on; not to be changed
	Table []string     // "HANDLE=NAME VERSION" of what is loaded
}

// Devices tells what each device believes, in the order of their names. It may
// be asked only while Run does not run.
func (f *Fleet) Devices() iter.Seq[Device] {
	return func(yield func(Device) bool) {
		for i := range f.sims {
			s := &f.sims[i]
			d := Device{Name: s.name}
			if s.device != nil {
				d.State = s.device.State()
			}
			for _, l := range s.loaded {
				d.Table = append(d.Table, l.Handle+"="+l.ModelName+" "+l.ModelVersion)
			}
			if !yield(d) {
				return
			}
		}
	}
}

// queue is the devices by when they act next.
type queue struct {
	mu     sync.Mutex
	heap   []*sim
	wakeup chan struct{} // holds one when the first may have changed
}

// push adds a device.
func (q *queue) push(s *sim) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heap = append(q.heap, s)
	i := len(q.heap) - 1
	for i > 0 {
		up := (i - 1) / 2
		if q.heap[up].at <= q.heap[i].at {
			break
		}
		q.heap[up], q.heap[i] = q.heap[i], q.heap[up]
		i = up
	}
	if i == 0 {
		select {
		case q.wakeup <- struct{}{}:
		default: // it is set already
		}
	}
}

// next takes the first device if it is due, or says how long to wait.
func (q *queue) next(now time.Duration) (*sim, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.heap) == 0 {
		return nil, time.Minute // all are in the hands of workers, who wake us
	}
	if wait := q.heap[0].at - now; wait > 0 {
		return nil, wait
	}
	first, last := q.heap[0], len(q.heap)-1
	q.heap[0], q.heap[last] = q.heap[last], nil
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for _, kid := range [2]int{2*i + 1, 2*i + 2} {
			if kid < last && q.heap[kid].at < q.heap[least].at {
				least = kid
			}
		}
		if least == i {
			return first, 0
		}
		q.heap[i], q.heap[least] = q.heap[least], q.heap[i]
		i = least
	}
}

// chance draws a fraction of 1.
func chance(p *rand.PCG) float64 { return float64(p.Uint64()>>11) / (1 << 53) }
