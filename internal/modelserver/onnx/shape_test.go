//go:build cgo

package onnx_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// zeros makes an input of a shape.
func zeros(typ tensor.Type, shape ...int64) tensor.Tensor {
	t := tensor.Tensor{Name: "x", Type: typ, Shape: shape}
	n, _ := tensor.Elements(shape, 1<<20)
	if typ == tensor.String {
		t.Strings = make([]string, n)
	} else {
		t.Data = make([]byte, n*int64(typ.Size()))
	}
	return t
}

// What an output is at run time counts, not what the graph says of it.
func TestOutputsOfAnotherShapeThanDeclaredAreGiven(t *testing.T) {
	shapes := [][]int64{{}, {1}, {1, 1}, {3}, {2, 3}, {0}, {0, 4}, {2, 0, 3}}
	declared := map[string][]any{
		"as a scalar": {}, "as a list": {"n"}, "as a table": {"n", "m"}, "not at all": nil, "as five": {5},
		"unnamed": {""},
	}
	for typ := tensor.Bool; typ <= tensor.String; typ++ {
		for how, dims := range declared {
			g := identity(typ)
			g.Inputs[0].Dims = nil
			g.Outputs[0].Dims = dims
			m := load(t, g)
			for _, shape := range shapes {
				in := zeros(typ, shape...)
				outs, err := m.Run([]tensor.Tensor{in})
				if err != nil {
					if !strings.Contains(err.Error(), "hape") { // the library holds a graph to what it says
						t.Errorf("%s declared %s, given %v: %v", typ, how, shape, err)
					}
					continue
				}
				if fmt.Sprint(outs[0].Shape) != fmt.Sprint(shape) || outs[0].Type != typ ||
					!bytes.Equal(outs[0].Data, in.Data) || len(outs[0].Strings) != len(in.Strings) {
					t.Errorf("%s declared %s, given %v: %+v", typ, how, shape, outs[0])
				}
			}
		}
	}
}

// A squeeze takes the dimension away when there is one row.
func TestASqueezedBatchOfOneIsGiven(t *testing.T) {
	for _, typ := range []tensor.Type{tensor.Float16, tensor.Float32, tensor.Int64, tensor.Bool, tensor.String} {
		g := identity(typ, "n", 1)
		g.Outputs[0].Dims = []any{"n"}
		g.Nodes[0].Op = "Squeeze"
		m := load(t, g)
		for n := range int64(4) {
			outs, err := m.Run([]tensor.Tensor{zeros(typ, n, 1)})
			if err != nil {
				t.Errorf("%d rows of %s: %v", n, typ, err)
				continue
			}
			want := fmt.Sprint([]int64{n})
			if n == 1 {
				want = "[]"
			}
			if fmt.Sprint(outs[0].Shape) != want {
				t.Errorf("%d rows of %s: %v", n, typ, outs[0].Shape)
			}
		}
	}
}

// Each run that cannot give its second output had left the first behind.
func TestRunsThatCannotGiveAnOutputLeaveNothingInMemory(t *testing.T) {
	const n = 1 << 20
	for name, second := range map[string][]ox.Node{
		"a scalar where a list is declared": {{
			Op: "ReduceSum", Inputs: []string{"x"}, Outputs: []string{"z"},
			Attrs: []ox.Attr{{Name: "keepdims", Value: int64(0)}},
		}},
		"nothing but a failure": {{Op: "Reshape", Inputs: []string{"x", "wrong"}, Outputs: []string{"z"}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := identity(tensor.Float32, "n")
			g.Weights = []ox.Tensor{{Name: "wrong", Dims: []int64{1}, Data: []int64{7}}}
			g.Outputs = append(g.Outputs, ox.Value{Name: "z", Type: ox.Float, Dims: []any{"m"}})
			g.Nodes = append(g.Nodes, second...)
			m := load(t, g)
			in := []tensor.Tensor{zeros(tensor.Float32, n)}
			run := func(times int) {
				for range times {
					_, _ = m.Run(in) // whether it fails is not the point
				}
			}
			run(10)
			before := anonymous(t)
			run(60)
			if grown := anonymous(t) - before; grown > 100<<10 {
				t.Errorf("60 runs of 4 MiB took %d KiB", grown)
			}
		})
	}
}
