// Package build gives tests the module's programs, compiled. It is for tests
// alone.
package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const module = "github.com/slipway-ml/slipway/"

// Each is compiled at most once in a test process.
var (
	testmodel = once("internal/platform/provider/testmodel", "CGO_ENABLED=0")
	agent     = once("cmd/slipway-agent", "CGO_ENABLED=0", "-tags", "grpcnotrace") // as make build does
	onnx      = once("cmd/slipway-onnx", "CGO_ENABLED=1")
)

// Testmodel returns the absolute path of the compiled testmodel.
func Testmodel(t testing.TB) string { return path(t, testmodel) }

// Agent returns the absolute path of the compiled slipway-agent.
func Agent(t testing.TB) string { return path(t, agent) }

// ONNX returns the absolute path of the compiled slipway-onnx.
func ONNX(t testing.TB) string { return path(t, onnx) }

func path(t testing.TB, compiled func() (string, error)) string {
	t.Helper()
	file, err := compiled()
	if err != nil {
		t.Fatalf("build a program for the test: %v", err)
	}
	return file
}

func once(pkg, cgo string, flags ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) { return compile(pkg, cgo, flags) })
}

// compile leaves the program in the module's .cache, where the go command leaves
// an up-to-date one alone, so that the next test process waits only for its
// check.
func compile(pkg, cgo string, flags []string) (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	dir := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), ".cache", filepath.Base(pkg))
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", err
	}
	// Test processes run side by side: only one may build.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", dir, err)
	}
	file := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-ldflags=-s -w", "-o", file}, flags...),
		module+pkg)...)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
}
