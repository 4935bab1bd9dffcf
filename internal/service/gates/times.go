package gates

import (
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// timing is which time of a request is compared.
type timing int

// The timings. A streamed answer is as long as what is said in it: only when it
// begins is compared, and only of streams.
const (
	whole timing = iota // until the answer was there
	first               // until the first part of a stream was there
	timings
)

// timed are the gates of the timings.
var timed = [timings]evidence.Kind{evidence.Latency, evidence.FirstChunk}

// levels is how many cells a gate of times has.
const levels = len(evidence.Cuts{}) + 1

// regime is what holds for the requests that are drawn from some moment on.
type regime struct {
	from time.Time
	// epoch is the version of the route. Requests drawn from another one are not
	// compared: what it is like was not known before they came.
	epoch int64
	cuts  [timings]*evidence.Cuts // nil: of neither fleet the times are compared
}

// lead is how long before its begin a regime is there, so that no request of it
// can be over before that.
const lead = 250 * time.Millisecond

// The bounds of what is kept of regimes: requests that take longer than that are
// not compared, for their age alone.
const (
	keepRegimes = 20 * time.Minute
	maxRegimes  = 256
)

// times is what is needed to compare the times of one place's requests. One
// goroutine changes it.
type times struct {
	factors [timings]float64
	regimes atomic.Pointer[[]regime] // the newest first; nil: nothing is compared
	past    [timings]recent          // of the old fleet
}

// recent holds how long the old fleet's requests took lately: of very many in a
// second, the last ones.
type recent struct {
	n    atomic.Uint32
	last [512]atomic.Int64 // durations
}

func (r *recent) add(d time.Duration) {
	r.last[(r.n.Add(1)-1)%uint32(len(r.last))].Store(max(1, int64(d)))
}

// take moves what there is to h.
func (r *recent) take(h *evidence.History) {
	if r.n.Swap(0) == 0 {
		return
	}
	for i := range r.last {
		if d := r.last[i].Swap(0); d > 0 {
			h.Add(time.Duration(d).Seconds(), 1)
		}
	}
}

// timeOf returns which time of a request is compared, how long it was and how it
// ended.
func timeOf(s *traffic.Sample) (t timing, d time.Duration, e evidence.Ending) {
	d = s.ModelLatency
	if s.Streaming {
		if t = first; s.FirstChunk > 0 && (!s.Status5XX || s.MidStreamError) {
			return t, s.FirstChunk, evidence.Answered // what became of the rest is no matter of time
		}
	}
	switch {
	case s.Abandoned:
		e = evidence.Left
	case s.ModelError && !s.Status4XX:
		e = evidence.Failed
	}
	return t, d, e
}

// count counts how long a request took; to has the counts of its fleet or slot.
func (t *times) count(s *traffic.Sample, old bool, to *[timings][levels]atomic.Uint32) {
	k, d, ending := timeOf(s)
	if old && ending == evidence.Answered {
		t.past[k].add(d)
	}
	r := t.of(&s.Draw)
	if r == nil || r.cuts[k] == nil {
		return
	}
	to[k][r.cuts[k].Level(old, t.factors[k], d.Seconds(), ending)].Add(1)
}

// of returns what holds for a request; nil: its times are not compared.
func (t *times) of(d *traffic.Draw) *regime {
	all := t.regimes.Load()
	if all == nil {
		return nil
	}
	for i := range *all {
		r := &(*all)[i]
		if d.At.Before(r.from) {
			continue
		}
		if r.epoch != d.Epoch {
			return nil
		}
		return r
	}
	return nil
}

// begin has another regime hold soon, unless it is the one that does.
func (t *times) begin(r regime) {
	var all []regime
	if now := t.regimes.Load(); now != nil {
		all = *now
	}
	if len(all) > 0 && all[0].epoch == r.epoch && all[0].cuts == r.cuts {
		return
	}
	r.from = time.Now().Add(lead)
	next := append(make([]regime, 0, len(all)+1), r)
	for i, old := range all { // what is kept of one that ended long ago is of no use
		if i > 0 && r.from.Sub(all[i-1].from) > keepRegimes || len(next) == maxRegimes {
			break
		}
		next = append(next, old)
	}
	t.regimes.Store(&next)
}
