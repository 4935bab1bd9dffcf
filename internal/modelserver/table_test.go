//go:build cgo

package modelserver_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/modelserver"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	"github.com/slipway-ml/slipway/internal/platform/codec"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// graphCase is a graph in the image of the ONNX project's node tests: what goes
// in, and what has to come out.
type graphCase struct {
	name    string
	graph   ox.Graph
	in, out []tensor.Tensor
	refused string // part of the reason why it is not served
}

// numbered makes a tensor whose elements are 0, 1, 0, 1, …
func numbered(name string, typ tensor.Type, shape ...int64) tensor.Tensor {
	n, _ := tensor.Elements(shape, 1<<20)
	b := tensor.NewBuilder(typ, int(n))
	for i := range n {
		_ = b.AppendText([]byte(strconv.FormatInt(i%2, 10))) // every type takes 0 and 1
	}
	return b.Tensor(name, append([]int64{}, shape...))
}

func declared(t *tensor.Tensor, dims []any) ox.Value {
	return ox.Value{Name: t.Name, Type: t.Type.Code(), Dims: dims}
}

func sizes(shape []int64) []any {
	dims := make([]any, 0, len(shape))
	for _, d := range shape {
		dims = append(dims, int(d))
	}
	return dims
}

func renamed(t tensor.Tensor, name string) tensor.Tensor { t.Name = name; return t }

// graphTable generates the graphs.
func graphTable() (cases []graphCase) {
	shapes := [][]int64{{}, {1}, {3}, {2, 3}, {1, 1}, {2, 1, 3, 1}, {0}, {0, 3}, {2, 0}}
	for typ := tensor.Bool; typ <= tensor.String; typ++ {
		for _, shape := range shapes {
			x := numbered("x", typ, shape...)
			y := renamed(x, "y")
			open := make([]any, len(shape))
			for i := range open {
				open[i] = "d" + strconv.Itoa(i)
			}
			kinds := map[string][]any{"fixed": sizes(shape), "dynamic": open, "without shape": nil}
			for kind, dims := range kinds {
				cases = append(cases, graphCase{
					name: fmt.Sprintf("Identity of %s %v, %s", typ, shape, kind),
					graph: ox.Graph{
						Inputs: []ox.Value{declared(&x, dims)}, Outputs: []ox.Value{declared(&y, dims)},
						Nodes: []ox.Node{op("Identity", "x", "y")},
					},
					in: []tensor.Tensor{x}, out: []tensor.Tensor{y},
				})
			}
		}
		cases = append(cases, several(typ), squeezed(typ))
	}
	for from := tensor.Bool; from < tensor.String; from++ {
		for to := tensor.Bool; to < tensor.String; to++ {
			x, y := numbered("x", from, 2, 2), numbered("y", to, 2, 2)
			cases = append(cases, graphCase{
				name: fmt.Sprintf("Cast of %s to %s", from, to),
				graph: ox.Graph{
					Inputs: []ox.Value{declared(&x, []any{"n", 2})}, Outputs: []ox.Value{declared(&y, []any{"n", 2})},
					Nodes: []ox.Node{op("Cast", "x", "y", whole("to", int64(to.Code())))},
				},
				in: []tensor.Tensor{x}, out: []tensor.Tensor{y},
			})
		}
	}
	for code := int32(14); code <= 26; code++ {
		v := ox.Value{Name: "x", Type: code, Dims: []any{2}}
		cases = append(cases, graphCase{
			name: "Identity of type " + tensor.TypeName(code),
			graph: ox.Graph{
				Inputs: []ox.Value{v}, Outputs: []ox.Value{{Name: "y", Type: code, Dims: v.Dims}},
				Nodes: []ox.Node{op("Identity", "x", "y")},
			},
			refused: "element type " + tensor.TypeName(code) + ", which is not served",
		})
	}
	return cases
}

// several takes three inputs of different ranks and gives them in another order.
func several(typ tensor.Type) graphCase {
	a, b, c := numbered("a", typ, 2, 3), numbered("b", typ, 4), numbered("c", typ)
	return graphCase{
		name: "three of " + typ.String(),
		graph: ox.Graph{
			Inputs: []ox.Value{declared(&a, []any{"n", "m"}), declared(&b, []any{"k"}), declared(&c, []any{})},
			Outputs: []ox.Value{
				{Name: "p", Type: typ.Code()}, {Name: "q", Type: typ.Code()}, {Name: "r", Type: typ.Code()},
			},
			Nodes: []ox.Node{op("Identity", "c", "p"), op("Identity", "a", "q"), op("Identity", "b", "r")},
		},
		in:  []tensor.Tensor{a, b, c},
		out: []tensor.Tensor{renamed(c, "p"), renamed(a, "q"), renamed(b, "r")},
	}
}

// squeezed gives a scalar where a list is declared.
func squeezed(typ tensor.Type) graphCase {
	x := numbered("x", typ, 1, 1)
	return graphCase{
		name: "Squeeze of " + typ.String(),
		graph: ox.Graph{
			Inputs:  []ox.Value{declared(&x, []any{"n", 1})},
			Outputs: []ox.Value{{Name: "y", Type: typ.Code(), Dims: []any{"n"}}},
			Nodes:   []ox.Node{op("Squeeze", "x", "y")},
		},
		in: []tensor.Tensor{x}, out: []tensor.Tensor{numbered("y", typ)},
	}
}

// inferred asks for an inference with the tensors in JSON or as bytes.
func inferred(s *modelserver.Server, in []tensor.Tensor, binary bool) ([]tensor.Tensor, error) {
	const header = "Inference-Header-Content-Length"
	body := codec.AppendOIPHead(nil, in, binary)
	head := len(body)
	for i := range in {
		if binary {
			body = codec.AppendOIPData(body, &in[i])
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/v2/models/model/infer", bytes.NewReader(body))
	r.Header.Set(header, strconv.Itoa(head))
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return nil, fmt.Errorf("%d %s", w.Code, w.Body)
	}
	size := w.Body.Len()
	if v := w.Header().Get(header); v != "" {
		size, _ = strconv.Atoi(v) // a wrong one fails below
	}
	return codec.DecodeOIPAnswer(w.Body.Bytes(), size)
}

func same(a, b *tensor.Tensor) bool {
	return a.Name == b.Name && a.Type == b.Type && fmt.Sprint(a.Shape) == fmt.Sprint(b.Shape) &&
		bytes.Equal(a.Data, b.Data) && strings.Join(a.Strings, "|") == strings.Join(b.Strings, "|")
}

func TestGraphsOfEveryKindAreServedOrRefusedWithAReason(t *testing.T) {
	rt := onnxtest.Runtime(t)
	path := filepath.Join(t.TempDir(), "model.onnx")
	passes, refused, wrong := 0, 0, 0
	for _, c := range graphTable() {
		c.graph.Name = "table"
		if err := os.WriteFile(path, c.graph.Marshal(), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := rt.Load(path, onnx.Options{Threads: 1})
		if c.refused != "" {
			refused++
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, want a refusal for %s", c.name, err, c.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		s, err := modelserver.New(modelserver.Default(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.Attach(m)
		ok := true
		for _, binary := range []bool{false, true} {
			outs, err := inferred(s, c.in, binary)
			ok = ok && err == nil && len(outs) == len(c.out)
			for i := range outs {
				ok = ok && same(&outs[i], &c.out[i])
			}
			if !ok {
				t.Errorf("%s, as bytes %t: %v, %+v", c.name, binary, err, outs)
			}
		}
		if ok {
			passes++
		} else {
			wrong++
		}
		_ = s.Detach() // it cannot fail
	}
	t.Logf("%d pass, %d are refused with a reason, %d are wrong", passes, refused, wrong)
}
