package metrics

import (
	"math/rand/v2"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/alarm/metric"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// cell sums up samples of one second.
type cell struct {
	at                      int64 // Unix seconds
	n, s4, s5, bad          int
	streams, mid            int
	per, model, over, first metric.Dist
}

// add counts a sample and reports whether a subscriber wants to hear of it now.
func (f *fleet) add(x *traffic.Sample) bool {
	at := x.At.Add(x.ModelLatency + x.OverheadLatency).Unix()
	i := f.lockStripe()
	st := &f.stripe[i]
	c := &st.cells[at&1]
	if c.at != at {
		if c.n > 0 { // nobody came for it in two seconds
			f.record(c)
		}
		c.reset(at)
	}
	c.count(x)
	st.mu.Unlock()
	if !f.dirty.Load() { // a store would take the line from the other cores
		f.dirty.Store(true)
	}
	return f.wanted.Load()&outcome(x) != 0
}

// lockStripe locks a stripe that is free, as a rule, and returns its number: one
// more is taken into use when all are busy.
func (f *fleet) lockStripe() uint32 {
	n := uint32(f.stripes.Load())
	first := uint32(0)
	if n > 1 {
		first = rand.Uint32() % n
	}
	for k := range n {
		if i := (first + k) % n; f.stripe[i].mu.TryLock() {
			return i
		}
	}
	if n < maxStripes {
		f.stripes.CompareAndSwap(int32(n), int32(n+1))
	}
	f.stripe[first].mu.Lock()
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
	if !x.Unserved {
		c.model.Add(micros(x.ModelLatency))
		c.over.Add(micros(x.OverheadLatency))
	}
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

// drain adds all that the cells hold to the series. When it returns, what was
// counted before it was called is there.
func (f *fleet) drain() {
	f.draining.Lock()
	defer f.draining.Unlock()
	if !f.dirty.Swap(false) {
		return
	}
	for i := range f.stripe[:f.stripes.Load()] {
		st := &f.stripe[i]
		for k := range st.cells {
			st.mu.Lock()
			st.cells[k], f.spare = f.spare, st.cells[k]
			st.mu.Unlock()
			if f.spare.n > 0 {
				f.record(&f.spare)
			}
			f.spare.reset(0)
		}
	}
}

// record adds a cell to the series.
func (f *fleet) record(c *cell) {
	at := time.Unix(c.at, 0)
	f.last.Store(c.at)
	n := float64(c.n)
	f.recordFlags(errors4XX, at, n, float64(c.s4))
	f.recordFlags(errors5XX, at, n, float64(c.s5))
	f.recordFlags(modelErrors, at, n, float64(c.bad))
	f.recordFlags(midStreamErrors, at, float64(c.streams), float64(c.mid))
	f.recordFlags(invocations, at, n, n)
	f.recordDist(perInstance, at, &c.per)
	f.recordDist(modelLatency, at, &c.model)
	f.recordDist(overheadLatency, at, &c.over)
	f.recordDist(firstChunk, at, &c.first)
}

// recordFlags adds n samples, of which so many are 1 and the others 0.
func (f *fleet) recordFlags(i int, at time.Time, n, ones float64) {
	if n == 0 {
		return
	}
	for _, m := range f.series[i] {
		if m != nil {
			m.add(ofFleets[i].unit, at, func(s *metric.Series) {
				s.AddN(at, 0, n-ones)
				s.AddN(at, 1, ones)
			})
		}
	}
}

func (f *fleet) recordDist(i int, at time.Time, d *metric.Dist) {
	if d.Count == 0 {
		return
	}
	for _, m := range f.series[i] {
		if m != nil {
			m.add(ofFleets[i].unit, at, func(s *metric.Series) { s.AddDist(at, d) })
		}
	}
}
