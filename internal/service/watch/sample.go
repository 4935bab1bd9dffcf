package watch

import (
	"context"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm"
	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Namespace is where the metrics of endpoints are (spec §7.1).
const Namespace = "AWS/SageMaker"

// The metrics of an endpoint's fleet. The order of the first ones is that of
// the bits in which a tap remembers what alarms want to hear of.
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

// fleet names the requests that are counted together: those of one variant of
// an endpoint that were answered by one of its configurations.
type fleet struct{ region, endpoint, variant, config string }

// sets returns the metric under both dimension sets (spec §7.2).
func (f fleet) sets(m int) [2]metric.ID {
	id := metric.ID{Namespace: Namespace, Name: ofFleets[m].name, Dimensions: []metric.Dimension{
		{Name: "EndpointName", Value: f.endpoint}, {Name: "VariantName", Value: f.variant},
	}}
	isolated := id
	isolated.Dimensions = []metric.Dimension{{Name: "EndpointConfigName", Value: f.config}, id.Dimensions[0], id.Dimensions[1]}
	return [2]metric.ID{id, isolated}
}

// taps are the fleets that samples come from. Finding one takes no lock.
type taps struct {
	seed   maphash.Seed
	shards [tapShards]atomic.Pointer[map[fleet]*tap]
	mu     sync.Mutex // guards changes of the shards, line.taps and the interests that follow from both
}

const tapShards = 64

func (ts *taps) init() {
	ts.seed = maphash.MakeSeed()
	for i := range ts.shards {
		ts.shards[i].Store(&map[fleet]*tap{})
	}
}

func (ts *taps) shard(f fleet) *atomic.Pointer[map[fleet]*tap] {
	return &ts.shards[maphash.String(ts.seed, f.endpoint)%tapShards]
}

// each calls f with every tap.
func (ts *taps) each(f func(*tap)) {
	for i := range ts.shards {
		for _, t := range *ts.shards[i].Load() {
			f(t)
		}
	}
}

// tap gathers the samples of a fleet in cells, some for each core that is at it.
// They are poured into its lines once a second and whenever somebody looks.
type tap struct {
	fleet
	shelf *shelf
	lines [metricCount][2]*line // nil: not opened yet, or no room

	streams atomic.Bool   // the metrics of streaming requests are open
	wants   atomic.Uint32 // of which outcomes alarms want to hear at once, by bit
	dirty   atomic.Bool   // a cell holds samples
	rung    atomic.Bool   // it rings, and nobody has come yet
	last    atomic.Int64  // second of the last sample poured
	pouring sync.Mutex    // held while samples are neither in cells nor in lines; guards spare
	spare   cell          // empty; takes the place of one that is poured
	stripes atomic.Int32  // in use
	stripe  [maxStripes]struct {
		mu    sync.Mutex // guards the cells
		cells [2]cell    // of even and of odd seconds
		_     [64]byte   // cores do not share what each writes
	}
}

const maxStripes = 8

// cell sums up samples of one second.
type cell struct {
	at                      int64 // Unix seconds
	n, s4, s5, bad          int
	streams, mid            int
	per, model, over, first metric.Dist
}

// Sample takes what became of a request. It costs
// a few hundred nanoseconds and never waits for a database. A sample belongs to
// the second in which the request ended: only then its outcome was known, and a
// request that failed after a minute is news of this second.
func (s *Service) Sample(x traffic.Sample) {
	f := fleet{x.Key.Region, x.Key.Name, x.Variant, x.Config}
	t := (*s.taps.shard(f).Load())[f]
	if t == nil {
		// Where there was no room a moment ago, looking again is not for
		// every request.
		now := x.At.Unix()
		if now > s.full.Load() {
			t = s.newTap(f)
		}
		if t == nil {
			s.full.Store(now)
			s.unrecorded.Add(1)
			return
		}
	}
	if x.Streaming && !t.streams.Load() {
		s.openStreaming(t)
	}
	if t.add(&x) && !t.rung.Load() && !t.rung.Swap(true) {
		s.rings.tap(t)
	}
}

// newTap returns the tap of a fleet that was not heard of for long, or nil if
// there is no room for its metrics.
func (s *Service) newTap(f fleet) *tap {
	s.taps.mu.Lock()
	defer s.taps.mu.Unlock()
	shard := s.taps.shard(f)
	if t := (*shard.Load())[f]; t != nil {
		return t
	}
	t := &tap{fleet: f, shelf: &s.shelf}
	t.stripes.Store(1)
	t.last.Store(time.Now().Unix())
	if !s.open(t, errors4XX, errors5XX, modelErrors, invocations, perInstance, modelLatency, overheadLatency) {
		t.detach()
		return nil
	}
	table := maps.Clone(*shard.Load())
	table[f] = t
	shard.Store(&table)
	return t
}

// open makes the lines of some metrics, and says whether there was room for
// all of them. taps.mu is held.
func (s *Service) open(t *tap, which ...int) bool {
	for _, m := range which {
		if t.lines[m][0] != nil {
			continue
		}
		var both [2]*line
		for i, id := range t.sets(m) {
			l, err := s.shelf.line(t.region, id, s.MaxSeries)
			if err != nil {
				return false
			}
			both[i] = l
		}
		for _, l := range both {
			l.taps = append(l.taps, t)
		}
		t.lines[m] = both
	}
	s.interest(t)
	return true
}

// openStreaming makes the lines that only streaming requests need.
func (s *Service) openStreaming(t *tap) {
	s.taps.mu.Lock()
	defer s.taps.mu.Unlock()
	if !t.streams.Load() {
		s.open(t, midStreamErrors, firstChunk)
		t.streams.Store(true)
	}
}

// detach takes t from its lines. taps.mu is held.
func (t *tap) detach() {
	for _, both := range t.lines {
		for _, l := range both {
			if l != nil {
				l.taps = slices.DeleteFunc(l.taps, func(other *tap) bool { return other == t })
			}
		}
	}
}

// interest works out of which outcomes of a tap alarms want to hear at once.
// taps.mu is held.
func (s *Service) interest(t *tap) {
	bits := uint32(0)
	for m, both := range t.lines {
		for _, l := range both {
			if l != nil {
				bits |= s.book.wants(l.key, m)
			}
		}
	}
	t.wants.Store(bits)
}

// add counts a sample and reports whether an alarm wants to hear of it now.
func (t *tap) add(x *traffic.Sample) bool {
	at := x.At.Add(x.ModelLatency + x.OverheadLatency).Unix()
	i := t.claim()
	st := &t.stripe[i]
	c := &st.cells[at&1]
	if c.at != at {
		if c.n > 0 { // nobody came for it in two seconds
			t.pour(c)
		}
		c.reset(at)
	}
	c.count(x)
	st.mu.Unlock()
	if !t.dirty.Load() { // a store would take the line from the other cores
		t.dirty.Store(true)
	}
	return t.wants.Load()&outcome(x) != 0
}

// claim locks a stripe that is free, as a rule, and returns its number: one
// more is taken into use when all are busy.
func (t *tap) claim() uint32 {
	n := uint32(t.stripes.Load())
	first := uint32(0)
	if n > 1 {
		first = rand.Uint32() % n
	}
	for k := range n {
		if i := (first + k) % n; t.stripe[i].mu.TryLock() {
			return i
		}
	}
	if n < maxStripes {
		t.stripes.CompareAndSwap(int32(n), int32(n+1))
	}
	t.stripe[first].mu.Lock()
	return first
}

func (c *cell) count(x *traffic.Sample) {
	c.n++
	if x.Status4XX {
		c.s4++
	}
	if x.Status5XX {
		c.s5++
	}
	if x.ModelError {
		c.bad++
	}
	if x.Instances > 0 {
		c.per.Add(1 / float64(x.Instances))
	}
	c.model.Add(micros(x.ModelLatency))
	c.over.Add(micros(x.OverheadLatency))
	if x.Streaming {
		c.streams++
		if x.FirstChunk > 0 {
			c.first.Add(micros(x.FirstChunk))
		}
		if x.MidStreamError {
			c.mid++
		}
	}
}

// reset empties c for the samples of another second. Its memory stays.
func (c *cell) reset(at int64) {
	c.at = at
	c.n, c.s4, c.s5, c.bad, c.streams, c.mid = 0, 0, 0, 0, 0, 0
	for _, d := range []*metric.Dist{&c.per, &c.model, &c.over, &c.first} {
		d.Reset()
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// outcome returns the bits of what a sample says.
func outcome(x *traffic.Sample) uint32 {
	bits := uint32(1) << anything
	if x.Status4XX {
		bits |= 1 << errors4XX
	}
	if x.Status5XX {
		bits |= 1 << errors5XX
	}
	if x.ModelError {
		bits |= 1 << modelErrors
	}
	if x.MidStreamError {
		bits |= 1 << midStreamErrors
	}
	return bits
}

// drain pours all that t holds. When it returns, what was added before it was
// called is in the lines.
func (t *tap) drain() {
	t.pouring.Lock()
	defer t.pouring.Unlock()
	if !t.dirty.Swap(false) {
		return
	}
	for i := range t.stripe[:t.stripes.Load()] {
		st := &t.stripe[i]
		for k := range st.cells {
			st.mu.Lock()
			st.cells[k], t.spare = t.spare, st.cells[k]
			st.mu.Unlock()
			if t.spare.n > 0 {
				t.pour(&t.spare)
			}
			t.spare.reset(0)
		}
	}
}

// pour adds a cell to the lines.
func (t *tap) pour(c *cell) {
	at := time.Unix(c.at, 0)
	t.last.Store(c.at)
	n := float64(c.n)
	t.flag(errors4XX, at, n, float64(c.s4))
	t.flag(errors5XX, at, n, float64(c.s5))
	t.flag(modelErrors, at, n, float64(c.bad))
	t.flag(midStreamErrors, at, float64(c.streams), float64(c.mid))
	t.flag(invocations, at, n, n)
	t.dist(perInstance, at, &c.per)
	t.dist(modelLatency, at, &c.model)
	t.dist(overheadLatency, at, &c.over)
	t.dist(firstChunk, at, &c.first)
}

// flag adds n samples, of which so many are 1 and the others 0.
func (t *tap) flag(m int, at time.Time, n, ones float64) {
	if n == 0 {
		return
	}
	for _, l := range t.lines[m] {
		if l != nil {
			l.add(t.shelf, ofFleets[m].unit, at, func(s *metric.Series) {
				s.AddN(at, 0, n-ones)
				s.AddN(at, 1, ones)
			})
		}
	}
}

func (t *tap) dist(m int, at time.Time, d *metric.Dist) {
	if d.Count == 0 {
		return
	}
	for _, l := range t.lines[m] {
		if l != nil {
			l.add(t.shelf, ofFleets[m].unit, at, func(s *metric.Series) { s.AddDist(at, d) })
		}
	}
}

// keys returns the metrics of the fleet.
func (t *tap) keys(s *Service) map[lineKey]bool {
	s.taps.mu.Lock()
	defer s.taps.mu.Unlock()
	ks := make(map[lineKey]bool, 2*metricCount)
	for _, both := range t.lines {
		for _, l := range both {
			if l != nil {
				ks[l.key] = true
			}
		}
	}
	return ks
}

// interested tells the fleets whose metrics an alarm watches that it has
// changed.
func (s *Service) interested(region string, j *alarm.Judge) {
	s.taps.mu.Lock()
	defer s.taps.mu.Unlock()
	for _, k := range j.Metrics() {
		if l := s.shelf.find(lineKey{region, k}); l != nil {
			for _, t := range l.taps {
				s.interest(t)
			}
		}
	}
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
			s.drain()
		}
	}
}

// drain pours the samples of all fleets that have any.
func (s *Service) drain() {
	s.taps.each(func(t *tap) { t.drain() })
}
