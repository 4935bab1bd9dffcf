package objects_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

func TestUploadsThatNobodyCompletesAreRemovedAfterATime(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	old := begin(t, s, objects.Upload{})
	putPart(t, s, old, 1, "some data")
	torn := begin(t, s, objects.Upload{})
	record := filepath.Join(dir, "buckets", bucket, "uploads", torn, "upload.json")
	if err := os.WriteFile(record, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := s.RemoveUploads(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("too young, and %d were removed, %v", n, err)
	}
	if n, err := s.RemoveUploads(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("%d were removed, %v", n, err)
	}
	if _, _, err := s.Parts(t.Context(), bucket, "k", old, 0, 10); !errors.Is(err, objects.ErrNoUpload) {
		t.Errorf("its parts: %v", err)
	}
	for _, below := range []string{filepath.Join("buckets", bucket, "uploads"), "tmp"} {
		left, err := os.ReadDir(filepath.Join(dir, below))
		if err != nil || len(left) != 0 {
			t.Errorf("%s holds %v, %v", below, left, err)
		}
	}
	again := begin(t, s, objects.Upload{})
	if _, err := s.Upload(t.Context(), bucket, "k", again); err != nil {
		t.Errorf("a new one: %v", err)
	}
}
