package bundle

import (
	"bytes"
	"strconv"
)

const (
	block    = 512
	maxName  = 100       // bytes, what a plain ustar header takes
	maxOctal = 1<<33 - 1 // the largest size in eleven octal digits
)

// checkName holds a file name to what every file system and shell takes, so
// that it means the same everywhere and never leaves its directory.
func checkName(name string) error {
	switch {
	case name == "":
		return refuse("The package has a file without a name.")
	case len(name) > maxName:
		return refuse("The package has a file name longer than %d bytes: %q.", maxName, brief(name))
	case bytes.ContainsAny([]byte(name), `/\\`):
		return refuse("The package has a file %q; a package has no folders.", name)
	case name[0] == '.' || name[0] == '-':
		return refuse("The package has a file %q; names may not begin with %q.", name, name[:1])
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case bytes.IndexByte([]byte("._-+=@,:#~ "), c) >= 0:
		default:
			return refuse("The package has a file name with the character %q: %q.", c, name)
		}
	}
	if name[len(name)-1] == ' ' || name[len(name)-1] == '.' {
		return refuse("The package has a file %q; names may not end with %q.", name, name[len(name)-1:])
	}
	return nil
}

// CheckName reports, as an Error, why a package can't have a file of this name.
func CheckName(name string) error { return checkName(name) }

// header returns the only header that an entry can have.
func header(name string, size int64) [block]byte {
	var h [block]byte
	copy(h[0:100], name)
	copy(h[100:], "0000444\x00") // mode
	copy(h[108:], "0000000\x00") // uid
	copy(h[116:], "0000000\x00") // gid
	octal(h[124:135], size)
	octal(h[136:147], 0) // mtime
	copy(h[148:], "        ")
	h[156] = '0' // a regular file
	copy(h[257:], "ustar\x0000")
	copy(h[329:], "0000000\x00") // device numbers
	copy(h[337:], "0000000\x00")
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	octal(h[148:154], sum)
	h[154], h[155] = 0, ' '
	return h
}

func octal(to []byte, n int64) {
	s := strconv.FormatInt(n, 8)
	for i := range to {
		to[i] = '0'
	}
	copy(to[len(to)-len(s):], s)
}

// headerSize reads the size of an entry whose name is already known to be
// name, and tells whether the header is the one that such an entry has.
func headerSize(h *[block]byte, name string) (int64, bool) {
	size, err := strconv.ParseUint(string(h[124:135]), 8, 33)
	if err != nil {
		return 0, false
	}
	return int64(size), *h == header(name, int64(size))
}

// padding returns the zeros that follow content of the given size.
func padding(size int64) int64 { return (block - size%block) % block }

func entryLength(size int64) int64 { return block + size + padding(size) }

// endMark is the length of the zeros that end a tar stream.
const endMark = 2 * block

// payloadLength is how long the payload is when it is decompressed.
func (m *Manifest) payloadLength() int64 {
	n := int64(endMark)
	for _, f := range m.Files {
		n += entryLength(f.Size)
	}
	return n
}
