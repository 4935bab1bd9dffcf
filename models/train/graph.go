package main

import (
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// change alters a graph's logits on their way from in to out.
type change func(g *ox.Graph, in, out string)

// graphOf turns a network into a graph, with a change of its logits or nil.
func graphOf(n *network, name, doc string, c change) []byte {
	g := &ox.Graph{
		Name:   name,
		Doc:    doc,
		Inputs: []ox.Value{{Name: "image", Type: ox.Float, Dims: []any{"batch", pixels}}},
		Outputs: []ox.Value{
			{Name: "label", Type: ox.Int64, Dims: []any{"batch"}},
			{Name: "probabilities", Type: ox.Float, Dims: []any{"batch", classes}},
		},
		Weights: []ox.Tensor{{Name: "depth", Dims: []int64{}, Data: []float32{16}}},
		Nodes:   []ox.Node{{Op: "Div", Inputs: []string{"image", "depth"}, Outputs: []string{"x"}}},
	}
	at := "x"
	if n.hidden > 0 {
		dense(g, "hidden", at, n.w1, n.b1)
		g.Nodes = append(g.Nodes, ox.Node{Op: "Relu", Inputs: []string{"hidden"}, Outputs: []string{"active"}})
		at = "active"
	}
	dense(g, "logits", at, n.w2, n.b2)
	at = "logits"
	if c != nil {
		c(g, at, "changed")
		at = "changed"
	}
	g.Nodes = append(
		g.Nodes,
		ox.Node{
			Op: "Softmax", Inputs: []string{at}, Outputs: []string{"probabilities"},
			Attrs: []ox.Attr{{Name: "axis", Value: int64(1)}},
		},
		ox.Node{
			Op: "ArgMax", Inputs: []string{"probabilities"}, Outputs: []string{"label"},
			Attrs: []ox.Attr{{Name: "axis", Value: int64(1)}, {Name: "keepdims", Value: int64(0)}},
		},
	)
	return g.Marshal()
}

func dense(g *ox.Graph, out, in string, w, b []float64) {
	rows := int64(len(b))
	g.Weights = append(
		g.Weights,
		ox.Tensor{Name: out + "_w", Dims: []int64{rows, int64(len(w)) / rows}, Data: narrow(w)},
		ox.Tensor{Name: out + "_b", Dims: []int64{rows}, Data: narrow(b)},
	)
	g.Nodes = append(g.Nodes, ox.Node{
		Op: "Gemm", Inputs: []string{in, out + "_w", out + "_b"}, Outputs: []string{out},
		Attrs: []ox.Attr{{Name: "transB", Value: int64(1)}},
	})
}

// inkStep is how much ink one entry of the sharpness table stands for.
const inkStep = 8

// sharpen has a graph look up the sharpness of its probabilities in a table, by
// the amount of ink in the image. It does not check that the table goes that far.
func sharpen(table []float32) change {
	return func(g *ox.Graph, in, out string) { sharpened(g, in, out, table) }
}

func sharpened(g *ox.Graph, in, out string, table []float32) {
	g.Weights = append(
		g.Weights,
		ox.Tensor{Name: "columns", Dims: []int64{1}, Data: []int64{1}},
		ox.Tensor{Name: "step", Dims: []int64{}, Data: []float32{inkStep}},
		ox.Tensor{Name: "sharpness", Dims: []int64{int64(len(table)), 1}, Data: table},
	)
	g.Nodes = append(
		g.Nodes,
		ox.Node{
			Op: "ReduceSum", Inputs: []string{"image", "columns"}, Outputs: []string{"ink"},
			Attrs: []ox.Attr{{Name: "keepdims", Value: int64(0)}},
		},
		ox.Node{Op: "Div", Inputs: []string{"ink", "step"}, Outputs: []string{"entry"}},
		ox.Node{
			Op: "Cast", Inputs: []string{"entry"}, Outputs: []string{"index"},
			Attrs: []ox.Attr{{Name: "to", Value: int64(ox.Int64)}},
		},
		ox.Node{Op: "Gather", Inputs: []string{"sharpness", "index"}, Outputs: []string{"factor"}},
		ox.Node{Op: "Mul", Inputs: []string{in, "factor"}, Outputs: []string{out}},
	)
}

func narrow(v []float64) []float32 {
	out := make([]float32, len(v))
	for i, f := range v {
		out[i] = float32(f)
	}
	return out
}
