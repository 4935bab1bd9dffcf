package objects_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// adoptable is a file of somebody's beside the store.
func adoptable(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAFileIsAdopted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	data := strings.Repeat("line\n", 10_000)
	path := adoptable(t, data+"half a li")
	put, err := s.Adopt(t.Context(), bucket, "a/b", objects.File{Path: path, Size: int64(len(data))}, objects.Put{
		Header: map[string]string{"content-type": "application/jsonlines"}, Tags: "a=b",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got, err := get(s, "a/b"); got != data || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	i, err := s.Stat(t.Context(), bucket, "a/b")
	if err != nil || i.ETag != put.ETag || !strings.HasSuffix(i.ETag, "-1") || i.Size != int64(len(data)) ||
		i.Header["content-type"] != "application/jsonlines" || i.Tags != "a=b" || i.Modified.IsZero() {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestAFileThatIsNotAdoptedStaysAsItWas(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "taken", "old")
	for name, c := range map[string]struct {
		bucket, key string
		want        error
	}{
		"the key is taken":  {bucket, "taken", objects.ErrChanged},
		"there's no bucket": {"nowhere", "k", objects.ErrNoBucket},
		"a long key":        {bucket, strings.Repeat("k", 2000), objects.ErrLongKey},
	} {
		path := adoptable(t, "data")
		_, err := s.Adopt(t.Context(), c.bucket, c.key, objects.File{Path: path, Size: 4}, objects.Put{
			If: objects.Condition{Absent: true},
		})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if text, err := os.ReadFile(path); string(text) != "data" || err != nil {
			t.Errorf("%s: the file holds %q, %v", name, text, err)
		}
	}
	if got, err := get(s, "taken"); got != "old" || err != nil {
		t.Errorf("what was there is %q, %v", got, err)
	}
	_, err := s.Adopt(t.Context(), bucket, "k", objects.File{Path: "/nowhere/file", Size: 4}, objects.Put{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
