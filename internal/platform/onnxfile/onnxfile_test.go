package onnxfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

func identity(in, out ox.Value) *ox.Graph {
	return &ox.Graph{
		Name: "g", Inputs: []ox.Value{in}, Outputs: []ox.Value{out},
		Nodes: []ox.Node{{Op: "Identity", Inputs: []string{in.Name}, Outputs: []string{out.Name}}},
	}
}

func TestTheSignatureIsReadFromTheGraph(t *testing.T) {
	g := identity(ox.Value{Name: "x", Type: ox.Float, Dims: []any{"n", 3}}, ox.Value{Name: "y", Type: ox.Float})
	g.Inputs = append(g.Inputs, ox.Value{Name: "w", Type: ox.Int64, Dims: []any{1}}, ox.Value{
		Name: "s", Type: ox.String, Dims: []any{},
	})
	g.Outputs = append(g.Outputs, ox.Value{Name: "classes", Map: true})
	g.Weights = []ox.Tensor{{Name: "w", Dims: []int64{1}, Data: []int64{5}}}
	sig, err := onnxfile.Signature(g.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range sig.Inputs {
		got = append(got, sig.Inputs[i].Name+" "+sig.Inputs[i].String())
	}
	for i := range sig.Outputs {
		got = append(got, sig.Outputs[i].Name+" "+sig.Outputs[i].String())
	}
	// w is a weight that old exporters list among the inputs.
	want := "x [n, 3] of FLOAT, s [] of STRING, y any shape of FLOAT, classes [batch, classes] of FLOAT"
	if s := strings.Join(got, ", "); s != want || !sig.Outputs[1].Maps {
		t.Errorf("got %s\nwant %s", s, want)
	}
}

func TestWhatCannotBeServedIsRefusedByName(t *testing.T) {
	x, y := ox.Value{Name: "x", Type: ox.Float}, ox.Value{Name: "y", Type: ox.Float}
	for name, c := range map[string]struct {
		model []byte
		want  string
	}{
		"not a model": {[]byte("<html>not found</html>"), "the file is not an ONNX model"},
		"cut off":     {identity(x, y).Marshal()[:40], "the file is not an ONNX model"},
		"empty":       {nil, "the file is not an ONNX model"},
		"complex numbers": {
			identity(ox.Value{Name: "x", Type: 14}, y).Marshal(),
			`input "x" has element type COMPLEX64, which is not served; only tensors are served as inputs`,
		},
		"a map as an input": {
			identity(ox.Value{Name: "x", Map: true}, y).Marshal(),
			`input "x" is a sequence; only tensors are served as inputs`,
		},
		"no inputs":  {(&ox.Graph{Outputs: []ox.Value{y}}).Marshal(), "the graph takes no inputs"},
		"no outputs": {(&ox.Graph{Inputs: []ox.Value{x}}).Marshal(), "the graph gives no outputs"},
		"too many sizes": {
			identity(ox.Value{Name: "x", Type: ox.Float, Dims: make([]any, 17)}, y).Marshal(),
			`input "x" has more than 16 dimensions; only tensors are served as inputs`,
		},
		"an unknown bfloat": {
			identity(x, ox.Value{Name: "y", Type: 16}).Marshal(),
			`output "y" has element type BFLOAT16, which is not served; tensors and lists of maps (ZipMap) are served ` +
				`as outputs`,
		},
		"an output untyped": {
			identity(x, ox.Value{Name: "y"}).Marshal(),
			`output "y" has element type 0, which is not served; tensors and lists of maps (ZipMap) are served as ` +
				`outputs`,
		},
		"a graph of nothing": {(&ox.Graph{}).Marshal(), "the graph takes no inputs"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := onnxfile.Signature(c.model); err == nil || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestTheModelIsFoundInItsDirectory(t *testing.T) {
	for name, c := range map[string]struct {
		files []string
		want  string // the file, or part of the error
	}{
		"model.onnx":            {[]string{"model.onnx", "README.md"}, "model.onnx"},
		"another name":          {[]string{"digits.onnx", "labels.txt"}, "digits.onnx"},
		"model.onnx of several": {[]string{"a.onnx", "model.onnx"}, "model.onnx"},
		"the newest version":    {[]string{"1/model.onnx", "10/model.onnx", "9/model.onnx"}, "10/model.onnx"},
		"the root comes first":  {[]string{"model.onnx", "2/model.onnx"}, "model.onnx"},
		"hidden files":          {[]string{"._model.onnx", "m.onnx"}, "m.onnx"},
		"several": {
			[]string{"a.onnx", "b.onnx"}, "has several models (a.onnx, b.onnx); name the one to serve model.onnx",
		},
		"none": {
			[]string{"model.pt", "code/inference.py"}, "(it holds code/, model.pt); put model.onnx",
		},
		"nothing":          {nil, "(it holds nothing)"},
		"an empty version": {[]string{"1/model.pt"}, "no .onnx file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := onnxfile.Find(dir)
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v\nwant %s", err, c.want)
				}
			} else if got != filepath.Join(dir, c.want) {
				t.Errorf("got %s", got)
			}
		})
	}
	if _, err := onnxfile.Find(filepath.Join(t.TempDir(), "gone")); err == nil {
		t.Error("a directory that is not there has a model")
	}
}

func TestAnUnreadableFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.onnx")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, dir, filepath.Join(dir, "gone.onnx")} {
		if _, err := onnxfile.ReadSignature(path); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}

func FuzzSignature(f *testing.F) {
	g := identity(ox.Value{Name: "x", Type: ox.Float, Dims: []any{"n", 3}}, ox.Value{Name: "y", Map: true})
	g.Weights = []ox.Tensor{{Name: "w", Dims: []int64{1}, Data: []int64{5}}}
	f.Add(g.Marshal())
	f.Add([]byte("\x3a\x00"))
	f.Fuzz(func(t *testing.T, model []byte) {
		sig, err := onnxfile.Signature(model)
		if err != nil {
			return
		}
		for i := range sig.Inputs {
			s := &sig.Inputs[i]
			_ = s.String()
			if w, ok := s.RowWidth(); ok && w <= 0 {
				t.Fatalf("a row of %d", w)
			}
		}
	})
}
