package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	ox "github.com/slipway-ml/slipway/models/onnxwrite"
)

// endless writes a model that takes the optimiser minutes: constants that have to
// be multiplied over and over.
func endless(t *testing.T) string {
	t.Helper()
	const size, times = 256, 20000
	g := &ox.Graph{
		Name:    "endless",
		Inputs:  []ox.Value{{Name: "x", Type: ox.Float, Dims: []any{size, size}}},
		Outputs: []ox.Value{{Name: "y", Type: ox.Float, Dims: []any{size, size}}},
		Weights: []ox.Tensor{{Name: "w0", Dims: []int64{size, size}, Data: make([]float32, size*size)}},
	}
	last := "w0"
	for i := range times {
		next := fmt.Sprintf("w%d", i+1)
		g.Nodes = append(g.Nodes, ox.Node{Op: "MatMul", Inputs: []string{last, "w0"}, Outputs: []string{next}})
		last = next
	}
	g.Nodes = append(g.Nodes, ox.Node{Op: "Add", Inputs: []string{"x", last}, Outputs: []string{"y"}})
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, g.Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// awaitLibrary waits until the program has begun to load the library: by then it
// listens to signals. One that comes earlier ends it by the kernel's hand, or is
// lost where whoever started the tests ignores it, as shells do for what they
// run in the background.
func awaitLibrary(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err == nil && strings.Contains(string(maps), "libonnxruntime") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the library was not loaded: %v", err)
		}
	}
}

func TestAnOptimiserThatIsInterruptedSaysNothing(t *testing.T) {
	onnxtest.Runtime(t)
	model := endless(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		args []string
		sig  syscall.Signal
		code int
	}{
		{nil, syscall.SIGINT, 130},
		{nil, syscall.SIGTERM, 143},
		{[]string{"--load-only"}, syscall.SIGINT, 130},
		{[]string{"--level", "all"}, syscall.SIGINT, 130},
	} {
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), exe,
			append([]string{"optimize", "--model", model, "--out", filepath.Join(dir, "out.onnx")}, c.args...)...)
		cmd.Env = append(os.Environ(), "SLIPWAY_ONNX_TEST=program", "SLIPWAY_ONNXRUNTIME="+onnxtest.Library())
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitLibrary(t, cmd.Process.Pid)
		time.Sleep(time.Duration(i) * 30 * time.Millisecond) // another moment of its work each time
		if err := cmd.Process.Signal(c.sig); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its code says how it ended
		if got := cmd.ProcessState.ExitCode(); got != c.code || said.Len() > 0 {
			t.Errorf("%v %v: it exits with %d and says %q", c.args, c.sig, got, &said)
		}
		if left, err := fs.Glob(os.DirFS(dir), "*"); err != nil || len(left) > 0 {
			t.Errorf("it left %v, %v", left, err)
		}
	}
}

// A server that is told to stop has done so when it ends: that is no failure.
func TestAServerThatIsInterruptedStops(t *testing.T) {
	onnxtest.Runtime(t)
	dir := filepath.Dir(endless(t))
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd, stderr := program(t, []string{"SAGEMAKER_BIND_TO_PORT=0", "SM_MODEL_DIR=" + dir}, "serve")
		awaitLibrary(t, cmd.Process.Pid) // it loads the model for minutes
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		said := new(bytes.Buffer)
		if _, err := said.ReadFrom(stderr); err != nil && !errors.Is(err, fs.ErrClosed) {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil || strings.Contains(said.String(), "slipway-onnx:") {
			t.Errorf("%v: %v, it says %q", sig, err, said)
		}
	}
}
