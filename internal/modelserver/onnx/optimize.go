//go:build cgo

package onnx

import (
	"errors"
	"fmt"

	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	ort "github.com/yalue/onnxruntime_go"
)

// Optimize writes the model file at path, as the library would run it, to out:
// its graph rewritten up to a level. Basic keeps to standard operators;
// extended and all may use operators that only ONNX Runtime knows, and all may
// suit this machine alone. Data that the model keeps in other files moves in.
func (*Runtime) Optimize(path, out string, level Level) error {
	sig, err := onnxfile.ReadSignature(path)
	if err != nil {
		return err
	}
	levels := map[Level]ort.GraphOptimizationLevel{
		Basic: ort.GraphOptimizationLevelEnableBasic, Extended: ort.GraphOptimizationLevelEnableExtended,
		All: ort.GraphOptimizationLevelEnableAll,
	}
	l, ok := levels[level]
	if !ok {
		return fmt.Errorf("the level %q is not basic, extended or all", level)
	}
	so, err := ort.NewSessionOptions()
	if err != nil {
		return fmt.Errorf("session options: %w", err)
	}
	defer func() { _ = so.Destroy() }() // it cannot fail once created
	if err := errors.Join(so.SetIntraOpNumThreads(1), so.SetInterOpNumThreads(1),
		so.SetLogSeverityLevel(ort.LoggingLevelFatal),
		so.SetGraphOptimizationLevel(l), so.SetOptimizedModelFilePath(out)); err != nil {
		return fmt.Errorf("session options: %w", err)
	}
	session, err := ort.NewDynamicAdvancedSession(path, specNames(sig.Inputs), specNames(sig.Outputs), so)
	if err != nil {
		return errors.New(oneLine(err.Error()))
	}
	return session.Destroy()
}
