package evidence

import (
	"slices"
	"strconv"
)

// MaxLabels is how many labels of the old fleet's past are told apart; the
// others are one.
const MaxLabels = 15

// DefaultDrift is by how much the share of an answer may differ.
const DefaultDrift = 0.03

// Profile is what the old fleet answered before the deployment, of one kind of
// answer: labels, or numbers (also sizes). It says which cell an answer is.
type Profile struct {
	// Labels are keyed hashes of the most frequent labels, and Shares how
	// frequent each was, from 0 to 1.
	Labels []uint64  `json:"labels,omitempty"`
	Shares []float64 `json:"shares,omitempty"`
	// Cuts of numbers leave a tenth, half and nine tenths of them below.
	Cuts *[3]float64 `json:"cuts,omitempty"`
	// Bad is the share of answers that were none: NaN, empty.
	Bad float64 `json:"bad,omitempty"`
}

// LabelProfile returns the profile of labels, the most frequent first, by how
// often each was answered, and of the answers that were none.
func LabelProfile(labels []uint64, counts []float64, bad float64) Profile {
	sum := bad
	for _, n := range counts {
		sum += n
	}
	p := Profile{}
	if !(sum > 0) {
		return p
	}
	for i := range min(len(labels), len(counts), MaxLabels) {
		p.Labels = append(p.Labels, labels[i])
		p.Shares = append(p.Shares, counts[i]/sum)
	}
	p.Bad = bad / sum
	return p
}

// kinds is how many kinds of good answers are told apart.
func (p *Profile) kinds() int {
	if p.Cuts != nil {
		return len(p.Cuts) + 1
	}
	return len(p.Labels) + 1
}

// Cells is how many cells the profile takes in a gate.
func (p *Profile) Cells() int { return p.kinds() + 2 }

// Label returns the cell of a label: its place among those of the past.
func (p *Profile) Label(hash uint64) int {
	for i, l := range p.Labels {
		if l == hash {
			return i
		}
	}
	return p.kinds() - 1
}

// Number returns the cell of a number: how many of the cuts it exceeds. One that
// is not a number is a bad answer.
func (p *Profile) Number(v float64) int {
	if v != v || p.Cuts == nil {
		return p.NoAnswer()
	}
	n := 0
	for _, cut := range p.Cuts {
		if v > cut {
			n++
		}
	}
	return n
}

// Another is the cell of an answer that is none of the labels of the past.
func (p *Profile) Another() int { return p.kinds() - 1 }

// NoAnswer is the cell of an answer that is none: NaN, empty.
func (p *Profile) NoAnswer() int { return p.kinds() }

// Failure is the cell of a request that failed: what would have been answered is
// not known, and counts for the new fleet.
func (p *Profile) Failure() int { return p.kinds() + 1 }

// Drifts returns the gate of what is answered, whatever the request: the share
// of each label, of numbers below each cut and above, and of bad answers, may
// differ by tolerance in either direction. Its cells are those of each profile,
// one after the other. The old fleet's past should be of a thousand answers.
func Drifts(tolerance float64, profiles ...Profile) Gate {
	g := Gate{Kind: Drift}
	for i := range profiles {
		p := &profiles[i]
		share := func(cells ...int) []float64 {
			x := make([]float64, p.Cells())
			for _, c := range cells {
				x[c] = 1
			}
			return x
		}
		both := func(what string, c float64, cells ...int) {
			g.drift(p, Side{Name: what + " more often", Plus: tolerance, Control: c, X: share(cells...)})
			g.drift(p, Side{Name: what + " less often", Plus: tolerance, Control: 1 - c, X: p.others(share(cells...))})
		}
		if p.Cuts != nil {
			both("below p10", 0.1, 0)
			both("below p50", 0.5, 0, 1)
			both("below p90", 0.9, 0, 1, 2)
		} else {
			rest := 1 - p.Bad
			for k, s := range p.Shares {
				both("label "+strconv.Itoa(k+1), s, k)
				rest -= s
			}
			both("another label", rest, len(p.Labels))
		}
		g.drift(p, Side{Name: "no answer more often", Plus: tolerance, Control: p.Bad, X: share(p.NoAnswer())})
		g.Cells += p.Cells()
	}
	return g
}

// others turns an event into its opposite.
func (p *Profile) others(x []float64) []float64 {
	for i := range x[:p.Failure()] {
		x[i] = 1 - x[i]
	}
	return x
}

// drift adds one direction of one event, with the outcomes of the new fleet's
// answers and the event's share in the past.
func (g *Gate) drift(p *Profile, s Side) {
	old := slices.Clone(s.X)
	old[p.Failure()] = 1
	c := max(0.01, min(0.99, s.Control)) // else experts would believe in the impossible
	s.Ratio, s.Control, s.First, s.Old = 1, c, g.Cells, old
	s.Beliefs = []float64{1 + 0.05/c, 1 + 0.15/c}
	g.Sides = append(g.Sides, s)
	s.Beliefs = []float64{max(0.05, 1-s.Plus/c), max(0.1, 1-s.Plus/2/c)}
	g.Proof = append(g.Proof, s)
}
