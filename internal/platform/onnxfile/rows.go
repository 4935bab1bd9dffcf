package onnxfile

import (
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"google.golang.org/protobuf/encoding/protowire"
)

// CheckRows follows the rows of the inputs, their first dimension, through the
// graph of the model b. It returns nil if every operator is known to compute
// each row from that row alone, so that every output has the rows of the
// inputs, and otherwise an error that says what is not. It knows the operators
// that rows usually go through; what it does not know counts as mixing.
func CheckRows(b []byte, g *tensor.Signature) error {
	w := walk{values: map[string]array{}}
	var graph []byte
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case modelGraph:
			graph = v
		case modelOpset:
			var d Description
			err := d.opset(v)
			w.opset = max(w.opset, d.Opset)
			return err
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range g.Inputs {
		s := &g.Inputs[i]
		if !s.DynamicBatch() {
			return fmt.Errorf("input %q has no open first dimension", s.Name)
		}
		v := array{ranked: true, shape: []extent{{rows: 1}}}
		for _, d := range s.Shape[1:] {
			v.shape = append(v.shape, extent{size: d.Size}) // an open size is negative
		}
		w.values[s.Name] = v
	}
	if err := w.graph(graph); err != nil {
		return err
	}
	for i := range g.Outputs {
		v, ok := w.values[g.Outputs[i].Name]
		if !ok || v.axis() != 0 || v.shape[0].rows != 1 {
			return fmt.Errorf("output %q does not have the rows of the inputs", g.Outputs[i].Name)
		}
	}
	return nil
}

// extent is a size: rows times the number of rows if rows is not 0, else size,
// which is negative if all that is known is that it does not depend on the
// number of rows. Negative rows are an unknown multiple.
type extent struct{ rows, size int64 }

// array is what is known of a tensor of the graph: where its rows lie, if it
// has any, and the sizes of its other dimensions.
type array struct {
	ranked bool
	shape  []extent
	ints   []extent // the numbers of a list, if they are known
}

func constant(dims ...int64) array {
	v := array{ranked: true, shape: make([]extent, 0, len(dims))}
	for _, d := range dims {
		v.shape = append(v.shape, extent{size: d})
	}
	return v
}

// axis returns the dimension along which the rows lie, -1 if there are none.
func (v *array) axis() int {
	return slices.IndexFunc(v.shape, func(e extent) bool { return e.rows != 0 })
}

func (v *array) rank() int { return len(v.shape) }

// counts tells whether the numbers depend on the number of rows.
func (v *array) counts() bool {
	return slices.ContainsFunc(v.ints, func(e extent) bool { return e.rows != 0 })
}

// elements returns the number of elements of a constant, -1 if it is unknown.
func (v *array) elements() int64 { return product(v.shape) }

// product returns -1 if a size is unknown, depends on the rows, or the product
// would be very large.
func product(es []extent) int64 {
	n := int64(1)
	for _, e := range es {
		if e.rows != 0 || e.size < 0 || e.size > 0 && n > (1<<40)/e.size {
			return -1
		}
		n *= e.size
	}
	return n
}

// numbers returns a list of constants.
func (v *array) numbers() ([]int64, bool) {
	if v.ints == nil {
		return nil, false
	}
	out := make([]int64, 0, len(v.ints))
	for _, e := range v.ints {
		if e.rows != 0 || e.size == unknown {
			return nil, false
		}
		out = append(out, e.size)
	}
	return out, true
}

// unknown marks a number that does not depend on the rows and is not known; -1
// is a number.
const unknown = -1 << 62

// walk goes through the nodes of a graph, which stand in the order of their use.
type walk struct {
	opset  int64
	values map[string]array
}

func (w *walk) graph(b []byte) error {
	var nodes [][]byte
	err := fields(b, func(num protowire.Number, v []byte, _ uint64) error {
		switch num {
		case graphNode:
			nodes = append(nodes, v)
		case graphInitializer:
			c, name, err := parseTensor(v)
			if err != nil {
				return err
			}
			if _, input := w.values[name]; !input {
				w.values[name] = c
			}
		case graphSparseInitializer:
			return errors.New("it has sparse weights")
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range nodes {
		n, err := parseNode(b)
		if err != nil {
			return err
		}
		if err := w.node(&n); err != nil {
			return err
		}
	}
	return nil
}

// node works out the outputs of one node.
func (w *walk) node(n *node) error {
	c := call{node: n, opset: w.opset, in: make([]array, len(n.in))}
	fixed, counts := !n.graphs, false // a graph inside could use any value
	for i, name := range n.in {
		v, ok := w.values[name]
		if !ok && name != "" {
			return fmt.Errorf("operator %s takes %q, which no operator before it gives", n.op, name)
		}
		c.in[i] = v
		counts = counts || v.counts()
		fixed = fixed && v.axis() < 0 && !counts
	}
	rule, known := rules[n.domain+":"+n.op]
	if n.domain == nchwc {
		rule, known = rules[":"+n.op]
	}
	var outs []array
	var err error
	switch {
	case !known && fixed && !random[n.op]:
	case !known || counts && !sizes[n.op]:
		err = errors.New("is not known to keep rows apart")
	default:
		if outs, err = rule(&c); err != nil && fixed {
			err = nil // whatever it is, it is the same whoever asks
		}
	}
	for i := range outs { // what doubles at every node would never end
		if err == nil && (len(outs[i].shape) > maxInts || len(outs[i].ints) > maxInts) {
			if !fixed {
				err = errUnknown
			}
			outs[i] = array{}
		}
	}
	if err != nil {
		return fmt.Errorf("operator %s %w", n.op, err)
	}
	for i, name := range n.out {
		switch {
		case name == "":
		case i < len(outs):
			w.values[name] = outs[i]
		case fixed:
			w.values[name] = array{}
		default:
			return fmt.Errorf("operator %s is not known to keep rows apart in output %d", n.op, i+1)
		}
	}
	return nil
}

// sizes has the operators that may compute with the number of rows: what comes
// of it is a shape.
var sizes = map[string]bool{
	"Add": true, "Cast": true, "Concat": true, "ConstantOfShape": true, "Div": true, "Expand": true, "Gather": true,
	"Identity": true, "Mul": true, "Reshape": true, "Slice": true, "Split": true, "Squeeze": true, "Sub": true,
	"Unsqueeze": true,
}

// random has the operators that give something else in each run.
var random = map[string]bool{
	"RandomNormal": true, "RandomUniform": true, "RandomNormalLike": true, "RandomUniformLike": true,
	"Multinomial": true, "Bernoulli": true,
}
