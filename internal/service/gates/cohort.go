package gates

import (
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// cohorts count requests by the second in which they were drawn, for proofs: how
// many began, and how those ended that did. A second is looked at when all of its
// requests have ended, so one that hangs is not missing from it.
type cohorts struct {
	ring []atomic.Pointer[cohort] // by second
}

// cohort is the requests that were drawn in one second.
type cohort struct {
	second int64
	shares [sharesASecond]atomic.Pointer[cohortShare] // those in use first
}

// sharesASecond is how many different chances of the new fleet are counted of a
// second. The requests of routes beyond count for no proof, whatever they did.
const sharesASecond = 4

// cohortShare is those of them that were drawn with one chance: of the new fleet,
// of the old one. They are what is new since they were last taken.
type cohortShare struct {
	chance float64
	began  [2]atomic.Uint32
	ended  [2][sets]atomic.Uint32
}

// newCohorts counts seconds until all their requests must have ended.
func newCohorts(longest time.Duration) *cohorts {
	const late = 2 * evidence.Stride // what is told and taken late
	return &cohorts{ring: make([]atomic.Pointer[cohort], int(longest/time.Second)+1+late)}
}

// of returns where requests are counted that were drawn in a second with a chance;
// nil if there is no room, or that second is long over.
func (c *cohorts) of(second int64, chance float64) *cohortShare {
	if second < 0 {
		return nil
	}
	at := &c.ring[second%int64(len(c.ring))]
	in := at.Load()
	for in == nil || in.second < second {
		if next := (&cohort{second: second}); at.CompareAndSwap(in, next) {
			in = next
			break
		}
		in = at.Load()
	}
	if in.second != second {
		return nil
	}
	for i := range in.shares {
		n := in.shares[i].Load()
		if n == nil {
			in.shares[i].CompareAndSwap(nil, &cohortShare{chance: chance})
			n = in.shares[i].Load()
		}
		if n.chance == chance {
			return n
		}
	}
	return nil
}

// dropCohorts forgets what was counted of a place by the second, and seconds that lie
// ahead since the clock was set back: they would keep the room of those that come.
func (c *Counter) dropCohorts(p Place) {
	places := c.watched.Load()
	if places == nil || (*places)[p] == nil {
		return
	}
	w := (*places)[p]
	for i := range w.cohorts.ring {
		w.cohorts.ring[i].Store(nil)
	}
}

// Started counts that a request was drawn for a fleet, before it was sent anywhere.
func (c *Counter) Started(k traffic.Key, d traffic.Draw) {
	if w, row := c.watchOf(k, &d); w != nil {
		if n := w.cohorts.of(d.At.Unix(), d.Share); n != nil {
			n.began[fleetOf(row)].Add(1)
		}
	}
}

// fleetOf is 0 for the new fleet, 1 for the old one.
func fleetOf(row int) int {
	if row == 0 {
		return 1
	}
	return 0
}

// Cohort is what is new of the requests that were drawn in a second with a chance:
// of the new fleet, of the old one.
type Cohort struct {
	Second int64
	Share  float64
	Began  [2]float64
	Ended  [2]map[evidence.Kind][2]float64 // by kind: none, event
}

// TakeCohorts returns what was counted of a place, by second, since the last call.
// One caller at a time may take of a place.
func (c *Counter) TakeCohorts(p Place) (all []Cohort) {
	places := c.watched.Load()
	if places == nil || (*places)[p] == nil {
		return nil
	}
	w := (*places)[p]
	for i := range w.cohorts.ring {
		in := w.cohorts.ring[i].Load()
		for n := 0; in != nil && n < sharesASecond; n++ {
			s := in.shares[n].Load()
			if s == nil {
				break
			}
			if t, some := s.take(); some {
				t.Second, t.Share = in.second, s.chance
				all = append(all, t)
			}
		}
	}
	return all
}

// take looks at ends before begins: what has ended has also begun.
func (s *cohortShare) take() (t Cohort, some bool) {
	for f := range s.ended {
		for set := range s.ended[f] {
			if s.ended[f][set].Load() == 0 { // of most seconds, nothing is new
				continue
			}
			n := s.ended[f][set].Swap(0)
			if some = true; t.Ended[f] == nil {
				t.Ended[f] = map[evidence.Kind][2]float64{}
			}
			for i, k := range kinds {
				cells := t.Ended[f][k]
				cells[set>>i&1] += float64(n)
				t.Ended[f][k] = cells
			}
		}
	}
	for f := range s.began {
		n := s.began[f].Swap(0)
		t.Began[f], some = float64(n), some || n > 0
	}
	return t, some
}
