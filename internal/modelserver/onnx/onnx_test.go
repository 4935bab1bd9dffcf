//go:build cgo

package onnx_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

func write(t testing.TB, model []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, model, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, g *ox.Graph) *onnx.Model {
	t.Helper()
	m, err := onnxtest.Runtime(t).Load(write(t, g.Marshal()), onnx.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

func identity(typ tensor.Type, dims ...any) *ox.Graph {
	if dims == nil {
		dims = []any{}
	}
	return &ox.Graph{
		Name:    "identity",
		Inputs:  []ox.Value{{Name: "x", Type: typ.Code(), Dims: dims}},
		Outputs: []ox.Value{{Name: "y", Type: typ.Code(), Dims: dims}},
		Nodes:   []ox.Node{{Op: "Identity", Inputs: []string{"x"}, Outputs: []string{"y"}}},
	}
}

func TestEveryTypePassesThroughUnchanged(t *testing.T) {
	for typ := tensor.Bool; typ <= tensor.String; typ++ {
		t.Run(typ.String(), func(t *testing.T) {
			m := load(t, identity(typ, "batch", 3))
			in := tensor.Tensor{Name: "x", Type: typ, Shape: []int64{2, 3}}
			if typ == tensor.String {
				in.Strings = []string{"", "a", "é", "long enough to need memory of its own", "e", ""}
			} else {
				for i := range 6 * typ.Size() {
					in.Data = append(in.Data, byte(i%2))
				}
			}
			if err := m.Signature().Check([]tensor.Tensor{in}); err != nil {
				t.Fatal(err)
			}
			outs, err := m.Run([]tensor.Tensor{in})
			if err != nil {
				t.Fatal(err)
			}
			out := outs[0]
			if out.Name != "y" || out.Type != typ || tensor.ShapeString(out.Shape) != "[2, 3]" ||
				!bytes.Equal(out.Data, in.Data) ||
				strings.Join(out.Strings, "|") != strings.Join(in.Strings, "|") {
				t.Errorf("got %+v, want %+v", out, in)
			}
		})
	}
}

func TestScalarsPassThroughUnchanged(t *testing.T) {
	for typ := tensor.Bool; typ < tensor.String; typ++ {
		if typ == tensor.Float16 {
			continue // refused at load, below
		}
		m := load(t, identity(typ))
		in := tensor.Tensor{Name: "x", Type: typ, Data: []byte{1, 0, 0, 0, 0, 0, 0, 0}[:typ.Size()]}
		outs, err := m.Run([]tensor.Tensor{in})
		if err != nil || !bytes.Equal(outs[0].Data, in.Data) || len(outs[0].Shape) != 0 {
			t.Errorf("%s: %+v, %v", typ, outs, err)
		}
	}
}

func TestOutputsWithoutElementsAndWithoutKnownShapeAreGiven(t *testing.T) {
	g := identity(tensor.Float32, "n")
	g.Outputs = []ox.Value{{Name: "y", Type: ox.Int64}}
	g.Nodes = []ox.Node{{Op: "NonZero", Inputs: []string{"x"}, Outputs: []string{"y"}}}
	m := load(t, g)
	outs, err := m.Run([]tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{2}, Data: make([]byte, 8)}})
	if err != nil || tensor.ShapeString(outs[0].Shape) != "[1, 0]" || outs[0].Len() != 0 {
		t.Errorf("%+v, %v", outs, err)
	}
}

// classifier is a tree that splits on x < 0.5, with ZipMap behind it, as
// converters write it.
func classifier() *ox.Graph {
	return &ox.Graph{
		Name: "tree", ML: true,
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 1}}},
		Outputs: []ox.Value{{Name: "label", Type: ox.Int64, Dims: []any{"n"}}, {Name: "probabilities", Map: true}},
		Nodes: []ox.Node{
			{
				Op: "TreeEnsembleClassifier", Domain: "ai.onnx.ml", Inputs: []string{"x"},
				Outputs: []string{"label", "p"},
				Attrs: []ox.Attr{
					{Name: "nodes_treeids", Value: []int64{0, 0, 0}},
					{Name: "nodes_nodeids", Value: []int64{0, 1, 2}},
					{Name: "nodes_featureids", Value: []int64{0, 0, 0}},
					{Name: "nodes_values", Value: []float32{0.5, 0, 0}},
					{Name: "nodes_modes", Value: []string{"BRANCH_LT", "LEAF", "LEAF"}},
					{Name: "nodes_truenodeids", Value: []int64{1, 0, 0}},
					{Name: "nodes_falsenodeids", Value: []int64{2, 0, 0}},
					{Name: "class_treeids", Value: []int64{0, 0, 0, 0, 0}},
					{Name: "class_nodeids", Value: []int64{1, 1, 2, 2, 2}},
					{Name: "class_ids", Value: []int64{0, 1, 0, 1, 2}},
					{Name: "class_weights", Value: []float32{0.75, 0.25, 0, 1, 0}},
					{Name: "classlabels_int64s", Value: []int64{3, 8, 9}},
					{Name: "post_transform", Value: "NONE"},
				},
			},
			{
				Op: "ZipMap", Domain: "ai.onnx.ml", Inputs: []string{"p"}, Outputs: []string{"probabilities"},
				Attrs: []ox.Attr{{Name: "classlabels_int64s", Value: []int64{3, 8, 9}}},
			},
		},
	}
}

func TestTheMapsOfATreeClassifierBecomeATableOfItsClasses(t *testing.T) {
	m := load(t, classifier())
	data := binary.LittleEndian.AppendUint32(nil, math.Float32bits(0.25))
	data = binary.LittleEndian.AppendUint32(data, math.Float32bits(0.75))
	outs, err := m.Run([]tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{2, 1}, Data: data}})
	if err != nil {
		t.Fatal(err)
	}
	if outs[0].Int(0) != 3 || outs[0].Int(1) != 8 {
		t.Errorf("labels %+v", outs[0])
	}
	p := outs[1]
	if strings.Join(p.Keys, ",") != "3,8,9" || tensor.ShapeString(p.Shape) != "[2, 3]" || p.Float(0) != 0.75 ||
		p.Float(4) != 1 {
		t.Errorf("probabilities %+v", p)
	}
}

func TestAFailureOfTheModelIsAnErrorAndTheNextRunWorks(t *testing.T) {
	g := identity(tensor.Int64, "n")
	g.Weights = []ox.Tensor{{Name: "table", Dims: []int64{2}, Data: []int64{10, 20}}}
	g.Nodes = []ox.Node{{Op: "Gather", Inputs: []string{"table", "x"}, Outputs: []string{"y"}}}
	m := load(t, g)
	at := func(i uint64) ([]tensor.Tensor, error) {
		return m.Run([]tensor.Tensor{
			{Name: "x", Type: tensor.Int64, Shape: []int64{1}, Data: binary.LittleEndian.AppendUint64(nil, i)},
		})
	}
	if _, err := at(5); err == nil || !strings.Contains(err.Error(), "out of data bounds") ||
		strings.Contains(err.Error(), "\n") {
		t.Errorf("index 5: %v", err)
	}
	if outs, err := at(1); err != nil || outs[0].Int(0) != 20 {
		t.Errorf("index 1: %+v, %v", outs, err)
	}
}

func TestAModelThatCannotRunIsRefusedAtLoad(t *testing.T) {
	rt := onnxtest.Runtime(t)
	unknown := identity(tensor.Float32, "n")
	unknown.Nodes[0].Op = "NoSuchOperator"
	brain := identity(tensor.Float32, "n")
	brain.Outputs[0].Type = 16
	whole := identity(tensor.Float32, "n").Marshal()
	for name, c := range map[string]struct {
		model []byte
		want  string
	}{
		"an unknown operator": {unknown.Marshal(), "NoSuchOperator"},
		"cut off":             {whole[:len(whole)-30], "not an ONNX model"},
		"brain floats":        {brain.Marshal(), `output "y" has element type BFLOAT16, which is not served`},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := rt.Load(write(t, c.model), onnx.Options{Threads: 1})
			if err == nil {
				_ = m.Close()
				t.Fatal("it was loaded")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDataInOtherFilesHasToLieBesideTheModel(t *testing.T) {
	rt := onnxtest.Runtime(t)
	dir := t.TempDir()
	inner := filepath.Join(dir, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"w.bin", "inner/w.bin"} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 8), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "w.bin"), filepath.Join(inner, "link.bin")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		at   ox.Elsewhere
		want string
	}{
		"beside":           {ox.Elsewhere{File: "w.bin", Length: 8}, ""},
		"above":            {ox.Elsewhere{File: "../w.bin", Length: 8}, "not beside the model"},
		"in a folder":      {ox.Elsewhere{File: "./w.bin", Length: 8}, "not beside the model"},
		"anywhere":         {ox.Elsewhere{File: "/etc/hostname", Length: 8}, "not beside the model"},
		"through a link":   {ox.Elsewhere{File: "link.bin", Length: 8}, "not beside the model"},
		"nowhere":          {ox.Elsewhere{File: "none.bin", Length: 8}, "not beside the model"},
		"beyond its end":   {ox.Elsewhere{File: "w.bin", Offset: 4, Length: 8}, "too short"},
		"far from its end": {ox.Elsewhere{File: "w.bin", Offset: 1 << 60, Length: 8}, "too short"},
	} {
		g := identity(tensor.Float32, "n", 2)
		g.Weights = []ox.Tensor{{Name: "w", Dims: []int64{2}, Data: c.at}}
		g.Nodes = []ox.Node{{Op: "Add", Inputs: []string{"x", "w"}, Outputs: []string{"y"}}}
		path := filepath.Join(inner, "model.onnx")
		if err := os.WriteFile(path, g.Marshal(), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := rt.Load(path, onnx.Options{Threads: 1})
		if err == nil {
			_ = m.Close()
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		out := filepath.Join(t.TempDir(), "out.onnx")
		if err := rt.Optimize(path, out, onnx.Basic); (err == nil) != (c.want == "") {
			t.Errorf("%s, optimised: %v", name, err)
		}
	}
}

func TestRunsAtTheSameTimeDoNotMix(t *testing.T) {
	m := load(t, identity(tensor.Int64, "n", 4))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				data := bytes.Repeat([]byte{byte(g), byte(i)}, 16*(1+i%3))
				outs, err := m.Run([]tensor.Tensor{
					{Name: "x", Type: tensor.Int64, Shape: []int64{int64(len(data) / 32), 4}, Data: data},
				})
				if err != nil || !bytes.Equal(outs[0].Data, data) {
					t.Errorf("run %d of %d: %v", i, g, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestAMissingLibraryIsNamed(t *testing.T) {
	if onnxtest.Library() != "" {
		onnxtest.Runtime(t)
		if _, err := onnx.Start([]string{"/nowhere/lib.so"}); err == nil ||
			!strings.Contains(err.Error(), "started already") {
			t.Errorf("a second start: %v", err)
		}
		return
	}
	_, err := onnx.Start([]string{"/nowhere/a.so", "/nowhere/b.so"})
	if err == nil || !strings.Contains(err.Error(), "a.so") || !strings.Contains(err.Error(), "b.so") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkRun(b *testing.B) {
	m := load(b, identity(tensor.Float32, "n", 64))
	in := []tensor.Tensor{{Name: "x", Type: tensor.Float32, Shape: []int64{1, 64}, Data: make([]byte, 256)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Run(in); err != nil {
			b.Fatal(err)
		}
	}
}
