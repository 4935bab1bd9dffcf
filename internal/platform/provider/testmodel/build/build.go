// Package build gives tests the testmodel program, compiled. It is for tests
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

const pkg = "github.com/slipway-ml/slipway/internal/platform/provider/testmodel"

// built compiles at most once in a test process. The program goes to the
// module's .cache, where the go command leaves an up-to-date one alone, so that
// the next test process waits only for its check.
var built = sync.OnceValues(func() (string, error) {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	dir := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), ".cache", "testmodel")
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
	program := filepath.Join(dir, "testmodel")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return program, nil
})

// Testmodel returns the absolute path of the compiled testmodel.
func Testmodel(t testing.TB) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatalf("build testmodel: %v", err)
	}
	return path
}
