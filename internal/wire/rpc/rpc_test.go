package rpc_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
)

func zipped(t *testing.T, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, p := range parts {
		if _, err := z.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func post(t *testing.T, h http.Handler, body []byte, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
	r.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801.PutMetricData")
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestBodiesAreUnpackedWithinTheLimit(t *testing.T) {
	h := newHandler(slog.New(slog.DiscardHandler))
	doc := `{"Namespace":"N","MetricData":[{"MetricName":"m","Value":1}]}`
	space := strings.Repeat(" ", maxBody)
	tooLarge := `413 {"__type":"com.amazonaws.cloudwatch#RequestEntityTooLargeException","message":"The request body ` +
		`has more than 65536 bytes."}`
	for name, tt := range map[string]struct {
		body   []byte
		header []string
		want   string
	}{
		"plain":              {[]byte(doc), nil, "200 "},
		"plain, and says so": {[]byte(doc), []string{"Content-Encoding", "identity"}, "200 "},
		"gzip":               {zipped(t, doc), []string{"Content-Encoding", "gzip"}, "200 "},
		"gzip, shouted":      {zipped(t, doc), []string{"Content-Encoding", "GZIP"}, "200 "},
		"gzip in two pieces": {
			append(zipped(t, doc[:9]), zipped(t, doc[9:])...), []string{"Content-Encoding", "gzip"}, "200 ",
		},
		"as large as may be": {[]byte(doc + space[len(doc):]), nil, "200 "},
		"gzip, as large":     {zipped(t, doc+space[len(doc):]), []string{"Content-Encoding", "gzip"}, "200 "},
		"too large":          {[]byte(doc + space), nil, tooLarge},
		"a bomb": {
			zipped(t, doc, strings.Repeat(" ", 64<<20)), []string{"Content-Encoding", "gzip"}, tooLarge,
		},
		"a bomb in many pieces": {bytes.Repeat(zipped(t, ""), 10_000), []string{"Content-Encoding", "gzip"}, tooLarge},
		"gzip in gzip": {
			zipped(t, string(zipped(t, doc))), []string{"Content-Encoding", "gzip", "Content-Encoding", "gzip"}, "415 ",
		},
		"an unknown encoding":  {[]byte(doc), []string{"Content-Encoding", "zstd"}, "415 "},
		"not gzip at all":      {[]byte(doc), []string{"Content-Encoding", "gzip"}, "400 "},
		"gzip that breaks off": {zipped(t, doc)[:30], []string{"Content-Encoding", "gzip"}, "400 "},
		"gzip with a false hash": {
			append(zipped(t, doc)[:len(zipped(t, doc))-8], make([]byte, 8)...),
			[]string{"Content-Encoding", "gzip"},
			"400 ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := post(t, h, tt.body, tt.header...)
			if got := w.Result().Status[:4] + w.Body.String(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestABombCostsNoMoreThanTheLimit(t *testing.T) {
	h := newHandler(slog.New(slog.DiscardHandler))
	bomb := zipped(t, strings.Repeat(" ", 40<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		post(t, h, bomb, "Content-Encoding", "gzip")
	}
	runtime.ReadMemStats(&after)
	if spent := (after.TotalAlloc - before.TotalAlloc) / 10; spent > 10*maxBody {
		t.Errorf("each took %d bytes", spent)
	}
}

func TestAWrongBindingIsRefusedAtOnce(t *testing.T) {
	list := rpc.Bind("ListMetrics", func(
		context.Context, cloudwatch.ListMetricsInput,
	) (cloudwatch.ListMetricsOutput, error) {
		return cloudwatch.ListMetricsOutput{}, nil
	})
	speak := []rpc.Speaker{awsjson.New}
	for name, tt := range map[string]struct {
		protocols []rpc.Speaker
		ops       []rpc.Op
	}{
		"no protocol": {nil, nil},
		"twice":       {speak, []rpc.Op{list, list}},
		"an operation that the service has not": {speak, []rpc.Op{rpc.Bind("ListMetric", func(
			context.Context, cloudwatch.ListMetricsInput,
		) (cloudwatch.ListMetricsOutput, error) {
			return cloudwatch.ListMetricsOutput{}, nil
		})}},
		"no output": {speak, []rpc.Op{rpc.Bind("ListMetrics", func(
			context.Context, cloudwatch.ListMetricsInput,
		) (shape.None, error) {
			return shape.None{}, nil
		})}},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			rpc.NewHandler(
				rpc.Config{Service: cloudwatch.API(), Log: slog.New(slog.DiscardHandler), Protocols: tt.protocols},
				tt.ops...,
			)
		})
	}
}
