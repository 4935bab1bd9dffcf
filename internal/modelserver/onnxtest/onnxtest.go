// Package onnxtest gives tests the ONNX Runtime that scripts/fetch-onnxruntime.sh
// put into bin/lib. Where it is missing, tests skip and say so; under CI they
// fail, because a green run must have run them.
package onnxtest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
)

// start loads the library once for the test binary; it is never unloaded.
var start = sync.OnceValues(func() (*onnx.Runtime, error) { return onnx.Start([]string{library()}) })

// Runtime returns the library of this test binary.
func Runtime(t testing.TB) *onnx.Runtime {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") != "" {
		missing = t.Fatalf
	}
	if library() == "" {
		missing("!!! NOT TESTED: no ONNX Runtime; run scripts/fetch-onnxruntime.sh or set SLIPWAY_ONNXRUNTIME")
	}
	rt, err := start()
	if err != nil {
		missing("!!! NOT TESTED: %v", err)
	}
	return rt
}

// Library returns the path of the library, or "" if there is none.
func Library() string { return library() }

func library() string {
	if path := os.Getenv("SLIPWAY_ONNXRUNTIME"); path != "" {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return filepath.Join(path, "libonnxruntime.so.1")
		}
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
	lib := filepath.Join(dir, "bin", "lib", "libonnxruntime.so.1")
	if _, err := os.Stat(lib); err != nil {
		return ""
	}
	return lib
}
