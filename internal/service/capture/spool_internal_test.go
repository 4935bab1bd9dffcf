package capture

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/objects"
)

// torn is a file of which the disk takes so many bytes more, and that cannot be cut
// afterwards.
type torn struct {
	output
	room *int
}

func (t torn) Write(p []byte) (int, error) {
	if len(p) <= *t.room {
		*t.room -= len(p)
		return t.output.Write(p)
	}
	n, err := t.output.Write(p[:*t.room])
	*t.room = 0
	return n, errors.Join(err, errors.New("no space left on device"))
}

func (torn) Truncate(int64) error { return errors.New("input/output error") }

// A disk that takes half a line and cannot be rid of it costs what was to be written
// then, and nothing else: not a line before it, and none after it.
func TestHalfALineThatCannotBeUndoneBreaksNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := objects.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		if err := store.CreateBucket(t.Context(), objects.Bucket{Name: "kept"}); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		s, err := New(Config{Dir: dir, Objects: store, SpoolBytes: 1 << 30, StopAt: 100, ResumeBelow: 100})
		if err != nil {
			t.Fatal(err)
		}
		room := 1000
		s.spool.open = func(path string) (output, error) {
			f, err := openFile(path)
			return torn{f, &room}, err
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		take := func(text string) {
			s.Take(Record{
				Key: traffic.Key{Region: "r", Name: "e"}, Variant: "v",
				Capture: &traffic.Capture{Destination: "s3://kept", CSV: []string{"text/csv"}},
				Input:   Side{Taken: true, ContentType: "text/csv", Data: []byte(text)},
			})
			time.Sleep(20 * time.Millisecond) // virtual: until it is written
			synctest.Wait()
		}
		take("before")
		take(strings.Repeat("torn ", 500))
		if s.stopped.Load() == nil {
			t.Error("nobody heard of the disk")
		}
		time.Sleep(15 * time.Second) // virtual: it is tried again
		room = 1 << 20
		take("after")
		stop()
		<-done
		all := kept(t, store)
		if strings.Contains(all, "torn") || strings.Count(all, "\n") != 2 ||
			!strings.Contains(all, `"before"`) || !strings.Contains(all, `"after"`) {
			t.Errorf("captured is %q", all)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
			t.Errorf("%q are left, %v", left, err)
		}
	})
}

// kept is the text of all objects of the bucket "kept".
func kept(t *testing.T, store *objects.Store) (all string) {
	t.Helper()
	page, err := store.List(t.Context(), "kept", objects.List{Max: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range page.Objects {
		r, _, err := store.Get(t.Context(), "kept", o.Key)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(string(text), lineBegin) || !strings.HasSuffix(string(text), lineEnd) {
			t.Errorf("%s is %q", o.Key, text)
		}
		all += string(text)
	}
	return all
}
