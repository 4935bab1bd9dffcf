package metrics

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Namespace is where the metrics of endpoints are (spec §7.1).
const Namespace = "AWS/SageMaker"

// The metrics of an endpoint's fleet. The order of the first ones is that of
// the bits in which a fleet remembers what subscribers want to hear of.
const (
	errors4XX = iota
	errors5XX
	modelErrors
	midStreamErrors
	invocations
	perInstance
	modelLatency
	overheadLatency
	firstChunk
	concurrent
	metricCount

	// anything is the bit of every sample, whatever it says.
	anything = metricCount
)

// ofFleets are their names and units (spec §7.1).
var ofFleets = [metricCount]struct {
	name string
	unit metric.Unit
}{
	errors4XX:       {"Invocation4XXErrors", metric.UnitNone},
	errors5XX:       {"Invocation5XXErrors", metric.UnitNone},
	modelErrors:     {"InvocationModelErrors", metric.UnitNone},
	midStreamErrors: {"MidStreamErrors", metric.UnitNone},
	invocations:     {"Invocations", metric.UnitNone},
	perInstance:     {"InvocationsPerInstance", metric.UnitNone},
	modelLatency:    {"ModelLatency", "Microseconds"},
	overheadLatency: {"OverheadLatency", "Microseconds"},
	firstChunk:      {"FirstChunkLatency", "Microseconds"},
	concurrent:      {"ConcurrentRequestsPerModel", metric.UnitNone},
}

// fleetKey names the requests that are counted together: those of one variant
// of an endpoint that were answered by one of its configurations.
type fleetKey struct {
	endpoint        traffic.Key
	variant, config string
}

// ids returns a metric's names under both dimension sets (spec §7.2).
func (k fleetKey) ids(i int) [2]metric.ID {
	id := metric.ID{Namespace: Namespace, Name: ofFleets[i].name, Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: k.endpoint.Name}, {Name: "VariantName", Value: k.variant},
	}}
	isolated := id
	isolated.Dimensions = []metric.Dimension{
		{Name: "EndpointConfigName", Value: k.config}, id.Dimensions[0], id.Dimensions[1],
	}
	return [2]metric.ID{id, isolated}
}

// fleets are those that samples come from. Finding one takes no lock.
type fleets struct {
	seed   maphash.Seed
	shards [fleetShards]atomic.Pointer[map[fleetKey]*fleet]

	// mu guards changes of the shards, which fleets a metric has, what
	// subscribers are interested in, and what follows from these.
	mu sync.Mutex
}

const fleetShards = 64

func (fs *fleets) init() {
	fs.seed = maphash.MakeSeed()
	for i := range fs.shards {
		fs.shards[i].Store(&map[fleetKey]*fleet{})
	}
}

func (fs *fleets) shard(k fleetKey) *atomic.Pointer[map[fleetKey]*fleet] {
	return &fs.shards[maphash.String(fs.seed, k.endpoint.Name)%fleetShards]
}

// each calls do with every fleet.
func (fs *fleets) each(do func(*fleet)) {
	for i := range fs.shards {
		for _, f := range *fs.shards[i].Load() {
			do(f)
		}
	}
}

// fleet gathers the samples of a fleet in cells, some for each core that is at
// it. They are added to its series once a second and whenever somebody looks.
type fleet struct {
	fleetKey
	// series are opened under fleets.mu, before a cell counts what goes into
	// them. Nil: not opened yet, or no room.
	series [metricCount][2]*metricSeries

	streams  atomic.Bool   // the metrics of streaming requests are open
	wanted   atomic.Uint32 // of which outcomes subscribers want to hear at once, by bit
	dirty    atomic.Bool   // a cell holds samples
	notified atomic.Bool   // subscribers were notified, and none has come yet
	last     atomic.Int64  // second of the last sample in the series
	draining sync.Mutex    // held while samples are neither in cells nor in series; guards spare
	spare    cell          // empty; takes the place of one that is drained
	stripes  atomic.Int32  // in use
	stripe   [maxStripes]struct {
		mu    sync.Mutex // guards the cells
		cells [2]cell    // of even and of odd seconds
		_     [64]byte   // cores do not share what each writes
	}
}

const maxStripes = 8

// Sample takes what became of a request. It costs a few hundred nanoseconds and
// never waits for a database. A sample belongs to the second in which the
// request ended: only then its outcome was known, and a request that failed
// after a minute is news of this second.
func (s *Service) Sample(x traffic.Sample) {
	k := fleetKey{x.Key, x.Variant, x.Config}
	missed := unmeasured{k, x.Fleet}
	f := (*s.fleets.shard(k).Load())[k]
	if f == nil {
		// Where there was no room a moment ago, looking again is not for
		// every request.
		now := x.At.Unix()
		if now > s.full.Load() {
			f = s.newFleet(k)
		}
		if f == nil {
			s.full.Store(now)
			s.drop(missed)
			return
		}
	}
	if x.Streaming && !f.streams.Load() && !s.openStreaming(f, missed, x.At.Unix()) {
		x.Streaming = false // nothing is counted that has no series to go to
	}
	if f.add(&x) && !f.notified.Load() && !f.notified.Swap(true) {
		s.notifyFleet(f)
	}
}

// newFleet returns a fleet that was not heard of for long, or nil if there is
// no room for its metrics.
func (s *Service) newFleet(k fleetKey) *fleet {
	s.fleets.mu.Lock()
	defer s.fleets.mu.Unlock()
	shard := s.fleets.shard(k)
	if f := (*shard.Load())[k]; f != nil {
		return f
	}
	f := &fleet{fleetKey: k}
	f.stripes.Store(1)
	f.last.Store(time.Now().Unix())
	if !s.open(f, errors4XX, errors5XX, modelErrors, invocations, perInstance, modelLatency, overheadLatency) {
		f.detach()
		return nil
	}
	table := maps.Clone(*shard.Load())
	table[k] = f
	shard.Store(&table)
	return f
}

// open makes the series of some metrics, and says whether there was room for
// all of them. fleets.mu is held.
func (s *Service) open(f *fleet, which ...int) bool {
	for _, i := range which {
		if f.series[i][0] != nil {
			continue
		}
		var both [2]*metricSeries
		for n, id := range f.ids(i) {
			m, err := s.registry.open(f.endpoint.Region, id)
			if err != nil {
				return false
			}
			both[n] = m
		}
		for _, m := range both {
			m.fleets = append(m.fleets, f)
		}
		f.series[i] = both
	}
	s.updateWanted(f)
	return true
}

// openStreaming makes the series that only streaming requests need, and says
// whether they are there. Where there was no room in this second it does not
// look again.
func (s *Service) openStreaming(f *fleet, missed unmeasured, now int64) bool {
	if now <= s.full.Load() {
		s.drop(missed)
		return false
	}
	s.fleets.mu.Lock()
	defer s.fleets.mu.Unlock()
	if f.streams.Load() {
		return true
	}
	if !s.open(f, midStreamErrors, firstChunk) {
		s.full.Store(now)
		s.drop(missed)
		return false
	}
	f.streams.Store(true)
	return true
}

// unmeasured names requests whose samples there was no room for. The fleet is the
// id of the one that they were counted for, as far as it is known.
type unmeasured struct {
	fleetKey
	fleet string
}

// drop takes note that there was no room for a sample.
func (s *Service) drop(u unmeasured) {
	s.unrecorded.Add(1)
	at, _ := s.dropped.LoadOrStore(u, new(atomic.Int64))
	at.(*atomic.Int64).Store(time.Now().Unix())
}

// Dropped returns the last time that there was no room for samples of the
// requests that a fleet of an endpoint answered, within a day.
func (s *Service) Dropped(k traffic.Key, f traffic.FleetRef) (g rollout.Gap) {
	s.dropped.Range(func(key, at any) bool {
		u, second := key.(unmeasured), time.Unix(at.(*atomic.Int64).Load(), 0)
		of := traffic.FleetRef{ID: u.fleet, Config: u.config}
		if u.endpoint == k && (u.config == "" || f.Is(of)) && !second.Before(g.From) {
			g = rollout.Gap{From: second, Until: second.Add(time.Second), Missed: tooMany}
		}
		return true
	})
	return g
}

const tooMany = "requests were not measured: there are too many metrics"

// each calls do with the series of the fleet. fleets.mu is held.
func (f *fleet) each(do func(*metricSeries)) {
	for _, both := range f.series {
		for _, m := range both {
			if m != nil {
				do(m)
			}
		}
	}
}

// detach takes f from its series. fleets.mu is held.
func (f *fleet) detach() {
	f.each(func(m *metricSeries) {
		m.fleets = slices.DeleteFunc(m.fleets, func(other *fleet) bool { return other == f })
	})
}

// drainAll drains once a second until ctx ends, so that requests need not.
func (s *Service) drainAll(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.Drain()
		}
	}
}

// Drain adds the samples of all fleets that have any to their series, where
// Reader finds them.
func (s *Service) Drain() {
	s.fleets.each(func(f *fleet) { f.drain() })
}
