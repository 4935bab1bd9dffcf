package answer

import (
	"bytes"
	"errors"
	"math"
)

// Tolerance is how far two numbers may be apart. What counts is the larger of the
// two; the zero Tolerance wants them equal.
type Tolerance struct {
	Absolute float64
	Relative float64 // of the larger of the two numbers
}

// of returns the tolerance for two numbers.
func (t Tolerance) of(a, b float64) float64 {
	return max(t.Absolute, t.Relative*max(math.Abs(a), math.Abs(b)), 0)
}

// How says by what two answers were compared.
type How uint8

// The comparisons.
const (
	ByLabels    How = iota // share of the selected labels that differ
	ByNumbers              // mean of how far the selected numbers are apart, in tolerances, each at most 1
	ByEmbedding            // half of one minus the cosine of the angle between the vectors
	ByLeaves               // share of all values that differ; absent is different
	ByText                 // what language models said, equal or not
	ByBytes                // they could not be read alike: equal bytes or not
)

var hows = [...]string{"labels", "numbers", "embedding", "leaves", "text", "bytes"}

func (h How) String() string { return hows[h] }

// Difference is how far two answers are apart: 0 if they agree, at most 1.
type Difference struct {
	D   float64
	How How
	// Loose says that D is 0 or 1 by equality alone, of texts or of what could not be
	// read, and nobody asked for that: two answers of one model may well differ so.
	Loose bool
}

// ErrNothing is why two answers are not compared: in neither is what the selector
// names, or one is too long. That they agree would be saying too much.
var ErrNothing = errors.New("answer: there is nothing to compare")

// Distance compares two answers that were read with the same selector. It is the
// same in either order, and 0 for an answer and itself.
//
// A number that is none (NaN) is equal to another such and 1 from every number,
// and so is an infinite one from every number but itself. A vector with one of
// those, or of length 0, is 0 from itself and 1 from any other.
func Distance(old, green Answer, tol Tolerance) (Difference, error) {
	switch {
	case old.size > MaxBody || green.size > MaxBody:
		return Difference{}, ErrNothing
	case old.Reading == AsValues && green.Reading == AsValues:
		return distance(&old, &green, tol)
	case old.Reading == AsText && green.Reading == AsText:
		return Difference{D: share(!old.text.same(&green.text)), How: ByText, Loose: true}, nil
	case old.Reading != green.Reading: // what one answers cannot even be read in the other
		return Difference{D: 1, How: ByBytes}, nil
	case old.selected:
		return Difference{}, ErrNothing
	}
	d := Difference{D: share(!bytes.Equal(old.body, green.body)), How: ByBytes}
	d.Loose = !old.asked || !green.asked
	return d, nil
}

func share(differs bool) float64 {
	if differs {
		return 1
	}
	return 0
}

func distance(old, green *Answer, tol Tolerance) (Difference, error) {
	switch {
	case len(old.leaves)+len(green.leaves) == 0 && old.selected:
		return Difference{}, ErrNothing
	case !old.selected:
		d := merge(old.leaves, green.leaves, func(a, b *leaf) float64 { return share(a.apart(b, tol, ByKind) >= 1) })
		return Difference{D: d, How: ByLeaves}, nil
	case old.measure == Embedding:
		return Difference{D: angle(old.leaves, green.leaves), How: ByEmbedding}, nil
	}
	how := ByNumbers
	if old.measure == Labels || old.measure == ByKind && (texts(old.leaves) || texts(green.leaves)) {
		how = ByLabels
	}
	d := merge(old.leaves, green.leaves, func(a, b *leaf) float64 { return a.apart(b, tol, old.measure) })
	return Difference{D: d, How: how}, nil
}

func texts(leaves []leaf) bool {
	for i := range leaves {
		if k := leaves[i].kind; k == label || k == truth {
			return true
		}
	}
	return false
}

// merge returns the mean distance of the values of two answers, place by place.
func merge(a, b []leaf, apart func(a, b *leaf) float64) float64 {
	sum, n := 0.0, 0
	for i, j := 0, 0; i < len(a) || j < len(b); n++ {
		switch {
		case j == len(b) || i < len(a) && a[i].place < b[j].place:
			sum++
			i++
		case i == len(a) || b[j].place < a[i].place:
			sum++
			j++
		default:
			sum += apart(&a[i], &b[j])
			i++
			j++
		}
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// apart returns the distance of two values: of labels 0 or 1, of numbers how many
// tolerances they are apart, at most 1.
func (l *leaf) apart(m *leaf, tol Tolerance, measure Measure) float64 {
	if l.kind != m.kind {
		return 1
	}
	switch l.kind {
	case null, label:
		return share(l.text != m.text)
	case truth:
		return share(l.num != m.num)
	case number:
	}
	t := tol.of(l.num, m.num)
	switch {
	case math.IsNaN(l.num) || math.IsNaN(m.num):
		return share(math.IsNaN(l.num) != math.IsNaN(m.num))
	case l.num == m.num && l.exact && m.exact:
		return 0
	case measure == Labels || !(t > 0):
		return share(l.num != m.num || l.text != m.text)
	case l.num == m.num:
		return 0
	case math.IsInf(l.num, 0) || math.IsInf(m.num, 0):
		return 1
	}
	return min(1, math.Abs(l.num-m.num)/t)
}

// angle returns half of one minus the cosine between two vectors; 1 if they have
// not the same places.
func angle(a, b []leaf) float64 {
	if len(a) != len(b) {
		return 1
	}
	same, largestA, largestB := true, 0.0, 0.0
	for i := range a {
		x, y := &a[i], &b[i]
		same = same && x.place == y.place && x.apart(y, Tolerance{}, Labels) == 0
		if x.place != y.place || x.kind != number || y.kind != number {
			largestA = math.NaN()
		}
		largestA, largestB = max(largestA, math.Abs(x.num)), max(largestB, math.Abs(y.num))
	}
	switch {
	case same:
		return 0
	case !(largestA > 0 && largestB > 0) || math.IsInf(largestA, 0) || math.IsInf(largestB, 0):
		return 1
	}
	var dot, aa, bb float64
	for i := range a { // as parts of the largest, so that no square overflows
		x, y := a[i].num/largestA, b[i].num/largestB
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	return min(1, max(0, (1-dot/math.Sqrt(aa*bb))/2))
}
