package artifact

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const (
	maxName = 255  // bytes, what file systems take; spec §2.1
	maxPath = 1024 // bytes, what object stores take for a key
)

// checkPath says what is wrong with a relative path that model data asks for
// (spec §2.1), or nothing. The words fit behind "Entry %q ".
func checkPath(path string) string {
	switch {
	case strings.HasPrefix(path, "/"):
		return "has an absolute path"
	case len(path) > maxPath:
		return "has a path longer than 1024 bytes"
	case !utf8.ValidString(path):
		return "has a name that is not UTF-8"
	}
	for _, r := range path {
		if unicode.IsControl(r) || isBidi(r) {
			return "has a name with control characters"
		}
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "":
			return "has an empty name in its path"
		case name == "." || name == "..":
			return "has \".\" or \"..\" in its path"
		case len(name) > maxName:
			return "has a name longer than 255 bytes"
		}
	}
	return ""
}

// isBidi finds the characters that make a name read differently than it is.
func isBidi(r rune) bool {
	return r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f
}

// brief keeps hostile names in messages short.
func brief(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

// tree remembers which paths a model has, to count them and to refuse one that
// is asked for twice or as a file and a directory.
type tree struct {
	paths map[string]bool // true: a directory
	max   int
	what  string // how an entry is called in messages
}

// add takes a path with its parents and returns a fault that names it. A
// directory may be named again.
func (t *tree) add(path string, dir bool) error {
	if wrong := checkPath(path); wrong != "" {
		return t.refuse(path, wrong)
	}
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if err := t.put(path, path[:i], true); err != nil {
			return err
		}
	}
	return t.put(path, path, dir)
}

func (t *tree) put(entry, path string, dir bool) error {
	wasDir, known := t.paths[path]
	switch {
	case known && wasDir && dir:
		return nil
	case known && wasDir != dir:
		return t.refuse(entry, "is a file where there is a directory, or the other way round")
	case known:
		return t.refuse(entry, "is there twice")
	case len(t.paths) >= t.max:
		return fault.New(fault.Invalid, "%s %q is one too many: model data may have %d files and directories.", t.what,
			brief(entry), t.max)
	}
	t.paths[path] = dir
	return nil
}

func (t *tree) refuse(path, why string) error {
	return fault.New(fault.Invalid, "%s %q %s.", t.what, brief(path), why)
}
