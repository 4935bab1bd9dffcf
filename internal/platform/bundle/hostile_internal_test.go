package bundle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"time"
)

// forge packs any tar stream under a good signature: what is left to an
// attacker who has a key, and to a bug in whoever makes packages.
func forge(t testing.TB, k *Key, m Manifest, stream []byte, after ...byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	d, err := newDeflater(&packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Write(stream); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	packed.Write(after)
	sum := sha256.Sum256(packed.Bytes())
	m.Payload = Payload{Size: int64(packed.Len()), SHA256: hexOf(sum[:])}
	head, err := makeHead(t.Context(), &m, k)
	if err != nil {
		t.Fatal(err)
	}
	var pkg bytes.Buffer
	pkg.Write(gzipHeader[:])
	_ = writeStored(&pkg, head) // memory
	pkg.Write(packed.Bytes())
	crc := crc32.NewIEEE()
	_, _ = crc.Write(append(head[:len(head):len(head)], stream...))
	pkg.Write(trailer(crc, int64(len(head)+len(stream))))
	return pkg.Bytes()
}

func authorityWithKey(t testing.TB) (*Authority, *Key) {
	t.Helper()
	auth, err := NewAuthority("root", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	k, err := auth.NewKey(1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return auth, k
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func hostileManifest() Manifest {
	sum := sha256.Sum256([]byte("weights"))
	return Manifest{
		Version: 1, Metadata: Metadata{ModelName: "m", ModelVersion: "1", Serial: 1, Key: 1, Runtime: RuntimeONNX},
		Inputs: []Tensor{}, Outputs: []Tensor{},
		Files: []File{{"a.bin", 7, hexOf(sum[:])}, {"b.bin", 7, hexOf(sum[:])}},
	}
}

func entry(name, content string) []byte {
	h := header(name, int64(len(content)))
	b := append(h[:], content...)
	return append(b, make([]byte, padding(int64(len(content))))...)
}

func byTar(t *testing.T, h *tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type nowhere struct{ made []string }

func (n *nowhere) Create(name string, _ int64) (io.WriteCloser, error) {
	n.made = append(n.made, name)
	return n, nil
}
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) Close() error                { return nil }

type hostileStream struct {
	stream []byte
	want   string
}

func hostileStreams(t *testing.T) map[string]hostileStream {
	a, b, end := entry("a.bin", "weights"), entry("b.bin", "weights"), make([]byte, endMark)
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	changed := func(of []byte, at int, to byte) []byte {
		of = bytes.Clone(of)
		of[at] = to
		return of
	}
	return map[string]hostileStream{
		"as it should be": {join(a, b, end), ""},
		"a file twice":    {join(a, a, b, end), `has the file "a.bin" where "b.bin" should be`},
		"the wrong order": {join(b, a, end), `has the file "b.bin" where "a.bin"`},
		"a file too many": {
			join(a, b, entry("c.bin", ""), end), `the file "c.bin", which its manifest does not list`,
		},
		"a file too few": {join(a, end), `ends before "b.bin"`},
		"other content":  {join(a, entry("b.bin", "WEIGHTS"), end), "digest is wrong"},
		"another size":   {join(a, entry("b.bin", "weights!"), end), "not in its canonical form"},
		"traversal": {
			join(a, byTar(t, &tar.Header{Name: "../b.bin", Size: 7, Mode: 0o444}), end), "no folders",
		},
		"an absolute name": {
			join(a, byTar(t, &tar.Header{Name: "/b.bin", Size: 7, Mode: 0o444}), end), "no folders",
		},
		"a symbolic link": {
			join(a, byTar(t, &tar.Header{Name: "b.bin", Linkname: "/etc/passwd", Typeflag: tar.TypeSymlink}), end),
			"has a link",
		},
		"a hard link": {
			join(a, byTar(t, &tar.Header{Name: "b.bin", Linkname: "a.bin", Typeflag: tar.TypeLink}), end), "has a link",
		},
		"a device": {
			join(a, byTar(t, &tar.Header{Name: "b.bin", Typeflag: tar.TypeChar}), end), "device or pipe",
		},
		"a pipe": {
			join(a, byTar(t, &tar.Header{Name: "b.bin", Typeflag: tar.TypeFifo}), end), "device or pipe",
		},
		"a folder": {
			join(a, byTar(t, &tar.Header{Name: "b.bin/", Typeflag: tar.TypeDir}), end), "has a folder",
		},
		"a sparse file": {join(a, changed(b, 156, 'S'), end), "sparse"},
		"a PAX header": {
			join(a, byTar(t, &tar.Header{Name: strings.Repeat("é", 200), Format: tar.FormatPAX}), end),
			"extended tar header",
		},
		"a GNU long name": {
			join(a, byTar(t, &tar.Header{Name: strings.Repeat("n", 200), Format: tar.FormatGNU}), end),
			"extended tar header",
		},
		"another mode":                 {join(a, changed(b, 104, '7'), end), "not in its canonical form"},
		"another owner":                {join(a, changed(b, 110, '7'), end), "not in its canonical form"},
		"a size in base 256":           {join(a, changed(b, 124, 0x80), end), "not in its canonical form"},
		"a hidden name in the padding": {join(a, changed(b, len(b)-1, 'x'), end), "data after the end of b.bin"},
		"a short end mark":             {join(a, b, end[:512]), "truncated"},
		"a long end mark":              {join(a, b, end, end), "data after its end"},
	}
}

func TestASignedPackageIsNotTrustedToBeWellFormed(t *testing.T) {
	auth, k := authorityWithKey(t)
	v := &Verifier{Roots: []*x509.Certificate{auth.Root}}
	for name, c := range hostileStreams(t) {
		t.Run(name, func(t *testing.T) {
			_, err := v.Unpack(t.Context(), bytes.NewReader(forge(t, k, hostileManifest(), c.stream)), &nowhere{})
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || !strings.Contains(e.Reason, c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestBytesBehindTheCompressedStreamAreRefusedEvenWhenSigned(t *testing.T) {
	auth, k := authorityWithKey(t)
	v := &Verifier{Roots: []*x509.Certificate{auth.Root}}
	good := bytes.Join([][]byte{entry("a.bin", "weights"), entry("b.bin", "weights"), make([]byte, endMark)}, nil)
	_, err := v.Unpack(t.Context(), bytes.NewReader(forge(t, k, hostileManifest(), good, 1, 2, 3)), &nowhere{})
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Reason, "data after its end") {
		t.Error(err)
	}
}

func TestNothingIsUnpackedBeforeTheSignatureIsJudged(t *testing.T) {
	_, k := authorityWithKey(t)
	pkg := forge(t, k, hostileManifest(), nil)
	var n nowhere
	if _, err := new(Verifier).Unpack(t.Context(), bytes.NewReader(pkg), &n); err == nil || len(n.made) > 0 {
		t.Errorf("made %q, then: %v", n.made, err)
	}
}

func TestManifestsThatBreakARuleAreRefused(t *testing.T) {
	long := strings.Repeat("x", 200)
	set := func(change func(*Manifest)) Manifest {
		m := hostileManifest()
		m.Payload = Payload{Size: 100, SHA256: m.Files[0].SHA256}
		change(&m)
		return m
	}
	cases := map[string]struct {
		m    Manifest
		want string
	}{
		"no model name":      {set(func(m *Manifest) { m.Metadata.ModelName = "" }), "does not name the model"},
		"an unknown runtime": {set(func(m *Manifest) { m.Metadata.Runtime = "sh" }), "runtime"},
		"its own floor":      {set(func(m *Manifest) { m.Metadata.Floor = 2 }), "floor"},
		"its own key":        {set(func(m *Manifest) { m.Metadata.MinKey = 2 }), "revokes"},
		"no files":           {set(func(m *Manifest) { m.Files = nil }), "no files"},
		"twice":              {set(func(m *Manifest) { m.Files[1].Path = "a.bin" }), "twice"},
		"twice but for case": {set(func(m *Manifest) { m.Files[0].Path, m.Files[1].Path = "A.bin", "a.bin" }), "twice"},
		"out of order":       {set(func(m *Manifest) { m.Files[0].Path, m.Files[1].Path = "b.bin", "a.bin" }), "order"},
		"traversal":          {set(func(m *Manifest) { m.Files[0].Path = "../a" }), "folders"},
		"a folder":           {set(func(m *Manifest) { m.Files[0].Path = "a/b" }), "folders"},
		"a backslash":        {set(func(m *Manifest) { m.Files[0].Path = `a\b` }), "folders"},
		"a control byte":     {set(func(m *Manifest) { m.Files[0].Path = "a\x00b" }), "character"},
		"an option":          {set(func(m *Manifest) { m.Files[0].Path = "-rf" }), "begin"},
		"a long name":        {set(func(m *Manifest) { m.Files[0].Path = long }), "longer"},
		"a name of the head": {
			set(func(m *Manifest) { m.Files[1].Path = "sagemaker_edge_manifest.sig" }), "kept for the package",
		},
		"a negative size":  {set(func(m *Manifest) { m.Files[0].Size = -1 }), "bytes"},
		"a size too large": {set(func(m *Manifest) { m.Files[0].Size = 1 << 40 }), "limit"},
		"sizes that overflow": {set(func(m *Manifest) {
			m.Files[0].Size, m.Files[1].Size = 4<<30, 4<<30
		}), "limit of a package"},
		"no digest": {set(func(m *Manifest) { m.Files[0].SHA256 = "00" }), "digest"},
		"an upper-case digest": {set(func(m *Manifest) {
			m.Files[0].SHA256 = strings.ToUpper(m.Files[0].SHA256)
		}), "digest"},
		"no payload": {set(func(m *Manifest) { m.Payload = Payload{} }), "payload"},
		"a bomb":     {set(func(m *Manifest) { m.Files[0].Size = 1 << 30 }), "1000 times"},
	}
	for name, c := range cases {
		err := c.m.check(Limits{}.withDefaults())
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Reason, c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(
		[]byte(
			`{"manifest_version":1,"metadata":{"model_name":"m","model_version":"1","runtime":"onnx"},` +
				`"files":[{"path":"a","size":1,"sha256":"00"}]}`,
		),
	)
	f.Add([]byte(`{"manifest_version":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b, Limits{})
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeManifest(text, Limits{})
		twice, _ := json.Marshal(again) // as above
		if err != nil || !bytes.Equal(text, twice) {
			t.Fatalf("written again it is another: %v\n%s\n%s", err, text, twice)
		}
		for _, f := range m.Files {
			if strings.ContainsAny(f.Path, "/\\\x00") || f.Path == "" || f.Path == ".." || f.Size < 0 {
				t.Fatalf("accepted file %+v", f)
			}
		}
	})
}

// The fuzzer has the key: it gets past the signature, to what a signed tar
// stream may do, and mutates raw packages too.
func FuzzUnpack(f *testing.F) {
	auth, k := authorityWithKey(f)
	good := bytes.Join([][]byte{entry("a.bin", "weights"), entry("b.bin", "weights"), make([]byte, endMark)}, nil)
	whole := forge(f, k, hostileManifest(), good)
	f.Add(true, good)
	f.Add(false, whole)
	v := &Verifier{Roots: []*x509.Certificate{auth.Root}}
	f.Fuzz(func(t *testing.T, signed bool, b []byte) {
		pkg, same := b, bytes.Equal(b, whole)
		if signed {
			pkg, same = forge(t, k, hostileManifest(), b), bytes.Equal(b, good)
		}
		_, err := v.Unpack(context.Background(), bytes.NewReader(pkg), &nowhere{})
		if _, ok := errors.AsType[*Error](err); !ok && !same {
			t.Fatalf("got %v", err)
		}
	})
}
