package packaging_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/service/packaging"
)

// The optimiser reads models of strangers: what it knows of the server, they may
// get to know.
func TestTheOptimiserGetsNoSecretsAndBoundedMemory(t *testing.T) {
	t.Setenv("SLIPWAY_DATABASE_URL", "postgres://secret")
	said := filepath.Join(t.TempDir(), "said")
	tool := filepath.Join(t.TempDir(), "slipway-onnx")
	script := "#!/bin/sh\nn=0; while grep -q 'Max address space *unlimited' /proc/$$/limits && [ $n -lt 500 ]; do " +
		"n=$((n+1)); sleep 0.01; done\n{ env; grep 'Max address space' /proc/$$/limits; } > " +
		said + "\necho 'slipway-onnx: no' >&2\nexit 1\n"
	if err := os.WriteFile(tool, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	b := start(t, func(c *packaging.Config) { c.Optimizer = func() ([]string, error) { return []string{tool}, nil } })
	b.compile("c", domain.Compile{
		Input: b.put("m.tar.gz", tarGz(t, file{"m.onnx", doubler()})), Framework: "ONNX", Optimize: "basic",
	})
	got, err := os.ReadFile(said)
	if err != nil || strings.Contains(string(got), "secret") || !strings.Contains(string(got), "PATH=") ||
		strings.Contains(string(got), "unlimited") {
		t.Errorf("%v\n%s", err, got)
	}
}
