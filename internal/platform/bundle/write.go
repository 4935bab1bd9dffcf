package bundle

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// gzipHeader says deflate, no name, no time, unknown operating system. The
// ninth byte says that the compression was a fast one.
var gzipHeader = [10]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff}

// maxStored is the longest stored block of deflate, in bytes.
const maxStored = 65535

// Source is a file to put into a package. It is opened twice.
type Source struct {
	Name string
	Size int64
	Open func() (io.ReadCloser, error)
}

// Bytes makes a Source of content that is in memory.
func Bytes(name string, content []byte) Source {
	return Source{Name: name, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// Write writes a package and returns its manifest, with Version, Files and
// Payload filled in and files sorted. The same manifest, files, signature and
// release of Go give the same bytes. A manifest or a file that no Verifier
// with default limits would accept is an Error; what was written by then is
// not a package.
func Write(ctx context.Context, w io.Writer, m Manifest, files []Source, s Signer) (Manifest, error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b Source) int { return strings.Compare(a.Name, b.Name) })
	m.Version, m.Files = Version, make([]File, len(files))
	if m.Inputs == nil {
		m.Inputs = []Tensor{}
	}
	if m.Outputs == nil {
		m.Outputs = []Tensor{}
	}
	sum := sha256.New()
	decided, err := describe(ctx, &m, files, sum)
	if err != nil {
		return m, err
	}
	head, err := makeHead(ctx, &m, s)
	if err != nil {
		return m, err
	}
	crc := crc32.NewIEEE()
	_, _ = crc.Write(head) // a hash takes everything
	if _, err = w.Write(gzipHeader[:]); err == nil {
		err = writeStored(w, head)
	}
	if err != nil {
		return m, fmt.Errorf("write package: %w", err)
	}
	sum.Reset()
	unchanged := func(f *File, digest string) error {
		if digest != f.SHA256 {
			return fmt.Errorf("the file %q changed while it was packed", f.Path)
		}
		return nil
	}
	_, err = payload(ctx, packing{
		w: io.MultiWriter(w, sum), plain: crc, m: &m, files: files, decided: decided, done: unchanged,
	})
	if err != nil {
		return m, err
	}
	if hexSum(sum) != m.Payload.SHA256 {
		return m, errors.New("the compression gave two results for the same files")
	}
	if _, err := w.Write(trailer(crc, int64(len(head))+m.payloadLength())); err != nil {
		return m, fmt.Errorf("write package: %w", err)
	}
	return m, nil
}

// describe fills in the manifest's Files and Payload by packing the files once
// without keeping the result; what it decides about each, the second pass does.
func describe(ctx context.Context, m *Manifest, files []Source, sum hash.Hash) (decided []bool, err error) {
	for i, f := range files {
		m.Files[i] = File{Path: f.Name, Size: f.Size, SHA256: strings.Repeat("0", 64)}
	}
	// The names are checked before anything is read.
	m.Payload = Payload{Size: 1 << 62, SHA256: strings.Repeat("0", 64)}
	if err := m.check(Limits{}.withDefaults()); err != nil {
		return nil, err
	}
	size := new(tally)
	digested := func(f *File, digest string) error {
		f.SHA256 = digest
		return nil
	}
	decided, err = payload(ctx, packing{w: io.MultiWriter(sum, size), m: m, files: files, done: digested})
	if err != nil {
		return nil, err
	}
	m.Payload = Payload{Size: size.n, SHA256: hexSum(sum)}
	return decided, m.check(Limits{}.withDefaults())
}

// makeHead signs the manifest and returns the uncompressed head.
func makeHead(ctx context.Context, m *Manifest, s Signer) ([]byte, error) {
	manifest, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sig, chain, err := s.Sign(ctx, manifest)
	if err != nil {
		return nil, fmt.Errorf("sign package: %w", err)
	}
	certs, err := decodeChain(chain)
	if err == nil {
		// Nobody should find out on a device that this signature is no good.
		_, err = signed(certs, manifest, sig, Limits{})
	}
	if err != nil {
		return nil, fmt.Errorf("sign package: %w", err)
	}
	var head []byte
	for _, e := range []struct {
		name    string
		content []byte
	}{{ManifestName, manifest}, {SignatureName, sig}, {ChainName, chain}} {
		h := header(e.name, int64(len(e.content)))
		head = append(append(head, h[:]...), e.content...)
		head = append(head, make([]byte, padding(int64(len(e.content))))...)
	}
	return head, nil
}

func trailer(crc hash.Hash32, length int64) []byte {
	t := binary.LittleEndian.AppendUint32(nil, crc.Sum32())
	return binary.LittleEndian.AppendUint32(t, uint32(length)) // modulo 2^32, as gzip has it
}

// packing is one pass over the files of a package.
type packing struct {
	w       io.Writer // gets the compressed files
	plain   io.Writer // gets their tar, unless it is nil
	m       *Manifest
	files   []Source
	decided []bool // by an earlier pass
	done    func(f *File, digest string) error
}

func payload(ctx context.Context, p packing) (decided []bool, err error) {
	d, err := newDeflater(p.w, p.decided)
	if err != nil {
		return nil, err
	}
	out := io.Writer(d)
	if p.plain != nil {
		out = io.MultiWriter(d, p.plain)
	}
	buf := make([]byte, 256<<10)
	for i, f := range p.files {
		h := header(f.Name, f.Size)
		if _, err := out.Write(h[:]); err != nil {
			return nil, fmt.Errorf("write package: %w", err)
		}
		digest, err := pack(ctx, out, f, buf)
		if err != nil {
			return nil, err
		}
		if err := p.done(&p.m.Files[i], digest); err != nil {
			return nil, err
		}
		if _, err := out.Write(make([]byte, padding(f.Size))); err != nil {
			return nil, fmt.Errorf("write package: %w", err)
		}
	}
	if _, err := out.Write(make([]byte, endMark)); err != nil {
		return nil, fmt.Errorf("write package: %w", err)
	}
	if err := d.Close(); err != nil {
		return nil, fmt.Errorf("write package: %w", err)
	}
	return d.stored, ctx.Err()
}

func pack(ctx context.Context, out io.Writer, f Source, buf []byte) (digest string, err error) {
	r, err := f.Open()
	if err != nil {
		return "", fmt.Errorf("open %q: %w", f.Name, err)
	}
	defer r.Close() // only read
	sum := sha256.New()
	// One byte more than announced, to notice a longer file.
	from := untrusted.NewReader(ctx, io.LimitReader(r, f.Size+1))
	n, err := untrusted.Copy(io.MultiWriter(sum, out), from, buf)
	switch {
	case err != nil:
		return "", fmt.Errorf("pack %q: %w", f.Name, err)
	case n != f.Size:
		return "", fmt.Errorf("the file %q does not have the %d bytes that were announced", f.Name, f.Size)
	}
	return hexSum(sum), nil
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// tally counts what is written to it.
type tally struct{ n int64 }

func (t *tally) Write(p []byte) (int, error) {
	t.n += int64(len(p))
	return len(p), nil
}
