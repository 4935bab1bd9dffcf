package evidence

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// tree is a game that is played to its end in every way that it can go: a few
// requests, each drawn for one fleet or the other, and what became of it.
type tree struct {
	gate  Gate
	depth int
	// chances are those of the cells of a request, of the new fleet and of the old,
	// by whoever wants evidence to rise and knows all that came before.
	chances func(past []Count) (fresh, old []float64)
	stop    float64 // wealth at which it is over; 0: never
	highest float64 // wealth that was seen, as a logarithm
	capped  bool    // a slot had more than it could add
}

// inStride is how many requests a stride has.
const inStride = 4

// play plays what came before again, and returns the wealth then, as a logarithm.
func (tr *tree) play(past []Count) float64 {
	p := New(tr.gate)
	for i, c := range past {
		if i > 0 && i%inStride == 0 {
			p.Close()
		}
		p.Count(c)
	}
	free := *p
	free.gate.Cap = 0
	for e := range p.wealth[1:] {
		tr.capped = tr.capped || p.gain(e) < free.gain(e)-1e-12
	}
	return p.wealthNow()
}

// mean is the wealth that can be expected at the end, over all ways to go on from
// what came before.
func (tr *tree) mean(past []Count) (sum float64) {
	w := tr.play(past)
	tr.highest = max(tr.highest, w)
	if len(past) == tr.depth || tr.stop > 0 && math.Exp(w) >= tr.stop {
		return math.Exp(w)
	}
	// Shares change between requests, and so does the instance: the same one, until
	// something of the new fleet has failed on it.
	share, slot := []float64{0.5, 0.05, 0.3}[len(past)%3], 0
	for _, c := range past {
		if !c.Old && c.Cell != None {
			slot = 1 - slot
		}
	}
	fresh, old := tr.chances(past)
	for cell := range fresh {
		for _, c := range []Count{
			{Share: share, Slot: slot, Cell: cell, N: 1}, {Share: share, Old: true, Cell: cell, N: 1},
		} {
			chance := share * fresh[cell]
			if c.Old {
				chance = (1 - share) * old[cell]
			}
			if chance > 0 {
				sum += chance * tr.mean(append(past[:len(past):len(past)], c))
			}
		}
	}
	return sum
}

// failing is how often requests of the old fleet fail depends on what
// became of those before, as if somebody chose the moments.
func failing(past []Count) float64 {
	if len(past) == 0 {
		return 0.3
	}
	last := past[len(past)-1]
	switch {
	case last.Old && last.Cell != None:
		return 0
	case last.Cell != None:
		return 0.6
	}
	return 0.2
}

// However the chances of failures move, and whenever one stops to look, wealth is
// not expected to grow while the new fleet is exactly as bad as is allowed: summed
// over all that can happen, with the cap reached or not. A bit more, and it is.
func TestWealthCannotBeExpectedToGrow(t *testing.T) {
	rate := func(ratio, plus, beyond float64) func([]Count) (fresh, old []float64) {
		return func(past []Count) (fresh, old []float64) {
			o := failing(past)
			n := min(1, ratio*o+plus+beyond)
			return []float64{1 - n, n}, []float64{1 - o, o}
		}
	}
	m := DefaultMargins()
	levels := func(past []Count) (fresh, old []float64) {
		x := failing(past)
		same := []float64{1 - x, x / 2, x / 4, x / 4}
		return same, same
	}
	small := func(g Gate, to float64) Gate { g.Cap = to; return g }
	for what, tr := range map[string]tree{
		"errors": {gate: Rate(Errors, m), depth: 6, chances: rate(m.Ratio, m.Plus, 0)},
		"errors, at a low cap": {
			gate: small(Rate(Errors, m), 0.2), depth: 6, chances: rate(m.Ratio, m.Plus, 0),
		},
		"errors, at a cap that even the most cautious reach": {
			gate: small(Rate(Errors, m), 1e-4), depth: 6, chances: rate(m.Ratio, m.Plus, 0),
		},
		"errors, without a ratio": {
			gate: small(Rate(Errors, Margins{Ratio: 1, Plus: 0.2}), 0.3), depth: 6, chances: rate(1, 0.2, 0),
		},
		"latency":               {gate: Latencies(Latency), depth: 4, chances: levels},
		"latency, at a low cap": {gate: small(Latencies(Latency), 0.1), depth: 4, chances: levels},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			for _, stop := range []float64{0, 1.02, 1.2} {
				tr.stop = stop
				if mean := tr.mean(nil); mean > 1+1e-9 {
					t.Errorf("stopped at %v, a wealth of %v can be expected", stop, mean)
				}
			}
			if tr.highest <= 0 || tr.gate.Cap < DefaultCap && !tr.capped {
				t.Errorf("the highest wealth was e^%v, the cap was reached: %v", tr.highest, tr.capped)
			}
		})
	}
	tr := tree{gate: Rate(Errors, m), depth: 6, chances: rate(m.Ratio, m.Plus, 0.5)}
	if mean := tr.mean(nil); mean < 1.004 {
		t.Errorf("of a fleet that is worse than allowed a wealth of %v can be expected", mean)
	}
}

// foundAfter is after how many seconds a gate of errors is above a value, of fleets that
// fail some shares of their requests; 0: not in half an hour.
func foundAfter(g Gate, value, share, perSecond, old, fresh float64, instances int) int {
	p := New(g)
	count := func(c Count, n, rate float64) {
		c.Cell, c.N = Event, n*rate
		p.Count(c)
		c.Cell, c.N = None, n*(1-rate)
		p.Count(c)
	}
	for s := 1; s <= 1800; s++ {
		for slot := range instances {
			count(Count{Share: share, Slot: slot}, share*perSecond/float64(instances), fresh)
		}
		count(Count{Share: share, Old: true}, (1-share)*perSecond, old)
		if p.Value() > value {
			return s
		}
		if s%Stride == 0 {
			p.Close()
		}
	}
	return 0
}

// What one instance adds in a stride is bounded, what failures of the old fleet
// take is not: only experts that stake little see a new fleet that fails everything
// beside an old one that fails much.
func TestAnOldFleetThatFailsHidesNoWorseOne(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	for _, c := range []struct {
		instances   int
		share       float64
		old, fresh  float64
		two, strict int // seconds until 100 to 1, and 1,000 to 1
	}{
		{1, 0.5, 0, 1, 95, 130},
		{1, 0.5, 0.01, 1, 120, 150},
		{1, 0.5, 0.05, 1, 150, 190},
		{1, 0.5, 0.2, 1, 290, 380},
		{1, 0.05, 0.01, 1, 120, 150},
		{1, 0.05, 0.2, 1, 350, 450},
		{1, 0.5, 0.001, 0.01, 200, 260},
		{1, 0.5, 0.05, 0.5, 200, 260},
		{4, 0.5, 0, 1, 25, 35},
		{4, 0.5, 0.01, 1, 25, 35},
		{4, 0.5, 0.05, 1, 35, 45},
		{4, 0.5, 0.2, 1, 85, 110},
		{4, 0.05, 0.2, 1, 75, 95},
		{4, 0.5, 0.05, 0.5, 45, 60},
	} {
		for _, perSecond := range []float64{50, 500, 5000} {
			if c.fresh*c.share*perSecond < 10 {
				continue // too few failures for a bound in seconds
			}
			what := fmt.Sprintf("%d at %v of %v rps, %v beside %v", c.instances, c.share, perSecond, c.fresh, c.old)
			two := foundAfter(g, 2, c.share, perSecond, c.old, c.fresh, c.instances)
			strict := foundAfter(g, 3, c.share, perSecond, c.old, c.fresh, c.instances)
			if two == 0 || two > c.two || strict == 0 || strict > c.strict {
				t.Errorf("%s: found after %d s, strictly after %d; want %d and %d", what, two, strict, c.two, c.strict)
			}
			if c.instances == 1 && two < 60 {
				t.Errorf("%s: one instance alone is found after %d s", what, two)
			}
		}
		// As bad as allowed is never found, and hardly hurt.
		if n := foundAfter(g, 0.01, c.share, 500, c.old, 1.5*c.old+0.001, c.instances); n > 0 {
			t.Errorf("%v beside %v is evidence after %d s", 1.5*c.old+0.001, c.old, n)
		}
	}
}

// The table of docs/guardrails.md.
func TestThePageSaysWhenAWorseFleetIsFound(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	g.Cap = Patience(time.Minute, 0.001)
	for old, want := range map[float64][]int{
		0: {61, 73, 81, 11, 11, 21}, 0.01: {91, 93, 91, 21, 21, 21}, 0.05: {104, 113, 103, 24, 23, 25},
		0.2: {156, 255, 139, 44, 51, 36},
	} {
		var is []int
		for _, instances := range []int{1, 4} {
			for _, perSecond := range []float64{50, 500, 5000} {
				is = append(is, foundAfter(g, 3, 0.5, perSecond, old, 1, instances))
			}
		}
		if !slices.Equal(is, want) {
			t.Errorf("beside %v: found after %v s, the page says %v", old, is, want)
		}
	}
}

// The same of latency: a tenth of the old fleet's requests is slower than its own
// cut, as it should be.
func TestManyRequestsHideNoSlowFleet(t *testing.T) {
	for _, instances := range []int{1, 4} {
		for _, perSecond := range []float64{50, 500, 5000} {
			p, found := New(Latencies(Latency)), 0
			for s := 1; s <= 600 && found == 0; s++ {
				for cell, old := range []float64{0.5, 0.4, 0.09, 0.01} {
					n := perSecond / 2
					fresh := []float64{0.2, 0.5, 0.2, 0.1}[cell] // as 30 % slower is
					p.Count(Count{Share: 0.5, Old: true, Cell: cell, N: n * old})
					for slot := range instances {
						p.Count(Count{Share: 0.5, Slot: slot, Cell: cell, N: n * fresh / float64(instances)})
					}
				}
				if p.Value() > 2 {
					found = s
				}
				if s%Stride == 0 {
					p.Close()
				}
			}
			if most := 40 + 100/instances; found == 0 || found > most {
				t.Errorf("%d instances, %v rps: found after %d s, want %d", instances, perSecond, found, most)
			}
		}
	}
}

// outage is the highest value while something lets both fleets fail a share of
// their requests for a minute, those of the old one so many seconds later.
func outage(g Gate, share, perSecond, rate float64, instances, later, begin int) (top float64) {
	p := New(g)
	fails := func(s int) float64 {
		if s >= begin && s < begin+60 {
			return rate
		}
		return 0.001
	}
	count := func(c Count, n, rate float64) {
		c.Cell, c.N = Event, n*rate
		p.Count(c)
		c.Cell, c.N = None, n*(1-rate)
		p.Count(c)
	}
	for s := 1; s <= begin+180; s++ {
		for slot := range instances {
			count(Count{Share: share, Slot: slot}, share*perSecond/float64(instances), fails(s))
		}
		count(Count{Share: share, Old: true}, (1-share)*perSecond, fails(s-later))
		if top = max(top, p.Value()); s%Stride == 0 {
			p.Close()
		}
	}
	return top
}

// What docs/gates.md says of failures that come sooner in the new fleet: this is no
// promise but a limit, and somebody who moves it has to say so.
func TestWhatFailsSoonerCountsFirst(t *testing.T) {
	lax := Rate(Errors, DefaultMargins())
	strict := lax
	strict.Cap = Patience(time.Minute, 0.001)
	for _, c := range []struct {
		instances, later int
		lax, strict      float64
	}{{1, 0, 0, 0}, {4, 0, 0, 0}, {1, 30, 1.1, 1.7}, {4, 2, 1.75, 2.7}, {4, 5, 2.1, 3.1}, {4, 20, 3.6, 5.5}} {
		most := [2]float64{}
		for begin := 100; begin < 100+Stride; begin++ {
			for _, share := range []float64{0.05, 0.5} {
				for _, perSecond := range []float64{10, 50, 500} {
					for _, rate := range []float64{0.2, 1} {
						for i, g := range []Gate{lax, strict} {
							most[i] = max(most[i], outage(g, share, perSecond, rate, c.instances, c.later, begin))
						}
					}
				}
			}
		}
		for i, want := range []float64{c.lax, c.strict} {
			if most[i] > want || most[i] < want-0.15 {
				t.Errorf("%d instances, %d s later: %.2f, want %v", c.instances, c.later, most[i], want)
			}
		}
	}
}
