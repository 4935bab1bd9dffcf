package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	"github.com/slipway-ml/slipway/models"
)

// digits writes the model file of the digits classifier.
func digits(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(file, models.Model("v2"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestAnOptimisedModelAnswersAsTheOriginalDoes(t *testing.T) {
	rt := onnxtest.Runtime(t)
	model := digits(t)
	images, _ := models.TestSet()
	build := tensor.NewBuilder(tensor.Float32, 20*64)
	for _, pixel := range slices.Concat(images[:20]...) {
		build.AppendFloat(float64(pixel))
	}
	in := build.Tensor("image", []int64{20, 64})
	labels := func(file string) []byte {
		t.Helper()
		m, err := rt.Load(file, onnx.Options{Threads: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		out, err := m.Run([]tensor.Tensor{in})
		if err != nil {
			t.Fatal(err)
		}
		return out[0].Data
	}
	want := labels(model)
	for _, level := range []string{"basic", "extended", "all"} {
		out := filepath.Join(t.TempDir(), "out.onnx")
		stdout, err := optimized(t, "--model", model, "--out", out, "--level", level)
		if err != nil {
			t.Fatal(err)
		}
		var said struct{ Tool, Version, Level string }
		if err := json.Unmarshal(stdout, &said); err != nil || said.Tool != "onnxruntime" ||
			said.Version != rt.Version() || said.Level != level {
			t.Errorf("it said %s, %v", stdout, err)
		}
		if got := labels(out); !bytes.Equal(got, want) {
			t.Errorf("%s: %v, want %v", level, got, want)
		}
	}
}

// optimized runs the program and returns what it said.
func optimized(t *testing.T, args ...string) (stdout []byte, err error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, append([]string{"optimize"}, args...)...)
	cmd.Env = append(os.Environ(), "SLIPWAY_ONNX_TEST=program", "SLIPWAY_ONNXRUNTIME="+onnxtest.Library())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if stdout, err = cmd.Output(); err != nil {
		return nil, errors.New(stderr.String())
	}
	return stdout, nil
}

func TestAModelThatCannotBeOptimisedIsSaidSo(t *testing.T) {
	onnxtest.Runtime(t)
	at := t.TempDir()
	broken := filepath.Join(at, "broken.onnx")
	if err := os.WriteFile(broken, []byte("<html>"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(at, "out.onnx")
	for want, args := range map[string][]string{
		"slipway-onnx: the model can't be optimised: the file is not an ONNX model": {"--model", broken, "--out", out},
		`the level "most" is not basic, extended or all`: {
			"--model", digits(t), "--out", out, "--level", "most",
		},
		"--model and --out are required": {"--model", broken},
		`unexpected argument "x"`: {
			"--model", broken, "--out", out, "x",
		},
	} {
		if _, err := optimized(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	if left, err := os.ReadDir(at); err != nil || len(left) != 1 {
		t.Errorf("it left %v, %v", left, err)
	}
}
