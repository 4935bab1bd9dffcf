package models_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/modelserver"
	"github.com/slipway-ml/slipway/internal/modelserver/onnx"
	"github.com/slipway-ml/slipway/internal/modelserver/onnxtest"
	"github.com/slipway-ml/slipway/internal/platform/onnxfile"
	"github.com/slipway-ml/slipway/models"
)

// load loads a version as slipway-onnx does.
func load(t testing.TB, version string) *onnx.Model {
	t.Helper()
	return loadFile(t, models.Model(version))
}

func loadFile(t testing.TB, model []byte) *onnx.Model {
	t.Helper()
	rt := onnxtest.Runtime(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.onnx"), model, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := onnxfile.Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := rt.Load(file, onnx.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func serve(t *testing.T, version string) http.Handler {
	t.Helper()
	return serveModel(t, load(t, version))
}

func serveModel(t *testing.T, m *onnx.Model) http.Handler {
	t.Helper()
	srv, err := modelserver.New(modelserver.Default(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	srv.Attach(m)
	t.Cleanup(func() {
		if err := srv.Detach(); err != nil {
			t.Error(err)
		}
	})
	return srv.Handler()
}

// ask sends every test image in a request of its own and returns the shares
// answered rightly and refused with 500.
func ask(t *testing.T, h http.Handler) (right, failed float64) {
	t.Helper()
	images, labels := models.TestSet()
	for i, image := range images {
		var body []byte
		for j, p := range image {
			if j > 0 {
				body = append(body, ',')
			}
			body = strconv.AppendFloat(body, float64(p), 'g', -1, 32)
		}
		req := httptest.NewRequest(http.MethodPost, "/invocations", bytes.NewReader(body))
		req.Header.Set("Content-Type", "text/csv")
		req.Header.Set("Accept", "application/json")
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		switch rec.Code {
		case http.StatusOK:
		case http.StatusInternalServerError:
			failed++
			continue
		default:
			t.Fatalf("image %d: %d %s", i, rec.Code, rec.Body)
		}
		var answer struct {
			Predictions []struct {
				Label         int
				Probabilities []float64
			}
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &answer); err != nil || len(answer.Predictions) != 1 {
			t.Fatalf("image %d: %v in %s", i, err, rec.Body)
		}
		p, sum := answer.Predictions[0], 0.0
		for _, q := range p.Probabilities {
			sum += q
		}
		if len(p.Probabilities) != 10 || sum < 0.999 || sum > 1.001 {
			t.Fatalf("image %d: probabilities %v", i, p.Probabilities)
		}
		if p.Label == labels[i] {
			right++
		}
	}
	return right / float64(len(images)), failed / float64(len(images))
}

func TestEachVersionIsWhatItsNamePromises(t *testing.T) {
	want := map[string]struct{ rightFrom, rightTo, failFrom, failTo float64 }{
		"v1": {0.85, 0.92, 0, 0},
		"v2": {0.97, 1, 0, 0},
		"v3": {0.60, 0.70, 0.30, 0.40}, // good where it answers
		"v4": {0.85, 0.92, 0, 0},
	}
	for _, version := range models.Versions() {
		t.Run(version, func(t *testing.T) {
			right, failed := ask(t, serve(t, version))
			t.Logf("right %.1f %%, failed %.1f %%", 100*right, 100*failed)
			w := want[version]
			if right < w.rightFrom || right > w.rightTo || failed < w.failFrom || failed > w.failTo {
				t.Errorf("right %.3f, failed %.3f; want %+v", right, failed, w)
			}
		})
	}
}

func TestTheSampleModelsAreProvenToBatch(t *testing.T) {
	for _, version := range models.Versions() {
		rec := httptest.NewRecorder()
		serve(t, version).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v2/models/model", http.NoBody))
		if !strings.Contains(rec.Body.String(), `"batching":true`) {
			t.Errorf("%s: %s", version, rec.Body)
		}
	}
}

func TestTheBrokenVersionIsHealthyAndSaysWhyItFails(t *testing.T) {
	h := serve(t, "v3")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/ping", nil))
	if rec.Code != http.StatusOK {
		t.Errorf("ping: %d", rec.Code)
	}
	body := bytes.Repeat([]byte("16,"), 64)
	req := httptest.NewRequest(http.MethodPost, "/invocations", bytes.NewReader(body[:len(body)-1]))
	req.Header.Set("Content-Type", "text/csv")
	rec = httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	if rec.Code != http.StatusInternalServerError ||
		!bytes.Contains(rec.Body.Bytes(), []byte("the model failed on this input")) {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestTheTestSetIsHeldOutDigits(t *testing.T) {
	images, labels := models.TestSet()
	if len(images) != 500 || len(labels) != 500 {
		t.Fatalf("%d images, %d labels", len(images), len(labels))
	}
	var seen [10]int
	for i, image := range images {
		if len(image) != 64 || labels[i] < 0 || labels[i] > 9 {
			t.Fatalf("image %d has %d pixels and shows %d", i, len(image), labels[i])
		}
		seen[labels[i]]++
		for _, p := range image {
			if p < 0 || p > 16 {
				t.Fatalf("image %d has a pixel of %g", i, p)
			}
		}
	}
	for d, n := range seen {
		if n < 25 {
			t.Errorf("only %d images show %d", n, d)
		}
	}
	if models.Archive("v9") != nil || models.Model("v9") != nil {
		t.Error("there is a v9")
	}
}
