package evidence

import (
	"math"
	"slices"
)

// cash is the part of wealth that is never bet, to begin with: evidence of
// nothing does not fall far, and what turns bad later is seen. Half of it is the
// cautious experts' where there are some, who hardly bet.
const cash = 0.2

// Process is the evidence of one gate in one deployment. It begins with a wealth
// of 1, carries it over from step to step, and is not for concurrent use.
type Process struct {
	gate    Gate
	prior   []float64 // of each expert, after cash
	wealth  []float64 // logarithms, when the stride began
	strides int       // that were closed with counts in them
	buckets []*bucket // counts of the open stride, by share
	total   [2][]float64
	scratch []float64
	bound   float64 // the logarithm of the wealth is no more than this
}

// New begins the evidence of a gate.
func New(g Gate) *Process {
	n := g.experts()
	p := &Process{gate: g, prior: make([]float64, n+1), wealth: make([]float64, n+1), scratch: make([]float64, n+1)}
	g.deal(p.prior)
	for i, w := range p.prior {
		p.wealth[i] = math.Log(w)
	}
	p.total = [2][]float64{make([]float64, g.Cells), make([]float64, g.Cells)}
	return p
}

// deal says which parts of wealth cash and each expert begin with.
func (g *Gate) deal(parts []float64) {
	if len(parts) == 1 { // nothing is compared yet: nothing can be won or lost
		parts[0] = 1
		return
	}
	careful := 0
	for i := range g.Sides {
		careful += g.Sides[i].Cautious
	}
	parts[0] = cash
	if careful > 0 {
		parts[0] = cash / 2
	}
	i, bold := 1, g.experts()-careful
	for s := range g.Sides {
		side := &g.Sides[s]
		for e := range side.experts() {
			if e < side.bold() {
				parts[i] = (1 - cash) / float64(bold)
			} else {
				parts[i] = cash / 2 / float64(careful)
			}
			i++
		}
	}
}

// Gate returns what the process compares. Nobody changes it.
func (p *Process) Gate() *Gate { return &p.gate }

// Count adds counts to the open stride, whenever their requests were drawn: each
// is weighed by its own share. The order is of no matter. Counts that cannot be
// of this gate, and those of draws that could not have gone otherwise, are passed
// over; Count reports whether c was counted.
func (p *Process) Count(c Count) bool {
	if !c.of(&p.gate) {
		return false
	}
	b := p.bucketOf(c.Share)
	if b == nil {
		return false
	}
	b.some = true
	p.bound += c.N * b.up[fleet(c.Old)][c.Cell]
	p.total[fleet(c.Old)][c.Cell] += c.N
	if c.Old {
		b.old[c.Cell] += c.N
		return true
	}
	slot := 0
	if p.gate.Cap > 0 {
		slot = max(0, c.Slot) % MaxSlots
	}
	b.slot(slot)[c.Cell] += c.N
	return true
}

// Pair adds the outcome x of one pair of answers, in a gate of pairs: what x is,
// the gate's constructor says. Slot is the place of the new fleet's instance. It
// reports whether x could be counted.
func (p *Process) Pair(slot int, x float64) bool {
	if !p.gate.Paired || math.IsNaN(x) {
		return false
	}
	lower, part := split(p.gate.Sides[0].X, x)
	p.Count(Count{Slot: slot, Cell: lower, N: 1 - part})
	p.Count(Count{Slot: slot, Cell: lower + 1, N: part})
	return true
}

// split says between which two values of a grid x lies: the lower one, and how
// far x is from there to the next, from 0 to 1.
func split(xs []float64, x float64) (lower int, part float64) {
	x = max(xs[0], min(xs[len(xs)-1], x))
	i, _ := slices.BinarySearch(xs, x)
	if i == 0 {
		return 0, 0
	}
	return i - 1, (x - xs[i-1]) / (xs[i] - xs[i-1])
}

// Value returns the logarithm of the wealth to the base of ten, at this moment,
// from Least to Most: what a gate publishes.
func (p *Process) Value() float64 { return decades(p.wealthNow()) }

// Exceeds reports whether Value is above a threshold. It mostly costs nothing:
// what the counts since the last look could have added at most is known.
func (p *Process) Exceeds(threshold float64) bool {
	return p.bound > threshold*math.Ln10 && p.Value() > threshold
}

// Close ends a stride: every Stride seconds by one clock, whoever counts. It
// deals a part of the wealth anew, so that experts who were ruined by a long good
// time notice what goes bad at its end; ever less, or a long bake would have
// nothing left. A stride without counts does not count.
func (p *Process) Close() {
	if !slices.ContainsFunc(p.buckets, func(b *bucket) bool { return b.some }) {
		return
	}
	p.strides++
	for i := range p.wealth[1:] {
		p.wealth[i+1] += p.gain(i)
	}
	for _, b := range p.buckets {
		if b.some {
			b.used = p.strides
		}
		b.clear()
	}
	if len(p.buckets) > maxShares/2 { // steps are over, and so are their requests
		p.buckets = slices.DeleteFunc(p.buckets, func(b *bucket) bool { return b.used < p.strides-60 })
	}
	p.deal()
}

// deal gives a part of the wealth back to all, as it was dealt at the beginning
// (fixed share: Herbster & Warmuth 1998).
func (p *Process) deal() {
	part := min(0.005, 0.9/float64(p.strides))
	most, sum := slices.Max(p.wealth), 0.0
	for i, w := range p.wealth {
		p.scratch[i] = math.Exp(w - most)
		sum += p.scratch[i]
	}
	for i, w := range p.scratch {
		p.wealth[i] = most + math.Log((1-part)*w+part*p.prior[i]*sum)
	}
}

// gain returns what the open stride adds to the wealth of an expert: what one
// instance adds over all shares is capped, what it takes is not.
func (p *Process) gain(expert int) (sum float64) {
	slots := 0
	for _, b := range p.buckets {
		if b.some {
			sum += gain(b.rows[expert].first, b.rows[expert].old, b.old)
			slots = max(slots, b.slots())
		}
	}
	cells := p.gate.Cells
	for slot := range slots {
		g := 0.0
		for _, b := range p.buckets {
			if b.some && slot < b.slots() {
				g += gain(b.rows[expert].first, b.rows[expert].fresh, b.fresh[slot*cells:])
			}
		}
		if p.gate.Cap > 0 {
			g = min(g, p.gate.Cap)
		}
		sum += g
	}
	return sum
}

// wealthNow is the logarithm of the wealth, the open stride included.
func (p *Process) wealthNow() float64 {
	p.scratch[0] = p.wealth[0]
	for i, w := range p.wealth[1:] {
		p.scratch[i+1] = w + p.gain(i)
	}
	p.bound = logSum(p.scratch)
	return p.bound
}

// Totals returns the counts of the whole deployment by cell: of the new fleet's
// requests and of the old one's, as far as they were compared.
func (p *Process) Totals() (fresh, old []float64) {
	return slices.Clone(p.total[0]), slices.Clone(p.total[1])
}

// Leading returns the side whose experts hold the most wealth, the one that
// speaks loudest against the new fleet, and its value alone.
func (p *Process) Leading() (side int, value float64) {
	best, i := math.Inf(-1), 0
	for s := range p.gate.Sides {
		var logs []float64
		for range p.gate.Sides[s].experts() {
			logs = append(logs, p.wealth[i+1]+p.gain(i))
			i++
		}
		if sum := logSum(logs); sum > best {
			best, side = sum, s
		}
	}
	return side, decades(best)
}
