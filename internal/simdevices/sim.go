package simdevices

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/device"
	"github.com/slipway-ml/slipway/internal/agent/disk"
	"github.com/slipway-ml/slipway/internal/agent/golden"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// sim is one device and all that it works with: it is its own cloud, engine and
// table, so that a hundred thousand fit into one process.
type sim struct {
	fleet  *Fleet
	name   string
	at     time.Duration // when it acts next; the queue's while it is in there
	device *device.Device
	disk   *disk.Memory
	loaded []*model.Loaded // by handle

	network rand.PCG // decides what the network loses
	agent   rand.PCG // the agent's own
	away    bool
	until   time.Duration // that it is away, or here

	swaps, told uint32 // told: the swaps that the server knows of
	untold      uint8  // heartbeats that may still leave the models out
	offered     bool   // the last poll brought something
	polled      bool
	flags       atomic.Uint32
}

// What others may know of a device while it acts.
const (
	flagRegistered = 1 << iota
	flagOnline     // its last call got an answer
	flagIdle       // it has asked, and has nothing to do
)

func (s *sim) set(flag uint32, on bool) {
	if on {
		s.flags.Or(flag)
	} else {
		s.flags.And(^flag)
	}
}

// step lets the device do one thing, and notes when the next is due.
func (s *sim) step(ctx context.Context) {
	now := s.fleet.clock()
	s.fleet.tally.late(now - s.at)
	if s.device == nil && !s.open(ctx) {
		return
	}
	before := s.device.State()
	wake := s.device.Step(ctx, s.fleet.begun.Add(now))
	s.at = wake.Sub(s.fleet.begun)
	after := s.device.State()
	if after != before {
		for _, r := range after.Results {
			known := func(o edge.Result) bool { return o.Deployment == r.Deployment }
			if !slices.ContainsFunc(before.Results, known) && !slices.ContainsFunc(before.Done, known) {
				s.fleet.tally.finish(r)
			}
		}
	}
	s.set(flagIdle, s.polled && !s.offered && after.Job == nil && len(after.Results) == 0)
}

// open switches the device on.
func (s *sim) open(ctx context.Context) bool {
	f := s.fleet
	d, err := device.Open(ctx, device.Config{
		Fleet: f.cfg.Fleet, Name: s.name, AgentVersion: Version,
		Disk: s.disk, Cloud: s, Engine: s, Table: s, Verifier: f.cfg.Verifier, Machine: device.Machine{},
		Golden: readGolden, Mirrors: s, Rand: rand.New(&s.agent), Settings: f.settings,
	})
	if err != nil { // of a disk in memory that nobody breaks
		f.tally.trouble("a device did not start: " + err.Error())
		s.at = f.clock() + time.Minute
		return false
	}
	s.device = d
	return true
}

// start decides whether the device is away at first, and for how long.
func (s *sim) start(cfg Config) {
	s.until = 1 << 62
	if cfg.Offline > 0 {
		s.away = chance(&s.network) < cfg.Offline
		s.until = time.Duration(float64(s.span()) * chance(&s.network))
	}
}

// span is how long the device is away, or here, this time: half to one and a
// half times what makes the fraction of the configuration.
func (s *sim) span() time.Duration {
	mean := float64(s.fleet.cfg.Away)
	if !s.away {
		mean *= (1 - s.fleet.cfg.Offline) / s.fleet.cfg.Offline
	}
	return max(time.Millisecond, time.Duration(mean*(0.5+chance(&s.network))))
}

// gone says whether the device is away now.
func (s *sim) gone() bool {
	for now := s.fleet.clock(); s.until <= now; {
		s.away = !s.away
		s.until += s.span()
	}
	return s.away
}

// What a device meets that is not the server's doing.
var (
	errAway      = fault.New(fault.Unavailable, "the simulated device is away")
	errLost      = fault.New(fault.Unavailable, "the simulated network lost the request")
	errLostReply = fault.New(fault.Unavailable, "the simulated network lost the reply")
)

// call makes a call over the network of the simulation.
func (s *sim) call(k kind, do func() error) error {
	t := &s.fleet.tally
	if s.gone() {
		s.set(flagOnline, false)
		t.fail(k, errAway)
		return errAway
	}
	draw := 1.0
	if s.fleet.cfg.Loss > 0 {
		draw = chance(&s.network)
	}
	if draw < s.fleet.cfg.Loss/2 {
		s.set(flagOnline, false)
		t.fail(k, errLost)
		return errLost
	}
	began := time.Now()
	err := do()
	if err == nil {
		t.took(k, time.Since(began))
		if draw < s.fleet.cfg.Loss {
			err = errLostReply
		}
	}
	if err != nil {
		t.fail(k, err)
	}
	s.set(flagOnline, err == nil)
	return err
}

// Registration is device.Cloud's.
func (s *sim) Registration(ctx context.Context) (active bool, ttl time.Duration, err error) {
	err = s.call(kindRegistration, func() (err error) {
		active, ttl, err = s.fleet.cfg.Server.Registration(ctx, s.fleet.cfg.Fleet, s.name)
		return err
	})
	if err == nil {
		s.set(flagRegistered, active)
	}
	return active, ttl, err
}

// Deployments is device.Cloud's.
func (s *sim) Deployments(ctx context.Context) (ds []edge.Deployment, h edge.Hints, err error) {
	err = s.call(kindPoll, func() (err error) {
		ds, h, err = s.fleet.cfg.Server.Deployments(ctx, s.fleet.cfg.Fleet, s.name)
		return err
	})
	if err != nil {
		return nil, edge.Hints{}, err
	}
	s.polled, s.offered = true, len(ds) > 0
	return ds, s.hints(h), nil
}

// hints leaves out what the configuration says otherwise.
func (s *sim) hints(h edge.Hints) edge.Hints {
	if s.fleet.cfg.Poll > 0 {
		h.Poll = 0
	}
	if s.fleet.cfg.Heartbeat > 0 {
		h.Heartbeat = 0
	}
	return h
}

// sayAgain is after how many heartbeats the models are said again, as the
// agent's own client does.
const sayAgain = 12

// Heartbeat is device.Cloud's. Models that the server knows of are left out.
func (s *sim) Heartbeat(ctx context.Context, b edge.Heartbeat) (h edge.Hints, err error) {
	if s.untold > 0 && s.told == s.swaps {
		b.HasModels, b.Models = false, nil
	}
	err = s.call(kindHeartbeat, func() (err error) {
		h, err = s.fleet.cfg.Server.Heartbeat(ctx, b)
		return err
	})
	switch {
	case err != nil:
		s.untold = 0
		return edge.Hints{}, err
	case b.HasModels:
		s.told, s.untold = s.swaps, sayAgain-1
	default:
		s.untold--
	}
	return s.hints(h), nil
}

// Fetch is device.Cloud's. A reply that is lost breaks off somewhere.
func (s *sim) Fetch(ctx context.Context, url string, offset int64) (
	body io.ReadCloser, size int64, etag string, err error,
) {
	err = s.call(kindFetch, func() (err error) {
		body, size, etag, err = s.fleet.cfg.Server.Fetch(ctx, url, offset)
		return err
	})
	if errors.Is(err, errLostReply) {
		left := int64(chance(&s.network) * float64(max(0, size-offset)))
		return &broken{body, left}, size, etag, nil
	}
	return body, size, etag, err
}

// broken is a transfer that ends too early.
type broken struct {
	io.ReadCloser
	left int64
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// SwapAll is device.Table's.
func (s *sim) SwapAll(flips map[string]*model.Loaded) map[string]*model.Loaded {
	old := map[string]*model.Loaded{}
	s.swaps++
	for handle, l := range flips {
		i := slices.IndexFunc(s.loaded, func(o *model.Loaded) bool { return o.Handle == handle })
		if i >= 0 {
			if s.loaded[i] != l {
				old[handle] = s.loaded[i]
			}
			s.loaded = slices.Delete(s.loaded, i, i+1)
		}
		if l != nil {
			// A hundred thousand copies of the same words are one.
			r := l.Runner.(*runner)
			l.ModelName, l.ModelVersion, l.Dir = r.name, r.version, r.dir
			s.loaded = append(s.loaded, l)
		}
	}
	slices.SortFunc(s.loaded, func(a, b *model.Loaded) int { return strings.Compare(a.Handle, b.Handle) })
	return old
}

// Gap is device.Table's. No application waits for a simulated model.
func (s *sim) Gap(string, context.Context) {}

// List is device.Table's.
func (s *sim) List() []model.Info {
	out := make([]model.Info, 0, len(s.loaded))
	for _, l := range s.loaded {
		out = append(out, l.Info)
	}
	return out
}

// runner remembers which package it stands for. Devices share it.
type runner struct {
	dir, name, version string
	wrong              bool // on its golden inputs
}

// Load is model.Engine's.
func (s *sim) Load(_ context.Context, p model.Package) (model.Runner, error) {
	refuses := Refuses(s.fleet.cfg.Seed, s.fleet.cfg.Fail, s.name, p.ModelName, p.ModelVersion)
	_, err := fs.Stat(s.disk, strings.TrimPrefix(p.Dir, "/")+"/"+golden.File)
	wrong := refuses == ByGolden && err == nil
	if refuses != "" && !wrong {
		return nil, fmt.Errorf("the simulated engine refuses version %s of %s", p.ModelVersion, p.ModelName)
	}
	key := fmt.Sprintf("%s\x00%s\x00%s\x00%t", p.Dir, p.ModelName, p.ModelVersion, wrong)
	r, ok := s.fleet.packages.Load(key)
	if !ok {
		r, _ = s.fleet.packages.LoadOrStore(key, &runner{p.Dir, p.ModelName, p.ModelVersion, wrong})
	}
	return r.(*runner), nil
}

// How a device refuses a package.
const (
	ByEngine = "engine"
	ByGolden = "golden"
)

// Refuses says how a device refuses a version of a model, "" if it takes it. It
// depends on nothing else: what becomes of a plan can be known beforehand.
func Refuses(seed uint64, fail float64, device, name, version string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d\x00%s\x00%s\x00%s", seed, device, name, version) // hashes never fail
	p := rand.NewPCG(seed, h.Sum64())
	switch draw := chance(p); {
	case draw < fail/2:
		return ByEngine
	case draw < fail:
		return ByGolden
	default:
		return ""
	}
}

// readGolden reads the golden cases of a package. Nothing is computed: whether the
// answers are right was decided by the seed.
func readGolden(_ context.Context, r model.Runner, text []byte) error {
	cases, err := golden.Parse(text)
	if err != nil {
		return err
	}
	if r.(*runner).wrong {
		return fmt.Errorf("case 1 of %d: the simulated answer is wrong", len(cases))
	}
	return nil
}

// Signature says nothing.
func (*runner) Signature() tensor.Signature { return tensor.Signature{} }

// Predict is not simulated.
func (*runner) Predict(context.Context, []tensor.Tensor) ([]tensor.Tensor, error) {
	return nil, model.ErrUnsupported
}

// Close has nothing to free.
func (*runner) Close(context.Context) error { return nil }
