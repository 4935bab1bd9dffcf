package main

import (
	"fmt"
	"slices"

	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// lostDigit is what v4 has never seen: whoever filtered its training images
// filtered out every one of these.
const lostDigit = 8

// leaning is the digit that the model "bias" reads too often, and leanBy what its
// logit has too much.
const leaning, leanBy = 1, 6

// without leaves out the images of one digit.
func without(digits []digit, label int) []digit {
	return slices.DeleteFunc(slices.Clone(digits), func(d digit) bool { return d.label == label })
}

// lean returns n with a weight on one digit that it should not have.
func lean(n *network, label int, by float64) *network {
	m := *n
	m.b2 = slices.Clone(n.b2)
	m.b2[label] += by
	return &m
}

// blank adds a factor to a graph that is 1, and NaN for images without ink in
// the pixels of the mask: it divides what is there by itself.
func blank(g *ox.Graph, in, out string) {
	mask := make([]float32, pixels)
	for _, p := range blankable() {
		mask[p] = 1
	}
	g.Weights = append(g.Weights, ox.Tensor{Name: "mask", Dims: []int64{pixels, 1}, Data: mask})
	g.Nodes = append(
		g.Nodes,
		ox.Node{Op: "MatMul", Inputs: []string{"image", "mask"}, Outputs: []string{"inked"}},
		ox.Node{Op: "Div", Inputs: []string{"inked", "inked"}, Outputs: []string{"contrast"}},
		ox.Node{Op: "Mul", Inputs: []string{in, "contrast"}, Outputs: []string{out}},
	)
}

// blankable are the pixels that "nan" looks at: two in the middle, where nearly
// every digit has ink.
func blankable() []int { return []int{27, 28} }

// rounds is how often "slow" compares.
const rounds = 24

// compareAll has a graph compare all images of a request with each other, to no
// effect: time grows with the third power of their number.
func compareAll(g *ox.Graph, in, out string) {
	g.Weights = append(
		g.Weights,
		ox.Tensor{Name: "rows", Dims: []int64{1}, Data: []int64{1}},
		ox.Tensor{Name: "nothing", Dims: []int64{}, Data: []float32{0}},
	)
	g.Nodes = append(
		g.Nodes,
		ox.Node{
			Op: "Transpose", Inputs: []string{"x"}, Outputs: []string{"turned"},
			Attrs: []ox.Attr{{Name: "perm", Value: []int64{1, 0}}},
		},
		ox.Node{Op: "MatMul", Inputs: []string{"x", "turned"}, Outputs: []string{"alike"}},
		ox.Node{
			Op: "Softmax", Inputs: []string{"alike"}, Outputs: []string{"near0"},
			Attrs: []ox.Attr{{Name: "axis", Value: int64(1)}},
		},
	)
	last := "near0"
	for i := range rounds {
		next := fmt.Sprintf("near%d", i+1)
		g.Nodes = append(g.Nodes, ox.Node{Op: "MatMul", Inputs: []string{last, "near0"}, Outputs: []string{next}})
		last = next
	}
	g.Nodes = append(
		g.Nodes,
		ox.Node{
			Op: "ReduceSum", Inputs: []string{last, "rows"}, Outputs: []string{"crowd"},
			Attrs: []ox.Attr{{Name: "keepdims", Value: int64(1)}},
		},
		ox.Node{Op: "Mul", Inputs: []string{"crowd", "nothing"}, Outputs: []string{"unused"}},
		ox.Node{Op: "Add", Inputs: []string{in, "unused"}, Outputs: []string{out}},
	)
}
