package metric

import (
	"math"
	"slices"

	"github.com/DataDog/sketches-go/ddsketch/mapping"
)

// Accuracy is the relative error of a percentile: a percentile of 100 ms is
// reported as 99 to 101 ms. Values that are all equal are reported exactly,
// and no percentile lies outside Minimum and Maximum.
const Accuracy = 0.01

// logBins numbers the bins of a distribution: the values of one bin differ by
// no more than twice Accuracy. It is never changed.
var logBins = mustMapping()

func mustMapping() *mapping.CubicallyInterpolatedMapping {
	m, err := mapping.NewCubicallyInterpolatedMapping(Accuracy)
	if err != nil {
		panic(err) // Accuracy is a constant between 0 and 1
	}
	return m
}

// Dist is what is remembered of many samples: four numbers, and how often
// values of about the same size were seen. The zero Dist has no samples.
type Dist struct {
	Count float64 // may be a fraction: clients send counts
	Sum   float64
	Min   float64
	Max   float64

	// Until a second value comes, nothing else is needed: most seconds of most
	// metrics consist of ones, or of zeros.
	binned bool
	opaque bool // a set was added whose values are unknown: no percentile can be had
	zeros  float64
	pos    bins // of v
	neg    bins // of -v
}

// Add adds one sample.
func (d *Dist) Add(v float64) { d.AddN(v, 1) }

// AddN adds n samples of the value v; n may be a fraction, and nothing happens
// if it is not above 0.
func (d *Dist) AddN(v, n float64) {
	if !(n > 0) {
		return
	}
	if d.Count == 0 {
		d.Count, d.Sum, d.Min, d.Max = n, v*n, v, v
		return
	}
	if !d.binned && !d.opaque && v != d.Min {
		d.bin()
	}
	d.Count += n
	d.Sum += v * n
	if v < d.Min {
		d.Min = v
	}
	if v > d.Max {
		d.Max = v
	}
	if d.binned {
		d.put(v, n)
	}
}

// AddSet adds a statistic set. Unless all its samples are equal, no percentile
// of d can be had any more (spec §7.4).
func (d *Dist) AddSet(s Set) {
	if !(s.SampleCount > 0) {
		return
	}
	// A single sample is its own minimum, or the client contradicts itself.
	if s.Minimum == s.Maximum && near(s.Sum, s.Minimum*s.SampleCount) {
		d.AddN(s.Minimum, s.SampleCount)
		return
	}
	d.Merge(&Dist{Count: s.SampleCount, Sum: s.Sum, Min: s.Minimum, Max: s.Maximum, opaque: true})
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b)) }

// Merge adds the samples of o, which is not changed. Merging is commutative,
// and associative but for the rounding of sums.
func (d *Dist) Merge(o *Dist) {
	switch {
	case o.Count == 0:
		return
	case !o.binned && !o.opaque:
		sum := d.Sum + o.Sum
		d.AddN(o.Min, o.Count)
		d.Sum = sum
		return
	case d.Count == 0:
		d.Min, d.Max = o.Min, o.Max
	}
	if !o.opaque && !d.opaque && !d.binned {
		d.bin()
	}
	d.Count += o.Count
	d.Sum += o.Sum
	d.Min = min(d.Min, o.Min)
	d.Max = max(d.Max, o.Max)
	if d.opaque || o.opaque {
		d.hide()
		return
	}
	d.zeros += o.zeros
	d.pos.merge(&o.pos)
	d.neg.merge(&o.neg)
}

// hide forgets the bins: with samples of unknown value among them they would
// only mislead.
func (d *Dist) hide() {
	d.opaque, d.binned, d.zeros = true, false, 0
	d.pos, d.neg = bins{}, bins{}
}

// bin starts counting by size; until now all samples were equal.
func (d *Dist) bin() {
	d.binned = true
	if d.Count > 0 {
		d.put(d.Min, d.Count)
	}
}

func (d *Dist) put(v, n float64) {
	switch least := logBins.MinIndexableValue(); {
	case v >= least:
		d.pos.add(logBins.Index(v), n)
	case v <= -least:
		d.neg.add(logBins.Index(-v), n)
	default:
		d.zeros += n // including what is too small to tell from 0
	}
}

// Binned reports whether percentiles can be had.
func (d *Dist) Binned() bool { return d.Count > 0 && !d.opaque }

// each calls f with the values in ascending order, as far as they are known,
// until f returns false.
func (d *Dist) each(f func(v, n float64) bool) {
	if !d.binned {
		f(d.Min, d.Count)
		return
	}
	for i := len(d.neg.n) - 1; i >= 0; i-- {
		if n := d.neg.n[i]; n > 0 && !f(max(d.Min, -logBins.Value(d.neg.first+i)), n) {
			return
		}
	}
	if d.zeros > 0 && !f(0, d.zeros) {
		return
	}
	for i, n := range d.pos.n {
		if n > 0 && !f(min(d.Max, max(d.Min, logBins.Value(d.pos.first+i))), n) {
			return
		}
	}
}

// Quantile returns the value below which the share q (0..1) of the samples
// lies, and whether it can be had.
func (d *Dist) Quantile(q float64) (float64, bool) {
	switch {
	case !d.Binned():
		return 0, false
	case q <= 0 || !d.binned:
		return d.Min, true
	case q >= 1:
		return d.Max, true
	}
	rank, below, at := q*(d.Count-1), 0.0, d.Max
	d.each(func(v, n float64) bool {
		below += n
		at = v
		return below <= rank
	})
	return min(d.Max, max(d.Min, at)), true
}

// maxBins bounds the memory of one distribution: 2048 bins tell values apart
// over 58 octaves. What lies lower is counted in the lowest bin.
const maxBins = 2048

// bins counts by bin number: n[i] belongs to bin first+i.
type bins struct {
	first int
	n     []float64
}

func (b *bins) add(i int, n float64) {
	if k := i - b.first; uint(k) < uint(len(b.n)) {
		b.n[k] += n
		return
	}
	b.make(i, i)
	b.n[max(0, i-b.first)] += n
}

// make makes room for the bins lo to hi, as far as maxBins allows: the highest
// bin always has its place.
func (b *bins) make(lo, hi int) {
	const spare = 8 // bins at either side: values rarely come one by one in order
	if top, used := b.top(); used {
		if lo >= b.first && hi < b.first+len(b.n) {
			return
		}
		lo, hi = min(lo, b.first), max(hi, top)
	}
	from, to := lo, hi
	if lo < hi { // most metrics of zeros and ones never need a second bin
		from = max(lo-spare, hi-maxBins+1)
		to = min(hi+spare, from+maxBins)
	}
	old := *b
	b.first, b.n = from, make([]float64, to-from+1)
	for i, n := range old.n {
		if n > 0 {
			b.n[max(0, old.first+i-from)] += n
		}
	}
}

// top returns the highest bin in use, if any is.
func (b *bins) top() (int, bool) {
	for i, n := range slices.Backward(b.n) {
		if n > 0 {
			return b.first + i, true
		}
	}
	return 0, false
}

func (b *bins) merge(o *bins) {
	top, used := o.top()
	if !used {
		return
	}
	b.make(o.first, top)
	for i, n := range o.n {
		if n > 0 {
			b.n[max(0, o.first+i-b.first)] += n
		}
	}
}
