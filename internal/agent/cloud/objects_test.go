package cloud_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/agent/cloud"
	"github.com/slipway-ml/slipway/internal/agent/cloudtest"
	"github.com/slipway-ml/slipway/internal/domain/fault"
)

const object = "s3://models/a b+c/ü.tar.gz"

// stocked returns a server that holds the object of n bytes.
func stocked(t *testing.T, n int) (*cloudtest.Server, []byte) {
	t.Helper()
	s := cloudtest.New(t)
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(data)
	s.Store("models", "a b+c/ü.tar.gz", data)
	return s, data
}

// lever lets do spoil what the server answers for objects.
func lever(s *cloudtest.Server, do func(http.ResponseWriter, *http.Request) bool) {
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasPrefix(r.URL.Path, "/models/") && do(w, r)
	})
}

func read(t *testing.T, c *cloud.Client, offset int64) ([]byte, int64, error) {
	t.Helper()
	body, size, _, err := c.Fetch(t.Context(), object, offset)
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	return got, size, err
}

func TestAnObjectIsFetchedFromAnywhere(t *testing.T) {
	s, data := stocked(t, 300_000)
	c := dial(t, s)
	for _, offset := range []int64{0, 1, 299_999} {
		got, size, err := read(t, c, offset)
		if err != nil || size != 300_000 || !bytes.Equal(got, data[offset:]) {
			t.Errorf("from %d: %d of %d bytes, %v", offset, len(got), size, err)
		}
	}
	if _, _, err := read(t, c, 300_001); !errors.Is(err, fault.Conflict) {
		t.Errorf("from beyond the end: %v", err)
	}
}

func TestADownloadGoesOnOnlyWithTheSameObject(t *testing.T) {
	s, _ := stocked(t, 1000)
	c := dial(t, s)
	if _, _, err := read(t, c, 0); err != nil {
		t.Fatal(err)
	}
	s.Store("models", "a b+c/ü.tar.gz", make([]byte, 1000))
	if _, _, err := read(t, c, 500); !errors.Is(err, fault.Conflict) {
		t.Errorf("another object went on: %v", err)
	}
	got, _, err := read(t, c, 0)
	if err != nil || !bytes.Equal(got, make([]byte, 1000)) {
		t.Errorf("from its beginning: %v", err)
	}
}

func TestAServerWithoutRangesIsReadFromTheBeginning(t *testing.T) {
	s, data := stocked(t, 1000)
	lever(s, func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Range"); return false })
	// The range was signed, but what is deleted on the way is not missed by
	// this server: it answers for itself.
	lever(s, func(w http.ResponseWriter, _ *http.Request) bool { _, _ = w.Write(data); return true })
	if got, size, err := read(t, dial(t, s), 400); err != nil || size != 1000 || !bytes.Equal(got, data[400:]) {
		t.Errorf("%d of %d bytes: %v", len(got), size, err)
	}
}

func TestAnAnswerThatSendsAnotherPartIsRefused(t *testing.T) {
	s, _ := stocked(t, 1000)
	c := dial(t, s)
	for _, says := range []string{
		"", "bytes 0-999/1000", "bytes 500-998/1000", "bytes 500-999/*", "bytes 999-500/1000", "items 500-999/1000",
		"bytes 500-999/99999999999999999999",
	} {
		lever(s, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Range", says)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(make([]byte, 500))
			return true
		})
		if _, _, err := read(t, c, 500); !errors.Is(err, fault.Unavailable) {
			t.Errorf("%q: %v", says, err)
		}
	}
	lever(s, func(w http.ResponseWriter, _ *http.Request) bool {
		w.(http.Flusher).Flush() // no length, then
		_, _ = w.Write(make([]byte, 500))
		return true
	})
	if _, _, err := read(t, c, 0); !errors.Is(err, fault.Unavailable) {
		t.Errorf("without a length: %v", err)
	}
}

func TestATransferThatIsCutShortIsNoWholeOne(t *testing.T) {
	s, data := stocked(t, 100_000)
	for _, http1 := range []bool{false, true} {
		c := dial(t, s, func(cfg *cloud.Config) { cfg.HTTP1 = http1 })
		lever(s, func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "100000")
			_, _ = w.Write(data[:40_000])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		got, _, err := read(t, c, 0)
		if err == nil || !bytes.Equal(got, data[:len(got)]) {
			t.Errorf("HTTP/1 %v: %d bytes and %v", http1, len(got), err)
		}
		lever(s, func(http.ResponseWriter, *http.Request) bool { return false })
		rest, _, err := read(t, c, int64(len(got)))
		if err != nil || !bytes.Equal(append(got, rest...), data) {
			t.Errorf("HTTP/1 %v: the rest: %v", http1, err)
		}
	}
}

func TestATransferThatStandsStillEndsAndASlowOneDoesNot(t *testing.T) {
	s, data := stocked(t, 100)
	const stall = 2 * time.Second // much more than a busy machine lets a connection wait
	c := dial(t, s, func(cfg *cloud.Config) { cfg.Stall = stall })
	beat(t, c)
	// Twenty parts, each within the time, all together far beyond it.
	lever(s, func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "100")
		for part := range slices.Chunk(data, 5) {
			_, _ = w.Write(part)
			w.(http.Flusher).Flush()
			wait(r.Context(), stall/10)
		}
		return true
	})
	if got, _, err := read(t, c, 0); err != nil || !bytes.Equal(got, data) {
		t.Errorf("slow: %d bytes, %v", len(got), err)
	}
	for name, head := range map[string]int{"before the head of the answer": -1, "in its body": 40} {
		lever(s, func(w http.ResponseWriter, r *http.Request) bool {
			if head >= 0 {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write(data[:head])
				w.(http.Flusher).Flush()
			}
			wait(r.Context(), time.Minute)
			return true
		})
		_, _, err := read(t, c, 0)
		if err == nil || !strings.Contains(err.Error(), "stands still") {
			t.Errorf("%s: %v", name, err)
		}
	}
	beat(t, c) // and the client is not the worse for it
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func TestAnAnswerWithoutEndIsNotReadToItsEnd(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	for name, start := range map[string]string{"white space": " ", "a list": `{"Deployments":[{"DeploymentName":"`} {
		taken := make(chan int, 1)
		s.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = io.WriteString(w, start)
			chunk := bytes.Repeat([]byte(" "), 64<<10)
			sent := 0
			for sent < 64<<20 {
				n, err := w.Write(chunk)
				if sent += n; err != nil {
					break
				}
			}
			taken <- sent
			return true
		})
		_, _, err := c.Deployments(t.Context())
		if err == nil || !strings.Contains(err.Error(), "does not end") {
			t.Errorf("%s: %v", name, err)
		}
		if sent := <-taken; sent > 8<<20 {
			t.Errorf("%s: %d bytes were taken", name, sent)
		}
	}
}

func TestWhatIsNoObjectsURLIsRefusedUnasked(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	for _, url := range []string{
		"", "s3://", "s3://b", "s3://b/", "s3:///k", "https://models/k", "s3://../k",
		"s3://b/" + strings.Repeat("k", 3000),
	} {
		if _, _, _, err := c.Fetch(t.Context(), url, 0); !errors.Is(err, fault.Invalid) {
			t.Errorf("%.40q: %v", url, err)
		}
	}
	if _, _, _, err := c.Fetch(t.Context(), object, -1); !errors.Is(err, fault.Invalid) {
		t.Errorf("a negative offset: %v", err)
	}
	if len(s.Calls()) != 0 {
		t.Errorf("calls: %q", s.Calls())
	}
}

func TestADeviceMayBeDeniedAnObjectOrFindNone(t *testing.T) {
	s, _ := stocked(t, 10)
	c := dial(t, s)
	if _, _, _, err := c.Fetch(t.Context(), "s3://models/none", 0); !errors.Is(err, fault.NotFound) ||
		!strings.Contains(err.Error(), "NoSuchKey") {
		t.Error(err)
	}
	lever(s, func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
		return true
	})
	if _, _, err := read(t, c, 0); !errors.Is(err, fault.Denied) || !strings.Contains(err.Error(), "AccessDenied: no") {
		t.Error(err)
	}
}

func TestCapturesArriveAsTheyWereReadAlsoAfterARefusal(t *testing.T) {
	s := cloudtest.New(t)
	c := dial(t, s)
	beat(t, c)
	s.Revoke() // so that the first attempt is refused and the body sent twice
	for i, data := range [][]byte{[]byte("one\ntwo\n"), nil, bytes.Repeat([]byte("x"), 1<<20)} {
		key := "fleet/model/2026/11/22/00/" + strconv.Itoa(i) + ".jsonl"
		if err := c.Bucket("captures").Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		if got, ok := s.Objects()["captures/"+key]; !ok || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes arrived", key, len(got))
		}
	}
	if err := c.Bucket("captures").Put(t.Context(), "k", bytes.NewReader([]byte("short")), 9); err == nil {
		t.Error("a body that is shorter than it was said to be was stored")
	}
}
