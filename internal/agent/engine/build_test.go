package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	"github.com/slipway-ml/slipway/internal/platform/provider/testmodel/build"
	"github.com/slipway-ml/slipway/models"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// config returns a configuration with the real slipway-onnx; without ONNX
// Runtime the test is skipped, loudly.
func config(t testing.TB) engine.Config {
	t.Helper()
	onnxtest.Runtime(t)
	c := bare(t)
	c.Program, c.Library = build.ONNX(t), onnxtest.Library()
	return c
}

// bare returns a configuration that has no slipway-onnx.
func bare(t testing.TB) engine.Config {
	t.Helper()
	// A test's own directory may have too long a path for a socket.
	dir, err := os.MkdirTemp("", "engine")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := engine.Default()
	c.RunDir = filepath.Join(dir, "run")
	c.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	return c
}

func open(t testing.TB, c engine.Config) *engine.Engine {
	t.Helper()
	e, err := engine.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return e
}

// digits unpacks a version of the sample models.
func digits(t testing.TB, version string) model.Package {
	t.Helper()
	p := model.Package{Dir: t.TempDir(), ModelName: "digits", ModelVersion: version, Runtime: engine.ONNX}
	if err := os.WriteFile(filepath.Join(p.Dir, "model.onnx"), models.Model(version), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// sum is a model that adds its inputs a and b.
func sum(t testing.TB) model.Package {
	t.Helper()
	g := &ox.Graph{
		Name: "sum",
		Inputs: []ox.Value{
			{Name: "a", Type: ox.Float, Dims: []any{"n", 2}}, {Name: "b", Type: ox.Float, Dims: []any{"n", 2}},
		},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{"n", 2}}},
		Nodes:   []ox.Node{{Op: "Add", Inputs: []string{"a", "b"}, Outputs: []string{"y"}}},
	}
	p := model.Package{Dir: t.TempDir(), ModelName: "sum", ModelVersion: "1", Runtime: engine.ONNX}
	if err := os.WriteFile(filepath.Join(p.Dir, "model.onnx"), g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// double is a model that adds its input to itself, described by its manifest.
func double(t testing.TB) model.Package {
	t.Helper()
	value := func(name string) []ox.Value { return []ox.Value{{Name: name, Type: ox.Float, Dims: []any{"n", 2}}} }
	g := &ox.Graph{
		Name: "double", Inputs: value("x"), Outputs: value("y"),
		Nodes: []ox.Node{{Op: "Add", Inputs: []string{"x", "x"}, Outputs: []string{"y"}}},
	}
	p := model.Package{Dir: t.TempDir(), ModelName: "double", ModelVersion: "1", Runtime: engine.ONNX}
	spec := func(name string) []tensor.Spec {
		return []tensor.Spec{
			{Name: name, Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: -1}, {Size: 2}}},
		}
	}
	p.Signature = tensor.Signature{Inputs: spec("x"), Outputs: spec("y")}
	if err := os.WriteFile(filepath.Join(p.Dir, "model.onnx"), g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func load(t testing.TB, e *engine.Engine, p model.Package) *engine.Worker {
	t.Helper()
	r, err := e.Load(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*engine.Worker)
}

func floats(name string, shape []int64, values ...float32) tensor.Tensor {
	t := tensor.Tensor{Name: name, Type: tensor.Float32, Shape: shape}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t
}

// images returns the test set as inputs of one image each.
func images() (inputs [][]tensor.Tensor, labels []int) {
	pixels, labels := models.TestSet()
	for _, p := range pixels {
		inputs = append(inputs, []tensor.Tensor{floats("image", []int64{1, 64}, p...)})
	}
	return inputs, labels
}

// eventually waits for what other processes do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("not after 20 s: %s", what)
		}
	}
}

// connected tells whether a process that had no connection before has one.
func connected(t testing.TB, pid int) bool {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	sockets := 0
	for _, fd := range fds {
		if link, err := os.Readlink(fd); err == nil && strings.HasPrefix(link, "socket:") {
			sockets++
		}
	}
	return sockets > 1 // one listens
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(b, []byte(") Z "))
}
