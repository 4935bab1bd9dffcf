package models_test

import (
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/modelserver"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// BenchmarkServer says what running rows of different requests together brings:
// much to a model that is bound by reading its weights (wide), nothing to one
// whose runs are short (digits), which is therefore left alone.
func BenchmarkServer(b *testing.B) {
	for _, m := range []struct {
		name string
		load func(testing.TB) *onnx.Model
		body string
	}{
		{"digits", func(t testing.TB) *onnx.Model { return load(t, "v2") }, strings.Repeat("7,", 63) + "7"},
		{"wide", wide, strings.Repeat("0.5,", 63) + "0.5"},
	} {
		for _, clients := range []int{1, 32} {
			for mode, batch := range map[string]int{"alone": 1, "default": modelserver.Default().MaxBatch} {
				b.Run(m.name+"/"+strconv.Itoa(clients)+"-clients/"+mode, func(b *testing.B) {
					o := modelserver.Default()
					o.MaxBatch = batch
					bench(b, m.load(b), o, m.body, clients)
				})
			}
		}
	}
}

func bench(b *testing.B, m *onnx.Model, o modelserver.Options, body string, clients int) {
	srv, err := modelserver.New(o, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	srv.Attach(m)
	defer func() { _ = srv.Detach() }()
	h := srv.Handler()
	one := func() {
		req, _ := http.NewRequest(http.MethodPost, "/invocations", strings.NewReader(body))
		req.Header["Content-Type"] = []string{"text/csv"}
		w := &sink{header: http.Header{}}
		h.ServeHTTP(w, req)
		if w.status != 0 {
			b.Errorf("status %d", w.status)
		}
	}
	b.ReportAllocs()
	if clients == 1 {
		for b.Loop() {
			one()
		}
		return
	}
	b.SetParallelism(clients / 2) // times GOMAXPROCS
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			one()
		}
	})
}

type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) WriteHeader(status int)      { s.status = status }
func (s *sink) Write(p []byte) (int, error) { return io.Discard.Write(p) }

// wide is a model of 64 → 2048 → 2048 → 10 units: 17 MB of weights, all read
// for each run.
func wide(t testing.TB) *onnx.Model {
	const units = 2048
	weights := func(name string, rows, columns int64) ox.Tensor {
		data := make([]float32, rows*columns)
		for i := range data {
			data[i] = float32(i%7-3) / 100
		}
		return ox.Tensor{Name: name, Dims: []int64{rows, columns}, Data: data}
	}
	g := &ox.Graph{
		Name:    "wide",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{"n", 64}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 10}}},
		Weights: []ox.Tensor{weights("w1", 64, units), weights("w2", units, units), weights("w3", units, 10)},
		Nodes: []ox.Node{
			{Op: "MatMul", Inputs: []string{"x", "w1"}, Outputs: []string{"a"}},
			{Op: "Relu", Inputs: []string{"a"}, Outputs: []string{"b"}},
			{Op: "MatMul", Inputs: []string{"b", "w2"}, Outputs: []string{"c"}},
			{Op: "MatMul", Inputs: []string{"c", "w3"}, Outputs: []string{"y"}},
		},
	}
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := onnxtest.Runtime(t).Load(path, onnx.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
