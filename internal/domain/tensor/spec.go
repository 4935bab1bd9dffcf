package tensor

import (
	"strconv"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// Dim is one dimension of a specification: a size, or any size (Size < 0),
// perhaps under a symbol that must mean the same size throughout one request.
type Dim struct {
	Size   int64
	Symbol string
}

// Spec is what a model's graph says of one input or output.
type Spec struct {
	Name   string
	Type   Type
	Ranked bool // Shape is known; otherwise any shape will do
	Shape  []Dim
	Maps   bool // an output that is a list of maps from class to number
}

// String prints the shape and the type: [batch, 64] of FLOAT.
func (s *Spec) String() string {
	if !s.Ranked {
		return "any shape of " + s.Type.String()
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, d := range s.Shape {
		if i > 0 {
			b.WriteString(", ")
		}
		switch {
		case d.Size >= 0:
			b.WriteString(strconv.FormatInt(d.Size, 10))
		case readable(d.Symbol):
			b.WriteString(d.Symbol)
		case i == 0:
			b.WriteString("batch")
		default:
			b.WriteByte('?')
		}
	}
	b.WriteString("] of ")
	b.WriteString(s.Type.String())
	return b.String()
}

// Exporters number the dimensions they have no name for (unk__12).
func readable(symbol string) bool {
	return symbol != "" && len(symbol) <= 40 && !strings.HasPrefix(symbol, "unk__")
}

// DynamicBatch tells whether the first dimension may have any size.
func (s *Spec) DynamicBatch() bool { return s.Ranked && len(s.Shape) > 0 && s.Shape[0].Size < 0 }

// RowWidth returns how many elements a row has; ok is false when the graph
// leaves a dimension beyond the first open.
func (s *Spec) RowWidth() (width int64, ok bool) {
	if !s.Ranked || len(s.Shape) == 0 {
		return 0, false
	}
	width = 1
	for _, d := range s.Shape[1:] {
		if d.Size <= 0 || width > (1<<40)/d.Size {
			return 0, false
		}
		width *= d.Size
	}
	return width, true
}

func (s *Spec) fits(shape []int64) bool {
	if !s.Ranked {
		return true
	}
	if len(shape) != len(s.Shape) {
		return false
	}
	for i, d := range s.Shape {
		if d.Size >= 0 && d.Size != shape[i] {
			return false
		}
	}
	return true
}

// Mismatch is the fault that names the input, what it must be and what came.
func (s *Spec) Mismatch(got string) error {
	return fault.New(fault.Invalid, "input %q: expected shape %s, got %s", s.Name, s.String(), got)
}

// Signature is what a model takes and gives, in the order of its graph.
type Signature struct {
	Inputs, Outputs []Spec
}

// Input returns the specification of the input called name, and its place.
func (g *Signature) Input(name string) (*Spec, int, error) {
	for i := range g.Inputs {
		if g.Inputs[i].Name == name {
			return &g.Inputs[i], i, nil
		}
	}
	return nil, 0, fault.New(fault.Invalid, "the model has no input %q; it takes %s", name, names(g.Inputs))
}

// Output returns the place of the output called name.
func (g *Signature) Output(name string) (int, error) {
	for i := range g.Outputs {
		if g.Outputs[i].Name == name {
			return i, nil
		}
	}
	return 0, fault.New(fault.Invalid, "the model has no output %q; it gives %s", name, names(g.Outputs))
}

// Only returns the single input of the model, which media types without names
// need.
func (g *Signature) Only(media string) (*Spec, error) {
	if len(g.Inputs) != 1 {
		return nil,
			fault.New(fault.Invalid,
				"the model takes %d inputs (%s); %s can carry one, so send application/json with the inputs by name",
				len(g.Inputs), names(g.Inputs), media)
	}
	return &g.Inputs[0], nil
}

func names(specs []Spec) string {
	b := make([]byte, 0, 64)
	for i := range specs {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendQuote(b, specs[i].Name)
	}
	return string(b)
}

// Check says whether in, in the order of the graph, is what the model takes:
// every input there, of the right type and shape, with as many elements as its
// shape says, and one size for each symbol. The error is a fault.Invalid.
func (g *Signature) Check(in []Tensor) error {
	if len(in) != len(g.Inputs) {
		return fault.New(fault.Invalid,
			"the model takes %d inputs (%s), got %d", len(g.Inputs), names(g.Inputs), len(in))
	}
	for i := range in {
		t, s := &in[i], &g.Inputs[i]
		if t.Type == Invalid {
			return fault.New(fault.Invalid, "input %q is missing: expected shape %s", s.Name, s.String())
		}
		if t.Type != s.Type {
			return fault.New(fault.Invalid,
				"input %q: expected shape %s, got %s of %s", s.Name, s.String(), ShapeString(t.Shape), t.Type)
		}
		if !s.fits(t.Shape) {
			return s.Mismatch(ShapeString(t.Shape))
		}
		n, ok := Elements(t.Shape, 1<<40)
		if !ok || n != int64(t.Len()) {
			return fault.New(fault.Invalid,
				"input %q: shape %s does not agree with its %d elements", s.Name, ShapeString(t.Shape), t.Len())
		}
		if t.Hollow() {
			return fault.New(fault.Invalid, "input %q: the shape %s holds nothing and is too large",
				s.Name, ShapeString(t.Shape))
		}
		if err := checkStrings(t); err != nil {
			return err
		}
	}
	if len(in) > 1 {
		return g.agree(in)
	}
	return nil
}

// checkStrings refuses what ONNX Runtime would cut silently.
func checkStrings(t *Tensor) error {
	for i, s := range t.Strings {
		if strings.IndexByte(s, 0) >= 0 {
			return fault.New(fault.Invalid, "input %q: element %d has a NUL character", t.Name, i)
		}
	}
	return nil
}

// agree checks that each symbol has one size throughout the inputs.
func (g *Signature) agree(in []Tensor) error {
	type use struct {
		size  int64
		input string
	}
	seen := map[string]use{}
	for i := range g.Inputs {
		for j, d := range g.Inputs[i].Shape {
			if d.Size >= 0 || d.Symbol == "" {
				continue
			}
			got := in[i].Shape[j]
			first, again := seen[d.Symbol]
			if !again {
				seen[d.Symbol] = use{got, g.Inputs[i].Name}
			} else if first.size != got {
				return fault.New(fault.Invalid, "input %q: expected shape %s, got %s, but %s is %d in input %q",
					g.Inputs[i].Name, g.Inputs[i].String(), ShapeString(in[i].Shape), d.Symbol, first.size, first.input)
			}
		}
	}
	return nil
}

// Zeros returns inputs of zeros, of one row where the number of rows is open.
// ok is false if the signature does not say how long a row is, or an input would
// have more than limit elements.
func (g *Signature) Zeros(limit int64) (in []Tensor, ok bool) {
	in = make([]Tensor, len(g.Inputs))
	for i := range in {
		s := &g.Inputs[i]
		width, ok := s.RowWidth()
		if !ok || s.Type == String {
			return nil, false
		}
		rows := max(s.Shape[0].Size, 1)
		if rows > limit/width {
			return nil, false
		}
		shape := []int64{rows}
		for _, d := range s.Shape[1:] {
			shape = append(shape, d.Size)
		}
		in[i] = Tensor{Name: s.Name, Type: s.Type, Shape: shape, Data: make([]byte, rows*width*int64(s.Type.Size()))}
	}
	return in, true
}
