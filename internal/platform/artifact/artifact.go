// Package artifact brings model data to this host: it downloads, unpacks and
// keeps it, so that many instances of one model share one read-only directory.
// It promises that a directory which it returns is whole, that model data never
// writes outside of its own directory, and that what a crash leaves behind is
// never taken for a model. Storing objects and running models is not its job.
package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// Source is what a Cache needs of an object store; objects.Store is one. A
// missing bucket or object is fault.NotFound, a forbidden one fault.Denied.
// Reading and listing end with an error when ctx does. Of an object's Info the
// key, the size and the ETag matter, which changes whenever the content does: one
// without it is downloaded anew every time.
type Source interface {
	Stat(ctx context.Context, bucket, key string) (objects.Info, error)
	Get(ctx context.Context, bucket, key string) (io.ReadCloser, objects.Info, error)
	// All yields the objects whose keys begin with prefix, in any order.
	All(ctx context.Context, bucket, prefix string) iter.Seq2[objects.Info, error]
}

// Config says where model data is kept and what is too much of it.
type Config struct {
	Dir    string // made if missing; one Cache at a time
	Source Source
	Log    *slog.Logger // nil discards

	MaxUnpacked int64         // bytes of one model on disk; 0 means 32 GiB
	MaxFiles    int           // files and directories of one model; 0 means 100,000
	MaxRatio    int64         // an archive may grow so many times, past 256 MiB; 0 means 200
	MaxCache    int64         // bytes of all models; 0 means 64 GiB; more if more are served
	KeepFor     time.Duration // a model fetched this recently is not pruned; 0 means 15 min
}

// Model is model data on this host.
type Model struct {
	Dir    string // read-only; stays while it is in use, see Prune
	Digest string // hex SHA-256: of the archive, or of a list of names and digests
	Size   int64  // bytes of its files
}

// Cache fetches model data and keeps it.
type Cache struct {
	cfg   Config
	paths paths

	end     context.Context // of every download
	stop    context.CancelFunc
	running sync.WaitGroup

	dirs sync.Mutex // a directory and its entry come and go together; held across two renames

	mu        sync.Mutex
	closed    bool
	entries   map[string]*entry // by digest
	refs      map[ref]string    // digest of what was fetched from there
	transfers map[ref]*transfer
}

// ref names one state of one place in an object store. Its fields are stored.
type ref struct {
	Bucket string             `json:"bucket"`
	Key    string             `json:"key"`
	Layout hosting.DataLayout `json:"layout"`
	ETag   string             `json:"etag"`
}

// New opens the cache in cfg.Dir and removes what a crash left unfinished.
func New(cfg Config) (*Cache, error) {
	cfg.MaxUnpacked = cmp.Or(cfg.MaxUnpacked, 32<<30)
	cfg.MaxFiles = cmp.Or(cfg.MaxFiles, 100_000)
	cfg.MaxRatio = cmp.Or(cfg.MaxRatio, 200)
	cfg.MaxCache = cmp.Or(cfg.MaxCache, 64<<30)
	cfg.KeepFor = cmp.Or(cfg.KeepFor, 15*time.Minute)
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))
	end, stop := context.WithCancel(context.Background())
	c := &Cache{
		cfg: cfg, end: end, stop: stop,
		entries: map[string]*entry{}, refs: map[ref]string{}, transfers: map[ref]*transfer{},
	}
	var err error
	if c.paths, err = makePaths(cfg.Dir); err == nil {
		err = c.load()
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("open model cache in %s: %w", cfg.Dir, err)
	}
	return c, nil
}

// Close ends downloads under way and waits for them. The cache stays on disk.
func (c *Cache) Close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.stop()
	c.running.Wait()
	return nil
}

// Check reports whether model data is where d says, without downloading it. A
// missing object is fault.NotFound with the text of spec §2.1.
func (c *Cache) Check(ctx context.Context, d hosting.ModelData) error {
	bucket, key, err := locate(d)
	if err != nil {
		return err
	}
	_, err = c.survey(ctx, bucket, key, d)
	return err
}

// Fetch brings model data to this host, or finds it there. Callers that want
// the same at the same time share one download, which ends early only if all
// of them give up. Its failures:
//
//   - fault.NotFound: there is no such object, in the words of spec §2.1
//   - fault.Invalid: it is there and can't be used; the sentence says why. So is
//     data in another version than the one asked for, unless the bytes have the digest
//     that is asked for, too
//   - fault.Denied: the store refuses to hand it out
//   - fault.Unavailable: it did not arrive; trying again may help
//   - the error of ctx
func (c *Cache) Fetch(ctx context.Context, d hosting.ModelData) (Model, error) {
	bucket, key, err := locate(d)
	if err != nil {
		return Model{}, err
	}
	want := ref{Bucket: bucket, Key: key, Layout: d.Layout, ETag: d.Version}
	if m, ok := c.lookup(want); ok {
		return m, nil
	}
	if m, ok := c.use(d.Digest); ok {
		return m, nil
	}
	found, err := c.survey(ctx, bucket, key, d)
	if err != nil {
		return Model{}, err
	}
	if d.Version != "" && found.ref != want && d.Digest == "" {
		return Model{}, replaced(d.URI)
	}
	return c.bring(ctx, d, want, found)
}

// bring downloads what was found, unless somebody has meanwhile, and makes sure that
// it is what was wanted: the version, or the bytes of it.
func (c *Cache) bring(ctx context.Context, d hosting.ModelData, want ref, found survey) (Model, error) {
	is := func(m Model) bool {
		_, version := c.lookup(want)
		return d.Version == "" || version || d.Digest != "" && m.Digest == d.Digest
	}
	for {
		if m, ok := c.lookup(found.ref); ok {
			if !is(m) {
				return Model{}, replaced(d.URI)
			}
			return m, nil
		}
		t, first, err := c.join(found.ref)
		if err != nil {
			return Model{}, err
		}
		if first {
			c.start(ctx, t, func(ctx context.Context) (Model, error) { return c.download(ctx, d.URI, found) })
		}
		m, again, err := c.wait(ctx, t)
		if again {
			continue
		}
		if err == nil && !is(m) {
			return Model{}, replaced(d.URI) // perhaps while it was downloaded
		}
		return m, err
	}
}

// Version returns the version of model data that is in the object store now; see
// Fetch for its failures. It is "" for a store that tells no versions.
func (c *Cache) Version(ctx context.Context, d hosting.ModelData) (string, error) {
	bucket, key, err := locate(d)
	if err != nil {
		return "", err
	}
	found, err := c.survey(ctx, bucket, key, d)
	if err != nil {
		return "", err
	}
	c.lookup(found.ref) // whoever asks is about to use it: it is not pruned before
	return found.ref.ETag, nil
}

// Kept returns the version of model data that was fetched or used last, "" if
// there is none here.
func (c *Cache) Kept(d hosting.ModelData) (version string) {
	bucket, key, err := locate(d)
	if err != nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var last time.Time
	for r, digest := range c.refs {
		e := c.entries[digest]
		if r.Bucket == bucket && r.Key == key && r.Layout == d.Layout && e != nil && e.used.After(last) {
			version, last = r.ETag, e.used
		}
	}
	return version
}

// KeptAt returns the version of model data whose directory is dir, "" if that is not
// one of this cache.
func (c *Cache) KeptAt(d hosting.ModelData, dir string) (version string) {
	bucket, key, err := locate(d)
	if err != nil {
		return ""
	}
	digest := filepath.Base(dir)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[digest]; e != nil && dir == c.paths.model(digest) {
		for _, r := range slices.Backward(e.Refs) { // the newest
			if r.Bucket == bucket && r.Key == key && r.Layout == d.Layout {
				return r.ETag
			}
		}
	}
	return ""
}

// Digest returns the digest of model data in its version, "" if that is not here.
func (c *Cache) Digest(d hosting.ModelData) string {
	bucket, key, err := locate(d)
	if err != nil || d.Version == "" {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refs[ref{Bucket: bucket, Key: key, Layout: d.Layout, ETag: d.Version}]
}

// survey is what is there, before anything is downloaded.
type survey struct {
	ref   ref
	files []objects.Info // Prefix: the objects below it
}

func (c *Cache) survey(ctx context.Context, bucket, key string, d hosting.ModelData) (survey, error) {
	s := survey{ref: ref{Bucket: bucket, Key: key, Layout: d.Layout}}
	if d.Layout == hosting.Prefix {
		var err error
		if s.files, err = c.list(ctx, bucket, key, d.URI); err != nil {
			return s, err
		}
		s.ref.ETag = listTag(s.files)
		return s, nil
	}
	info, err := c.cfg.Source.Stat(ctx, bucket, key)
	if err != nil {
		return s, sourceFault(ctx, d.URI, err)
	}
	s.ref.ETag = info.ETag
	return s, nil
}

// locate splits the URI and checks what its layout asks of it.
func locate(d hosting.ModelData) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(d.URI, "s3://")
	if !ok {
		return "", "", fault.New(fault.Invalid, "Model data is read from s3:// addresses only, not from %q.",
			brief(d.URI))
	}
	bucket, key, _ = strings.Cut(rest, "/")
	if bucket == "" {
		return "", "", fault.New(fault.Invalid, "The model data address %q names no bucket.", brief(d.URI))
	}
	isDir := key == "" || strings.HasSuffix(key, "/")
	switch d.Layout {
	case hosting.Prefix:
		if !isDir {
			return "", "", fault.New(fault.Invalid, "The S3 prefix %q must end with a slash.", brief(d.URI))
		}
	case hosting.Archive, hosting.Object:
		if isDir {
			return "", "", fault.New(fault.Invalid, "The model data address %q names no object.", brief(d.URI))
		}
	default:
		return "", "", fmt.Errorf("unknown layout %q of model data", d.Layout)
	}
	return bucket, key, nil
}

// sourceFault turns what the object store said into what Fetch promises.
func sourceFault(ctx context.Context, uri string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("fetch model data at %s: %w", uri, ctx.Err())
	case errors.Is(err, fault.NotFound):
		return missing(uri).Because(err)
	case errors.Is(err, fault.Denied):
		return fault.New(fault.Denied, "Could not access model data at %s.", uri).Because(err)
	default:
		return fault.New(fault.Unavailable, "Model data at %s could not be downloaded.", uri).Because(err)
	}
}

func missing(uri string) *fault.Error {
	return fault.New(fault.NotFound, "Could not find model data at %s.", uri)
}

func replaced(uri string) *fault.Error {
	return fault.New(fault.Invalid, "The data at %s was replaced since this fleet was created, and this server has no "+
		"copy of what the fleet serves. Put the same bytes back, or update the endpoint to a new configuration.", uri)
}
