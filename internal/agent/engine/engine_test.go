package engine_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ml/slipway/internal/agent/engine"
	"github.com/slipway-ml/slipway/internal/agent/model"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

func TestAModelReadsDigitsThroughItsWorker(t *testing.T) {
	e := open(t, config(t))
	w := load(t, e, digits(t, "v2"))
	sig := w.Signature()
	if len(sig.Inputs) != 1 || sig.Inputs[0].Name != "image" || sig.Inputs[0].Type != tensor.Float32 ||
		len(sig.Outputs) != 2 {
		t.Errorf("the signature is %+v", sig)
	}
	inputs, labels := images()
	right := 0
	for i := range inputs {
		outs, err := w.Predict(t.Context(), inputs[i])
		if err != nil {
			t.Fatal(err)
		}
		if outs[0].Name != "label" || outs[1].Name != "probabilities" || outs[1].Len() != 10 {
			t.Fatalf("the outputs are %+v", outs)
		}
		if outs[0].Int(0) == int64(labels[i]) {
			right++
		}
	}
	if right < len(labels)*9/10 {
		t.Errorf("%d of %d digits were read right", right, len(labels))
	}
	if s := e.Stats(); s.Workers != 1 || s.Restarts != 0 || s.Memory < 1<<20 {
		t.Errorf("counted %+v", s)
	}
}

func TestInputsAreTakenByNameOrByPlace(t *testing.T) {
	w := load(t, open(t, config(t)), sum(t))
	shape := []int64{1, 2}
	a, b := floats("a", shape, 1, 2), floats("b", shape, 10, 20)
	want := floats("y", shape, 11, 22).Data
	nameless := floats("", shape, 10, 20)
	for name, in := range map[string][]tensor.Tensor{
		"in order": {a, b}, "the other way": {b, a}, "without names": {floats("", shape, 1, 2), nameless},
		"half named": {a, nameless},
	} {
		outs, err := w.Predict(t.Context(), in)
		if err != nil || len(outs) != 1 || !bytes.Equal(outs[0].Data, want) {
			t.Errorf("%s: %+v, %v", name, outs, err)
		}
	}
	for name, in := range map[string][]tensor.Tensor{
		"nothing": nil, "one of two": {a}, "three": {a, b, b}, "one twice": {a, a},
		"an unknown one": {a, floats("c", shape, 1, 2)},
		"another type":   {a, {Name: "b", Type: tensor.Float64, Shape: shape, Data: make([]byte, 16)}},
		"another shape":  {a, floats("b", []int64{1, 3}, 1, 2, 3)},
		"too few bytes":  {a, {Name: "b", Type: tensor.Float32, Shape: shape, Data: make([]byte, 4)}},
		"unequal rows":   {a, floats("b", []int64{2, 2}, 1, 2, 3, 4)},
		"no type at all": {a, {Name: "b", Type: 99, Shape: shape}},
	} {
		if outs, err := w.Predict(t.Context(), in); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v, %v", name, outs, err)
		}
	}
	if w.PID() == 0 {
		t.Error("bad inputs have ended the worker")
	}
}

func TestAModelThatFailsSaysSoAndLives(t *testing.T) {
	w := load(t, open(t, config(t)), digits(t, "v3")) // fails on a third of the images
	pid := w.PID()
	inputs, _ := images()
	failed := 0
	for _, in := range inputs[:60] {
		if _, err := w.Predict(t.Context(), in); errors.Is(err, model.ErrFailed) {
			failed++
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if failed == 0 || failed == 60 || w.PID() != pid {
		t.Errorf("%d of 60 failed; the worker was %d and is %d", failed, pid, w.PID())
	}
}

func TestABrokenPackageIsRefusedWithTheReason(t *testing.T) {
	c := config(t)
	e := open(t, c)
	file := func(body string) model.Package {
		p := model.Package{Dir: t.TempDir(), ModelName: "m", Runtime: engine.ONNX}
		if err := os.WriteFile(filepath.Join(p.Dir, "model.onnx"), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	another := sum(t)
	another.Signature.Inputs = []tensor.Spec{{Name: "a", Type: tensor.Float32}, {Name: "c", Type: tensor.Float32}}
	narrow := sum(t)
	narrow.Signature.Outputs = []tensor.Spec{
		{Name: "y", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: 1}, {Size: 3}}},
	}
	dlr := digits(t, "v1")
	dlr.Runtime = "dlr"
	relative := digits(t, "v1")
	relative.Dir = "."
	for name, c := range map[string]struct {
		p    model.Package
		is   error
		want string
	}{
		"not a model":         {file("<html>"), nil, "is not an ONNX model"},
		"no model":            {model.Package{Dir: t.TempDir(), Runtime: engine.ONNX}, nil, "no .onnx file"},
		"an input it has not": {another, nil, `describes the input "c", which the model has not`},
		"an output unlike its own": {
			narrow, nil, `the output "y" is [1, 3] of FLOAT, and the model that it is [batch, 2] of FLOAT`,
		},
		"no engine":            {dlr, model.ErrUnsupported, `"dlr"`},
		"a relative directory": {relative, nil, "must be absolute"},
	} {
		r, err := e.Load(t.Context(), c.p)
		if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	if s := e.Stats(); s.Workers != 0 {
		t.Errorf("%d workers are left", s.Workers)
	}
	if left, err := filepath.Glob(filepath.Join(c.RunDir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestTheManifestsShapesAreShownAndTheModelsOwnAreTaken(t *testing.T) {
	p := sum(t)
	p.Signature.Inputs = []tensor.Spec{
		{Name: "a", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: 1}, {Size: 2}}},
		{Name: "b", Type: tensor.Float32, Ranked: true, Shape: []tensor.Dim{{Size: 1}, {Size: 2}}},
	}
	p.Signature.Outputs = []tensor.Spec{{Name: "y", Type: tensor.Float32}}
	w := load(t, open(t, config(t)), p)
	if s := w.Signature(); s.Inputs[0].Shape[0].Size != 1 {
		t.Errorf("it is shown as %s", s.Inputs[0].String())
	}
	two := []int64{2, 2}
	if _, err := w.Predict(t.Context(),
		[]tensor.Tensor{floats("a", two, 1, 2, 3, 4), floats("b", two, 1, 2, 3, 4)}); err != nil {
		t.Errorf("two rows: %v", err)
	}
}

func TestAClosedModelRefusesAndIsGone(t *testing.T) {
	c := config(t)
	e := open(t, c)
	w := load(t, e, digits(t, "v1"))
	pid := w.PID()
	for range 2 {
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	inputs, _ := images()
	if _, err := w.Predict(t.Context(), inputs[0]); !errors.Is(err, model.ErrUnavailable) {
		t.Errorf("after Close: %v", err)
	}
	if alive(pid) || w.PID() != 0 || e.Stats().Workers != 0 {
		t.Error("the worker is still there")
	}
	if left, err := filepath.Glob(filepath.Join(c.RunDir, "*.sock")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestARunDirectoryHasOneAgent(t *testing.T) {
	c := bare(t)
	open(t, c)
	if _, err := engine.New(c); err == nil || !strings.Contains(err.Error(), "in use by another agent") {
		t.Errorf("a second one: %v", err)
	}
}

func TestAModelThatDoesNotFitIsRefusedBeforeItIsStarted(t *testing.T) {
	c := config(t)
	c.Budget = 40 << 20
	e := open(t, c)
	first := load(t, e, digits(t, "v1"))
	large := digits(t, "v2")
	large.ModelName = "large"
	if err := os.WriteFile(filepath.Join(large.Dir, "weights"), make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := e.Load(t.Context(), large)
	if !errors.Is(err, model.ErrNoMemory) || !strings.Contains(err.Error(), "MiB are left") {
		t.Fatalf("beside another: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	alone := load(t, e, large)
	// What was measured counts from now on, not what was feared.
	if err := alone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	load(t, e, large)
	load(t, e, large)
}

func TestLoadingEndsWithItsContext(t *testing.T) {
	e := open(t, config(t))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := e.Load(ctx, digits(t, "v1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if s := e.Stats(); s.Workers != 0 {
		t.Errorf("%d workers are left", s.Workers)
	}
}

func TestEveryFaultOfAConfigurationIsReported(t *testing.T) {
	c := engine.Config{RunDir: "run", Threads: -1, Factor: -1, Command: map[string]engine.Command{
		"dlr": {}, "tflite": {Args: []string{"x"}, Format: "xml", Header: map[string]string{"A": "b\r\nC: d"}},
	}}
	err := c.Validate()
	for _, want := range []string{
		"absolute", "threads", "in flight", "largest call", "start timeout", "grace", "factor", `"dlr" needs a command`,
		`unknown format "xml"`, "malformed header", "log",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %q: %v", want, err)
		}
	}
}

func TestAWorkerThatLoadedInTheBackgroundServesInTheForeground(t *testing.T) {
	e := open(t, config(t))
	load(t, e, digits(t, "v1"))
	pid := load(t, e, digits(t, "v2")).PID()
	threads, err := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*")
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, path := range threads {
		tid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			t.Fatal(err)
		}
		if a, err := unix.SchedGetAttr(tid, 0); err == nil && a.Policy != 0 {
			t.Errorf("thread %d has policy %d", tid, a.Policy)
		}
	}
}
