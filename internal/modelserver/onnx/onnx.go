//go:build cgo

// Package onnx runs models with ONNX Runtime, a native library that is loaded
// when the program starts. It is the only package of Slipway that needs cgo.
// It trusts the tensors it is given: checking them is the caller's job.
package onnx

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	ort "github.com/yalue/onnxruntime_go"
)

// Runtime is the loaded library. A process has at most one.
type Runtime struct{}

// Start loads the first of the candidate libraries (paths, or names that the
// system's loader knows) that loads. The error lists every candidate.
func Start(candidates []string) (*Runtime, error) {
	if ort.IsInitialized() {
		return nil, errors.New("ONNX Runtime is started already")
	}
	// The packaged library counts events of every session and failed run, keeps
	// them in memory and in a file in the home directory, and tries to send them
	// to its makers. This is read when it starts; DisableTelemetry alone would
	// come after its first events.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, err
	}
	var failures []string
	// The library's own log would repeat every failed run, which Run returns.
	for _, lib := range candidates {
		ort.SetSharedLibraryPath(lib)
		err := ort.InitializeEnvironment(ort.WithLogLevelFatal())
		if err == nil {
			return &Runtime{}, ort.DisableTelemetry()
		}
		failures = append(failures, oneLine(err.Error()))
	}
	return nil, fmt.Errorf("ONNX Runtime could not be loaded: %s", strings.Join(failures, "; "))
}

// Version returns the library's version.
func (*Runtime) Version() string { return ort.GetVersion() }

// Close unloads the library. Every model must be closed before.
func (*Runtime) Close() error { return ort.DestroyEnvironment() }

// Options says how a model uses the machine.
type Options struct {
	Threads int // inside one run; 0 lets the library take every core
}

// Model is a loaded model. Its methods may be called concurrently.
type Model struct {
	sig     tensor.Signature
	rows    tensor.Rows
	session *ort.DynamicAdvancedSession
	plans   []plan
}

// Load reads and prepares the model file at path. The error says, in one line,
// what is wrong with the file.
func (*Runtime) Load(path string, o Options) (*Model, error) {
	sig, err := onnxfile.ReadSignature(path)
	if err != nil {
		return nil, err
	}
	rows, err := onnxfile.ReadRows(path, &sig)
	if err != nil {
		return nil, err
	}
	m := &Model{sig: sig, rows: rows, plans: make([]plan, len(sig.Outputs))}
	for i := range sig.Inputs {
		if err := servableInput(&sig.Inputs[i]); err != nil {
			return nil, err
		}
	}
	for i := range sig.Outputs {
		if m.plans[i], err = planFor(&sig.Outputs[i], sig.Inputs); err != nil {
			return nil, err
		}
	}
	so, err := ort.NewSessionOptions()
	if err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	defer func() { _ = so.Destroy() }() // it cannot fail once created
	if err := errors.Join(so.SetIntraOpNumThreads(o.Threads), so.SetInterOpNumThreads(1),
		so.SetLogSeverityLevel(ort.LoggingLevelFatal)); err != nil {
		return nil, fmt.Errorf("session options: %w", err)
	}
	m.session, err = ort.NewDynamicAdvancedSession(path, specNames(sig.Inputs), specNames(sig.Outputs), so)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return m, nil
}

func specNames(specs []tensor.Spec) []string {
	names := make([]string, len(specs))
	for i := range specs {
		names[i] = specs[i].Name
	}
	return names
}

// Signature returns what the model takes and gives.
func (m *Model) Signature() *tensor.Signature { return &m.sig }

// Rows returns what is known of the model's rows.
func (m *Model) Rows() tensor.Rows { return m.rows }

// Close frees the model; no Run may be in progress.
func (m *Model) Close() error { return m.session.Destroy() }

// Run computes the outputs, in the order of the graph, from inputs that
// Signature().Check accepted. An error is the model's own failure, in one line.
func (m *Model) Run(in []tensor.Tensor) ([]tensor.Tensor, error) {
	values := make([]ort.Value, len(in)+len(m.plans))
	defer func() {
		for _, v := range values {
			if v != nil {
				_ = v.Destroy() // it cannot fail; the value was created here
			}
		}
	}()
	ins, outs := values[:len(in):len(in)], values[len(in):]
	for i := range in {
		v, err := toValue(&in[i])
		if err != nil {
			return nil, fmt.Errorf("input %q: %s", in[i].Name, oneLine(err.Error()))
		}
		ins[i] = v
	}
	for i := range m.plans {
		v, err := m.plans[i].allocate(in)
		if err != nil {
			return nil, fmt.Errorf("output %q: %s", m.sig.Outputs[i].Name, oneLine(err.Error()))
		}
		outs[i] = v
	}
	if err := m.session.Run(ins, outs); err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	res := make([]tensor.Tensor, len(outs))
	for i, v := range outs {
		t, err := fromValue(v)
		if err != nil {
			return nil, fmt.Errorf("output %q: %s", m.sig.Outputs[i].Name, err)
		}
		t.Name = m.sig.Outputs[i].Name
		res[i] = t
	}
	return res, nil
}

// oneLine makes the library's message fit a log line and a response.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	for _, p := range []string{
		"Error running network: ", "Error creating C session from file: ", "Platform-specific initialization failed: ",
	} {
		s = strings.TrimPrefix(s, p)
	}
	if len(s) > 600 {
		s = s[:600] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
