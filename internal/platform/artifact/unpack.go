package artifact

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// limits is how much one archive may become.
type limits struct {
	bytes int64 // of its files
	files int   // and directories
	ratio int64 // of unpacked to packed bytes, past free
	free  int64
}

func (c Config) limits() limits {
	return limits{bytes: c.MaxUnpacked, files: c.MaxFiles, ratio: c.MaxRatio, free: 256 << 20}
}

// stream is the most that the tar stream may have: the files, their headers
// (with room for long names) and the padding at the end.
func (l limits) stream() int64 { return l.bytes + int64(l.files)*4096 + 1<<20 }

// unpacking is the work on one archive. Everything in the archive is hostile.
type unpacking struct {
	limits
	in    *untrusted.Reader // what came from the source
	out   *meter            // what the compression made of it
	root  *os.Root
	tree  tree
	size  int64
	count int // files
	buf   []byte
}

// unpack reads a gzipped tar to its very end and makes its files in dir, which
// is empty and private. Only files and directories are made, the files
// read-only. A refusal is fault.Invalid and names the entry; then, as after any
// error, the caller deletes dir.
func unpack(ctx context.Context, src io.Reader, dir string, l limits) (size int64, files int, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, err
	}
	defer root.Close() // nothing is written through it
	u := &unpacking{limits: l, in: untrusted.NewReader(ctx, src), root: root, buf: make([]byte, 256<<10)}
	u.tree = tree{paths: map[string]bool{}, max: l.files, what: "Entry"}
	packed := bufio.NewReaderSize(u.in, 256<<10)
	gz, err := gzip.NewReader(packed)
	if err != nil {
		if failed := u.in.Err(); failed != nil {
			return 0, 0, failed
		}
		return 0, 0, fault.New(fault.Invalid, "The model data is not a gzip-compressed tar archive.").Because(err)
	}
	// Several members are one stream, as RFC 1952 has it: pigz and cat write them.
	u.out = &meter{unpacking: u, r: gz}
	if err := u.entries(tar.NewReader(u.out)); err != nil {
		return 0, 0, u.why(err)
	}
	if err := u.end(); err != nil {
		return 0, 0, u.why(err)
	}
	return u.size, u.count, nil
}

func (u *unpacking) entries(tr *tar.Reader) error {
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n > 2*u.files { // directories named again, and global headers, are not counted by the tree
			return fault.New(fault.Invalid, "Entry %q is one too many: the archive has more than %d entries.",
				brief(h.Name), 2*u.files)
		}
		if err := u.entry(tr, h); err != nil {
			return err
		}
	}
}

func (u *unpacking) entry(tr *tar.Reader, h *tar.Header) error {
	if wrong := kind(h); wrong != "" {
		return u.tree.refuse(h.Name, wrong)
	}
	if h.Typeflag == tar.TypeXGlobalHeader { // a comment on the whole archive, as git writes it
		return nil
	}
	dir := h.Typeflag == tar.TypeDir
	path := h.Name
	if dir {
		path = strings.TrimSuffix(path, "/")
	}
	if path == "." && dir { // how tar -C dir . begins
		return nil
	}
	path = strings.TrimPrefix(path, "./")
	if err := u.tree.add(path, dir); err != nil {
		return err
	}
	if dir {
		return u.root.MkdirAll(path, 0o755)
	}
	if h.Size > u.bytes-u.size {
		return fault.New(fault.Invalid,
			"Entry %q makes the model data larger than %d bytes, the limit for unpacked model data.", brief(h.Name),
			u.bytes)
	}
	return u.file(tr, h, path)
}

// kind says why an entry of this kind is refused.
func kind(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeXGlobalHeader:
	case tar.TypeSymlink, tar.TypeLink:
		return "is a link; model data may not contain links (tar --dereference --hard-dereference stores the files " +
			"themselves)"
	case tar.TypeGNUSparse:
		return "is a sparse file; model data may not contain sparse files"
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return "is a device or a pipe; model data may contain files and directories only"
	default:
		return "is of an unknown kind; model data may contain files and directories only"
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return "is a sparse file; model data may not contain sparse files"
		}
	}
	return ""
}

func (u *unpacking) file(tr *tar.Reader, h *tar.Header, path string) (err error) {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		if err := u.root.MkdirAll(path[:i], 0o755); err != nil {
			return err
		}
	}
	f, err := u.root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode(h.Mode&0o100 != 0))
	if err != nil {
		return err
	}
	// The reader ends where the header says, or fails.
	n, err := untrusted.Copy(f, tr, u.buf)
	u.size += n
	u.count++
	return errors.Join(err, f.Close())
}

// fileMode drops everything but whether a file may be executed.
func fileMode(executable bool) os.FileMode {
	if executable {
		return 0o555
	}
	return 0o444
}

// end reads what follows the last entry: zeros up to the end of the tar stream,
// the checksum of the compression, and nothing but further members after it.
func (u *unpacking) end() error {
	// The reader also takes an archive that ends where an entry could begin, or
	// in the padding of the last file.
	if u.out.ended || u.out.n%512 != 0 {
		return fault.New(fault.Invalid, "The archive is truncated: its end mark is missing.")
	}
	for {
		n, err := u.out.Read(u.buf)
		if !untrusted.AllZero(u.buf[:n]) {
			return fault.New(fault.Invalid, "The archive has data after its end.")
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, gzip.ErrHeader):
			return fault.New(fault.Invalid, "The archive has data after the end of its gzip stream.")
		case err != nil:
			return err
		}
	}
}

// why tells a source that failed from an archive that is wrong.
func (u *unpacking) why(err error) error {
	if u.in.Err() != nil {
		return u.in.Err()
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return err // the disk's fault, not the archive's
	}
	return fault.New(fault.Invalid, "The archive is damaged or truncated.").Because(err)
}

// meter watches the decompressed stream grow.
type meter struct {
	*unpacking
	r     io.Reader
	n     int64
	ended bool // somebody read on after the last byte
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.n += int64(n)
	m.ended = n == 0 && errors.Is(err, io.EOF)
	if m.n > m.stream() {
		return 0, fault.New(fault.Invalid,
			"The archive unpacks to more than %d bytes, the limit for unpacked model data.", m.bytes)
	}
	if m.n > m.free && m.n/m.ratio > m.in.Count() {
		return 0, fault.New(fault.Invalid, "The archive unpacks to more than %d times its size.", m.ratio)
	}
	return n, err
}
