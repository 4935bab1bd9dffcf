package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binVariable names a folder with programs to test instead of building them.
const binVariable = "SLIPWAY_BIN"

// TestMain builds the programs as a person would: what is tested is what
// `make build` makes of the sources at hand.
func TestMain(m *testing.M) {
	if os.Getenv(binVariable) == "" {
		build := exec.Command("make", "--no-print-directory", "-C", "../..", "build")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: make build:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// program returns the path of a built program.
func program(t testing.TB, name string) string {
	t.Helper()
	dir := os.Getenv(binVariable)
	if dir == "" {
		dir = "../../bin"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}
