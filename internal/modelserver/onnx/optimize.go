//go:build cgo

package onnx

// #include "ort.h"
import "C"

import (
	"fmt"

	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
)

// Optimize writes the model file at path, as the library would run it, to out:
// its graph rewritten up to a level. Basic keeps to standard operators;
// extended and all may use operators that only ONNX Runtime knows, and all may
// suit this machine alone. Data that the model keeps in other files moves in.
func (*Runtime) Optimize(path, out string, level Level) error {
	if _, err := onnxfile.ReadServed(path); err != nil {
		return err
	}
	levels := map[Level]int{Basic: 1, Extended: 2, All: 99}
	l, ok := levels[level]
	if !ok {
		return fmt.Errorf("the level %q is not basic, extended or all", level)
	}
	session, err := open(path, 1, l, out)
	C.ort_unload(session)
	return err
}
