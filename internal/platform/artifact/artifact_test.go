package artifact_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(beChild())
	}
	goleak.VerifyTestMain(m)
}

// store is an object store in memory with a lever for each failure.
type store struct {
	mu      sync.Mutex
	objects map[string]string // "bucket/key" to content
	gets    int
	deny    bool
	fail    error         // of every call
	cut     int           // objects end so many bytes early
	broken  error         // bodies fail with it after half
	hold    chan struct{} // bodies wait for it, or for their context
	opened  chan string   // told of every Get, if there is one
	looked  func()        // called after every Stat, if there is one
	retag   string        // is part of every ETag, as the size of the parts of an upload is
}

func newStore(objects map[string]string) *store { return &store{objects: objects} }

func (s *store) put(path, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[path] = content
}

func (s *store) remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, path)
}

func (s *store) downloads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gets
}

func (s *store) find(ctx context.Context, bucket, key string) (string, objects.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.objects[bucket+"/"+key]
	switch {
	case ctx.Err() != nil:
		return "", objects.Info{}, ctx.Err()
	case s.fail != nil:
		return "", objects.Info{}, s.fail
	case s.deny:
		return "", objects.Info{}, fault.New(fault.Denied, "no")
	case !ok:
		return "", objects.Info{}, fault.New(fault.NotFound, "no such key")
	}
	i := info(key, content)
	i.ETag += s.retag
	return content, i, nil
}

func info(key, content string) objects.Info {
	sum := md5.Sum([]byte(content))
	return objects.Info{Key: key, Size: int64(len(content)), ETag: hex.EncodeToString(sum[:])}
}

func (s *store) Stat(ctx context.Context, bucket, key string) (objects.Info, error) {
	_, i, err := s.find(ctx, bucket, key)
	if s.looked != nil {
		s.looked()
	}
	return i, err
}

func (s *store) Get(ctx context.Context, bucket, key string) (io.ReadCloser, objects.Info, error) {
	content, i, err := s.find(ctx, bucket, key)
	if err != nil {
		return nil, i, err
	}
	s.mu.Lock()
	s.gets++
	opened, hold, cut, broken := s.opened, s.hold, s.cut, s.broken
	s.mu.Unlock()
	if opened != nil {
		opened <- key
	}
	var body io.Reader = strings.NewReader(content[:len(content)-cut])
	if broken != nil {
		body = io.MultiReader(strings.NewReader(content[:len(content)/2]), failing{broken})
	}
	if hold != nil {
		body = io.MultiReader(waiting{ctx, hold}, body)
	}
	return io.NopCloser(body), i, nil
}

func (s *store) All(ctx context.Context, bucket, prefix string) iter.Seq2[objects.Info, error] {
	return func(yield func(objects.Info, error) bool) {
		s.mu.Lock()
		contents, fail := maps.Clone(s.objects), s.fail
		s.mu.Unlock()
		if fail != nil {
			yield(objects.Info{}, fail)
			return
		}
		for path, content := range contents {
			key, ok := strings.CutPrefix(path, bucket+"/")
			if ok && strings.HasPrefix(key, prefix) && !yield(info(key, content), nil) {
				return
			}
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type waiting struct {
	ctx  context.Context
	hold chan struct{}
}

func (w waiting) Read([]byte) (int, error) {
	select {
	case <-w.hold:
		return 0, io.EOF
	case <-w.ctx.Done():
		return 0, w.ctx.Err()
	}
}

func open(t testing.TB, cfg artifact.Config) *artifact.Cache {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(t.TempDir(), "cache")
	}
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	c, err := artifact.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		makeWritable(cfg.Dir)
	})
	return c
}

// makeWritable lets the test's directory be deleted by an ordinary user.
func makeWritable(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // as far as it goes
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
}

func archiveAt(uri string) hosting.ModelData {
	return hosting.ModelData{URI: uri, Layout: hosting.Archive}
}

func objectAt(uri string) hosting.ModelData {
	return hosting.ModelData{URI: uri, Layout: hosting.Object}
}

func prefixAt(uri string) hosting.ModelData {
	return hosting.ModelData{URI: uri, Layout: hosting.Prefix}
}

func mustFetch(t testing.TB, c *artifact.Cache, d hosting.ModelData) artifact.Model {
	t.Helper()
	m, err := c.Fetch(t.Context(), d)
	if err != nil {
		t.Fatalf("Fetch %s: %v", d.URI, err)
	}
	return m
}

// files returns "path mode content" of everything below dir.
func files(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(path, dir+"/") + " " + st.Mode().String()
		if st.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + string(b)
		}
		list = append(list, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func wantFiles(t testing.TB, dir string, want ...string) {
	t.Helper()
	if got := files(t, dir); !slices.Equal(got, want) {
		t.Errorf("the model directory holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// wantNothingLeft checks that neither a model nor anything unfinished is there.
func wantNothingLeft(t testing.TB, dir string) {
	t.Helper()
	for _, sub := range []string{"tmp", "models"} {
		left, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil || len(left) != 0 {
			t.Errorf("left in %s: %v, %v", sub, left, err)
		}
	}
}

func TestAnArchiveBecomesAReadOnlyDirectory(t *testing.T) {
	s := newStore(map[string]string{"b/m/model.tar.gz": string(goodArchive(t))})
	dir := t.TempDir()
	c := open(t, artifact.Config{Source: s, Dir: dir})
	m := mustFetch(t, c, archiveAt("s3://b/m/model.tar.gz"))
	wantFiles(t, m.Dir, "code dr-xr-xr-x", "code/run.sh -r-xr-xr-x #!", "model.onnx -r--r--r-- weights",
		"new dr-xr-xr-x", "new/deep dr-xr-xr-x", "new/deep/a -r--r--r-- A")
	if st, err := os.Stat(m.Dir); err != nil || st.Mode().Perm() != 0o555 {
		t.Errorf("the directory itself: %v, %v", st.Mode(), err)
	}
	if m.Size != 10 || filepath.Base(m.Dir) != m.Digest || m.Digest != sha(goodArchive(t)) {
		t.Errorf("model is %+v", m)
	}
	again := mustFetch(t, c, archiveAt("s3://b/m/model.tar.gz"))
	if again != m || s.downloads() != 1 {
		t.Errorf("the second fetch returned %+v after %d downloads", again, s.downloads())
	}
	// The same bytes elsewhere are the same model.
	s.put("b/copy.tar.gz", string(goodArchive(t)))
	if other := mustFetch(t, c, archiveAt("s3://b/copy.tar.gz")); other != m {
		t.Errorf("a copy became %+v", other)
	}
	// Other bytes at the same place are another.
	s.put("b/m/model.tar.gz", string(archive(t, file("model.onnx", "v2"))))
	if other := mustFetch(t, c, archiveAt("s3://b/m/model.tar.gz")); other == m {
		t.Error("a new version was not noticed")
	}
}

func TestObjectsBecomeFilesByTheLayoutRules(t *testing.T) {
	s := newStore(map[string]string{
		"b/x/y/model.bin": "one", "b/top.bin": "two",
		"b/p/": "", "b/p/a": "A", "b/p/d/": "", "b/p/e/f/g": "G", "b/p/e.x": "X", "b/pq": "not below",
	})
	c := open(t, artifact.Config{Source: s})
	one := mustFetch(t, c, objectAt("s3://b/x/y/model.bin"))
	wantFiles(t, one.Dir, "model.bin -r--r--r-- one")
	two := mustFetch(t, c, objectAt("s3://b/top.bin"))
	wantFiles(t, two.Dir, "top.bin -r--r--r-- two")
	all := mustFetch(t, c, prefixAt("s3://b/p/"))
	wantFiles(t, all.Dir, "a -r--r--r-- A", "d dr-xr-xr-x", "e dr-xr-xr-x", "e/f dr-xr-xr-x", "e/f/g -r--r--r-- G",
		"e.x -r--r--r-- X")
	if all.Size != 3 {
		t.Errorf("size is %d", all.Size)
	}
	before := s.downloads()
	if again := mustFetch(t, c, prefixAt("s3://b/p/")); again != all ||
		s.downloads() != before {
		t.Errorf("the second fetch returned %+v", again)
	}
	s.put("b/p/a", "changed")
	if again := mustFetch(t, c, prefixAt("s3://b/p/")); again == all {
		t.Error("a changed object was not noticed")
	}
	wantFiles(t, all.Dir, "a -r--r--r-- A", "d dr-xr-xr-x", "e dr-xr-xr-x", "e/f dr-xr-xr-x", "e/f/g -r--r--r-- G",
		"e.x -r--r--r-- X")
}

// unfitStore holds one archive that is a model, and much that is none.
func unfitStore(t *testing.T) *store {
	s := newStore(map[string]string{
		"b/m/model.tar.gz": string(goodArchive(t)), "b/empty/": "", "b/p/a": "A, long enough", "b/p/b": "B",
		"b/bad/../x": "X", "b/clash/a": "A", "b/clash/a/b": "B", "b/slash/a/": "A",
		"b/" + strings.Repeat("n", 256): "N", "b/large/1": "1", "b/large/2": strings.Repeat("2", 1001),
	})
	for _, n := range "0123456789" {
		s.put("b/many/"+string(n), "")
	}
	return s
}

// What is said of failures, before or after the address.
const (
	missing = "Could not find model data at "
	denied  = "Could not access model data at "
	broke   = " could not be downloaded."
)

func TestFailuresAreToldApart(t *testing.T) {
	const uri = "s3://b/m/model.tar.gz"
	fails := func(s *store) { s.fail = io.ErrClosedPipe }
	cuts := func(s *store) { s.cut = 3 }
	forbids := func(s *store) { s.broken = fs.ErrPermission }
	breaks := func(s *store) { s.broken = &fs.PathError{Op: "read", Path: "x", Err: fs.ErrClosed} }
	type failure struct {
		lever  func(*store)
		data   hosting.ModelData
		kind   fault.Kind
		public string
	}
	invalid := func(d hosting.ModelData, public string) failure { return failure{nil, d, fault.Invalid, public} }
	for name, c := range map[string]failure{
		"no such object":      {nil, archiveAt("s3://b/none.tar.gz"), fault.NotFound, missing + "s3://b/none.tar.gz."},
		"no such bucket":      {nil, objectAt("s3://c/x"), fault.NotFound, missing + "s3://c/x."},
		"nothing below":       {nil, prefixAt("s3://b/none/"), fault.NotFound, missing + "s3://b/none/."},
		"only a marker below": {nil, prefixAt("s3://b/empty/"), fault.NotFound, missing + "s3://b/empty/."},
		"forbidden":           {func(s *store) { s.deny = true }, archiveAt(uri), fault.Denied, denied + uri + "."},
		"the store is away":   {fails, archiveAt(uri), fault.Unavailable, "Model data at " + uri + broke},
		"the listing fails":   {fails, prefixAt("s3://b/p/"), fault.Unavailable, "Model data at s3://b/p/" + broke},
		"the body ends early": {cuts, archiveAt(uri), fault.Unavailable, "Model data at " + uri + broke},
		"the body breaks":     {forbids, archiveAt(uri), fault.Unavailable, "Model data at " + uri + broke},
		"one of many breaks":  {breaks, prefixAt("s3://b/p/"), fault.Unavailable, "Model data at s3://b/p/" + broke},
		"not an archive":      invalid(archiveAt("s3://b/p/a"), "The model data is not a gzip-compressed tar archive."),
		"a web address": invalid(archiveAt("https://host/m"),
			`Model data is read from s3:// addresses only, not from "https://host/m".`),
		"no bucket":             invalid(archiveAt("s3:///m"), `The model data address "s3:///m" names no bucket.`),
		"no key":                invalid(archiveAt("s3://b"), `The model data address "s3://b" names no object.`),
		"an archive of a slash": invalid(archiveAt("s3://b/p/"), `The model data address "s3://b/p/" names no object.`),
		"a prefix of no slash":  invalid(prefixAt("s3://b/p"), `The S3 prefix "s3://b/p" must end with a slash.`),
		"a climbing key":        invalid(prefixAt("s3://b/bad/"), `Object "../x" has "." or ".." in its path.`),
		"a clash of keys": invalid(prefixAt("s3://b/clash/"),
			`Object "a/b" is a file where there is a directory, or the other way round.`),
		"a directory with data": invalid(prefixAt("s3://b/slash/"), `Object "a/" has an empty name in its path.`),
		"a name too long": invalid(objectAt("s3://b/"+strings.Repeat("n", 256)),
			`Object "`+strings.Repeat("n", 120)+`…" has a name longer than 255 bytes.`),
		"too many objects": invalid(prefixAt("s3://b/many/"),
			"There are more than 9 objects below s3://b/many/, the limit for model data."),
		"too many bytes": invalid(prefixAt("s3://b/large/"),
			"The objects below s3://b/large/ have more than 1000 bytes, the limit for model data."),
		"one with too many": invalid(objectAt("s3://b/large/2"),
			`Object "2" has 1001 bytes; model data may have 1000.`),
	} {
		t.Run(name, func(t *testing.T) {
			s := unfitStore(t)
			if c.lever != nil {
				c.lever(s)
			}
			dir := t.TempDir()
			cache := open(t, artifact.Config{Source: s, Dir: dir, MaxFiles: 9, MaxUnpacked: 1000})
			_, err := cache.Fetch(t.Context(), c.data)
			if kind, public := fault.Public(err); kind != c.kind || public != c.public {
				t.Errorf("Fetch: %v: %s\n(%v)", kind, public, err)
			}
			wantNothingLeft(t, dir)
		})
	}
}

func TestCheckLooksAndDownloadsNothing(t *testing.T) {
	s := newStore(map[string]string{"b/m.tar.gz": "anything", "b/p/a": "A"})
	c := open(t, artifact.Config{Source: s})
	for uri, layout := range map[string]hosting.DataLayout{
		"s3://b/m.tar.gz": hosting.Archive,
		"s3://b/p/":       hosting.Prefix,
	} {
		if err := c.Check(t.Context(), hosting.ModelData{URI: uri, Layout: layout}); err != nil {
			t.Error(err)
		}
	}
	if _, public := fault.Public(c.Check(t.Context(),
		archiveAt("s3://bucket/key"))); public != "Could not find model data at s3://bucket/key." {
		t.Errorf("a missing object: %s", public)
	}
	if s.downloads() != 0 {
		t.Errorf("%d downloads", s.downloads())
	}
}

func TestAnObjectWithoutATagIsDownloadedEveryTime(t *testing.T) {
	s := &untagged{newStore(map[string]string{"b/m": "M", "b/p/m": "M"})}
	c := open(t, artifact.Config{Source: s})
	for _, d := range []hosting.ModelData{
		{URI: "s3://b/m", Layout: hosting.Object},
		{URI: "s3://b/p/", Layout: hosting.Prefix},
	} {
		before := s.downloads()
		if a, b := mustFetch(t, c, d), mustFetch(t, c, d); a != b || s.downloads() != before+2 {
			t.Errorf("%+v, %+v, %d downloads", a, b, s.downloads()-before)
		}
	}
}

// untagged is a store that knows no tags.
type untagged struct{ *store }

func (u *untagged) Stat(ctx context.Context, bucket, key string) (objects.Info, error) {
	i, err := u.store.Stat(ctx, bucket, key)
	i.ETag = ""
	return i, err
}

func (u *untagged) Get(ctx context.Context, bucket, key string) (io.ReadCloser, objects.Info, error) {
	b, i, err := u.store.Get(ctx, bucket, key)
	i.ETag = ""
	return b, i, err
}

func (u *untagged) All(ctx context.Context, bucket, prefix string) iter.Seq2[objects.Info, error] {
	return func(yield func(objects.Info, error) bool) {
		for i, err := range u.store.All(ctx, bucket, prefix) {
			i.ETag = ""
			if !yield(i, err) {
				return
			}
		}
	}
}

func isDone(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
