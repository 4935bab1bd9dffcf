//go:build !cgo

// Package onnx runs models with ONNX Runtime. This build has no cgo, so it
// cannot.
package onnx

import (
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/tensor"
)

// Runtime is the loaded library, which this build cannot load.
type Runtime struct{}

// Options says how a model uses the machine.
type Options struct{ Threads int }

// Model is a loaded model, which this build has none of.
type Model struct{}

var errNoCgo = errors.New(
	"slipway-onnx was built without cgo (CGO_ENABLED=0) and cannot load ONNX Runtime; build it with cgo and a C " +
		"compiler",
)

// Start fails.
func Start([]string) (*Runtime, error) { return nil, errNoCgo }

// Version returns "".
func (*Runtime) Version() string { return "" }

// Load fails.
func (*Runtime) Load(string, Options) (*Model, error) { return nil, errNoCgo }

// Signature returns an empty signature.
func (*Model) Signature() *tensor.Signature { return &tensor.Signature{} }

// Rows returns what is known of the model's rows, which is nothing.
func (*Model) Rows() tensor.Rows { return tensor.Rows{} }

// Close does nothing.
func (*Model) Close() error { return nil }

// Run fails.
func (*Model) Run([]tensor.Tensor) ([]tensor.Tensor, error) { return nil, errNoCgo }

// Optimize fails.
func (*Runtime) Optimize(string, string, Level) error { return errNoCgo }
