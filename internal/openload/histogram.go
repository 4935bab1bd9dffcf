package openload

import (
	"math/bits"
	"time"
)

// A bucket spans at most 1/2^subBits of its value, so quantiles are right to
// better than one percent.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	maxShift   = 34 // values of 2^41 ns, 36 minutes, and more share the last bucket
	buckets    = (maxShift + 1) * subBuckets
)

// Histogram counts durations in logarithmic buckets of a fixed number: its size
// does not grow with the count. The zero value is empty and ready.
type Histogram struct {
	count [buckets]uint64
	n     uint64
	sum   time.Duration
	max   time.Duration
}

// Add counts d. A negative d counts as 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.count[bucketOf(uint64(d))]++
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// Len is the number of durations counted.
func (h *Histogram) Len() int { return int(h.n) }

// Max is the longest duration, exactly; 0 if there is none.
func (h *Histogram) Max() time.Duration { return h.max }

// Mean is the average, exactly; 0 if there is none.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Quantile returns the smallest duration that at least q of the counted ones
// (0 < q <= 1) do not exceed, rounded up within one percent and never above
// Max; 0 if there is none.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := max(uint64(q*float64(h.n)+0.9999999), 1)
	var seen uint64
	for i, c := range h.count {
		seen += c
		if c > 0 && seen >= want {
			return min(time.Duration(upperBound(i)), h.max)
		}
	}
	return h.max
}

// bucketOf puts small values in buckets of their own, and larger ones by their
// highest bits: (shift, the subBits+1 highest bits).
func bucketOf(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	if shift >= maxShift {
		return buckets - 1
	}
	return shift*subBuckets + int(v>>shift)
}

// upperBound is the largest value in bucket i.
func upperBound(i int) uint64 {
	if i < 2*subBuckets {
		return uint64(i)
	}
	shift := i/subBuckets - 1
	sub := uint64(i - shift*subBuckets)
	return (sub+1)<<shift - 1
}
