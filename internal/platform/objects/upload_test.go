package objects_test

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

const partSize = 5 << 20

func begin(t *testing.T, s *objects.Store, u objects.Upload) string {
	t.Helper()
	u.Key = "k"
	id, err := s.Begin(t.Context(), bucket, u)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func putPart(t *testing.T, s *objects.Store, id string, n int, data string) objects.Part {
	t.Helper()
	p, err := s.PutPart(t.Context(), bucket, "k", id, n, strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPartsBecomeOneObjectEvenAfterAReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	first, second := strings.Repeat("1", partSize), "the rest"
	id := begin(t, s, objects.Upload{
		Header: map[string]string{"content-type": "x/y"}, Algorithm: checksum.CRC32,
		ChecksumType: objects.FullObject,
	})
	putPart(t, s, id, 2, "replaced")
	p1 := putPart(t, s, id, 1, first)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	p2 := putPart(t, s, id, 2, second)
	parts, more, err := s.Parts(t.Context(), bucket, "k", id, 0, 1)
	if err != nil || !more || len(parts) != 1 || parts[0].ETag != p1.ETag || parts[0].Size != partSize {
		t.Errorf("%+v, %v, %v", parts, more, err)
	}
	h := checksum.CRC32.New()
	_, _ = io.WriteString(h, first+second) // a hash never fails
	i, err := s.Complete(t.Context(), bucket, "k", id,
		objects.Complete{Parts: []objects.Part{p1, p2}, Size: -1, Checksum: checksum.Encode(h)})
	if err != nil {
		t.Fatal(err)
	}
	e1, e2 := md5.Sum([]byte(first)), md5.Sum([]byte(second))
	both := md5.Sum(append(e1[:], e2[:]...))
	if i.ETag != hex.EncodeToString(both[:])+"-2" || i.Checksum != checksum.Encode(h) ||
		fmt.Sprint(i.Parts) != fmt.Sprint([]int{partSize, len(second)}) {
		t.Errorf("%+v", i)
	}
	if got, err := get(s, "k"); got != first+second || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s.Upload(t.Context(), bucket, "k", id); !errors.Is(err, objects.ErrNoUpload) {
		t.Errorf("the upload is there still: %v", err)
	}
}

func TestACompositeChecksumIsOverTheParts(t *testing.T) {
	s := open(t, t.TempDir())
	id := begin(t, s, objects.Upload{Algorithm: checksum.SHA256, ChecksumType: objects.Composite})
	p := putPart(t, s, id, 7, "data")
	i, err := s.Complete(t.Context(), bucket, "k", id, objects.Complete{Parts: []objects.Part{p}, Size: 4})
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := checksum.SHA256.Decode(p.Checksum)
	h := checksum.SHA256.New()
	_, _ = h.Write(raw) // a hash never fails
	if i.Checksum != checksum.Encode(h)+"-1" || i.ChecksumType != objects.Composite {
		t.Errorf("%+v", i)
	}
}

func TestAnUploadIsCompletedOnlyWithItsOwnParts(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "k", "old")
	id := begin(t, s, objects.Upload{Algorithm: checksum.CRC32, ChecksumType: objects.FullObject})
	p1, p2 := putPart(t, s, id, 1, "small"), putPart(t, s, id, 2, "b")
	for name, c := range map[string]struct {
		complete objects.Complete
		want     error
	}{
		"no parts": {objects.Complete{Size: -1}, objects.ErrPart},
		"a part not there": {
			objects.Complete{Parts: []objects.Part{{Number: 3, ETag: p1.ETag}}, Size: -1},
			objects.ErrPart,
		},
		"another ETag": {
			objects.Complete{Parts: []objects.Part{{Number: 1, ETag: p2.ETag}}, Size: -1},
			objects.ErrPart,
		},
		"another checksum": {objects.Complete{Parts: []objects.Part{{
			Number: 1, ETag: p1.ETag,
			Checksum: p2.Checksum,
		}}, Size: -1}, objects.ErrPart},
		"out of order": {objects.Complete{Parts: []objects.Part{p2, p1}, Size: -1}, objects.ErrPartOrder},
		"twice":        {objects.Complete{Parts: []objects.Part{p2, p2}, Size: -1}, objects.ErrPartOrder},
		"too small":    {objects.Complete{Parts: []objects.Part{p1, p2}, Size: -1}, objects.ErrPartSmall},
		"another size": {objects.Complete{Parts: []objects.Part{p1}, Size: 4}, objects.ErrSize},
		"another sum": {
			objects.Complete{Parts: []objects.Part{p1}, Size: -1, Checksum: p2.Checksum},
			objects.ErrChecksum,
		},
		"a condition broken": {objects.Complete{
			Parts: []objects.Part{p1}, Size: -1,
			If: objects.Condition{Absent: true},
		}, objects.ErrChanged},
	} {
		if _, err := s.Complete(t.Context(), bucket, "k", id, c.complete); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := get(s, "k"); got != "old" || err != nil {
			t.Fatalf("%s: the object is %q, %v", name, got, err)
		}
	}
	if _, err := s.Complete(t.Context(), bucket, "k", id,
		objects.Complete{Parts: []objects.Part{p1}, Size: 5}); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

func TestAnAbortedUploadIsGone(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	id := begin(t, s, objects.Upload{})
	p := putPart(t, s, id, 1, "data")
	if all, err := s.Uploads(t.Context(), bucket, ""); err != nil || len(all) != 1 || all[0].ID != id {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := s.Uploads(t.Context(), bucket, "x"); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
	if err := s.Abort(t.Context(), bucket, "other", id); !errors.Is(err, objects.ErrNoUpload) {
		t.Errorf("of another key: %v", err)
	}
	if err := s.Abort(t.Context(), bucket, "k", id); err != nil {
		t.Error(err)
	}
	_, err1 := s.PutPart(t.Context(), bucket, "k", id, 2, bytes.NewReader(nil))
	_, err2 := s.Complete(t.Context(), bucket, "k", id, objects.Complete{Parts: []objects.Part{p}})
	_, _, err3 := s.Parts(t.Context(), bucket, "k", id, 0, 10)
	for _, err := range []error{
		err1, err2, err3, s.Abort(t.Context(), bucket, "k", id),
		s.Abort(t.Context(), bucket, "k", "../../tmp"),
	} {
		if !errors.Is(err, objects.ErrNoUpload) || !errors.Is(err, fault.NotFound) {
			t.Errorf("%v", err)
		}
	}
	for _, d := range []string{"tmp", "buckets/bucket/uploads"} {
		if left, err := os.ReadDir(filepath.Join(dir, d)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v, %v", d, left, err)
		}
	}
}

func TestACopyHasTheDataAndWhatItIsToldToHave(t *testing.T) {
	s := open(t, t.TempDir())
	src, err := s.Put(t.Context(), bucket, "a", strings.NewReader("data"),
		objects.Put{Header: map[string]string{"content-type": "x"}, Tags: "t=1", Algorithm: checksum.CRC32C})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Open(t.Context(), bucket, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	i, err := s.Copy(t.Context(), o, bucket, "b", objects.Copy{})
	if err != nil || i.ETag != src.ETag || i.Header["content-type"] != "x" || i.Tags != "t=1" ||
		i.Checksum != src.Checksum {
		t.Errorf("%+v, %v", i, err)
	}
	none := ""
	i, err = s.Copy(t.Context(), o, bucket, "a",
		objects.Copy{Header: map[string]string{"content-type": "y"}, Tags: &none})
	if err != nil || i.Header["content-type"] != "y" || i.Tags != "" {
		t.Errorf("on itself: %+v, %v", i, err)
	}
	for _, k := range []string{"a", "b"} {
		if got, err := get(s, k); got != "data" || err != nil {
			t.Errorf("%s: %q, %v", k, got, err)
		}
	}
}

func TestCompletingAnUploadAgainGivesTheSameAnswer(t *testing.T) {
	s := open(t, t.TempDir())
	id := begin(t, s, objects.Upload{Algorithm: checksum.CRC32, ChecksumType: objects.Composite})
	p := []objects.Part{putPart(t, s, id, 2, strings.Repeat("2", partSize)), putPart(t, s, id, 5, "5")}
	once := objects.Complete{Parts: p, Size: -1, If: objects.Condition{Absent: true}}
	var wg sync.WaitGroup
	var answers [8]objects.Info
	for n := range answers { // at the same moment
		wg.Go(func() {
			i, err := s.Complete(t.Context(), bucket, "k", id, once)
			if answers[n] = i; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, i := range answers {
		if !reflect.DeepEqual(i, answers[0]) || i.Size != partSize+1 {
			t.Errorf("%+v\n%+v", i, answers[0])
		}
	}
	tags := "a=b" // puts the object anew
	o, err := s.Open(t.Context(), bucket, "k")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), o, bucket, "k", objects.Copy{Tags: &tags}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), o, bucket, "other", objects.Copy{}); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	i, err := s.Complete(t.Context(), bucket, "k", id, objects.Complete{Parts: p, Size: -1})
	if err != nil || i.ETag != answers[0].ETag {
		t.Errorf("after its tags were set: %+v, %v", i, err)
	}
	renumbered := slices.Clone(p)
	renumbered[1].Number = 6
	wrong, foreign, right := slices.Clone(p), slices.Clone(p), slices.Clone(p)
	wrong[0].Checksum = p[1].Checksum
	foreign[1].Algorithm, foreign[1].Checksum = checksum.SHA256, "2l26x0trnT0r2AvakoFk2MB7eKVKzYESLMxSAKAzoik="
	sum := sha256.Sum256([]byte("5"))
	right[1].Algorithm, right[1].Checksum = checksum.SHA256, base64.StdEncoding.EncodeToString(sum[:])
	if _, err := s.Complete(t.Context(), bucket, "k", id, objects.Complete{Parts: right, Size: -1}); err != nil {
		t.Error("with a checksum of another algorithm:", err)
	}
	for name, c := range map[string]struct {
		key   string
		parts []objects.Part
		want  error
	}{
		"other parts":                           {"k", p[:1], objects.ErrNoUpload},
		"other numbers":                         {"k", renumbered, objects.ErrNoUpload},
		"the key of its copy":                   {"other", p, objects.ErrNoUpload},
		"the checksum of another part":          {"k", wrong, objects.ErrPart},
		"another checksum of another algorithm": {"k", foreign, objects.ErrChecksum},
	} {
		_, err := s.Complete(t.Context(), bucket, c.key, id, objects.Complete{Parts: c.parts, Size: -1})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	overwritten(t, s, id, once)
}

// overwritten has another object take the place of the one that an upload became.
func overwritten(t *testing.T, s *objects.Store, id string, once objects.Complete) {
	t.Helper()
	put(t, s, "k", "another")
	if _, err := s.Complete(t.Context(), bucket, "k", id, once); !errors.Is(err, objects.ErrNoUpload) {
		t.Errorf("when the object is another: %v", err)
	}
	if got, err := get(s, "k"); got != "another" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// Uploads of one key are listed in the order in which they began, whatever their IDs,
// and the place of one that has ended is known.
func TestUploadsOfAKeyAreListedAsTheyBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, t.TempDir())
		var want []string
		for range 8 {
			time.Sleep(time.Microsecond)
			want = append(want, begin(t, s, objects.Upload{}))
		}
		all, err := s.Uploads(t.Context(), bucket, "")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, u := range all {
			got = append(got, u.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("listed %q, begun %q", got, want)
		}
		if err := s.Abort(t.Context(), bucket, "k", want[3]); err != nil {
			t.Fatal(err)
		}
		at, err := s.UploadAt(t.Context(), bucket, want[3])
		at.Key = "k"
		if err != nil || all[2].Compare(at) >= 0 || all[4].Compare(at) <= 0 {
			t.Errorf("the place of one that has ended: %+v, %v", at, err)
		}
	})
}
