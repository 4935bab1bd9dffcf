//go:build cgo

// Package onnx runs models with ONNX Runtime, a native library that is loaded
// when the program starts. It is the only package of Slipway that needs cgo.
// It trusts the tensors it is given: checking them is the caller's job.
package onnx

// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "ort.h"
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
)

// Runtime is the loaded library. A process has at most one, for as long as it
// lives.
type Runtime struct{ version string }

// Start loads the first of the candidate libraries (paths, or names that the
// system's loader knows) that loads. The error lists every candidate. It must
// not be called by several at once.
func Start(candidates []string) (*Runtime, error) {
	// The packaged library counts events of every session and failed run, keeps
	// them in memory and in a file in the home directory, and tries to send them
	// to its makers. This is read when it starts; disabling telemetry alone would
	// come after its first events.
	if err := os.Setenv("ORT_DISABLE_TELEMETRY", "1"); err != nil {
		return nil, err
	}
	var failures []string
	for _, lib := range candidates {
		name := C.CString(lib)
		var version *C.char
		err := failure(C.ort_open(name, &version))
		C.free(unsafe.Pointer(name))
		if err == nil {
			return &Runtime{version: C.GoString(version)}, nil
		}
		failures = append(failures, err.Error())
	}
	return nil, fmt.Errorf("ONNX Runtime could not be loaded: %s", strings.Join(failures, "; "))
}

// Version returns the library's version.
func (r *Runtime) Version() string { return r.version }

// Options says how a model uses the machine.
type Options struct {
	Threads int // inside one run; 0 lets the library take every core
}

// Model is a loaded model. Its methods may be called concurrently.
type Model struct {
	sig       tensor.Signature
	rows      tensor.Rows
	session   *C.OrtSession
	ins, outs **C.char // names, in C memory
}

// Load reads and prepares the model file at path. The error says, in one line,
// what is wrong with the file.
func (*Runtime) Load(path string, o Options) (*Model, error) {
	sig, err := onnxfile.ReadServed(path)
	if err != nil {
		return nil, err
	}
	rows, err := onnxfile.ReadRows(path, &sig)
	if err != nil {
		return nil, err
	}
	m := &Model{sig: sig, rows: rows}
	if m.session, err = open(path, o.Threads, -1, ""); err != nil {
		return nil, err
	}
	m.ins, m.outs = names(sig.Inputs), names(sig.Outputs)
	return m, nil
}

// open makes a session, at a level of optimisation that is not negative or the
// library's own, and writes the optimised model if out names a file.
func open(path string, threads, level int, out string) (session *C.OrtSession, err error) {
	model, optimized := C.CString(path), (*C.char)(nil)
	defer C.free(unsafe.Pointer(model))
	if out != "" {
		optimized = C.CString(out)
		defer C.free(unsafe.Pointer(optimized))
	}
	err = failure(C.ort_load(model, C.int(threads), C.int(level), optimized, &session))
	return session, err
}

// names copies the names of inputs or outputs into C memory.
func names(specs []tensor.Spec) **C.char {
	list := (**C.char)(C.calloc(C.size_t(len(specs)+1), C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	to := unsafe.Slice(list, len(specs))
	for i := range specs {
		to[i] = C.CString(specs[i].Name)
	}
	return list
}

func freeNames(list **C.char, n int) {
	for _, name := range unsafe.Slice(list, n) {
		C.free(unsafe.Pointer(name))
	}
	C.free(unsafe.Pointer(list))
}

// Signature returns what the model takes and gives.
func (m *Model) Signature() *tensor.Signature { return &m.sig }

// Rows returns what is known of the model's rows.
func (m *Model) Rows() tensor.Rows { return m.rows }

// Close frees the model; no Run may be in progress.
func (m *Model) Close() error {
	C.ort_unload(m.session)
	freeNames(m.ins, len(m.sig.Inputs))
	freeNames(m.outs, len(m.sig.Outputs))
	return nil
}

// Run computes the outputs, in the order of the graph, from inputs that
// Signature().Check accepted. An error is the model's own failure, in one line.
func (m *Model) Run(in []tensor.Tensor) ([]tensor.Tensor, error) {
	var pins runtime.Pinner
	defer pins.Unpin()
	values := make([]*C.OrtValue, len(in)+len(m.sig.Outputs)+1) // so that there is a first of each
	defer func() {
		for _, v := range values {
			C.ort_release(v)
		}
	}()
	outs := values[len(in):]
	for i := range in {
		var err error
		if values[i], err = toValue(&in[i], &pins); err != nil {
			return nil, fmt.Errorf("input %q: %w", in[i].Name, err)
		}
	}
	err := failure(C.ort_run(m.session, m.ins, &values[0], C.size_t(len(in)), m.outs, &outs[0],
		C.size_t(len(m.sig.Outputs))))
	if err != nil {
		return nil, err
	}
	res := make([]tensor.Tensor, len(m.sig.Outputs))
	for i := range res {
		t, err := fromValue(outs[i])
		if err != nil {
			return nil, fmt.Errorf("output %q: %w", m.sig.Outputs[i].Name, err)
		}
		t.Name = m.sig.Outputs[i].Name
		res[i] = t
	}
	return res, nil
}
