package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

// member is an entry of a test's archive: a header with its content, or bytes
// as they are.
type member struct {
	tar.Header
	content string
	raw     []byte
}

func file(name, content string) member {
	return member{
		Header:  tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content))},
		content: content,
	}
}

func dir(name string) member {
	return member{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

func special(kind byte, name, target string) member {
	return member{Header: tar.Header{Name: name, Typeflag: kind, Linkname: target, Mode: 0o777}}
}

func pax(m member, records map[string]string) member {
	m.PAXRecords = records
	m.Format = tar.FormatPAX
	return m
}

// block is one raw header block, with a checksum that holds.
func block(name string, kind byte, size int64, content string) member {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], "0000644\x000000000\x000000000\x00")
	copy(b[124:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
	copy(b[148:], "        ")
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	b = append(b, content...)
	return member{raw: append(b, make([]byte, (512-len(content)%512)%512)...)}
}

// plain is the tar stream; without end it lacks the two blocks of zeros.
func plain(t testing.TB, end bool, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		if m.raw != nil {
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			b.Write(m.raw)
			continue
		}
		if err := w.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if end {
		b.Write(make([]byte, 1024))
	}
	return b.Bytes()
}

func zip(t testing.TB, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	for _, p := range parts {
		if _, err := w.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func archive(t testing.TB, members ...member) []byte {
	t.Helper()
	return zip(t, plain(t, true, members...))
}

// goodArchive has all that is allowed.
func goodArchive(t testing.TB) []byte {
	t.Helper()
	run := file("./code/run.sh", "#!")
	run.Mode = 0o6755
	comment := member{Header: tar.Header{
		Typeflag:   tar.TypeXGlobalHeader,
		PAXRecords: map[string]string{"comment": "from git"},
	}}
	return archive(t, comment, dir("./"), dir("./code/"), run, file("./model.onnx", "weights"), file("new/deep/a", "A"),
		dir("new/"))
}

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
