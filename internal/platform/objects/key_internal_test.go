package objects

import (
	"path/filepath"
	"strings"
	"testing"
)

// textOf reads a path back into its key.
func textOf(t *testing.T, path string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range strings.Split(path, "/") {
		e, ok := parseName(name)
		if !ok {
			t.Fatalf("%q has a name that is none: %q", path, name)
		}
		b.WriteString(e.text)
	}
	return b.String()
}

func FuzzEveryKeyHasAPathOfItsOwnInsideTheBucket(f *testing.F) {
	for _, k := range []string{"a", "a/", "../x", "a/../../b", "\x00", strings.Repeat("k", 200), "%2F", ".", "//"} {
		f.Add(k)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if CheckKey(key) != nil {
			return
		}
		path := keyPath(key)
		if got := textOf(t, path); got != key { // so no two keys share a path
			t.Fatalf("%q → %q → %q", key, path, got)
		}
		if !filepath.IsLocal(path) || filepath.Clean(path) != path {
			t.Fatalf("%q → %q", key, path)
		}
		names := strings.Split(path, "/")
		for i, name := range names {
			e, _ := parseName(name)
			if len(name) > 255 || e.file != (i == len(names)-1) {
				t.Fatalf("%q → %q", key, path)
			}
		}
	})
}

func FuzzForeignNamesAreNotTakenForKeys(f *testing.F) {
	for _, n := range []string{"", "x", "o%", "o%2", "o%zz", "o%2f", "d", "cshort", "oa b"} {
		f.Add(n)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := parseName(name)
		if ok && (e.name != name || e.file != strings.HasPrefix(name, "o")) {
			t.Fatalf("%q → %+v", name, e)
		}
	})
}
