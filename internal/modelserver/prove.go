package modelserver

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// batching says whether rows of different requests run together, and why.
type batching struct {
	allowed bool
	why     string
	rows    int // together, at most
}

// proveBatching decides whether rows of different requests may run together: if
// every answer is then, bit for bit, the one that the request gets alone. It
// takes a graph whose operators are all known to keep rows apart, and runs that
// show it: rounding may depend on how many rows there are. Whoever made the
// model may declare its rows independent in place of what the graph shows; the runs
// have to show it all the same. Only who declares that callers tolerate differences
// by rounding gets them: runs then speak against it if they differ by more.
func proveBatching(m Model, o Options) batching {
	sig, rows := m.Signature(), m.Rows()
	switch why := oneNumberOfRows(sig); {
	case o.MaxBatch == 1:
		return batching{why: "it is turned off"}
	case why != "":
		return batching{why: why}
	case rows.Declared == tensor.Dependent:
		return batching{why: "its rows are declared dependent"}
	case rows.Declared == tensor.Undeclared && rows.Mixed != "":
		return batching{why: "by its graph, rows may depend on each other: " + rows.Mixed}
	}
	p := proof{model: m, rows: o.MaxBatch, loose: rows.Declared == tensor.Tolerant, until: time.Now().Add(proofTime)}
	why, done := p.run()
	switch {
	case why != "":
		return batching{why: why}
	case rows.Declared == tensor.Tolerant:
		return batching{
			allowed: true, why: "its callers are declared to tolerate differences by rounding", rows: o.MaxBatch,
		}
	case !done:
		return batching{why: "no runs on made-up rows could show, in " + proofTime.String() +
			", that rows do not depend on each other"}
	}
	because := "its graph keeps rows apart, and "
	if rows.Declared == tensor.Independent {
		because = "its rows are declared independent, and "
	}
	return batching{allowed: true, rows: p.largest, why: because +
		strconv.Itoa(p.compared) + " runs of rows together gave what each row gives alone"}
}

// proofTime bounds what the proof adds to the time a model takes to load.
const proofTime = 5 * time.Second

// oneNumberOfRows returns "" if every input and output has rows, of one open
// number, and otherwise what has not.
func oneNumberOfRows(g *tensor.Signature) string {
	symbol := ""
	if len(g.Inputs) > 0 && g.Inputs[0].DynamicBatch() {
		symbol = g.Inputs[0].Shape[0].Symbol
	}
	check := func(kind string, specs []tensor.Spec) string {
		for i := range specs {
			s := &specs[i]
			switch {
			case s.Maps:
			case !s.DynamicBatch():
				return fmt.Sprintf("%s %q has no open number of rows", kind, s.Name)
			case s.Shape[0].Symbol != symbol || symbol == "" && kind == "input" && len(specs) > 1:
				return fmt.Sprintf(
					"nothing says that %s %q has as many rows as input %q", kind, s.Name, g.Inputs[0].Name,
				)
			}
			inner := s.Shape[min(1, len(s.Shape)):]
			if symbol != "" && slices.ContainsFunc(inner, func(d tensor.Dim) bool { return d.Symbol == symbol }) {
				return fmt.Sprintf("each row of %s %q is as long as there are rows", kind, s.Name)
			}
		}
		return ""
	}
	if len(g.Inputs) == 0 {
		return "it has no inputs"
	}
	if why := check("input", g.Inputs); why != "" {
		return why
	}
	return check("output", g.Outputs)
}

// proof runs made-up rows alone and together.
type proof struct {
	model    Model
	rows     int  // together, at most
	loose    bool // differences by rounding are allowed
	until    time.Time
	compared int
	largest  int // number of rows that were seen together
}

// attempts are the sizes tried for dimensions that the graph leaves open beyond
// the first, and the largest number that whole numbers have: they may be indexes.
var attempts = []struct{ width, most int64 }{
	{1, 1}, {3, 9}, {8, 1}, {2, 200}, {5, 2}, {32, 3}, {64, 9}, {224, 1},
}

// enough is how many attempts have to succeed.
const enough = 3

// run returns why rows may not run together; done is false if time ran out, or
// no made-up rows did, before enough was seen.
func (p *proof) run() (why string, done bool) {
	succeeded := 0
	for seed, a := range attempts {
		ran, why := p.attempt(rand.New(rand.NewPCG(uint64(seed), 1)), a.width, a.most)
		if why != "" {
			return why, true
		}
		if ran {
			succeeded++
		}
		late := time.Since(p.until)
		if succeeded == enough || late > 0 && succeeded >= 2 || late > proofTime { // a slow model gets less
			break
		}
	}
	return "", succeeded >= 2
}

// attempt runs rows alone, and then more and more of them together, in other
// orders. Ran is false if the model does not take such rows.
func (p *proof) attempt(r *rand.Rand, width, most int64) (ran bool, why string) {
	slice := time.Now().Add(proofTime / enough)
	alone, why := p.alone(r, width, most, slice)
	if len(alone) < 2 || why != "" {
		return false, why
	}
	counts := []int{len(alone)} // the likeliest first: time may run out
	for n := 2; n < len(alone); n++ {
		counts = append(counts, n)
	}
	for i, n := range counts {
		if i > 1 && time.Now().After(slice) {
			break
		}
		r.Shuffle(len(alone), func(i, j int) { alone[i], alone[j] = alone[j], alone[i] })
		if why := p.compare(alone[:n]); why != "" {
			return true, why
		}
	}
	return true, ""
}

// alone runs rows one by one, and leaves out those that the model refuses.
func (p *proof) alone(r *rand.Rand, width, most int64, until time.Time) (rows []*job, why string) {
	for draws := 0; draws < 4*p.rows && len(rows) < p.rows; draws++ {
		if draws > 1 && time.Now().After(until) || draws > 8 && len(rows) == 0 {
			break
		}
		in, ok := made(p.model.Signature(), r, width, most)
		if !ok {
			break
		}
		outs, err := safely(p.model, in)
		if err != nil {
			continue
		}
		if why := p.hasRows(outs, 1); why != "" {
			return nil, why
		}
		rows = append(rows, &job{in: in, outs: outs})
	}
	return rows, ""
}

func (p *proof) compare(jobs []*job) string {
	in, total := merged(jobs)
	outs, err := safely(p.model, in)
	if err != nil {
		return fmt.Sprintf("it fails on %d rows together, each of which it takes alone", total)
	}
	if why := p.hasRows(outs, total); why != "" {
		return why
	}
	p.compared++
	p.largest = max(p.largest, total)
	for i, j := range jobs {
		for o, got := range part(outs, i, 1) {
			if !p.same(&got, &j.outs[o]) {
				return fmt.Sprintf("output %q of a row is another when %d rows run together", got.Name, total)
			}
		}
	}
	return ""
}

func (p *proof) hasRows(outs []tensor.Tensor, n int) string {
	for i := range outs {
		if rows, _, ok := outs[i].Rows(); !ok || rows != n {
			return fmt.Sprintf("output %q has shape %s for %d rows", outs[i].Name, tensor.ShapeString(outs[i].Shape), n)
		}
	}
	return ""
}

func (p *proof) same(a, b *tensor.Tensor) bool {
	if !slices.Equal(a.Shape, b.Shape) || !slices.Equal(a.Strings, b.Strings) || !slices.Equal(a.Keys, b.Keys) {
		return false
	}
	if bytes.Equal(a.Data, b.Data) {
		return true
	}
	if !p.loose || !a.Type.Float() || len(a.Data) != len(b.Data) {
		return false
	}
	for i := range a.Len() {
		x, y := a.Float(i), b.Float(i)
		if math.Abs(x-y) > 1e-3*max(1, math.Abs(x), math.Abs(y)) || math.IsNaN(x) != math.IsNaN(y) {
			return false
		}
	}
	return true
}

// made makes up one row of every input; ok is false if it would be too large.
func made(g *tensor.Signature, r *rand.Rand, width, most int64) (in []tensor.Tensor, ok bool) {
	for i := range g.Inputs {
		s := &g.Inputs[i]
		t := tensor.Tensor{Name: s.Name, Type: s.Type, Shape: []int64{1}}
		for _, d := range s.Shape[1:] {
			if d.Size < 0 {
				d.Size = width
			}
			t.Shape = append(t.Shape, d.Size)
		}
		n, ok := tensor.Elements(t.Shape, 4<<20)
		if !ok {
			return nil, false
		}
		for range n {
			switch {
			case s.Type == tensor.String:
				t.Strings = append(t.Strings, strconv.FormatInt(r.Int64N(most+1), 10))
			case s.Type.Float() && most == 1:
				t.Data = appendNumber(t.Data, s.Type, r.Float64())
			case s.Type.Float():
				t.Data = appendNumber(t.Data, s.Type, r.NormFloat64()*float64(most))
			default:
				t.Data = append(t.Data, byte(r.Int64N(min(most, int64(limit(s.Type)))+1)))
				t.Data = append(t.Data, make([]byte, s.Type.Size()-1)...)
			}
		}
		in = append(in, t)
	}
	return in, true
}

// limit is the largest whole number that made makes up: it fits into a byte.
func limit(t tensor.Type) uint8 {
	if t == tensor.Bool {
		return 1
	}
	return math.MaxInt8
}

func appendNumber(dst []byte, t tensor.Type, f float64) []byte {
	switch t {
	case tensor.Float16:
		return binary.LittleEndian.AppendUint16(dst, tensor.FloatToHalf(float32(f)))
	case tensor.Float32:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}
