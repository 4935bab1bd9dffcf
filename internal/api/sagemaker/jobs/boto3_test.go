package jobs_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
	"github.com/slipway-ml/slipway/models"
)

// Flow 2 of edge spec §9, in the words of AWS's notebooks.
func TestAnUnmodifiedBoto3CompilesPackagesAndDownloads(t *testing.T) {
	if err := exec.Command("python3", "-c", "import boto3").Run(); err != nil {
		t.Skip("python3 with boto3 is not installed")
	}
	onBoth(t, func(t *testing.T, w *world) {
		at := t.TempDir()
		model := filepath.Join(at, "model.tar.gz")
		w.ok(os.WriteFile(model, models.Archive("v2"), 0o600))
		cmd := exec.CommandContext(t.Context(), "python3", "testdata/flow.py", w.url, model, at)
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "ok" {
			t.Fatalf("%v\n%s", err, out)
		}
		f, err := os.Open(filepath.Join(at, "package.tar.gz"))
		w.ok(err)
		defer f.Close()
		w.looksLikeATar(f)
		_, err = f.Seek(0, io.SeekStart)
		w.ok(err)
		pem, err := w.service.RootsPEM(t.Context())
		w.ok(err)
		roots, err := bundle.ParseRoots(pem)
		w.ok(err)
		m, err := (&bundle.Verifier{Roots: roots}).Head(t.Context(), f)
		if err != nil || m.Metadata.ModelName != "digits" || m.Metadata.ModelVersion != "1.0" {
			t.Errorf("%+v, %v", m, err)
		}
	})
}

// looksLikeATar reads the package with ordinary tools: applications do.
func (w *world) looksLikeATar(r io.Reader) {
	w.t.Helper()
	gz, err := gzip.NewReader(r)
	w.ok(err)
	var names []string
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		w.ok(err)
		names = append(names, h.Name)
	}
	if got := strings.Join(
		names, " ",
	); got != "sagemaker_edge_manifest sagemaker_edge_manifest.sig sagemaker_edge_manifest.crt model.onnx "+
		"slipway_compiled.json" {
		w.t.Error(got)
	}
}
