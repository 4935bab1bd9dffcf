package agent_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-ml/slipway/internal/agent"
	"github.com/slipway-ml/slipway/internal/agent/proto/edgemanager"
)

// unpacked finds the deployed package on the disk and gives an application a
// copy of it.
func unpacked(t *testing.T, w *world) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "mine")
	err := filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "sagemaker_edge_manifest" {
			return err
		}
		return os.CopyFS(to, os.DirFS(filepath.Dir(path)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func TestWhatAnApplicationChangesAfterItWasVerifiedIsNotLoaded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	d := w.release(t, 2, 6)
	w.Offer(d)
	w.start(t, agent.Options{})
	if res := w.result(t, d.DeploymentName); res.DeploymentStatus != "SUCCESS" {
		t.Fatalf("%+v", res)
	}
	folder, app := unpacked(t, w), w.application(t)
	copies := func() (n int) {
		_ = filepath.WalkDir(w.dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && strings.Contains(path, "/applications/") && e.Name() == "sagemaker_edge_manifest" {
				n++
			}
			return err
		})
		return n
	}
	load := func(url string) (*edgemanager.LoadModelResponse, error) {
		return app.LoadModel(t.Context(), &edgemanager.LoadModelRequest{Url: url, Name: "mine"})
	}
	got, err := load(folder)
	if err != nil || got.Model.Url != folder || copies() != 1 {
		t.Fatalf("%v, %v, %d copies", got, err, copies())
	}
	if err := os.RemoveAll(folder); err != nil { // the model does not need it any more
		t.Fatal(err)
	}
	if _, err := app.UnLoadModel(t.Context(), &edgemanager.UnLoadModelRequest{Name: "mine"}); err != nil ||
		copies() != 0 {
		t.Errorf("unloaded: %v, %d copies", err, copies())
	}

	folder = unpacked(t, w)
	for name, change := range map[string]func(path string) error{
		"changed":     func(path string) error { return os.WriteFile(path, []byte("7"), 0o600) },
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a link away": func(path string) error { return os.Symlink("/etc/passwd", path) },
	} {
		path := filepath.Join(folder, "scale")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := change(path); err != nil {
			t.Fatal(err)
		}
		if _, err := load(folder); err == nil || copies() != 0 {
			t.Errorf("%s: %v, %d copies", name, err, copies())
		}
	}
}
