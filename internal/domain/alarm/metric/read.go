package metric

import (
	"slices"
	"time"
)

// Window is a row of periods without gaps.
type Window struct {
	Start  time.Time     // of the oldest period; whole seconds
	Period time.Duration // whole seconds
	Count  int           // periods
}

// End returns the end of the youngest period.
func (w Window) End() time.Time { return w.Start.Add(time.Duration(w.Count) * w.Period) }

// At returns the beginning of the i-th period, oldest first.
func (w Window) At(i int) time.Time { return w.Start.Add(time.Duration(i) * w.Period) }

// Point is a statistic over one period.
type Point struct {
	Value   float64
	Samples float64 // 0: there is no value
}

// Known reports whether the period has a value.
func (p Point) Known() bool { return p.Samples > 0 }

// maxPeriods bounds what one question may ask for: more than GetMetricData's
// 100,800 datapoints and the longest alarm's range.
const maxPeriods = 110_000

// Points returns the statistic for each period of w, oldest first. A period
// without samples, or whose samples do not allow the statistic, has no value;
// so has one that is finer than what is still kept of its time.
func (s *Series) Points(w Window, stat Stat) []Point { return Points(w, stat, s) }

// Points returns the statistic over several series together: those of a metric
// in all of its units, for a question that names none.
func Points(w Window, stat Stat, together ...*Series) []Point {
	points := make([]Point, max(0, min(w.Count, maxPeriods)))
	sums := make([]*Dist, len(points))
	for _, s := range together {
		s.collect(w, sums, !stat.Basic())
	}
	for i, d := range sums {
		if d != nil {
			if v, ok := stat.Of(d); ok {
				points[i] = Point{Value: v, Samples: d.Count}
			}
		}
	}
	return points
}

// Distributions returns all that is known of each of the periods of w, oldest
// first; nil where there are no samples. They are the caller's.
func (s *Series) Distributions(w Window) []*Dist {
	sums := make([]*Dist, max(0, min(w.Count, maxPeriods)))
	s.collect(w, sums, true)
	return sums
}

// collect adds the samples of each period of w to its sum.
func (s *Series) collect(w Window, sums []*Dist, withBins bool) {
	period := int64(w.Period / time.Second)
	if len(sums) == 0 || period <= 0 {
		return
	}
	start := w.Start.Unix()
	end := start + int64(len(sums))*period
	put := func(at int64, d *Dist) {
		if at < start || at >= end {
			return
		}
		i := (at - start) / period
		if sums[i] == nil {
			sums[i] = new(Dist)
		}
		if withBins {
			sums[i].Merge(d)
		} else {
			sums[i].mergeBasic(d)
		}
	}
	for level := len(tiers) - 1; level >= 0; level-- {
		if tiers[level].res <= period {
			s.scan(level, start, end, withBins, put)
		}
	}
	for i := range s.open {
		if o := &s.open[i]; o.d.Count > 0 {
			put(o.at, &o.d)
		}
	}
}

// scan calls put with the distributions of a tier that may lie in start..end.
func (s *Series) scan(level int, start, end int64, withBins bool, put func(int64, *Dist)) {
	t := tiers[level]
	bs := s.blocks[level]
	first, _ := slices.BinarySearchFunc(bs, start-t.span(), func(b block, at int64) int {
		if b.start <= at {
			return -1
		}
		return 1
	})
	var d Dist
	for _, b := range bs[first:] {
		if b.start >= end {
			return
		}
		for r := (reader{b: b.data}); ; {
			slot, more := r.peek()
			at := b.start + int64(slot)*t.res
			if !more || at >= end {
				break
			}
			if _, ok := r.next(&d, withBins && at >= start); !ok {
				break
			}
			put(at, &d)
		}
	}
}

// mergeBasic is Merge for when no percentile will be asked for.
func (d *Dist) mergeBasic(o *Dist) {
	if d.Count == 0 {
		d.Min, d.Max = o.Min, o.Max
	}
	d.Count += o.Count
	d.Sum += o.Sum
	d.Min = min(d.Min, o.Min)
	d.Max = max(d.Max, o.Max)
}

// Any reports whether s has a sample at or after since, by the second.
func (s *Series) Any(since time.Time) bool {
	for i := range s.open {
		if o := &s.open[i]; o.d.Count > 0 && o.at >= since.Unix() {
			return true
		}
	}
	for level, bs := range s.blocks {
		for _, b := range slices.Backward(bs) {
			if b.start+tiers[level].span() <= since.Unix() {
				break
			}
			if b.start+int64(b.last+1)*tiers[level].res > since.Unix() {
				return true
			}
		}
	}
	return false
}
