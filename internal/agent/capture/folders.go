package capture

import (
	"bytes"
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// folders returns the folders of all hours of all models, the oldest hour
// first.
func (d *disk) folders() ([]string, error) {
	level := []string{d.fleet}
	for n := range depth {
		var next []string
		for _, dir := range level {
			entries, err := d.list(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if e.IsDir() && (n == 0 || number(e.Name())) {
					next = append(next, path.Join(dir, e.Name()))
				}
			}
		}
		level = next
	}
	const hour = len("2006/01/02/15")
	slices.SortStableFunc(level, func(a, b string) int {
		return cmp.Compare(a[max(0, len(a)-hour):], b[max(0, len(b)-hour):])
	})
	return level, nil
}

func number(name string) bool {
	return (len(name) == 2 || len(name) == 4) && strings.Trim(name, "0123456789") == ""
}

// oldestFirst returns the manifests among entries by age.
func oldestFirst(entries []fs.DirEntry) []fs.DirEntry {
	type aged struct {
		e  fs.DirEntry
		at int64
	}
	var list []aged
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), manifestEnds) || !e.Type().IsRegular() {
			continue
		}
		at := int64(0)
		if info, err := e.Info(); err == nil {
			at = info.ModTime().UnixNano()
		}
		list = append(list, aged{e, at})
	}
	slices.SortStableFunc(list, func(a, b aged) int { return cmp.Compare(a.at, b.at) })
	out := make([]fs.DirEntry, len(list))
	for i := range list {
		out[i] = list[i].e
	}
	return out
}

// referenceMark can't occur inside a JSON string, where its quotes would be
// escaped.
var referenceMark = []byte(`"data-ref":"file://`)

// references returns the names of the files that a manifest names.
func references(manifest []byte) []string {
	var names []string
	for rest := manifest; ; {
		i := bytes.Index(rest, referenceMark)
		if i < 0 {
			return names
		}
		rest = rest[i+len(referenceMark):]
		ref, _, _ := bytes.Cut(rest, []byte{'"'})
		// Somebody else may have written to the directory: take nothing for a
		// name that this package would not have given.
		if name := string(ref[bytes.LastIndexByte(ref, '/')+1:]); strings.HasSuffix(name, asideEnds) &&
			idShape.MatchString(clip(name)) {
			names = append(names, name)
		}
	}
}

func clip(s string) string { return s[:min(len(s), 128)] }
