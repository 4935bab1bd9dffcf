package packaging_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/platform/artifact"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/store"
	"github.com/slipway-ml/slipway/internal/platform/store/jobs"
	"github.com/slipway-ml/slipway/internal/service/packaging"
)

var scope = arn.Scope{Region: "us-east-1", Account: "000000000000"}

// bench is a packaging service on a real store, real objects and a real cache.
type bench struct {
	*packaging.Service
	t       testing.TB
	db      *store.DB
	objects *objects.Store
}

// open makes a service in dir; run takes turns until the test ends.
func open(t testing.TB, dir string, change ...func(*packaging.Config)) *bench {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(dir, "db"))
	check(err)
	check(jobs.New(db).Jobs().ForgetLeases(t.Context()))
	objs, err := objects.Open(filepath.Join(dir, "objects"))
	check(err)
	cache, err := artifact.New(artifact.Config{Dir: filepath.Join(dir, "models"), Source: objs})
	check(err)
	c := packaging.Config{
		Store: jobs.New(db), Objects: objs, WorkDir: filepath.Join(dir, "work"),
		Log:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Fetch: cache.Fetch,
	}
	for _, f := range change {
		f(&c)
	}
	s, err := packaging.New(c)
	check(err)
	t.Cleanup(func() {
		for _, f := range []func() error{cache.Close, objs.Close, db.Close} {
			if err := f(); err != nil {
				t.Error(err)
			}
		}
	})
	return &bench{s, t, db, objs}
}

func start(t testing.TB, change ...func(*packaging.Config)) *bench {
	t.Helper()
	b := open(t, t.TempDir(), change...)
	b.run()
	if err := b.objects.CreateBucket(t.Context(), objects.Bucket{Name: "models"}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-done })
}

func (b *bench) put(key string, content []byte) string {
	b.t.Helper()
	if _, err := b.objects.Put(b.t.Context(), "models", key, bytes.NewReader(content), objects.Put{}); err != nil {
		b.t.Fatal(err)
	}
	return "s3://models/" + key
}

func (b *bench) get(uri string) []byte {
	b.t.Helper()
	bucket, key, _ := domain.SplitS3(uri)
	r, _, err := b.objects.Get(b.t.Context(), bucket, key)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		b.t.Fatal(err)
	}
	return content
}

var linux = domain.Target{OS: "LINUX", Arch: "X86_64"}

// compile runs a compilation to its end.
func (b *bench) compile(name string, c domain.Compile) *domain.Job {
	b.t.Helper()
	if c.OutputAt == "" {
		c.OutputAt = "s3://models/out/"
	}
	if c.Target == (domain.Target{}) {
		c.Target = linux
	}
	if _, err := b.CreateCompilation(b.t.Context(), scope, name, c, []byte("{}"), nil); err != nil {
		b.t.Fatal(err)
	}
	return b.await(domain.Compilation, name)
}

func (b *bench) pack(name string, p domain.Pack) *domain.Job {
	b.t.Helper()
	if p.OutputAt == "" {
		p.OutputAt = "s3://models/packages"
	}
	if _, err := b.CreatePackaging(b.t.Context(), scope, name, p, []byte("{}"), nil); err != nil {
		b.t.Fatal(err)
	}
	return b.await(domain.Packaging, name)
}

func (b *bench) await(k domain.Kind, name string) *domain.Job {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		j, err := b.Job(b.t.Context(), k, scope, name)
		if err != nil {
			b.t.Fatal(err)
		}
		if j.State.Status.Terminal() {
			return j
		}
	}
	b.t.Fatal("the job did not end")
	return nil
}

type file struct{ name, content string }

func tarGz(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	gz := gzip.NewWriter(&b)
	tw := tar.NewWriter(gz)
	for _, f := range files {
		if err := tw.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.content)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, f.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := gz.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func untar(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	gz, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for tr := tar.NewReader(gz); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		out[h.Name] = string(content)
	}
}
