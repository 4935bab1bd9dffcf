package evidence

import (
	"encoding/binary"
	"errors"
	"math"
)

// State is what is kept of a process, at most a kilobyte as JSON: whoever reads
// it goes on where it was written. It belongs to a gate, of which it says nothing
// but the kind.
type State struct {
	Kind    Kind `json:"kind"`
	Strides int  `json:"strides,omitempty"` // that were closed
	// Wealth of cash and of each expert, as logarithms: signed varints of 10^-7.
	Wealth []byte `json:"wealth"`
	// Total is all counts by cell, of the new fleet and of the old one: varints,
	// of 1/1024 in gates of pairs.
	Total []byte `json:"total,omitempty"`
	// Open is the counts of the open stride: for each share its bits, the number
	// of slots, and the counts of the old fleet and of each slot. Left out if
	// there are very many slots and shares: these seconds are then not looked at.
	Open []byte `json:"open,omitempty"`
}

// maxState is how many bytes a State may take as JSON.
const maxState = 1024

// wealthUnits is how exactly logarithms of wealth are kept. What is less is
// rounded down, so that nothing is won by storing.
const wealthUnits = 1e7

// appendLog appends a logarithm. What was read before is written as it was.
func appendLog(to []byte, log float64) []byte {
	return binary.AppendVarint(to, int64(math.Floor(log*wealthUnits+1e-3)))
}

// pairUnit is how exactly parts of pairs are kept.
const pairUnit = 1024

// State returns what has to be kept.
func (p *Process) State() State {
	s := State{Kind: p.gate.Kind, Strides: p.strides}
	for _, w := range p.wealth {
		s.Wealth = appendLog(s.Wealth, w)
	}
	for _, t := range p.total {
		s.Total = p.appendCounts(s.Total, t)
	}
	if p.fits() {
		for _, b := range p.buckets {
			if b.some {
				s.Open = binary.BigEndian.AppendUint64(s.Open, math.Float64bits(b.share))
				s.Open = append(s.Open, byte(b.slots()))
				s.Open = p.appendCounts(s.Open, b.old)
				s.Open = p.appendCounts(s.Open, b.fresh)
			}
		}
	}
	return s
}

// fits reports whether the counts of the open stride have room in a State. It
// asks how many there are and never how large: what is missing after a crash has
// nothing to do with what was seen.
func (p *Process) fits() bool {
	const (
		names  = 100 // of the members, and the kind
		wealth = 5   // bytes of a logarithm
		total  = 4   // of a count of the whole deployment
		open   = 3   // of one of ten seconds
	)
	n := total * 2 * p.gate.Cells
	for _, b := range p.buckets {
		if b.some {
			n += 9 + open*p.gate.Cells*(1+b.slots())
		}
	}
	return names+(n+wealth*len(p.wealth))*4/3 <= maxState
}

func (p *Process) unit() float64 {
	if p.gate.Paired {
		return pairUnit
	}
	return 1
}

func (p *Process) appendCounts(to []byte, counts []float64) []byte {
	for _, n := range counts {
		to = binary.AppendUvarint(to, uint64(math.Round(n*p.unit())))
	}
	return to
}

// errState is what is wrong with a State that cannot be of a gate.
var errState = errors.New("the state of evidence is of another gate, or broken")

// Restore continues the process of a gate where its State was written. If that
// cannot be, evidence has to begin anew, and to say so.
func Restore(g Gate, s State) (*Process, error) {
	p := New(g)
	r := reader{rest: s.Wealth}
	for i := range p.wealth {
		p.wealth[i] = r.log()
	}
	if s.Kind != g.Kind || s.Strides < 0 || !r.done() {
		return nil, errState
	}
	p.strides = s.Strides
	if len(s.Total) > 0 {
		r = reader{rest: s.Total}
		r.counts(p.total[0], p.unit())
		r.counts(p.total[1], p.unit())
		if !r.done() {
			return nil, errState
		}
	}
	r = reader{rest: s.Open}
	for len(r.rest) > 0 && !r.bad {
		share, slots := math.Float64frombits(r.uint64()), int(r.byte())
		b := p.bucketOf(share)
		if r.bad || b == nil || slots > MaxSlots || !g.Paired && !(share > 0 && share < 1) {
			return nil, errState
		}
		b.some = true
		r.counts(b.old, p.unit())
		for i := range slots {
			r.counts(b.slot(i), p.unit())
		}
	}
	if !r.done() {
		return nil, errState
	}
	p.wealthNow()
	return p, nil
}

// ProofState is what is kept of a proof, at most a kilobyte as JSON.
type ProofState struct {
	Kind  Kind  `json:"kind"`
	Begun int64 `json:"begun"` // the second in which the step began
	// Wealth of each expert, side by side, and Peak of each side, as logarithms:
	// signed varints of 10^-7.
	Wealth []byte `json:"wealth,omitempty"`
	Peak   []byte `json:"peak,omitempty"`
}

// State returns what has to be kept. Seconds that have not entered are not kept:
// after a crash nothing of them is looked at, of either fleet.
func (p *Proof) State() ProofState {
	s := ProofState{Kind: p.gate.Kind, Begun: p.begun}
	for i := range p.wealth {
		for _, w := range p.wealth[i] {
			s.Wealth = appendLog(s.Wealth, w)
		}
		s.Peak = appendLog(s.Peak, p.peak[i])
	}
	return s
}

// RestoreProof continues a proof where its State was written, with the requests
// that are drawn from a second on. If that is before the step began, the clock was
// set back meanwhile: the proof begins anew, and does not wait until it has caught
// up. See NewProof.
func RestoreProof(p *Proof, s ProofState, second int64) error {
	n := NewProof(p.gate, int(p.timeout), p.tracked, s.Begun)
	wealth, peak := reader{rest: s.Wealth}, reader{rest: s.Peak}
	for i := range n.wealth {
		for e := range n.wealth[i] {
			n.wealth[i][e] = wealth.log()
		}
		n.peak[i] = peak.log()
	}
	if s.Kind != p.gate.Kind || !wealth.done() || !peak.done() {
		return errState
	}
	if n.next = second; second < s.Begun {
		n.Begin(second)
	}
	*p = *n
	return nil
}

// reader takes numbers off bytes, and remembers whether there were too few.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) done() bool { return !r.bad && len(r.rest) == 0 }

// take drops n bytes that were read; if there were none, all is bad.
func (r *reader) take(n int) bool {
	if n <= 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return false
	}
	r.rest = r.rest[n:]
	return true
}

func (r *reader) log() float64 {
	v, n := binary.Varint(r.rest)
	r.take(n)
	return float64(v) / wealthUnits
}

func (r *reader) counts(to []float64, unit float64) {
	for i := range to {
		v, n := binary.Uvarint(r.rest)
		r.take(n)
		to[i] = float64(v) / unit
	}
}

func (r *reader) uint64() uint64 {
	b := r.rest
	if !r.take(8) {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

func (r *reader) byte() byte {
	b := r.rest
	if !r.take(1) {
		return 0
	}
	return b[0]
}
