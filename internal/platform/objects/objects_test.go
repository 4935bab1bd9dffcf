package objects_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

const bucket = "bucket"

func open(t testing.TB, dir string) *objects.Store {
	t.Helper()
	s, err := objects.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // it may be closed already
	err = s.CreateBucket(context.Background(), objects.Bucket{Name: bucket})
	if err != nil && !errors.Is(err, fault.Exists) {
		t.Fatal(err)
	}
	return s
}

func put(t testing.TB, s *objects.Store, key, data string) objects.Info {
	t.Helper()
	i, err := s.Put(context.Background(), bucket, key, strings.NewReader(data), objects.Put{})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return i
}

func get(s *objects.Store, key string) (string, error) {
	r, _, err := s.Get(context.Background(), bucket, key)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func keys(t testing.TB, s *objects.Store, l objects.List) (all []string) {
	t.Helper()
	for {
		p, err := s.List(context.Background(), bucket, l)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.Objects {
			all = append(all, o.Key)
		}
		all = append(all, p.Prefixes...)
		if p.Next == "" {
			slices.Sort(all)
			return all
		}
		l.After = p.Next
	}
}

func TestAnObjectComesBackAsItWasPutAfterAReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	data := strings.Repeat("model", 1000)
	header := map[string]string{"content-type": "text/csv", "x-amz-meta-long": strings.Repeat("x", 2000)}
	i, err := s.Put(t.Context(), bucket, "m/v1/model.tar.gz", strings.NewReader(data),
		objects.Put{Header: header, Tags: "a=b", Algorithm: checksum.CRC32})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	o, err := s.Open(t.Context(), bucket, "m/v1/model.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	got, err := io.ReadAll(o)
	if err != nil || string(got) != data {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	sum := md5.Sum([]byte(data))
	if o.Info.ETag != hex.EncodeToString(sum[:]) || o.Info.Size != int64(len(data)) || o.Info.Tags != "a=b" ||
		o.Info.Header["x-amz-meta-long"] != header["x-amz-meta-long"] || o.Info.Checksum != i.Checksum ||
		o.Info.ChecksumType != objects.FullObject || !o.Info.Modified.Equal(i.Modified) {
		t.Errorf("%+v", o.Info)
	}
	var part bytes.Buffer
	if err := o.CopyTo(&part, 3, 5); err != nil || part.String() != "elmod" {
		t.Errorf("%q, %v", part.String(), err)
	}
}

var hostile = []string{
	"a", "a/", "a/b", "a//b", "a/b/c", "/", "//", "/a", ".", "..", "../x", "a/../../b", "./a", "a/.", "a/..",
	"../../../../../../etc/passwd", "tmp", "lock", "bucket.json",
	"o", "d", "c", "da/ob", "%", "%2F", "%00", "a%2Fb", "nul\x00nul", "new\nline", "tab\t", "space ", " ", "ümläut",
	"日本語/モデル", "😀", `back\slash`, "con", "a:b", "*?<>|\"'",
	strings.Repeat("k", 79), strings.Repeat("k", 80), strings.Repeat("k", 80) + "/", strings.Repeat("k", 81),
	strings.Repeat("k", 80) + "-", strings.Repeat("k", 160), strings.Repeat("k", 1024),
	strings.Repeat("/", 1024), strings.Repeat("é", 512), strings.Repeat("\x01", 1024), strings.Repeat("😀/", 204),
}

func TestHostileKeysAreKeptApartAndInside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"))
	for _, k := range hostile {
		put(t, s, k, "data of "+k)
	}
	for _, k := range hostile {
		if got, err := get(s, k); err != nil || got != "data of "+k {
			t.Errorf("%q: %q, %v", k, got, err)
		}
	}
	want := slices.Clone(hostile)
	slices.Sort(want)
	if got := keys(t, s, objects.List{Max: 7}); !slices.Equal(got, want) {
		t.Errorf("listed %q\nwant   %q", got, want)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("something was written outside: %v, %v", entries, err)
	}
	for _, k := range hostile {
		if err := s.Delete(t.Context(), bucket, k, objects.Condition{}); err != nil {
			t.Errorf("delete %q: %v", k, err)
		}
		if _, err := get(s, k); !errors.Is(err, objects.ErrNoKey) || !errors.Is(err, fault.NotFound) {
			t.Errorf("%q after its deletion: %v", k, err)
		}
	}
	// No directory is left over, so the bucket can go.
	if err := s.DeleteBucket(t.Context(), bucket); err != nil {
		t.Error(err)
	}
}

func TestKeysThatCannotBeAreRefused(t *testing.T) {
	s := open(t, t.TempDir())
	for key, kind := range map[string]fault.Kind{
		"": fault.Invalid, "\xff": fault.Invalid,
		strings.Repeat("k", 1025): fault.Limit,
	} {
		if _, err := s.Put(t.Context(), bucket, key, strings.NewReader(""), objects.Put{}); !errors.Is(err, kind) {
			t.Errorf("%.20q: %v", key, err)
		}
	}
	for _, name := range []string{
		"", "ab", "..", ".a.", "a/b", "../a", "A-B", "a..b", "-ab", "ab-", "1.2.3.4",
		strings.Repeat("b", 64), "a_b",
	} {
		if err := s.CreateBucket(t.Context(), objects.Bucket{Name: name}); !errors.Is(err, fault.Invalid) {
			t.Errorf("bucket %q: %v", name, err)
		}
		if _, err := s.Open(t.Context(), name, "k"); !errors.Is(err, objects.ErrNoBucket) {
			t.Errorf("open in bucket %q: %v", name, err)
		}
	}
}

func TestAKeyThatIsThePrefixItselfDoesNotEndAListing(t *testing.T) {
	s := open(t, t.TempDir())
	for _, k := range []string{"p/", "p/a", "p/b/c"} {
		put(t, s, k, "")
	}
	want := []string{"p/", "p/a", "p/b/"}
	if got := keys(t, s, objects.List{Prefix: "p/", Delimiter: "/", Max: 1}); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestALargeDirectoryIsListedInPieces(t *testing.T) {
	s := open(t, t.TempDir())
	const n = 3000
	var wg sync.WaitGroup // what takes time is the disk's flushing
	for w := range 50 {
		wg.Go(func() {
			for i := w; i < n; i += 50 {
				key := fmt.Sprintf("flat/%04d", i)
				if _, err := s.Put(t.Context(), bucket, key, strings.NewReader(""), objects.Put{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := keys(t, s, objects.List{Prefix: "flat/", Max: 700})
	if len(got) != n || got[0] != "flat/0000" || got[n-1] != "flat/2999" {
		t.Errorf("%d keys", len(got))
	}
	if got := keys(t, s, objects.List{Delimiter: "/"}); !slices.Equal(got, []string{"flat/"}) {
		t.Errorf("rolled up: %q", got)
	}
	seen := 0
	for o, err := range s.All(t.Context(), bucket, "flat/1") {
		if want := fmt.Sprintf("flat/%04d", 1000+seen); err != nil || o.Key != want {
			t.Fatalf("%q, %v, want %q", o.Key, err, want)
		}
		seen++
	}
	if seen != 1000 {
		t.Errorf("%d objects begin with flat/1", seen)
	}
	for _, err := range s.All(t.Context(), "no-such-bucket", "") {
		if !errors.Is(err, objects.ErrNoBucket) {
			t.Errorf("of an unknown bucket: %v", err)
		}
	}
}

func TestABodyThatFailsAtItsEndChangesNothing(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "k", "old")
	forged := errors.New("forged")
	body := io.MultiReader(strings.NewReader("new"), failing{forged})
	if _, err := s.Put(t.Context(), bucket, "k", body, objects.Put{}); !errors.Is(err, forged) {
		t.Errorf("%v", err)
	}
	if got, err := get(s, "k"); got != "old" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestAReaderKeepsTheObjectItOpened(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "k", "old")
	r, _, err := s.Get(t.Context(), bucket, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	put(t, s, "k", "newer")
	if err := s.Delete(t.Context(), bucket, "k", objects.Condition{}); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "old" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestConditionsAreJudgedWhenTheObjectIsReplaced(t *testing.T) {
	s := open(t, t.TempDir())
	absent := objects.Put{If: objects.Condition{Absent: true}}
	var wg sync.WaitGroup
	won := make(chan int, 8)
	for i := range 8 { // of eight that want to be first one is
		wg.Go(func() {
			if _, err := s.Put(t.Context(), bucket, "k", strings.NewReader(fmt.Sprint(i)), absent); err == nil {
				won <- i
			} else if !errors.Is(err, objects.ErrChanged) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d were first", len(won))
	}
	i := put(t, s, "k", "as it was")
	for name, c := range map[string]struct {
		key  string
		cond objects.Condition
		want error
	}{
		"another ETag":        {"k", objects.Condition{ETag: "x"}, objects.ErrChanged},
		"an ETag of nothing":  {"nothing", objects.Condition{ETag: "x"}, objects.ErrNoKey},
		"its ETag":            {"k", objects.Condition{ETag: i.ETag}, nil},
		"any ETag":            {"k", objects.Condition{ETag: "*"}, nil},
		"absence of what is":  {"k", objects.Condition{Absent: true}, objects.ErrChanged},
		"absence of what not": {"n2", objects.Condition{Absent: true}, nil},
	} {
		_, err := s.Put(t.Context(), bucket, c.key, strings.NewReader(""), objects.Put{If: c.cond})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		put(t, s, "k", "as it was")
	}
	if err := s.Delete(t.Context(), bucket, "k", objects.Condition{ETag: "x"}); !errors.Is(err, objects.ErrChanged) {
		t.Errorf("delete: %v", err)
	}
	if err := s.Delete(t.Context(), bucket, "no", objects.Condition{ETag: "x"}); !errors.Is(err, objects.ErrNoKey) {
		t.Errorf("delete of what is not there, and was to be: %v", err)
	}
}

func TestBucketsAreMadeListedAndDeletedWhenEmpty(t *testing.T) {
	s := open(t, t.TempDir())
	if err := s.CreateBucket(t.Context(), objects.Bucket{Name: bucket}); !errors.Is(err, fault.Exists) {
		t.Errorf("twice: %v", err)
	}
	if err := s.CreateBucket(t.Context(), objects.Bucket{Name: "a.second-1"}); err != nil {
		t.Error(err)
	}
	all, err := s.Buckets(t.Context())
	if err != nil || len(all) != 2 || all[0].Name != "a.second-1" || all[0].Created.IsZero() {
		t.Errorf("%v, %v", all, err)
	}
	put(t, s, "a/b", "")
	if err := s.DeleteBucket(t.Context(), bucket); !errors.Is(err, fault.InUse) {
		t.Errorf("full: %v", err)
	}
	if err := s.Delete(t.Context(), bucket, "a/b", objects.Condition{}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(s.DeleteBucket(t.Context(), bucket), s.DeleteBucket(t.Context(), "a.second-1")); err != nil {
		t.Error(err)
	}
	_, err = s.Put(t.Context(), bucket, "k", strings.NewReader(""), objects.Put{})
	if !errors.Is(err, objects.ErrNoBucket) || !errors.Is(s.DeleteBucket(t.Context(), bucket), fault.NotFound) {
		t.Errorf("gone: %v", err)
	}
}

// Puts and deletes of one deep key meet in making and removing directories.
func TestPutsAndDeletesInTheSameDirectoriesDoNotDisturbEachOther(t *testing.T) {
	s := open(t, t.TempDir())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 25 {
				k := fmt.Sprintf("a/b/c/%d", i)
				if _, err := s.Put(t.Context(), bucket, k, strings.NewReader(k), objects.Put{}); err != nil {
					t.Errorf("put %d: %v", n, err)
				}
				if got, err := get(s, k); got != k || err != nil {
					t.Errorf("%q, %v", got, err)
				}
				if err := s.Delete(t.Context(), bucket, k, objects.Condition{}); err != nil {
					t.Errorf("delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if err := s.DeleteBucket(t.Context(), bucket); err != nil {
		t.Error(err)
	}
}

func TestADamagedFileIsAnErrorAndNotData(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "k", strings.Repeat("x", 100))
	path := filepath.Join(dir, "buckets", bucket, "objects", "ok")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		for _, damaged := range [][]byte{
			whole[:n],
			append(bytes.Clone(whole[:n]), append([]byte{whole[n] ^ 1}, whole[n+1:]...)...),
		} {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if got, err := get(s, "k"); err == nil && len(got) != 100 {
				t.Fatalf("damaged at %d: %d bytes", n, len(got))
			} else if err != nil && errors.Is(err, fault.NotFound) {
				t.Fatalf("damaged at %d: %v", n, err)
			}
		}
	}
}

func TestOnlyOneProcessHasTheStore(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := objects.Open(dir); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Error(err)
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	put(t, open(t, dir), "a/b", "")
	err := filepath.WalkDir(filepath.Join(dir, "buckets"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if i, err := d.Info(); err != nil || i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, i.Mode(), err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
