package gates

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/platform/answer"
)

// The bounds of what the old fleet's answers are taken for its past. Of texts, of
// which two are rarely alike, a thousand are waited for; of others a few hundred
// are enough after a while.
const (
	enough     = 1000
	few        = 300
	waitForFew = 10 * time.Second
)

// look is what is compared of an answer: of one of its outputs, in one way.
type look struct {
	output  int
	what    what
	profile evidence.Profile
	first   int // of its cells in the gate
}

// what is a way to look at an output.
type what string

// The ways, as sentences name what is compared.
const (
	labels  what = "label"
	numbers what = "number"
	lengths what = "length in words"
	endings what = "ending"
	sizes   what = "size"
)

// past is what the old fleet answered before answers are compared.
type past struct {
	since time.Time           // the first
	seen  [][]answer.Features // by output
}

func (p *past) add(fs []answer.Features) {
	if len(p.seen) == 0 {
		p.since, p.seen = time.Now(), make([][]answer.Features, len(fs))
	}
	for i := range fs {
		if len(p.seen[i]) < enough {
			p.seen[i] = append(p.seen[i], fs[i])
		}
	}
}

// looks returns what is to be compared; nil if too little is known.
func (p *past) looks() (all []look) {
	if len(p.seen) == 0 || len(p.seen[0]) < few {
		return nil
	}
	n, texts := len(p.seen[0]), false
	for i, fs := range p.seen {
		is := looksAt(i, fs)
		texts = texts || is[0].what == lengths
		all = append(all, is...)
	}
	if n < enough && (texts || time.Since(p.since) < waitForFew) {
		return nil
	}
	first := 0
	for i := range all {
		all[i].first = first
		first += all[i].profile.Cells()
	}
	return all
}

// looksAt returns how the answers of an output are looked at: as what most of them
// are.
func looksAt(output int, fs []answer.Features) []look {
	var texts, named, valued, bad float64
	counts := map[uint64]float64{}
	for i := range fs {
		f := &fs[i]
		switch {
		case f.Bad:
			bad++
		case f.Said.Text:
			texts++
		default:
			if f.HasLabel {
				named++
				counts[f.Label]++
			}
			if f.HasNumber {
				valued++
			}
		}
	}
	half := (float64(len(fs)) - bad) / 2
	is := func(w what, p evidence.Profile) look { return look{output: output, what: w, profile: p} }
	switch {
	case half > 0 && texts >= half:
		ends := map[uint64]float64{}
		for i := range fs {
			if fs[i].Said.Text {
				ends[ending(fs[i].Said)]++
			}
		}
		return []look{is(lengths, cutsOf(fs, lengths)), is(endings, labelsOf(ends, bad))}
	case half > 0 && named >= half && (len(counts) <= evidence.MaxLabels || valued < half):
		return []look{is(labels, labelsOf(counts, bad))}
	case half > 0 && valued >= half:
		return []look{is(numbers, cutsOf(fs, numbers))}
	}
	return []look{is(sizes, cutsOf(fs, sizes))}
}

// ending is how a text ended, as a label.
func ending(s answer.Said) uint64 {
	n := uint64(s.Finish) << 2
	if s.JSON {
		n |= 1
	}
	if s.Calls {
		n |= 2
	}
	return n
}

// labelsOf is the profile of labels, the most frequent first.
func labelsOf(counts map[uint64]float64, bad float64) evidence.Profile {
	all := slices.SortedFunc(maps.Keys(counts), func(a, b uint64) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	ns := make([]float64, len(all))
	for i, l := range all {
		ns[i] = counts[l]
	}
	return evidence.LabelProfile(all, ns, bad)
}

// cutsOf is the profile of numbers: a tenth, half and nine tenths are below its cuts.
func cutsOf(fs []answer.Features, w what) (p evidence.Profile) {
	var xs []float64
	for i := range fs {
		if x, ok := numberOf(&fs[i], w); ok {
			xs = append(xs, x)
		}
	}
	slices.Sort(xs)
	p.Cuts = &[3]float64{}
	for i, q := range [...]float64{0.1, 0.5, 0.9} {
		if len(xs) > 0 {
			p.Cuts[i] = xs[min(len(xs)-1, int(q*float64(len(xs))))]
		}
	}
	if len(fs) > 0 {
		p.Bad = 1 - float64(len(xs))/float64(len(fs))
	}
	return p
}

// numberOf is the number that is compared of an answer; false if it has none.
func numberOf(f *answer.Features, w what) (x float64, ok bool) {
	switch w {
	case lengths:
		return float64(f.Said.Tokens), f.Said.Text && !f.Bad
	case sizes:
		return float64(f.Size), !f.Bad
	case numbers:
		return f.Number, f.HasNumber && !f.Bad
	case labels, endings:
	}
	return 0, false
}

// cell is the cell of the gate that an answer is counted in.
func (l *look) cell(f *answer.Features) int {
	p := &l.profile
	switch {
	case f.Bad:
		return l.first + p.NoAnswer()
	case l.what == labels && f.HasLabel:
		return l.first + p.Label(f.Label)
	case l.what == endings && f.Said.Text:
		return l.first + p.Label(ending(f.Said))
	case l.what == labels || l.what == endings:
		return l.first + p.Another()
	}
	if x, ok := numberOf(f, l.what); ok {
		return l.first + p.Number(x)
	}
	return l.first + p.NoAnswer()
}

// testOf is the gate that looks compare.
func testOf(g gate.Gate, looks []look) evidence.Gate {
	profiles := make([]evidence.Profile, len(looks))
	for i := range looks {
		profiles[i] = looks[i].profile
	}
	t := evidence.Drifts(g.Tolerance, profiles...)
	if _, said := g.From["patience"]; said { // else: what befalls an instance for a while does not change its answers
		t.Cap = evidence.Patience(g.Patience, g.Alpha)
	}
	return t
}

// answersSeen are the numbers behind the value of a gate of answers: of the kind of
// answer that speaks the loudest.
func (v *variantOf) answersSeen(p *evidence.Process) (n gate.Seen) {
	sides := p.Gate().Sides
	if len(sides) == 0 {
		return n
	}
	i, _ := p.Leading()
	side := &sides[i]
	name, less := strings.CutSuffix(strings.TrimSuffix(side.Name, " more often"), " less often")
	x := slices.Clone(side.X[:len(side.X)-1]) // without the requests that failed: it is not known what they are
	for k := range x {
		if less {
			x[k] = 1 - x[k]
		}
	}
	fresh, old := p.Totals()
	n.New, n.Old = tally(x, fresh[side.First:]), tally(x, old[side.First:])
	for k := range v.looks {
		if v.looks[k].first == side.First {
			n.Side = v.looks[k].say(name, v.looks[len(v.looks)-1].output+1)
		}
	}
	for i := range v.looks {
		if l := &v.looks[i]; l.what == sizes {
			n.Sized |= 1 << l.output
		}
	}
	if v.unread > 0 {
		n.Unseen = float64(v.unread) / float64(v.unread+n.New.Requests+n.Old.Requests)
	}
	return n
}

// say names what is compared in a sentence: "label 3", "a number below p10".
func (l *look) say(name string, of int) string {
	switch {
	case l.what == endings:
		name = strings.Replace(name, "label", "ending", 1)
	case strings.HasPrefix(name, "below"):
		name = fmt.Sprintf("a %s %s", l.what, name)
	}
	if of > 1 {
		name += fmt.Sprintf(" of output %d", l.output+1)
	}
	return name
}
