package evidence

import "math"

// quantiles are the shares of the old fleet's requests that the cuts leave below
// themselves.
func quantiles() [3]float64 { return [3]float64{0.5, 0.9, 0.99} }

// DefaultFactor is how many times as slow as the old fleet's a request of the new
// one may be. It leaves room for instances that differ for good: with one
// instance and 5 % between instances 1.05 fires in 3.4 % of harmless deployments.
const DefaultFactor = 1.10

// Cuts are latencies in seconds that half, a tenth and a hundredth of the old
// fleet's requests exceed.
type Cuts [3]float64

// Ending is how a request ended, as far as latency goes.
type Ending int

// The endings.
const (
	Answered Ending = iota // also with an error that the caller made
	Failed                 // no answer by the model
	Left                   // the caller gave up waiting
)

// Level returns the cell of a request in a gate of Latencies: how many of the
// cuts its time, in seconds until it ended, exceeds; the new fleet's cuts are
// factor times the old one's. Leaving out requests that failed would make an old
// fleet that fails its hardest requests look fast, so how long one would have
// taken counts for the new fleet: an old one that failed or was given up is
// slower than everything, a new one that failed is quick, and one that was given
// up has waited for as long as it did.
func (c *Cuts) Level(old bool, factor, seconds float64, e Ending) int {
	switch {
	case old && e != Answered:
		return len(c)
	case e == Failed:
		return 0
	case old:
		factor = 1
	}
	n := 0
	for _, cut := range c {
		if seconds > cut*factor {
			n++
		}
	}
	return n
}

// Bins of History: the values of one differ by 2 %, from 0.1 ms to a day.
const (
	binWidth = 0.02
	binFirst = -9.3 // ln of 0.1 ms in seconds, about
	binCount = 1040
	// halfLife of what History remembers, in seconds.
	halfLife = 120
	// fewest requests that cuts are taken from.
	fewest = 20
)

// History remembers how long the old fleet's requests took lately. Cuts are
// taken from it between strides, always from requests that came earlier: that is
// all validity needs, a bad estimate costs power only.
type History struct {
	bins        [binCount]float64
	first, past int // those with something in them are from first on, and before past
}

// Add adds n requests that took some seconds.
func (h *History) Add(seconds, n float64) {
	if !(n > 0) || math.IsNaN(seconds) {
		return
	}
	bin := 0.0
	if seconds > 0 {
		bin = (math.Log(seconds) - binFirst) / binWidth
	}
	i := int(max(0, min(binCount-1, bin)))
	if h.bins[i] += n; h.past == 0 {
		h.first = i
	}
	h.first, h.past = min(h.first, i), max(h.past, i+1)
}

// Age lets some seconds pass.
func (h *History) Age(seconds float64) {
	factor := math.Exp2(-seconds / halfLife)
	for i := h.first; i < h.past; i++ {
		h.bins[i] *= factor
	}
}

// Cuts returns the cuts for the requests to come, and whether enough is
// remembered; else those that were in force stay so.
func (h *History) Cuts() (c Cuts, ok bool) {
	sum, below, k, used := 0.0, 0.0, 0, h.bins[h.first:h.past]
	for _, n := range used {
		sum += n
	}
	if sum < fewest {
		return c, false
	}
	q := quantiles()
	for i, n := range used {
		if k == len(c) {
			break
		}
		below += n
		for k < len(c) && below >= q[k]*sum*(1-1e-12) {
			c[k] = math.Exp(binFirst + binWidth*float64(h.first+i+1))
			k++
		}
	}
	return c, true
}
