package objects

import (
	"strings"
	"unicode/utf8"

	"github.com/slipway-ml/slipway/internal/domain/fault"
)

// A key's path has a directory for each of its segments but the last, which
// names the file; the first letter of a name says which it is. So "a", "a/",
// "a/b" and "a//b" can all exist, and no name is special to the file system:
//
//	a/../b  →  da/d../ob
//	x/      →  dx/o
//
// A segment of at least chunk bytes is cut into pieces: "c" and a piece for
// each directory, then the rest as above. Every key that has the piece in that
// place goes through the same directory, so that reading directories in order
// reads keys in order.
const (
	isFile  = 'o'
	isDir   = 'd'
	isChunk = 'c'

	chunk = 80 // bytes; up to three times that when encoded

	maxKey = 1024 // bytes, S3's limit
)

// CheckKey refuses what cannot be a key.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fault.New(fault.Invalid, "A key must not be empty.")
	case len(key) > maxKey:
		return fault.New(fault.Limit, "Your key is too long").Because(ErrLongKey)
	case !utf8.ValidString(key):
		return fault.New(fault.Invalid, "A key must be UTF-8.")
	}
	return nil
}

// keyPath returns the path of a key's file below its bucket's objects.
func keyPath(key string) string {
	var b strings.Builder
	for {
		seg, rest, more := strings.Cut(key, "/")
		for len(seg) >= chunk {
			b.WriteByte(isChunk)
			escape(&b, seg[:chunk])
			b.WriteByte('/')
			seg = seg[chunk:]
		}
		if !more {
			b.WriteByte(isFile)
			escape(&b, seg)
			return b.String()
		}
		b.WriteByte(isDir)
		escape(&b, seg)
		b.WriteByte('/')
		key = rest
	}
}

// escape writes s with every byte encoded that a file system, a shell or a
// person could misread.
func escape(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
}

func plain(c byte) bool {
	return alnum(c) || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.' || c == '='
}

// entry is a name in a directory of objects.
type entry struct {
	name string // on disk
	text string // what it adds to the key: a segment, a segment and "/", or a piece
	file bool
}

// parseName reads a name on disk; ok is false for one that keyPath never writes.
func parseName(name string) (e entry, ok bool) {
	if name == "" {
		return e, false
	}
	text, ok := unescape(name[1:])
	e = entry{name: name, text: text}
	switch name[0] {
	case isFile:
		e.file = true
	case isDir:
		e.text += "/"
	case isChunk:
		ok = ok && len(text) == chunk
	default:
		return e, false
	}
	return e, ok
}

func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '%' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := strings.IndexByte("0123456789ABCDEF", s[i+1]), strings.IndexByte("0123456789ABCDEF", s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b = append(b, c)
	}
	return string(b), true
}
