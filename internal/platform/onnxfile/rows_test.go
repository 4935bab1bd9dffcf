package onnxfile_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// rowsModel has one operator with its constants, from x [n, 4, 3] to y.
func rowsModel(op string, constants map[string][]int64, in string, attrs ...ox.Attr) []byte {
	g := &ox.Graph{
		Name:    "rows",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 4, 3}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float}},
		Nodes:   []ox.Node{{Op: op, Inputs: strings.Fields(in), Outputs: []string{"y"}, Attrs: attrs}},
	}
	for name, v := range constants {
		g.Weights = append(g.Weights, ox.Tensor{Name: name, Dims: []int64{int64(len(v))}, Data: v})
	}
	return g.Marshal()
}

func TestRowsAreFollowedThroughOperators(t *testing.T) {
	axis := func(n int64) ox.Attr { return ox.Attr{Name: "axis", Value: n} }
	perm := func(p ...int64) ox.Attr { return ox.Attr{Name: "perm", Value: p} }
	for name, c := range map[string]struct {
		model []byte
		apart bool
	}{
		"one for one":           {rowsModel("Relu", nil, "x"), true},
		"against itself":        {rowsModel("Add", nil, "x x"), true},
		"a constant per row":    {rowsModel("Add", map[string][]int64{"c": {1, 2, 3}}, "x c"), true},
		"softmax inside":        {rowsModel("Softmax", nil, "x", axis(1)), true},
		"softmax across":        {rowsModel("Softmax", nil, "x", axis(-3)), false},
		"turned inside":         {rowsModel("Transpose", nil, "x", perm(0, 2, 1)), true},
		"turned over":           {rowsModel("Transpose", nil, "x", perm(1, 0, 2)), false},
		"turned without saying": {rowsModel("Transpose", nil, "x"), false},
		"reshaped, rows first":  {rowsModel("Reshape", map[string][]int64{"s": {0, -1}}, "x s"), true},
		"reshaped by size":      {rowsModel("Reshape", map[string][]int64{"s": {-1, 12}}, "x s"), true},
		"reshaped into halves":  {rowsModel("Reshape", map[string][]int64{"s": {-1, 6}}, "x s"), false},
		"reshaped into pairs":   {rowsModel("Reshape", map[string][]int64{"s": {-1, 24}}, "x s"), false},
		"reshaped, rows last":   {rowsModel("Reshape", map[string][]int64{"s": {12, -1}}, "x s"), false},
		"gathered inside":       {rowsModel("Gather", map[string][]int64{"i": {0}}, "x i", axis(1)), true},
		"gathered across":       {rowsModel("Gather", map[string][]int64{"i": {0}}, "x i", axis(0)), false},
		"cut inside": {
			rowsModel("Slice", map[string][]int64{"a": {0}, "b": {1}, "c": {2}}, "x a b c"), true,
		},
		"cut across":              {rowsModel("Slice", map[string][]int64{"a": {0}, "b": {1}}, "x a b"), false},
		"joined inside":           {rowsModel("Concat", nil, "x x", axis(2)), true},
		"joined across":           {rowsModel("Concat", nil, "x x", axis(0)), false},
		"the flat rest":           {rowsModel("Flatten", nil, "x"), true},
		"all flat":                {rowsModel("Flatten", nil, "x", axis(0)), false},
		"more rows than before":   {rowsModel("Flatten", nil, "x", axis(2)), false},
		"squeezed without saying": {rowsModel("Squeeze", nil, "x"), false},
		"the best across":         {rowsModel("ArgMax", nil, "x", axis(0)), false},
		"the best inside":         {rowsModel("ArgMax", nil, "x", axis(2)), true},
		"how many there are":      {rowsModel("Shape", nil, "x"), false},
		"unknown":                 {rowsModel("Unique", nil, "x"), false},
		"random":                  {rowsModel("RandomNormalLike", nil, "x"), false},
		"a constant instead":      {rowsModel("Identity", map[string][]int64{"c": {1}}, "c"), false},
		"of nothing":              {rowsModel("Tile", nil, ""), false},
		"padded across": {
			rowsModel("Pad", map[string][]int64{"p": {0, 0, 0, 1, 0, 0}}, "x p"), false,
		},
		"padded inside": {rowsModel("Pad", map[string][]int64{"p": {0, 1, 0, 0, 0, 2}}, "x p"), true},
	} {
		sig, err := onnxfile.Signature(c.model)
		if err != nil {
			t.Fatal(err)
		}
		if err := onnxfile.CheckRows(c.model, &sig); (err == nil) != c.apart {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each operator doubles the rank or the length of what the one before it gave.
func TestGraphsThatGrowWithoutEndAreGivenUp(t *testing.T) {
	for _, op := range []string{"Gather", "Concat"} {
		g := &ox.Graph{
			Name:    "growing",
			Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 4}}},
			Outputs: []ox.Value{{Name: "y", Type: ox.Float}},
			Weights: []ox.Tensor{{Name: "v0", Dims: []int64{1, 1}, Data: []int64{0}}},
		}
		if op == "Concat" {
			g.Nodes = append(g.Nodes, ox.Node{Op: "Shape", Inputs: []string{"x"}, Outputs: []string{"v0"}})
			g.Weights = nil
		}
		for i := range 60 {
			last, next := fmt.Sprint("v", i), fmt.Sprint("v", i+1)
			g.Nodes = append(g.Nodes, ox.Node{
				Op: op, Inputs: []string{last, last}, Outputs: []string{next},
				Attrs: []ox.Attr{{Name: "axis", Value: int64(0)}},
			})
		}
		g.Nodes = append(g.Nodes, ox.Node{Op: "Add", Inputs: []string{"x", "v60"}, Outputs: []string{"y"}})
		b := g.Marshal()
		sig, err := onnxfile.Signature(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := onnxfile.CheckRows(b, &sig); err == nil {
			t.Errorf("%s: it was followed", op)
		}
	}
}

// Whatever a file says, following its rows ends with a verdict.
func FuzzCheckRows(f *testing.F) {
	for i, op := range []string{
		"Tile", "Reshape", "Pad", "CumSum", "LSTM", "Gather", "Slice", "MatMul", "Split", "Gemm",
	} {
		f.Add(rowsModel(op, map[string][]int64{"c": {int64(i) - 2, 3}}, "x c"))
		f.Add(rowsModel(op, nil, "", ox.Attr{Name: "axis", Value: int64(1) << 62}))
		f.Add(rowsModel(op, nil, "x x x", ox.Attr{Name: "axes", Value: []int64{-1 << 63, 9}}))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sig, err := onnxfile.Signature(b)
		if err != nil {
			return
		}
		if err := onnxfile.CheckRows(b, &sig); err != nil && fmt.Sprint(err) == "" {
			t.Error("it gives no reason")
		}
	})
}
