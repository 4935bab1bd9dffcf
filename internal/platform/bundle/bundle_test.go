package bundle_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

var t0 = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// authority makes a root and its first key.
func authority(t testing.TB) (*bundle.Authority, *bundle.Key) {
	t.Helper()
	a, err := bundle.NewAuthority("Test root", t0)
	if err != nil {
		t.Fatal(err)
	}
	return a, key(t, a, 1)
}

func key(t testing.TB, a *bundle.Authority, number uint64) *bundle.Key {
	t.Helper()
	k, err := a.NewKey(number, t0)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func trusting(as ...*bundle.Authority) *bundle.Verifier {
	v := &bundle.Verifier{}
	for _, a := range as {
		v.Roots = append(v.Roots, a.Root)
	}
	return v
}

func manifest(serial uint64) bundle.Manifest {
	return bundle.Manifest{Metadata: bundle.Metadata{
		ModelName: "digits", ModelVersion: "1.0", PackagingJob: "pack", CompilationJob: "compile",
		Created: "2026-11-22T00:00:00Z",
		Serial:  serial, Key: 1, Runtime: bundle.RuntimeONNX, Target: bundle.Target{OS: "LINUX", Arch: "X86_64"},
	}, Inputs: []bundle.Tensor{{Name: "x", DataType: "FLOAT32", Shape: []int64{-1, 64}}}}
}

func pack(t testing.TB, m bundle.Manifest, s bundle.Signer, files ...bundle.Source) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := bundle.Write(t.Context(), &b, m, files, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var twoFiles = []bundle.Source{
	bundle.Bytes("model.onnx", bytes.Repeat([]byte("weights "), 99)),
	bundle.Bytes("golden.json", []byte(`{"cases":[]}`)),
}

// memory is a Sink that keeps what was made whole.
type memory struct {
	files   fstest.MapFS
	aborted int
	full    error // what Write fails with
}

func newMemory() *memory { return &memory{files: fstest.MapFS{}} }

type memoryFile struct {
	bytes.Buffer
	to   *memory
	name string
}

func (f *memoryFile) Write(p []byte) (int, error) {
	if f.to.full != nil {
		return 0, f.to.full
	}
	return f.Buffer.Write(p)
}

func (f *memoryFile) Close() error {
	f.to.files[f.name] = &fstest.MapFile{Data: f.Bytes(), Mode: 0o444}
	return nil
}

func (f *memoryFile) Abort() { f.to.aborted++ }

func (s *memory) Create(name string, _ int64) (io.WriteCloser, error) {
	return &memoryFile{to: s, name: name}, nil
}

func unpack(t testing.TB, v *bundle.Verifier, pkg []byte) (*memory, bundle.Manifest, error) {
	t.Helper()
	s := newMemory()
	m, err := v.Unpack(t.Context(), bytes.NewReader(pkg), s)
	return s, m, err
}

// wantRefused checks that err is a sentence with some words in it.
func wantRefused(t *testing.T, err error, words string) {
	t.Helper()
	e, ok := errors.AsType[*bundle.Error](err)
	if !ok || !strings.Contains(e.Reason, words) {
		t.Errorf("got %T %v, want a bundle.Error about %q", err, err, words)
	}
}

func TestAPackageComesOutAsItWentIn(t *testing.T) {
	a, k := authority(t)
	s, m, err := unpack(t, trusting(a), pack(t, manifest(7), k, twoFiles...))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.files) != 5 || string(s.files["golden.json"].Data) != `{"cases":[]}` ||
		len(s.files["model.onnx"].Data) != 8*99 {
		t.Fatalf("unpacked %v", s.files)
	}
	if m.Metadata.Serial != 7 || m.Version != 1 || len(m.Files) != 2 || m.Files[0].Path != "golden.json" ||
		m.Size() != 8*99+12 {
		t.Fatalf("manifest %+v", m)
	}
	again, err := trusting(a).Check(t.Context(), s.files)
	if err != nil || again.Metadata.Serial != 7 {
		t.Fatalf("check of the unpacked directory: %+v, %v", again, err)
	}
}

func TestTheSameFilesMakeTheSameBytes(t *testing.T) {
	_, k := authority(t)
	if !bytes.Equal(pack(t, manifest(1), k, twoFiles[0], twoFiles[1]),
		pack(t, manifest(1), k, twoFiles[1], twoFiles[0])) {
		t.Error("two packages of the same files differ")
	}
}

func TestAnEmptyFileAndALargeHeadAreFine(t *testing.T) {
	a, k := authority(t)
	files := []bundle.Source{bundle.Bytes("empty", nil)}
	for i := range 900 { // more than one stored block of manifest
		files = append(files, bundle.Bytes(fmt.Sprintf("layer.%s.%d", strings.Repeat("x", 60), i), []byte{byte(i)}))
	}
	s, _, err := unpack(t, trusting(a), pack(t, manifest(1), k, files...))
	if err != nil || len(s.files) != 904 {
		t.Fatalf("%d files, %v", len(s.files), err)
	}
	if len(s.files[bundle.ManifestName].Data) < 65536 {
		t.Fatal("the manifest is too short for what this tests")
	}
}

// The promise that a signature is worth: any byte that is not the one that was
// written is noticed, wherever it is, compression and padding included.
func TestAPackageWithAnyOneByteFlippedIsRefused(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	v := trusting(a)
	for i := range pkg {
		for _, flip := range []byte{1, 1 << (i % 8), 0x80, 0xff} {
			bad := bytes.Clone(pkg)
			bad[i] ^= flip
			_, _, err := unpack(t, v, bad)
			if _, ok := errors.AsType[*bundle.Error](err); !ok {
				t.Fatalf("byte %d of %d, flipped by %#x: got %v", i, len(pkg), flip, err)
			}
		}
	}
}

func TestAnUnpackedDirectoryWithAnyOneByteFlippedIsRefused(t *testing.T) {
	a, k := authority(t)
	v := trusting(a)
	s, _, err := unpack(t, v, pack(t, manifest(1), k, twoFiles...))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range s.files {
		for i := range f.Data {
			f.Data[i] ^= 1
			if _, err := v.Check(t.Context(), s.files); err == nil {
				t.Fatalf("byte %d of %s was flipped, and nobody noticed", i, name)
			}
			f.Data[i] ^= 1
		}
	}
}

func TestAPackageCutAnywhereIsTruncated(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	for i := range pkg {
		_, _, err := unpack(t, trusting(a), pkg[:i])
		wantRefused(t, err, "truncated")
	}
}

func TestBytesAfterTheEndAreRefused(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	for _, more := range [][]byte{{0}, pkg} {
		_, _, err := unpack(t, trusting(a), append(bytes.Clone(pkg), more...))
		wantRefused(t, err, "after its end")
	}
}

func TestTheHeadAloneTellsWhatIsInAPackage(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(5), k, bundle.Bytes("model.onnx", weights(1<<20)))
	m, err := trusting(a).Head(t.Context(), bytes.NewReader(pkg[:8192]))
	if err != nil || m.Metadata.Serial != 5 || m.Size() != 1<<20 {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestAnUnknownOrForgottenRootIsNotTrusted(t *testing.T) {
	a, k := authority(t)
	b, _ := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	if _, _, err := unpack(t, trusting(b, a), pkg); err != nil {
		t.Errorf("one of two roots: %v", err)
	}
	_, _, err := unpack(t, trusting(b), pkg)
	wantRefused(t, err, "does not trust")
	_, _, err = unpack(t, trusting(), pkg)
	wantRefused(t, err, "does not trust")
}

func TestARevokedKeyAndAnOldSerialAreRefusedOnceTheDeviceLearnt(t *testing.T) {
	a, k1 := authority(t)
	k2 := key(t, a, 2)
	old := pack(t, manifest(5), k1, twoFiles...)
	m := manifest(9)
	m.Metadata.Key, m.Metadata.MinKey = 2, 2
	revoking := pack(t, m, k2, twoFiles...)
	m.Metadata.Serial, m.Metadata.MinKey, m.Metadata.Floor = 10, 0, 9
	raising := pack(t, m, k2, twoFiles...)

	v := trusting(a)
	learn := func(pkg []byte) {
		t.Helper()
		_, m, err := unpack(t, v, pkg)
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v.Trust.Learn(&m))
		if err != nil {
			t.Fatal(err)
		}
		v.Trust = bundle.Trust{}
		if err := json.Unmarshal(b, &v.Trust); err != nil { // it survives a restart
			t.Fatal(err)
		}
	}
	learn(old)
	learn(revoking)
	_, _, err := unpack(t, v, old)
	wantRefused(t, err, "key 1, which was revoked")

	v.Trust = bundle.Trust{}
	learn(raising)
	_, _, err = unpack(t, v, old)
	wantRefused(t, err, "too old")
	learn(revoking)
	learn(raising)
	if v.Trust.MinKey != 2 {
		t.Error("a newer package without a word about keys made a revoked key good again")
	}
}

// Whoever steals an old key must not be able to lock out the new ones.
func TestAKeyCannotRevokeKeysThatAreNewer(t *testing.T) {
	_, k := authority(t)
	m := manifest(1)
	m.Metadata.MinKey = 2
	_, err := bundle.Write(t.Context(), io.Discard, m, twoFiles, k)
	wantRefused(t, err, "revokes the key that signed it")
	m.Metadata.Key = 2
	_, err = bundle.Write(t.Context(), io.Discard, m, twoFiles, k)
	if err == nil || !strings.Contains(err.Error(), "signed by key 1") {
		t.Errorf("a key claimed the number of another: %v", err)
	}
}

func TestDatesCountOnlyForWhoTrustsItsClock(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	v := trusting(a)
	for _, now := range []time.Time{time.Unix(0, 0), t0.AddDate(60, 0, 0)} {
		v.Now, v.StrictTime = now, false
		if _, _, err := unpack(t, v, pkg); err != nil {
			t.Error(err)
		}
		v.StrictTime = true
		_, _, err := unpack(t, v, pkg)
		wantRefused(t, err, "is valid from")
	}
	v.Now = t0
	if _, _, err := unpack(t, v, pkg); err != nil {
		t.Error(err)
	}
}

func TestTheSignatureIsOneOfDSSE(t *testing.T) {
	_, k := authority(t)
	sig, _, err := k.Sign(t.Context(), []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := dsse.NewEnvelopeVerifier(verifier{k})
	if err != nil {
		t.Fatal(err)
	}
	e := &dsse.Envelope{PayloadType: bundle.PayloadType, Payload: base64.StdEncoding.EncodeToString([]byte("{}"))}
	e.Signatures = []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}}
	if _, err := v.Verify(t.Context(), e); err != nil {
		t.Error(err)
	}
}

func TestAFailureOfTheSinkOrTheSourceIsNotThePackagesFault(t *testing.T) {
	a, k := authority(t)
	pkg := pack(t, manifest(1), k, twoFiles...)
	full := errors.New("no space left")
	s := newMemory()
	s.full = full
	_, err := trusting(a).Unpack(t.Context(), bytes.NewReader(pkg), s)
	if _, ok := errors.AsType[*bundle.Error](err); ok || !errors.Is(err, full) || s.aborted == 0 {
		t.Errorf("full disk: %v, %d aborted", err, s.aborted)
	}
	reset := errors.New("connection reset")
	_, err = trusting(a).Unpack(t.Context(), io.MultiReader(bytes.NewReader(pkg[:2000]), broken{reset}), newMemory())
	if _, ok := errors.AsType[*bundle.Error](err); ok || !errors.Is(err, reset) {
		t.Errorf("broken connection: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := trusting(a).Unpack(ctx, bytes.NewReader(pkg), newMemory()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type broken struct{ error }

func (b broken) Read([]byte) (int, error) { return 0, b.error }

func TestRootsAreReadAsTheyAreExported(t *testing.T) {
	a, _ := authority(t)
	b, _ := authority(t)
	roots, err := bundle.ParseRoots(bundle.EncodeRoots(append(trusting(a).Roots, b.Root)))
	if err != nil || len(roots) != 2 || !roots[1].Equal(b.Root) {
		t.Errorf("%v, %v", roots, err)
	}
	_, err = bundle.ParseRoots([]byte("hello"))
	wantRefused(t, err, "something else")
}
