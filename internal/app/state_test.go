package app

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ml/slipway/internal/config"
	"github.com/slipway-ml/slipway/internal/platform/filelock"
)

// inDirectory is the configuration of a server in a directory, on ports of its own.
func inDirectory(dir string) config.Config {
	c := config.Default()
	c.DataDir, c.Listen, c.Devices.Listen = dir, "127.0.0.1:0", "127.0.0.1:0"
	return c
}

func TestNothingIsTouchedInADirectoryThatAnotherServerUses(t *testing.T) {
	dir := t.TempDir()
	lock, err := filelock.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	a, err := New(t.Context(), inDirectory(dir), slog.New(slog.DiscardHandler))
	if err == nil {
		a.Close()
	}
	if !errors.Is(err, filelock.ErrHeld) {
		t.Errorf("a second server: %v", err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("there are %v, %v", files, err)
	}
}
