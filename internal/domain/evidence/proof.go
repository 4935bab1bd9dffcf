package evidence

import (
	"math"
	"slices"
)

// Proof is the evidence that the new fleet is within its margin, since the
// present step began. It says "at some time within the margin", not "at all
// times": it may end a bake, and replaces no watching.
//
// A request counts under the second in which it was drawn, and seconds enter one
// after the other, each with all its requests of both fleets. Counted as they
// end, requests that hang would be missing exactly until the rest has proven
// that all is well; and a second that may overtake one with a slow request in it
// is as good as a request that may.
type Proof struct {
	gate    Gate
	timeout int64       // seconds after which a request has surely ended
	tracked bool        // starts of requests are told
	begun   int64       // the first second that counts
	next    int64       // the first second that has not entered
	wealth  [][]float64 // by side and expert, logarithms
	peak    []float64   // by side, the most that it was
	open    []*cohort   // by second, ascending
	tables  []*table    // by share, of the proof's sides
}

// cohort is the requests that were drawn in one second.
type cohort struct {
	second int64
	parts  []*part // by share
}

// part is those of them that were drawn by one share: how many of each fleet
// began, and how those that ended did.
type part struct {
	*table
	began, ended [2]float64   // new, old
	cells        [2][]float64 // new, old
}

// NewProof begins the proof of a gate at a second by the clock that requests are
// drawn by. timeout is the model timeout in seconds. tracked says that Started is
// told of every request; else a second enters when the timeout has passed.
func NewProof(g Gate, timeout int, tracked bool, second int64) *Proof {
	p := &Proof{gate: g, timeout: int64(max(1, timeout)), tracked: tracked}
	p.Begin(second)
	return p
}

// Begin starts over at the beginning of a step: what was proven of the steps
// before says nothing of this one.
func (p *Proof) Begin(second int64) {
	p.begun, p.next = second, second
	p.wealth, p.peak, p.open = nil, make([]float64, len(p.gate.Proof)), nil
	for i := range p.gate.Proof {
		n := p.gate.Proof[i].experts()
		w := make([]float64, n)
		for e := range w {
			w[e] = -math.Log(float64(n))
		}
		p.wealth = append(p.wealth, w)
	}
}

// Started says that n requests were drawn in a second, c.N of them as c says;
// its cell is of no matter.
func (p *Proof) Started(second int64, c Count) {
	c.Cell = 0
	if part := p.partOf(second, &c); part != nil {
		part.began[fleet(c.Old)] += c.N
	}
}

// Count says how requests ended that were drawn in a second. It reports whether
// they count: those drawn before the step began do not, nor those that end after
// their second has entered.
func (p *Proof) Count(second int64, c Count) bool {
	part := p.partOf(second, &c)
	if part == nil {
		return false
	}
	f := fleet(c.Old)
	part.ended[f] += c.N
	part.cells[f][c.Cell] += c.N
	return true
}

// Pair says what came of a pair of a request that was drawn in a second; see
// Process.Pair.
func (p *Proof) Pair(second int64, x float64) bool {
	if !p.gate.Paired || math.IsNaN(x) {
		return false
	}
	lower, rest := split(p.gate.Sides[0].X, x)
	ok := p.Count(second, Count{Cell: lower, N: 1 - rest})
	return p.Count(second, Count{Cell: lower + 1, N: rest}) || ok
}

func fleet(old bool) int {
	if old {
		return 1
	}
	return 0
}

// partOf returns where a count belongs; nil if nowhere. Seconds further ahead
// than the timeout are those of a clock that is wrong: no more of them are kept.
func (p *Proof) partOf(second int64, c *Count) *part {
	if !c.of(&p.gate) || second < p.next {
		return nil
	}
	share := c.Share
	if p.gate.Paired {
		share = 1
	}
	i, found := slices.BinarySearchFunc(p.open, second, func(c *cohort, s int64) int { return int(c.second - s) })
	if !found {
		if len(p.open) > 2*int(p.timeout)+2*Stride {
			return nil
		}
		p.open = slices.Insert(p.open, i, &cohort{second: second})
	}
	for _, part := range p.open[i].parts {
		if part.share == share {
			return part
		}
	}
	if len(p.open[i].parts) == maxShares {
		return nil
	}
	n := p.gate.Cells
	part := &part{table: p.tableOf(share), cells: [2][]float64{make([]float64, n), make([]float64, n)}}
	p.open[i].parts = append(p.open[i].parts, part)
	return part
}

func (p *Proof) tableOf(share float64) *table {
	for _, t := range p.tables {
		if t.share == share {
			return t
		}
	}
	if len(p.tables) == maxShares {
		p.tables = p.tables[1:]
	}
	t := newTable(p.gate.Proof, share, p.gate.Paired)
	p.tables = append(p.tables, t)
	return t
}

// Close lets the seconds enter that are over at now, a second by the same clock,
// and whose requests have all ended, in their order; a request that has not when
// the timeout has passed speaks against the proof. What a router tells late must
// have been told before.
func (p *Proof) Close(now int64) {
	for p.next < now {
		var c *cohort
		if len(p.open) > 0 && p.open[0].second == p.next {
			c = p.open[0]
		}
		old := now-p.next > p.timeout
		if !old && (!p.tracked || c != nil && !c.ended()) {
			return
		}
		p.next++
		if c != nil {
			p.enter(c)
			p.open = p.open[1:]
		} else if len(p.open) > 0 && old {
			p.next = min(p.open[0].second, max(p.next, now-p.timeout)) // nothing was drawn in between
		} else if old {
			p.next = max(p.next, now-p.timeout)
		}
	}
}

func (c *cohort) ended() bool {
	for _, p := range c.parts {
		if p.missing(0) > 0 || p.missing(1) > 0 {
			return false
		}
	}
	return true
}

// missing is how many requests of a fleet have not ended, as far as starts are
// told. Parts of pairs do not add up exactly.
func (t *part) missing(fleet int) float64 {
	if n := t.began[fleet] - t.ended[fleet]; n > 0.5 {
		return n
	}
	return 0
}

// enter bets on the requests of a second.
func (p *Proof) enter(c *cohort) {
	for _, part := range c.parts {
		i := 0
		for s := range p.wealth {
			for e := range p.wealth[s] {
				p.wealth[s][e] += part.gain(&part.rows[i])
				i++
			}
		}
	}
	for s := range p.wealth {
		p.peak[s] = max(p.peak[s], logSum(p.wealth[s]))
	}
}

// gain is what the requests of a part add to an expert. Those whose end is
// unknown had the outcome that costs it most.
func (t *part) gain(r *row) float64 {
	sum := gain(r.first, r.fresh, t.cells[0]) + gain(r.first, r.old, t.cells[1])
	if n := t.missing(0); n > 0 {
		sum += n * slices.Min(r.fresh)
	}
	if n := t.missing(1); n > 0 {
		sum += n * slices.Min(r.old)
	}
	return sum
}

// Value returns the logarithm to the base of ten of the wealth, of the side that
// is shown least, from Least to Most. 0 if the gate has nothing to prove.
func (p *Proof) Value() float64 {
	if len(p.wealth) == 0 {
		return 0
	}
	least := math.Inf(1)
	for s := range p.wealth {
		least = min(least, logSum(p.wealth[s]))
	}
	return decades(least)
}

// Peak returns the most that Value was since the step began, of the side whose most
// is the least: what was shown stays shown. 0 if the gate has nothing to prove.
func (p *Proof) Peak() float64 {
	if len(p.peak) == 0 {
		return 0
	}
	return decades(slices.Min(p.peak))
}

// Proven reports whether it was shown that the new fleet is within the margin,
// at some time since the step began, with a chance of at most alpha to be wrong.
// Nothing is shown by a gate that has nothing to prove.
func (p *Proof) Proven(alpha float64) bool {
	return len(p.peak) > 0 && slices.Min(p.peak) > -math.Log(alpha)
}
