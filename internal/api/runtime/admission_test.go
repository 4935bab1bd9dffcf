package runtime_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ml/slipway/internal/api/runtime"
)

// records is a log that a test reads while it is written.
type records struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.Write(p)
}

func (r *records) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.b.String()
}

// Whoever holds no key is told so before the body comes: it is neither read nor
// asked for.
func TestTheSignatureIsLookedAtBeforeTheBody(t *testing.T) {
	var log records
	registry := prometheus.NewRegistry()
	s := start(t, func(c *runtime.Config) {
		c.Log, c.Registerer = slog.New(slog.NewTextHandler(&log, nil)), registry
	})
	refused := 0
	for name, c := range map[string]struct {
		lines  string
		status int
	}{
		"unsigned": {"", 403},
		"a key that nobody has": {"X-Amz-Date: " + time.Now().UTC().Format("20060102T150405Z") +
			"\r\nAuthorization: AWS4-HMAC-SHA256 Credential=AKIDNOBODY/" + time.Now().UTC().Format("20060102") +
			"/eu-west-3/sagemaker/aws4_request, SignedHeaders=host;x-amz-date, Signature=" +
			strings.Repeat("0", 64) + "\r\n", 400},
	} {
		for _, url := range []string{s.url, s.rest} {
			nc, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = nc.Close() })
			_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprintf(nc, "POST /endpoints/e/invocations HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n"+
				"Content-Length: 100000\r\n%s\r\n", c.lines)
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if resp.StatusCode != c.status {
				t.Errorf("%s: %d", name, resp.StatusCode)
			}
			refused++
			if got := strings.Count(log.String(), "request refused"); got != refused ||
				!strings.Contains(log.String(), nc.LocalAddr().String()) {
				t.Errorf("%s: %d refusals of %d are logged, or not from where:\n%s", name, got, refused, log.String())
			}
		}
	}
	got, err := registry.Gather()
	if err != nil || len(got) != 1 || got[0].Metric[0].Counter.GetValue() != float64(refused) {
		t.Errorf("counted %v, %v", got, err)
	}
}

func TestARefusalBySignatureIsLogged(t *testing.T) {
	var log records
	s := start(t, func(c *runtime.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	onBoth(t, s, func(t *testing.T, url string) {
		req := request(t, url+"/endpoints/e/invocations", "x")
		req.Header.Set("X-Amz-Date", time.Now().Add(-time.Minute).UTC().Format("20060102T150405Z"))
		before := strings.Count(log.String(), "request refused")
		if r := do(t, req); r.status != 400 {
			t.Errorf("status %d", r.status)
		}
		if n := strings.Count(log.String(), "request refused"); n != before+1 {
			t.Errorf("logged %d times:\n%s", n-before, log.String())
		}
	})
}
