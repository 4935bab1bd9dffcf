// Package model is what the parts of the device agent agree on: a loaded model
// (Runner), and who loads it (Engine). It promises that nothing here does
// anything: engines are package engine, the table of handles that applications
// call models by is package handles, and when to load, flip and go back is
// decided by package device.
package model

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Runner is a loaded model, safe for concurrent use.
type Runner interface {
	// Signature says what the model takes and gives, in the order of its graph.
	Signature() tensor.Signature
	// Predict computes every output from inputs in any order; inputs are told
	// apart by name, or by place when they have none. It neither keeps nor
	// changes in, and the caller owns what it returns. Inputs that the model
	// does not take are a fault.Invalid and do not reach it; a model that fails
	// on good inputs is an ErrFailed; ErrBusy and ErrUnavailable mean that the
	// same call may succeed later. When ctx ends first, its error is returned.
	Predict(ctx context.Context, in []tensor.Tensor) ([]tensor.Tensor, error)
	// Close lets calls under way end, for as long as ctx lasts, then frees the
	// model. Calls that begin after Close are refused with ErrUnavailable.
	// A second Close does nothing.
	Close(ctx context.Context) error
}

// Engine turns packages into Runners.
type Engine interface {
	// Load starts p beside whatever is loaded, warms it up, and returns when it
	// can predict. ErrNoMemory: it does not fit beside what is loaded; the
	// caller may free the old model and ask again. ErrUnsupported: no engine
	// for its runtime is configured. Any other error is the package's own, and
	// its text is for the operator. ctx bounds the loading alone: the Runner
	// outlives it.
	Load(ctx context.Context, p Package) (Runner, error)
}

// Package is a verified package that lies unpacked on the disk: what an Engine
// needs to know of its manifest, so that engines know nothing of signatures.
type Package struct {
	Dir          string // the unpacked package, absolute
	ModelName    string
	ModelVersion string
	Runtime      string // "onnx", "dlr", "opaque": metadata.runtime of the manifest
	// Signature is what the manifest says of inputs and outputs; empty when it
	// says nothing, and then the loaded model is asked.
	Signature tensor.Signature
}

// Info describes a loaded model.
type Info struct {
	Handle        string
	ModelName     string
	ModelVersion  string
	Dir           string           // of the package
	Signature     tensor.Signature // as the Runner gave it when it was loaded
	LoadedAt      time.Time
	LastInference time.Time // zero before the first
}

// Loaded is a Runner and what is known about it. Both have a Signature, so that
// one is named in full: l.Info.Signature.
type Loaded struct {
	Info
	Runner
}
