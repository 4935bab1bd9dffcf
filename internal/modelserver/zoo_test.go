//go:build cgo

package modelserver_test

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/modelserver"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// animal is a model of the zoo: x [n, 4] to y [n, ...].
type animal struct {
	nodes   []ox.Node
	weights []ox.Tensor
	batches bool
	declare string // the file beside the model
}

func op(name, in, out string, attrs ...ox.Attr) ox.Node {
	return ox.Node{Op: name, Inputs: strings.Fields(in), Outputs: strings.Fields(out), Attrs: attrs}
}

func ints(name string, v ...int64) ox.Attr { return ox.Attr{Name: name, Value: v} }
func whole(name string, v int64) ox.Attr   { return ox.Attr{Name: name, Value: v} }

func weight(name string, dims ...int64) ox.Tensor {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	r := rand.New(rand.NewPCG(7, uint64(n)))
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(r.NormFloat64())
	}
	return ox.Tensor{Name: name, Dims: dims, Data: data}
}

func list(name string, v ...int64) ox.Tensor {
	return ox.Tensor{Name: name, Dims: []int64{int64(len(v))}, Data: v}
}

// zoo has models that may batch and models that only seem to.
func zoo() map[string]animal {
	lstm := []ox.Tensor{weight("W", 1, 12, 4), weight("R", 1, 12, 3), list("zero", 0)}
	over := func(o string, attrs ...ox.Attr) animal {
		return animal{nodes: []ox.Node{op(o, "x", "r", attrs...), op("Sub", "x r", "y")}}
	}
	return map[string]animal{
		"a dense layer": {
			nodes:   []ox.Node{op("MatMul", "x w", "a"), op("Add", "a b", "c"), op("Relu", "c", "y")},
			weights: []ox.Tensor{weight("w", 4, 3), weight("b", 3)}, batches: true,
		},
		"gemm": {
			nodes:   []ox.Node{op("Gemm", "x w b", "y", whole("transB", 1))},
			weights: []ox.Tensor{weight("w", 5, 4), weight("b", 5)}, batches: true,
		},
		"softmax over columns":        {nodes: []ox.Node{op("Softmax", "x", "y")}, batches: true},
		"softmax over rows":           {nodes: []ox.Node{op("Softmax", "x", "y", whole("axis", 0))}},
		"less the mean of a row":      {nodes: over("ReduceMean", ints("axes", 1)).nodes, batches: true},
		"less the mean of all rows":   over("ReduceMean", ints("axes", 0)),
		"less the mean of everything": over("ReduceMean"),
		"less the largest of all":     over("ReduceMax", ints("axes", -2)),
		"blocks of a row": {
			nodes:   []ox.Node{op("Reshape", "x halves", "h"), op("Softmax", "h", "s"), op("Reshape", "s back", "y")},
			weights: []ox.Tensor{list("halves", -1, 2), list("back", -1, 4)}, batches: true,
		},
		"blocks of two rows": {
			nodes:   []ox.Node{op("Reshape", "x pairs", "h"), op("Softmax", "h", "s"), op("Reshape", "s back", "y")},
			weights: []ox.Tensor{list("pairs", -1, 8), list("back", -1, 4)},
		},
		"rows in the other order": {
			nodes: []ox.Node{
				op("Transpose", "x", "t"),
				op("Reshape", "t back", "y"),
			},
			weights: []ox.Tensor{list("back", -1, 4)},
		},
		"a running sum": {
			nodes:   []ox.Node{op("CumSum", "x axis", "y")},
			weights: []ox.Tensor{{Name: "axis", Dims: []int64{}, Data: []int64{0}}},
		},
		"rows against rows": {
			nodes: []ox.Node{op("Transpose", "x", "t"), op("MatMul", "x t", "g"), op("MatMul", "g x", "y")},
		},
		"divided by how many rows there are": {
			nodes: []ox.Node{
				op("Shape", "x", "s"),
				op("Gather", "s first", "n"),
				op("Cast", "n", "f", whole("to", ox.Float)),
				op("Div", "x f", "y"),
			},
			weights: []ox.Tensor{list("first", 0)},
		},
		"a scale over all rows": {
			nodes: []ox.Node{op("DynamicQuantizeLinear", "x", "q s z"), op("DequantizeLinear", "q s z", "y")},
		},
		"a recurrent net whose rows are time": {
			nodes: []ox.Node{
				op("Unsqueeze", "x one", "u"),
				op("LSTM", "u W R", "o h c", whole("hidden_size", 3)),
				op("Squeeze", "o two", "y"),
			},
			weights: append([]ox.Tensor{list("one", 1), list("two", 1, 2)}, lstm...),
		},
		"a recurrent net with its rows in the middle": {
			nodes: []ox.Node{
				op("Unsqueeze", "x zero", "u"),
				op("LSTM", "u W R", "o h c", whole("hidden_size", 3)),
				op("Squeeze", "h zero", "y"),
			},
			weights: lstm, batches: true,
		},
		"a peek at other rows that few inputs show": {
			nodes: []ox.Node{
				op("ReduceMax", "x", "m", whole("keepdims", 0)), op("Greater", "m much", "g"),
				op("Where", "g much x", "y"),
			},
			weights: []ox.Tensor{{Name: "much", Dims: []int64{1}, Data: []float32{1e6}}},
		},
		"a convolution": {
			nodes: []ox.Node{
				op("Unsqueeze", "x one", "u"), op("Conv", "u k", "c"), op("Flatten", "c", "y"),
			},
			weights: []ox.Tensor{list("one", 1), weight("k", 2, 1, 3)}, batches: true,
		},
		"an operator that is not known": {
			nodes: []ox.Node{op("Einsum", "x", "y", ox.Attr{Name: "equation", Value: "ij->ij"})},
		},
		"one that is declared": {
			nodes:   []ox.Node{op("Einsum", "x", "y", ox.Attr{Name: "equation", Value: "ij->ij"})},
			declare: `{"rows": "independent"}`, batches: true,
		},
		"a false declaration": {
			nodes: []ox.Node{op("Softmax", "x", "y", whole("axis", 0))}, declare: `{"rows": "independent"}`,
		},
		"a cautious declaration": {nodes: []ox.Node{op("Relu", "x", "y")}, declare: `{"rows": "dependent"}`},
	}
}

// loadAnimal attaches the model to a server that batches whenever it may.
func loadAnimal(t interface {
	Fatal(args ...any)
	Logf(format string, args ...any)
}, rt *onnx.Runtime, dir string, a animal,
) (s *modelserver.Server, reference *modelserver.Server) {
	g := ox.Graph{
		Name: "zoo", Nodes: a.nodes, Weights: a.weights,
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 4}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", "m"}}},
	}
	path := filepath.Join(dir, "model.onnx")
	if err := os.WriteFile(path, g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	if a.declare != "" {
		if err := os.WriteFile(filepath.Join(dir, "batching.json"), []byte(a.declare), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	attach := func(batch int) *modelserver.Server {
		m, err := rt.Load(path, onnx.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		o := modelserver.Default()
		o.Concurrency, o.MaxBatch, o.BatchFrom = 1, batch, 0
		s, err := modelserver.New(o, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.Attach(m)
		return s
	}
	return attach(16), attach(1)
}

func post(s *modelserver.Server, body string) string {
	r := httptest.NewRequest(http.MethodPost, "/invocations", strings.NewReader(body))
	r.Header.Set("Content-Type", "text/csv")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return fmt.Sprint(w.Code, " ", w.Body)
}

// mixed sends rows from many callers at once and returns an answer that is not
// the one that its request gets alone.
func mixed(s, reference *modelserver.Server, calls int) string {
	bodies := make([]string, 24)
	wants := make([]string, len(bodies))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range bodies {
		for range 1 + i%3 {
			bodies[i] += fmt.Sprintf("%g,%g,%g,%g\n",
				r.NormFloat64(), r.NormFloat64(), r.NormFloat64(), r.NormFloat64())
		}
		if i == 5 {
			bodies[i] = "2e6,0,0,0\n"
		}
		wants[i] = post(reference, bodies[i])
	}
	wrong := make(chan string, len(bodies))
	var wg sync.WaitGroup
	for i, body := range bodies {
		wg.Go(func() {
			for range calls {
				if got := post(s, body); got != wants[i] {
					wrong <- fmt.Sprintf("%q gets %q, alone %q", body, got, wants[i])
					return
				}
			}
		})
	}
	wg.Wait()
	close(wrong)
	return <-wrong
}

func batches(t testing.TB, s *modelserver.Server) (bool, string) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v2/models/model", http.NoBody))
	body := w.Body.String()
	return strings.Contains(body, `"batching":true`), body
}

func TestNoCallersAnswerDependsOnAnothers(t *testing.T) {
	rt := onnxtest.Runtime(t)
	for name, a := range zoo() {
		t.Run(name, func(t *testing.T) {
			s, reference := loadAnimal(t, rt, t.TempDir(), a)
			defer func() { _, _ = s.Detach(), reference.Detach() }()
			if got, body := batches(t, s); got != a.batches {
				t.Errorf("batching: %s", body)
			}
			if wrong := mixed(s, reference, 10); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// menu has operators that keep x [n, 4] as it is, some of which mix its rows.
func menu(in, out string) map[string][]ox.Node {
	return map[string][]ox.Node{
		"relu":  {op("Relu", in, out)},
		"tanh":  {op("Tanh", in, out)},
		"sin":   {op("Sin", in, out)},
		"erf":   {op("Erf", in, out)},
		"exp":   {op("Exp", in, out+"e"), op("Clip", out+"e zero1 two1", out)},
		"dense": {op("MatMul", in+" square", out)}, "bias": {op("Add", in+" bias", out)},
		"columns": {op("Softmax", in, out)}, "rows": {op("LogSoftmax", in, out, whole("axis", 0))},
		"flip": {op("Transpose", in, out+"t"), op("Transpose", out+"t", out)},
		"mix":  {op("Transpose", in, out+"t"), op("Reshape", out+"t back", out)},
		"pairs": {
			op("Reshape", in+" halves", out+"h"),
			op("Softmax", out+"h", out+"s"),
			op("Reshape", out+"s back", out),
		},
		"mean":   {op("ReduceMean", in, out+"m", ints("axes", 0)), op("Sub", in+" "+out+"m", out)},
		"narrow": {op("ReduceMean", in, out+"m", ints("axes", 1)), op("Sub", in+" "+out+"m", out)},
		"norm":   {op("LpNormalization", in, out, whole("axis", 1))},
		"top":    {op("ReduceL2", in, out+"m"), op("Div", in+" "+out+"m", out)},
		"shape": {
			op("Shape", in, out+"s"), op("Reshape", in+" "+out+"s", out),
		},
	}
}

func TestRandomGraphsThatBatchAnswerAsAlone(t *testing.T) {
	rt := onnxtest.Runtime(t)
	both := [2]int{}
	rapid.Check(t, func(rt2 *rapid.T) {
		var a animal
		at := "x"
		n := rapid.IntRange(1, 5).Draw(rt2, "operators")
		for i := range n {
			out := fmt.Sprintf("v%d", i)
			if i == n-1 {
				out = "y"
			}
			kinds := menu(at, out)
			name := rapid.SampledFrom(slices.Sorted(maps.Keys(kinds))).Draw(rt2, "operator")
			a.nodes = append(a.nodes, kinds[name]...)
			at = out
		}
		a.weights = []ox.Tensor{
			weight("square", 4, 4), weight("bias", 4), list("back", -1, 4), list("halves", -1, 2),
			{Name: "zero1", Dims: []int64{}, Data: []float32{0}},
			{Name: "two1", Dims: []int64{}, Data: []float32{2}},
		}
		s, reference := loadAnimal(rt2, rt, t.TempDir(), a)
		defer func() { _, _ = s.Detach(), reference.Detach() }()
		if ok, _ := batches(t, s); ok {
			both[1]++
		} else {
			both[0]++
		}
		if wrong := mixed(s, reference, 3); wrong != "" {
			rt2.Fatal(wrong)
		}
	})
	if both[0] == 0 || both[1] == 0 {
		t.Errorf("%d graphs ran one by one and %d together: the test shows nothing", both[0], both[1])
	}
}
