package awsjson_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/awsjson"
	"github.com/slipway-ml/slipway/internal/wire/rpc"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// newHandler serves a few operations that answer by the name they are given.
func newHandler(log *slog.Logger) *rpc.Handler {
	return rpc.NewHandler(
		rpc.Config{
			Service: sagemaker.API(), Protocols: []rpc.Speaker{awsjson.New}, Errors: awserr.SageMaker, Log: log,
			MaxBody: 4096,
		},
		rpc.Bind("DescribeEndpoint", func(
			ctx context.Context, in sagemaker.DescribeEndpointInput,
		) (sagemaker.DescribeEndpointOutput, error) {
			at := shape.At(time.UnixMilli(1529870369986))
			return sagemaker.DescribeEndpointOutput{
				EndpointName:   in.EndpointName,
				EndpointArn:    new("arn:aws:sagemaker:us-east-1:000000000000:endpoint/" + *in.EndpointName),
				EndpointStatus: new(sagemaker.EndpointStatusInService), CreationTime: at, LastModifiedTime: at,
				ProductionVariants: []sagemaker.ProductionVariantSummary{
					{VariantName: new("v"), CurrentWeight: new(float32(1))},
				},
			}, failure(ctx, *in.EndpointName)
		}),
		rpc.Bind("DeleteEndpoint", func(ctx context.Context, in sagemaker.DeleteEndpointInput) (shape.None, error) {
			return shape.None{}, failure(ctx, *in.EndpointName)
		}),
		rpc.Bind("DeleteTags", func(context.Context, sagemaker.DeleteTagsInput) (sagemaker.DeleteTagsOutput, error) {
			return sagemaker.DeleteTagsOutput{}, nil
		}),
		rpc.Bind("ListEndpoints", func(
			context.Context, sagemaker.ListEndpointsInput,
		) (sagemaker.ListEndpointsOutput, error) {
			return sagemaker.ListEndpointsOutput{}, nil
		}),
	)
}

func failure(_ context.Context, name string) error {
	switch name {
	case "missing":
		return fmt.Errorf(
			"load: %w",
			fault.New(
				fault.NotFound, `Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/missing".`,
			).Because(errors.New("sql: no rows")),
		)
	case "quota":
		return fault.New(fault.Limit, "The account-level service limit is 0 Instances.")
	case "boom":
		return errors.New("password=hunter2")
	case "panic":
		panic("password=hunter2")
	case "later":
		return fault.New(fault.Unavailable, "Please retry.").Because(errors.New("password=hunter2"))
	}
	return nil
}

var ids = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

// Each file in testdata holds a request, a line of dashes, and the response.
func TestTheWire(t *testing.T) {
	h := newHandler(slog.New(slog.DiscardHandler))
	files, _ := filepath.Glob("testdata/*.http") // the pattern is well-formed
	if len(files) < 10 {
		t.Fatalf("only %d golden files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			request, want, _ := strings.Cut(string(b), "\n----\n")
			got := exchange(t, h, request)
			if *update {
				if err := os.WriteFile(path, []byte(request+"\n----\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// exchange sends "METHOD target", a line break and a body.
func exchange(t *testing.T, h http.Handler, request string) string {
	t.Helper()
	first, body, _ := strings.Cut(request, "\n")
	method, target, _ := strings.Cut(first, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", w.Code)
	names := make([]string, 0, len(w.Header()))
	for name := range w.Header() {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: %s\n", name, ids.ReplaceAllString(w.Header().Get(name), "UUID"))
	}
	return b.String() + "\n" + w.Body.String() + "\n"
}

func TestARequestIsLoggedOnceWithoutItsPayload(t *testing.T) {
	tests := map[string]struct {
		request, level, op, code string
		status                   float64
		cause                    bool
	}{
		"a success": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"secret\"}", "INFO", "DescribeEndpoint", "", 200,
			false,
		},
		"a refusal": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"missing\"}", "INFO", "DescribeEndpoint",
			"ValidationException", 400, false,
		},
		"a broken constraint": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"-secret-\"}", "INFO", "DescribeEndpoint",
			"ValidationException", 400, false,
		},
		"a failure of our own": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"boom\"}", "ERROR", "DescribeEndpoint",
			"InternalFailure", 500, true,
		},
		"a panic": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"panic\"}", "ERROR", "DescribeEndpoint",
			"InternalFailure", 500, true,
		},
		"a moment of no": {
			"POST SageMaker.DescribeEndpoint\n{\"EndpointName\":\"later\"}", "INFO", "DescribeEndpoint",
			"ServiceUnavailable", 503, true,
		},
		"an operation we lack": {
			"POST SageMaker.CreateTrainingJob\n{}", "INFO", "CreateTrainingJob", "UnknownOperationException", 400,
			false,
		},
		"what is no operation": {"POST SageMaker.<secret>\n{}", "INFO", "", "UnknownOperationException", 400, false},
		"another service's": {
			"POST Secret.DescribeEndpoint\n{}", "INFO", "", "UnknownOperationException", 400, false,
		},
		"a body that is no JSON": {
			"POST SageMaker.DescribeEndpoint\n{secret", "INFO", "DescribeEndpoint", "SerializationException", 400,
			false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			answer := exchange(t, newHandler(slog.New(slog.NewJSONHandler(&log, nil))), tt.request)
			if strings.Contains(answer, "hunter2") {
				t.Errorf("the cause was told: %s", answer)
			}
			if n := strings.Count(log.String(), "\n"); n != 1 {
				t.Fatalf("%d records: %s", n, log.String())
			}
			var rec map[string]any
			if err := json.Unmarshal(log.Bytes(), &rec); err != nil {
				t.Fatal(err)
			}
			if rec["level"] != tt.level || rec["op"] != tt.op || rec["code"] != tt.code || rec["status"] != tt.status {
				t.Errorf("record %s", log.String())
			}
			if strings.Contains(strings.ToLower(log.String()), "secret") ||
				strings.Contains(log.String(), "hunter2") != tt.cause {
				t.Errorf("record %s", log.String())
			}
			if id, _ := rec["request_id"].(string); !ids.MatchString(id) {
				t.Errorf("request id %q", id)
			}
		})
	}
}

func TestAnIDGivenBeforeIsKept(t *testing.T) {
	w := httptest.NewRecorder()
	id := awserr.RequestID(w.Header())
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader("{}"))
	r.Header.Set("X-Amz-Target", "SageMaker.ListEndpoints")
	newHandler(slog.New(slog.DiscardHandler)).ServeHTTP(w, r)
	if got := w.Header().Get("x-amzn-RequestId"); got != id {
		t.Errorf("%s became %s", id, got)
	}
}

func TestAWrongBindingIsRefusedAtOnce(t *testing.T) {
	list := rpc.Bind("ListEndpoints", func(
		context.Context, sagemaker.ListEndpointsInput,
	) (sagemaker.ListEndpointsOutput, error) {
		return sagemaker.ListEndpointsOutput{}, nil
	})
	tests := map[string][]rpc.Op{
		"twice": {list, list},
		"an operation that the service has not": {rpc.Bind("MakeEndpoint", func(
			context.Context, sagemaker.ListEndpointsInput,
		) (sagemaker.ListEndpointsOutput, error) {
			return sagemaker.ListEndpointsOutput{}, nil
		})},
		"other structures": {rpc.Bind("ListModels", func(
			context.Context, sagemaker.ListEndpointsInput,
		) (sagemaker.ListEndpointsOutput, error) {
			return sagemaker.ListEndpointsOutput{}, nil
		})},
		"no output": {rpc.Bind("ListEndpoints", func(
			context.Context, sagemaker.ListEndpointsInput,
		) (shape.None, error) {
			return shape.None{}, nil
		})},
	}
	for name, ops := range tests {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			rpc.NewHandler(
				rpc.Config{
					Service: sagemaker.API(), Protocols: []rpc.Speaker{awsjson.New}, Log: slog.New(slog.DiscardHandler),
				},
				ops...,
			)
		})
	}
}

// Whatever comes in, one well-formed answer goes out.
func FuzzHandler(f *testing.F) {
	f.Add("SageMaker.DescribeEndpoint", []byte(`{"EndpointName":"e"}`))
	f.Add("SageMaker.DeleteTags", []byte(
		`{"ResourceArn":"arn:aws:sagemaker:us-east-1:000000000000:model/m","TagKeys":["a"]}`,
	))
	f.Add("SageMaker.", []byte(`{`))
	f.Add("X", []byte(``))
	h := newHandler(slog.New(slog.DiscardHandler))
	f.Fuzz(func(t *testing.T, target string, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("X-Amz-Target", target)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == http.StatusOK && w.Body.Len() == 0 {
			return
		}
		if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
			t.Errorf("%d %q", w.Code, w.Body.String())
		}
		if w.Code >= 500 && !bytes.Contains(body, []byte("boom")) && !bytes.Contains(body, []byte("panic")) &&
			!bytes.Contains(body, []byte("later")) && !bytes.Contains(body, []byte(`\u`)) {
			t.Errorf("%d %q", w.Code, w.Body.String())
		}
	})
}

func BenchmarkDescribeEndpoint(b *testing.B) {
	h := newHandler(slog.New(slog.DiscardHandler))
	body := []byte(`{"EndpointName":"e"}`)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/", bytes.NewReader(body))
		r.Header.Set("X-Amz-Target", "SageMaker.DescribeEndpoint")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
