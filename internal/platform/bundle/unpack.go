package bundle

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// Sink takes the files of a package. The caller throws all of them away when
// Unpack fails.
type Sink interface {
	// Create makes a file that will have size bytes. Close makes it whole: it
	// is called only when the content is what the manifest says. A writer that
	// must let go of something otherwise has a method Abort().
	Create(name string, size int64) (io.WriteCloser, error)
}

// Unpack reads a package to its end and gives its files, the three of the head
// first, to the sink: first the signature is verified, then the manifest, then
// each file against it. A package that is refused is an *Error; other errors
// are those of r, of the sink, or of ctx, and trying again may help.
func (v *Verifier) Unpack(ctx context.Context, r io.Reader, into Sink) (Manifest, error) {
	u := newUnpacking(ctx, r)
	h, err := u.head(v.Limits.withDefaults())
	if err != nil {
		return Manifest{}, u.why(err)
	}
	m, err := v.manifest(h.manifest, h.sig, h.chain)
	if err != nil {
		return Manifest{}, err
	}
	if err := h.write(into); err != nil {
		return Manifest{}, err
	}
	if err := u.payload(&m, into); err != nil {
		return Manifest{}, u.why(err)
	}
	return m, nil
}

// Head reads and verifies only the head of a package: enough to know, before the
// rest is downloaded, what is in it and whether it will be wanted.
func (v *Verifier) Head(ctx context.Context, r io.Reader) (Manifest, error) {
	u := newUnpacking(ctx, r)
	h, err := u.head(v.Limits.withDefaults())
	if err != nil {
		return Manifest{}, u.why(err)
	}
	return v.manifest(h.manifest, h.sig, h.chain)
}

// unpacking is the work on one package.
type unpacking struct {
	in  *untrusted.Reader
	raw *bufio.Reader
	crc hash.Hash32
	n   int64 // bytes of the tar stream so far
	buf []byte
}

func newUnpacking(ctx context.Context, r io.Reader) *unpacking {
	in := untrusted.NewReader(ctx, r)
	return &unpacking{in: in, raw: bufio.NewReaderSize(in, 64<<10), crc: crc32.NewIEEE(), buf: make([]byte, 64<<10)}
}

var errTruncated = refuse("The package is truncated.")

// why tells a package that is wrong from a source that failed.
func (u *unpacking) why(err error) error {
	if u.in.Err() != nil {
		return fmt.Errorf("read package: %w", u.in.Err())
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTruncated
	}
	return err
}

type headFiles struct{ manifest, sig, chain []byte }

func (h *headFiles) write(into Sink) error {
	for _, f := range []struct {
		name    string
		content []byte
	}{{ManifestName, h.manifest}, {SignatureName, h.sig}, {ChainName, h.chain}} {
		w, err := into.Create(f.name, int64(len(f.content)))
		if err != nil {
			return fmt.Errorf("create %s: %w", f.name, err)
		}
		if _, err := w.Write(f.content); err != nil {
			abort(w)
			return fmt.Errorf("write %s: %w", f.name, err)
		}
		if err := w.Close(); err != nil {
			return fmt.Errorf("close %s: %w", f.name, err)
		}
	}
	return nil
}

func abort(w io.WriteCloser) {
	if a, ok := w.(interface{ Abort() }); ok {
		a.Abort()
	}
}

const sigSize = 64 // of Ed25519

func (u *unpacking) head(l Limits) (h headFiles, err error) {
	var magic [len(gzipHeader)]byte
	if _, err := io.ReadFull(u.raw, magic[:]); err != nil {
		return h, err
	}
	if magic != gzipHeader {
		return h, refuse("This is not a package made by Slipway: it does not begin as one.")
	}
	stored := &storedReader{r: u.raw}
	for _, e := range []struct {
		name  string
		limit int64
		to    *[]byte
	}{{ManifestName, l.Manifest, &h.manifest}, {SignatureName, sigSize, &h.sig}, {ChainName, l.Chain, &h.chain}} {
		if *e.to, err = u.headEntry(stored, e.name, e.limit); err != nil {
			return h, err
		}
	}
	if !stored.atEnd() {
		return h, refuse("The head of the package is not in its canonical form.")
	}
	return h, nil
}

func (u *unpacking) headEntry(r io.Reader, name string, limit int64) ([]byte, error) {
	var hdr [block]byte
	if _, err := io.ReadFull(r, hdr[:]); err != nil {
		return nil, err
	}
	size, ok := headerSize(&hdr, name)
	if !ok {
		return nil, wrongEntry(&hdr, name)
	}
	if size > limit {
		return nil, refuse("The package's %s has %d bytes; the limit is %d.", name, size, limit)
	}
	b := make([]byte, size+padding(size))
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	if !untrusted.AllZero(b[size:]) {
		return nil, refuse("The package has data after the end of %s.", name)
	}
	_, _ = u.crc.Write(hdr[:]) // a hash takes everything
	_, _ = u.crc.Write(b)
	u.n += int64(block + len(b))
	return b[:size:size], nil
}

// storedReader reads stored blocks of deflate, all full but perhaps the last.
type storedReader struct {
	r    io.Reader
	left int
	last bool // the block in hand is not full, so no other may follow
}

func (s *storedReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		var h [5]byte
		if _, err := io.ReadFull(s.r, h[:]); err != nil {
			return 0, err
		}
		n := int(h[1]) | int(h[2])<<8
		if s.last || n == 0 || !bytes.Equal(h[:], storedHeader(n)) {
			return 0, refuse("The head of the package is not in its canonical form.")
		}
		s.left, s.last = n, n < maxStored
	}
	n, err := s.r.Read(p[:min(len(p), s.left)])
	s.left -= n
	return n, err
}

func (s *storedReader) atEnd() bool { return s.left == 0 }

// payload unpacks the model's files. Everything about them but their content
// is known from the manifest.
func (u *unpacking) payload(m *Manifest, into Sink) error {
	sum := sha256.New()
	packed := &io.LimitedReader{R: u.raw, N: m.Payload.Size}
	buffered := bufio.NewReaderSize(io.TeeReader(packed, sum), 64<<10)
	inflate := flate.NewReader(buffered)
	tar := io.TeeReader(inflate, u.crc)
	for _, f := range m.Files {
		if err := u.file(tar, f, into); err != nil {
			return damaged(err)
		}
	}
	var end [endMark]byte
	if _, err := io.ReadFull(tar, end[:]); err != nil {
		return damaged(err)
	}
	if !untrusted.AllZero(end[:]) {
		return wrongEntry((*[block]byte)(end[:block]), "")
	}
	if n, err := inflate.Read(end[:1]); n > 0 || !errors.Is(err, io.EOF) {
		return damaged(cmpErr(err, refuse("The package has data after its end.")))
	}
	if _, err := buffered.ReadByte(); err == nil || packed.N > 0 {
		return refuse("The package has data after its end.")
	}
	if hexSum(sum) != m.Payload.SHA256 {
		return refuse("The package was changed after it was signed: its content has another digest.")
	}
	u.n += m.payloadLength()
	return u.end()
}

func cmpErr(err, otherwise error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return otherwise
}

// damaged gives what the decompressor says a sentence.
func damaged(err error) error {
	if _, ok := errors.AsType[flate.CorruptInputError](err); ok {
		return refuse("The package is damaged: it cannot be decompressed.").because(err)
	}
	return err
}

func (u *unpacking) end() error {
	var t [8]byte
	if _, err := io.ReadFull(u.raw, t[:]); err != nil {
		return err
	}
	if !bytes.Equal(t[:], trailer(u.crc, u.n)) {
		return refuse("The package is damaged: its checksum is wrong.")
	}
	if _, err := u.raw.ReadByte(); err == nil {
		return refuse("The package has data after its end.")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (u *unpacking) file(tar io.Reader, f File, into Sink) error {
	var hdr [block]byte
	if _, err := io.ReadFull(tar, hdr[:]); err != nil {
		return err
	}
	if hdr != header(f.Path, f.Size) {
		return wrongEntry(&hdr, f.Path)
	}
	w, err := into.Create(f.Path, f.Size)
	if err != nil {
		return fmt.Errorf("create %s: %w", f.Path, err)
	}
	if err := u.content(tar, f, w); err != nil {
		abort(w)
		return err
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("close %s: %w", f.Path, err)
	}
	var pad [block]byte
	rest := pad[:padding(f.Size)]
	if _, err := io.ReadFull(tar, rest); err != nil {
		return err
	}
	if !untrusted.AllZero(rest) {
		return refuse("The package has data after the end of %s.", f.Path)
	}
	return nil
}

func (u *unpacking) content(tar io.Reader, f File, w io.Writer) error {
	sum := sha256.New()
	for left := f.Size; left > 0; {
		n, err := io.ReadFull(tar, u.buf[:min(left, int64(len(u.buf)))])
		if err != nil {
			return err
		}
		_, _ = sum.Write(u.buf[:n]) // a hash takes everything
		if _, err := w.Write(u.buf[:n]); err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		left -= int64(n)
	}
	if hexSum(sum) != f.SHA256 {
		return refuse("The file %q is not the one that was signed: its digest is wrong.", f.Path)
	}
	return nil
}

// wrongEntry says what an entry is that is not the expected one; want is ""
// at the end of the package.
func wrongEntry(h *[block]byte, want string) *Error {
	name := brief(string(bytes.TrimRight(h[:maxName], "\x00")))
	if untrusted.AllZero(h[:]) {
		return refuse("The package ends before %q, which its manifest lists.", want)
	}
	switch h[156] {
	case '1', '2':
		return refuse("The package has a link %q; packages may have files only.", name)
	case '3', '4', '6':
		return refuse("The package has a device or pipe %q; packages may have files only.", name)
	case '5', 'D':
		return refuse("The package has a folder %q; packages may have files only.", name)
	case 'x', 'g', 'L', 'K', 'S', 'V', 'M':
		return refuse("The package has an extended tar header or a sparse file (type %q), which packages may not have.",
			h[156])
	}
	if err := checkName(name); err != nil {
		return refuse("%s", err.Error())
	}
	switch name {
	case "":
		return refuse("The package has an entry without a name.")
	case want:
		return refuse("The entry of %q is not in its canonical form, or has another size than its manifest says.", name)
	}
	if want == "" {
		return refuse("The package has the file %q, which its manifest does not list.", name)
	}
	return refuse("The package has the file %q where %q should be.", name, want)
}
