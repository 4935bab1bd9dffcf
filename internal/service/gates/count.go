// Package gates counts what becomes of requests while a deployment divides them
// between two fleets, has package evidence weigh it each second, publishes what
// that says as series that alarms can watch, and has traffic taken back when a
// gate fires. It promises that a request of an endpoint at rest costs a comparison
// and nothing else, that a count is of the fleet that was drawn, by the chance
// with which it was, and that evidence on one deployment is never part of that on
// another. What is compared are events that a request has or has not, and pairs of
// answers to one request, how long it took, how often it is answered with what, and
// how often instances are lost. A server that starts goes on with
// what the last one saved, and says what it did not look at. What follows from
// evidence is decided elsewhere, by package rollout.
package gates

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
)

// Place is a variant of an endpoint.
type Place struct {
	Endpoint traffic.Key
	Variant  string
}

// Fleets are the ids of the two fleets that a deployment compares.
type Fleets struct{ Old, New string }

// kinds are the gates whose events are counted. What a request was is the set of
// its events, a bit for each of these: one addition counts all of it, so that
// nobody ever sees a request without its events.
var kinds = [...]evidence.Kind{
	evidence.Errors, evidence.ServerErrors, evidence.ClientErrors, evidence.Retries, evidence.Abandoned,
}

// sets is how many sets of events there are.
const sets = 1 << len(kinds)

// eventsOf returns the set of a request's events. One that its caller gave up is an
// error of neither fleet.
func eventsOf(s *traffic.Sample) (set int) {
	for i, is := range [len(kinds)]bool{
		s.ModelError && !s.Abandoned, s.Status5XX && !s.Abandoned, s.Status4XX && !s.Abandoned, s.Retried, s.Abandoned,
	} {
		if is {
			set |= 1 << i
		}
	}
	return set
}

// maxShares is how many different chances of the new fleet are counted of a
// deployment, more than any has steps. Those of routes beyond are left out,
// whatever their requests did.
const maxShares = 32

// Counter counts the requests of deployments that are watched. Its methods may be
// called at the same time.
type Counter struct {
	watched atomic.Pointer[map[Place]*watch] // nil: none is
	longest time.Duration                    // that a request may take
	mu      sync.Mutex                       // guards changes of watched
}

// watch is the counts of one place.
type watch struct {
	fleets  Fleets
	shares  [maxShares]atomic.Pointer[share] // those in use first
	missed  atomic.Int64
	cohorts *cohorts
	times   times
	reading atomic.Pointer[reading] // nil: nobody reads answers
}

// share is what was counted since the last Take of requests that were drawn with
// one chance.
type share struct {
	chance float64
	// counts are those of the old fleet, and of the new one's slots, by set of events.
	counts [1 + evidence.MaxSlots][sets]atomic.Uint32
	levels [1 + evidence.MaxSlots][timings][levels]atomic.Uint32
}

// Watch counts the requests of a place that are drawn for one of two fleets, from
// zero unless it counts those already.
func (c *Counter) Watch(p Place, f Fleets) { c.watch(p, f) }

// watch is Watch, and returns what counts them.
func (c *Counter) watch(p Place, f Fleets) (w *watch) {
	c.change(func(all map[Place]*watch) {
		if w = all[p]; w == nil || w.fleets != f {
			w = &watch{fleets: f, cohorts: newCohorts(c.longest)}
			all[p] = w
		}
	})
	return w
}

// Forget counts the requests of a place no more.
func (c *Counter) Forget(p Place) {
	c.change(func(all map[Place]*watch) { delete(all, p) })
}

func (c *Counter) change(do func(map[Place]*watch)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := map[Place]*watch{}
	if old := c.watched.Load(); old != nil {
		maps.Copy(all, *old)
	}
	do(all)
	if len(all) == 0 {
		c.watched.Store(nil)
		return
	}
	c.watched.Store(&all)
}

// Sample counts a request for the fleet that it was drawn for first, if there was a
// draw between the two.
func (c *Counter) Sample(s traffic.Sample) {
	w, row := c.watchOf(s.Key, &s.Draw)
	if w == nil {
		return
	}
	set := eventsOf(&s)
	if second := s.Draw.At.Unix(); second <= time.Now().Unix() { // else the clock was set back meanwhile
		if in := w.cohorts.of(second, s.Draw.Share); in != nil {
			in.ended[fleetOf(row)][set].Add(1)
		}
	}
	n := w.of(s.Draw.Share)
	if n == nil {
		w.missed.Add(1)
		return
	}
	n.counts[row][set].Add(1)
	w.times.count(&s, row == 0, &n.levels[row])
}

// watchOf returns where a request counts that was drawn so, and the row of its
// fleet; nil if nowhere.
func (c *Counter) watchOf(k traffic.Key, d *traffic.Draw) (w *watch, row int) {
	if d.Role == traffic.NeitherFleet || !(d.Share > 0 && d.Share < 1) {
		return nil, 0
	}
	all := c.watched.Load()
	if all == nil {
		return nil, 0
	}
	w = (*all)[Place{k, d.Variant}]
	switch {
	case w == nil:
	case d.Role == traffic.NewFleet && d.Fleet == w.fleets.New:
		return w, 1 + max(0, d.Slot)%evidence.MaxSlots
	case d.Role == traffic.OldFleet && d.Fleet == w.fleets.Old:
		return w, 0
	}
	return nil, 0 // of another deployment
}

// of returns where requests of a chance are counted; nil if there is no room.
func (w *watch) of(chance float64) *share {
	for i := range w.shares {
		n := w.shares[i].Load()
		if n == nil {
			w.shares[i].CompareAndSwap(nil, &share{chance: chance})
			n = w.shares[i].Load()
		}
		if n.chance == chance {
			return n
		}
	}
	return nil
}

// Taken is what was counted of a place.
type Taken struct {
	Counts map[evidence.Kind][]evidence.Count
	Missed int64 // requests that there was no room for, of routes beyond maxShares
}

// Take returns what was counted since the last call, as package evidence counts
// it. One caller at a time may take of a place.
func (c *Counter) Take(p Place) Taken {
	t := Taken{Counts: map[evidence.Kind][]evidence.Count{}}
	all := c.watched.Load()
	if all == nil || (*all)[p] == nil {
		return t
	}
	w := (*all)[p]
	t.Missed = w.missed.Swap(0)
	for i := range w.shares {
		n := w.shares[i].Load()
		if n == nil {
			break
		}
		for row := range n.counts {
			as := evidence.Count{Share: n.chance, Old: row == 0, Slot: max(0, row-1)}
			t.add(&n.counts[row], as)
			t.addLevels(&n.levels[row], as)
		}
	}
	return t
}

// add takes the counts of the old fleet or of a slot.
func (t *Taken) add(from *[sets]atomic.Uint32, as evidence.Count) {
	var cells [len(kinds)][2]float64
	some := false
	for set := range from {
		n := from[set].Swap(0)
		some = some || n > 0
		for i := range kinds {
			cells[i][set>>i&1] += float64(n)
		}
	}
	for i := 0; some && i < len(kinds); i++ {
		for cell, n := range cells[i] {
			if as.Cell, as.N = cell, n; n > 0 {
				t.Counts[kinds[i]] = append(t.Counts[kinds[i]], as)
			}
		}
	}
}

// addLevels takes how long requests took.
func (t *Taken) addLevels(from *[timings][levels]atomic.Uint32, as evidence.Count) {
	for i := range from {
		for cell := range from[i] {
			if n := from[i][cell].Swap(0); n > 0 {
				as.Cell, as.N = cell, float64(n)
				t.Counts[timed[i]] = append(t.Counts[timed[i]], as)
			}
		}
	}
}
