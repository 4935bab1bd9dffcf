package models_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/models"
)

// trial serves one of the trials.
func trial(t *testing.T, name string) http.Handler {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(models.Trial(name)))
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	model, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return serveModel(t, loadFile(t, model))
}

// reading is what a model makes of an image.
type reading struct {
	Label         int
	Probabilities []any
}

// readings asks for images of the test set in one request.
func readings(t *testing.T, h http.Handler, images [][]float32) []reading {
	t.Helper()
	var body strings.Builder
	for _, image := range images {
		row := strings.Trim(strings.ReplaceAll(fmt.Sprint(image), " ", ","), "[]")
		body.WriteString(row + "\n")
	}
	req := httptest.NewRequest(http.MethodPost, "/invocations", strings.NewReader(body.String()))
	req.Header.Set("Content-Type", "text/csv")
	req.Header.Set("Accept", "application/json")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	var answer struct{ Predictions []reading }
	if err := json.Unmarshal(rec.Body.Bytes(), &answer); rec.Code != http.StatusOK || err != nil {
		t.Fatalf("%d, %v: %s", rec.Code, err, rec.Body)
	}
	if len(answer.Predictions) != len(images) {
		t.Fatalf("%d answers for %d images", len(answer.Predictions), len(images))
	}
	return answer.Predictions
}

func TestTheVersionThatNeverSawAnEightNeverReadsOne(t *testing.T) {
	images, labels := models.TestSet()
	good, got := readings(t, serve(t, "v2"), images), readings(t, serve(t, "v4"), images)
	eights, elsewhere := 0, 0
	for i, r := range got {
		switch {
		case r.Label == 8:
			t.Errorf("image %d is read as an eight", i)
		case labels[i] == 8:
			eights++
		case r.Label != good[i].Label:
			elsewhere++
		}
	}
	if eights < 25 || elsewhere > 5 {
		t.Errorf("%d eights; %d other images are read otherwise than v2 does", eights, elsewhere)
	}
}

// What each trial is for, in what share of the test set it differs from v2: in the
// label, in the probability of a one by a tenth or more, and in what is NaN.
func TestEachTrialIsWhatItsNamePromises(t *testing.T) {
	images, _ := models.TestSet()
	good := readings(t, serve(t, "v2"), images)
	type band struct{ from, to float64 }
	want := map[string]struct{ labels, ones, nan band }{
		"again": {band{0, 0.02}, band{0, 0.02}, band{}},
		"bias":  {band{0.005, 0.05}, band{0.03, 0.2}, band{}},
		"nan":   {band{0, 0.1}, band{0.05, 0.1}, band{0.05, 0.1}},
		"stale": {band{0.05, 0.2}, band{0.05, 0.5}, band{}},
		"slow":  {band{}, band{}, band{}},
	}
	within := func(b band, n int) bool {
		share := float64(n) / float64(len(images))
		return share >= b.from && share <= b.to
	}
	for _, name := range models.Trials() {
		labels, ones, nan := 0, 0, 0
		for i, r := range readings(t, trial(t, name), images) {
			if r.Label != good[i].Label {
				labels++
			}
			p, is := r.Probabilities[1].(float64)
			if before, _ := good[i].Probabilities[1].(float64); !is || p-before > 0.1 || before-p > 0.1 {
				ones++
			}
			if slices.Contains(r.Probabilities, any("NaN")) {
				nan++
			}
		}
		t.Logf("%s: %d labels, %d probabilities of a one, %d NaN", name, labels, ones, nan)
		if w := want[name]; !within(w.labels, labels) || !within(w.ones, ones) || !within(w.nan, nan) {
			t.Errorf("%s: %d labels, %d probabilities of a one, %d NaN; want %+v", name, labels, ones, nan, w)
		}
	}
	if models.Trial("other") != nil {
		t.Error("there is another trial")
	}
}

func TestTheSlowTrialIsSlowOnManyImagesAlone(t *testing.T) {
	images, _ := models.TestSet()
	took := func(h http.Handler, n int) (least time.Duration) {
		for range 3 {
			began := time.Now()
			readings(t, h, images[:n])
			if d := time.Since(began); least == 0 || d < least {
				least = d
			}
		}
		return least
	}
	good, slow := serve(t, "v2"), trial(t, "slow")
	t.Logf("1 image: %v, v2 %v; 500: %v, v2 %v", took(slow, 1), took(good, 1), took(slow, 500), took(good, 500))
	if few, many := took(slow, 1), took(slow, 500); many < 5*few {
		t.Errorf("one image takes %v, 500 take %v", few, many)
	}
}
