package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/failpoint"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/untrusted"
)

// parallel is how many objects of a prefix are downloaded at a time.
const parallel = 4

// download gets model data into a directory of its own, then into the cache.
func (c *Cache) download(ctx context.Context, uri string, s survey) (m Model, err error) {
	tmp, err := os.MkdirTemp(c.paths.tmp(), "fetch-")
	if err != nil {
		return Model{}, failure(ctx, uri, err)
	}
	defer func() {
		if e := removeTree(tmp); e != nil {
			c.cfg.Log.WarnContext(ctx, "a download was not cleaned up", "err", e)
		}
	}()
	dir := filepath.Join(tmp, "model")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return Model{}, failure(ctx, uri, err)
	}
	var files int
	switch s.ref.Layout {
	case hosting.Archive:
		m, files, err = c.archive(ctx, dir, &s.ref)
	case hosting.Object:
		name := s.ref.Key[strings.LastIndexByte(s.ref.Key, '/')+1:]
		m, err = c.objects(ctx, dir, s.ref.Bucket,
			[]object{{objects.Info{Key: s.ref.Key, Size: -1, ETag: s.ref.ETag}, name}})
		files = 1
	case hosting.Prefix:
		files = len(s.files)
		m, err = c.objects(ctx, dir, s.ref.Bucket, below(s.ref.Key, s.files))
	}
	if err != nil {
		return Model{}, failure(ctx, uri, err)
	}
	failpoint.Hit("artifact.unpacked")
	if err := seal(dir, files); err != nil {
		return Model{}, failure(ctx, uri, err)
	}
	failpoint.Hit("artifact.sealed")
	m, err = c.place(dir, m, s.ref)
	if err != nil {
		return Model{}, failure(ctx, uri, err)
	}
	c.cfg.Log.InfoContext(ctx, "model data fetched", "uri", uri, "digest", m.Digest, "bytes", m.Size, "files", files)
	return m, nil
}

// failure names the failure of a download as Fetch promises.
func failure(ctx context.Context, uri string, err error) error {
	if e, ok := errors.AsType[*sourceError](err); ok {
		return sourceFault(ctx, uri, e.error)
	}
	if errors.Is(err, fault.Invalid) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("fetch model data at %s: %w", uri, ctx.Err())
	}
	return fault.New(fault.Unavailable, "Model data at %s could not be stored on this server.", uri).Because(err)
}

// sourceError is a failure of the object store, not of this host's disk.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// archive streams a gzipped tar from the source to its files. The reference
// gets the tag of what really came.
func (c *Cache) archive(ctx context.Context, dir string, r *ref) (Model, int, error) {
	body, info, err := c.cfg.Source.Get(ctx, r.Bucket, r.Key)
	if err != nil {
		return Model{}, 0, &sourceError{err}
	}
	defer body.Close()
	r.ETag = info.ETag
	l := c.cfg.limits()
	if info.Size > l.stream() {
		return Model{}, 0, fault.New(fault.Invalid, "The archive has %d bytes; unpacked model data may have %d.",
			info.Size, l.bytes)
	}
	sum := sha256.New()
	size, files, err := unpack(ctx, io.TeeReader(&whole{r: body, left: info.Size}, sum), dir, l)
	if err != nil {
		return Model{}, 0, err
	}
	return Model{Digest: hexSum(sum), Size: size}, files, nil
}

// whole reads exactly as many bytes as the source announced, and blames the
// source for anything else.
type whole struct {
	r    io.Reader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	w.left -= int64(n)
	switch {
	case w.left < 0:
		return 0, &sourceError{errors.New("the object is longer than announced")}
	case errors.Is(err, io.EOF) && w.left > 0:
		return n, &sourceError{fmt.Errorf("the object ended %d bytes early", w.left)}
	case err != nil && !errors.Is(err, io.EOF):
		return n, &sourceError{err}
	}
	return n, err
}

// object is to become a file; one whose path ends in a slash, a directory.
type object struct {
	objects.Info
	path string
}

func (o object) dir() bool { return strings.HasSuffix(o.path, "/") }

// below names each object by what follows the prefix in its key.
func below(prefix string, files []objects.Info) []object {
	list := make([]object, 0, len(files))
	for _, f := range files {
		if path := strings.TrimPrefix(f.Key, prefix); path != "" { // the prefix itself, as consoles make it
			list = append(list, object{f, path})
		}
	}
	return list
}

// list returns the objects below a prefix, sorted, once they all make a model
// that may be stored (spec §2.1).
func (c *Cache) list(ctx context.Context, bucket, prefix, uri string) ([]objects.Info, error) {
	var files []objects.Info
	var size int64
	for f, err := range c.cfg.Source.All(ctx, bucket, prefix) {
		if err != nil {
			return nil, sourceFault(ctx, uri, err)
		}
		if !strings.HasPrefix(f.Key, prefix) {
			return nil, fmt.Errorf("the object store lists %q under %q", f.Key, prefix)
		}
		if len(files) == c.cfg.MaxFiles {
			return nil, fault.New(fault.Invalid, "There are more than %d objects below %s, the limit for model data.",
				c.cfg.MaxFiles, uri)
		}
		if size += f.Size; size > c.cfg.MaxUnpacked {
			return nil, fault.New(fault.Invalid,
				"The objects below %s have more than %d bytes, the limit for model data.", uri, c.cfg.MaxUnpacked)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b objects.Info) int { return cmp.Compare(a.Key, b.Key) })
	t := tree{paths: map[string]bool{}, max: c.cfg.MaxFiles, what: "Object"}
	found := false
	for _, o := range below(prefix, files) {
		isDir := o.dir() && o.Size == 0 // an empty object that stands for a directory
		path := o.path
		if isDir {
			path = strings.TrimSuffix(path, "/")
		}
		if err := t.add(path, isDir); err != nil {
			return nil, err
		}
		found = found || !isDir
	}
	if !found {
		return nil, missing(uri)
	}
	return files, nil
}

// listTag is the tag of a listing: it changes when any object does.
func listTag(files []objects.Info) string {
	sum := sha256.New()
	for _, f := range files {
		if f.ETag == "" {
			return ""
		}
		fmt.Fprintf(sum, "%q %d %q\n", f.Key, f.Size, f.ETag)
	}
	return hexSum(sum)
}

// objects downloads each object to its file. Its digest is that of a list of
// names and digests, so that the same files always make the same directory.
func (c *Cache) objects(ctx context.Context, dir, bucket string, list []object) (Model, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Model{}, err
	}
	defer root.Close() // nothing is written through it
	lines := make([]string, len(list))
	sizes := make([]int64, len(list))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for i, o := range list {
		if wrong := checkPath(strings.TrimSuffix(o.path, "/")); wrong != "" {
			return Model{}, errors.Join(fault.New(fault.Invalid, "Object %q %s.", brief(o.path), wrong), g.Wait())
		}
		if o.dir() {
			if err := root.MkdirAll(strings.TrimSuffix(o.path, "/"), 0o755); err != nil {
				return Model{}, errors.Join(err, g.Wait())
			}
			continue
		}
		g.Go(func() error {
			sum, n, err := c.object(ctx, root, bucket, o)
			lines[i], sizes[i] = fmt.Sprintf("%s %d %q\n", sum, n, o.path), n
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Model{}, err
	}
	sum := sha256.New()
	_, _ = io.WriteString(sum, strings.Join(lines, "")) // a hash takes everything
	m := Model{Digest: hexSum(sum)}
	for _, n := range sizes {
		m.Size += n
	}
	return m, nil
}

func (c *Cache) object(ctx context.Context, root *os.Root, bucket string, o object) (digest string, n int64,
	err error,
) {
	body, info, err := c.cfg.Source.Get(ctx, bucket, o.Key)
	if err != nil {
		return "", 0, &sourceError{err}
	}
	defer body.Close()
	if info.ETag != o.ETag || o.Size >= 0 && info.Size != o.Size {
		return "", 0, &sourceError{fmt.Errorf("object %q changed while it was downloaded", o.Key)}
	}
	if info.Size > c.cfg.MaxUnpacked {
		return "", 0, fault.New(fault.Invalid, "Object %q has %d bytes; model data may have %d.", brief(o.path),
			info.Size, c.cfg.MaxUnpacked)
	}
	if i := strings.LastIndexByte(o.path, '/'); i > 0 {
		if err := root.MkdirAll(o.path[:i], 0o755); err != nil {
			return "", 0, err
		}
	}
	f, err := root.OpenFile(o.path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode(false))
	if err != nil {
		return "", 0, err
	}
	sum := sha256.New()
	from := untrusted.NewReader(ctx, &whole{r: body, left: info.Size})
	n, err = io.CopyBuffer(io.MultiWriter(f, sum), from, make([]byte, 256<<10))
	return hexSum(sum), n, errors.Join(err, f.Close())
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
