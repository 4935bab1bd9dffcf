package runtime_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"go.uber.org/goleak"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "123456789012"
	region  = "eu-west-3"
	limit   = 1 << 20
)

var scope = arn.Scope{Region: region, Account: account}

var creds = aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}

type keyring struct{}

func (keyring) Key(id string) (sigv4.Key, bool) {
	return sigv4.Key{
		ID: creds.AccessKeyID, Secret: creds.SecretAccessKey, ARN: "arn:aws:iam::123456789012:root",
	}, id == creds.AccessKeyID
}

// server is the runtime on both of its sides: http1 and net/http.
type server struct {
	url    string // http1 answers
	rest   string // net/http answers
	router *router.Router
}

func start(t *testing.T, edit func(*runtime.Config)) *server {
	t.Helper()
	r, err := router.New(router.Config{Client: http1.NewClient(http1.UpstreamConfig{Tick: 20 * time.Millisecond})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	cfg := runtime.Config{
		Router: r, Verifier: sigv4.NewVerifier(keyring{}, "sagemaker"), Account: account, MaxBody: limit,
	}
	if edit != nil {
		edit(&cfg)
	}
	api := runtime.New(cfg)
	s := &server{router: r}
	fast := http1.NewServer(http1.Config{MaxBody: cfg.MaxBody, Bodies: cfg.Bodies}, runtime.Prefix, api.Serve)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- fast.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := fast.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		<-done
	})
	slow := httptest.NewServer(api)
	t.Cleanup(slow.Close)
	s.url, s.rest = "http://"+l.Addr().String(), slow.URL
	return s
}

// serve puts endpoint e, variant v1, before a container.
func (s *server) serve(t *testing.T, container http.HandlerFunc) {
	t.Helper()
	c := httptest.NewServer(container)
	t.Cleanup(c.Close)
	s.route(traffic.Instance{ID: "i", Address: strings.TrimPrefix(c.URL, "http://")})
}

func (s *server) route(in ...traffic.Instance) {
	s.router.Set(traffic.Route{Scope: scope, Name: "e", Variants: []traffic.Variant{
		{Name: "v1", Weight: 1, Container: "primary", Fleets: []traffic.Fleet{{Config: "c", Share: 1, Instances: in}}},
	}})
}

// request returns a signed request; edits happen before it is signed.
func request(t *testing.T, url, body string, edits ...func(*http.Request)) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		e(req)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(
		t.Context(), creds, req, hex.EncodeToString(sum[:]), "sagemaker", region, time.Now(),
	); err != nil {
		t.Fatal(err)
	}
	return req
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

type reply struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, req *http.Request) reply {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// onBoth runs f against http1 and against net/http.
func onBoth(t *testing.T, s *server, f func(t *testing.T, url string)) {
	t.Helper()
	t.Run("http1", func(t *testing.T) { f(t, s.url) })
	t.Run("net/http", func(t *testing.T) { f(t, s.rest) })
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestAnAnswerIsPassedOnAsItIs(t *testing.T) {
	s := start(t, nil)
	var got *http.Request
	var gotBody []byte
	s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		gotBody, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/csv")
		w.Header().Set("X-Amzn-Sagemaker-Custom-Attributes", "from=container")
		w.Header().Set("X-Secret", "inside")
		w.WriteHeader(201)
		_, _ = w.Write([]byte("0.5\n"))
	})
	onBoth(t, s, func(t *testing.T, url string) {
		r := do(t, request(t, url+"/endpoints/e/invocations", "1,2,3",
			header("Content-Type", "text/csv"), header("Accept", "application/json"),
			header("X-Amzn-SageMaker-Custom-Attributes", "a=b"), header("X-Amzn-SageMaker-Inference-Id", "id-1"),
			header("X-Amzn-SageMaker-Target-Variant", "v1"), header("Cookie", "secret")))
		if r.status != 200 || r.body != "0.5\n" {
			t.Errorf("%d %q", r.status, r.body)
		}
		for name, want := range map[string]string{
			"Content-Type":                       "text/csv",
			"X-Amzn-Invoked-Production-Variant":  "v1",
			"X-Amzn-Sagemaker-Custom-Attributes": "from=container",
			"X-Secret":                           "",
		} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if id := r.header.Get("X-Amzn-Requestid"); !uuid.MatchString(id) {
			t.Errorf("request id %q", id)
		}
		if got.URL.Path != "/invocations" || got.Method != "POST" || string(gotBody) != "1,2,3" {
			t.Errorf("the container got %s %s %q", got.Method, got.URL, gotBody)
		}
		want := http.Header{
			"Content-Type": {"text/csv"}, "Accept": {"application/json"}, "Content-Length": {"5"},
			"X-Amzn-Sagemaker-Custom-Attributes": {"a=b"}, "X-Amzn-Sagemaker-Inference-Id": {"id-1"},
		}
		for name := range got.Header {
			if got.Header.Get(name) != want.Get(name) {
				t.Errorf("the container got %s: %s", name, got.Header.Get(name))
			}
		}
		if len(got.Header) != len(want) {
			t.Errorf("the container got %v", got.Header)
		}
	})
}

func TestAnEmptyBodyAndNoContentTypeAreFine(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if ct, ok := r.Header["Content-Type"]; ok || len(b) > 0 || r.ContentLength != 0 {
			t.Errorf("the container got %v %q", ct, b)
		}
		w.WriteHeader(204)
	})
	onBoth(t, s, func(t *testing.T, url string) {
		if r := do(t, request(t, url+"/endpoints/e/invocations", "")); r.status != 200 || r.body != "" {
			t.Errorf("%d %q", r.status, r.body)
		}
	})
}

func TestLargeBodiesPassBothWays(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	body := strings.Repeat("0123456789abcdef", limit/16)
	onBoth(t, s, func(t *testing.T, url string) {
		if r := do(t, request(t, url+"/endpoints/e/invocations", body)); r.status != 200 || r.body != body {
			t.Errorf("%d, %d bytes", r.status, len(r.body))
		}
		chunked := request(t, url+"/endpoints/e/invocations", body)
		chunked.ContentLength = -1
		chunked.Body = io.NopCloser(bytes.NewBufferString(body))
		chunked.Header.Del("Content-Length")
		resign(t, chunked, body)
		if r := do(t, chunked); r.status != 200 || r.body != body {
			t.Errorf("chunked: %d, %d bytes", r.status, len(r.body))
		}
		r := do(t, request(t, url+"/endpoints/e/invocations", body+"x"))
		if want := `{"Message":"HTTP content length exceeded 1048576 bytes."}`; r.status != 413 || r.body != want {
			t.Errorf("too large: %d %s", r.status, r.body)
		}
	})
}

func resign(t *testing.T, req *http.Request, body string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(
		t.Context(), creds, req, hex.EncodeToString(sum[:]), "sagemaker", region, time.Now(),
	); err != nil {
		t.Fatal(err)
	}
}

// refusal is a request that does not reach a container, and its answer.
type refusal struct {
	path   string
	edit   func(*http.Request)
	status int
	code   string
	want   string
}

// refusals are keyed by what is wrong with the request.
func refusals() map[string]refusal {
	long := strings.Repeat("x", 64)
	return map[string]refusal{
		"unknown endpoint": {
			"nope/invocations", nil, 400, "ValidationError",
			`{"ErrorCode":"NO_SUCH_ENDPOINT","Message":"Endpoint nope of account 123456789012 not found."}`,
		},
		"wrong case": {
			"E/invocations", nil, 400, "ValidationError",
			`{"ErrorCode":"NO_SUCH_ENDPOINT","Message":"Endpoint E of account 123456789012 not found."}`,
		},
		"unknown variant": {
			"e/invocations", header("X-Amzn-SageMaker-Target-Variant", "w"), 400, "ValidationError",
			`{"Message":"Variant w not found for endpoint e."}`,
		},
		"no instance": {
			"empty/invocations", nil, 503, "ServiceUnavailable",
			`{"Message":"No instance of endpoint empty is ready to take the request. Try again later."}`,
		},
		"a name too long": {
			long + "/invocations", nil, 400, "ValidationError",
			`{"Message":"1 validation error detected: Value '` + long +
				`' at 'endpointName' failed to satisfy constraint: Member must have length less than or equal to 63"}`,
		},
		"two violations": {
			"-/invocations", header("X-Amzn-SageMaker-Target-Variant", "a_b"), 400, "ValidationError",
			`{"Message":"2 validation errors detected: Value '-' at 'endpointName' failed to satisfy constraint: ` +
				`Member must satisfy regular expression pattern: ^[a-zA-Z0-9](-*[a-zA-Z0-9])*; Value 'a_b' at ` +
				`'targetVariant' failed to satisfy constraint: Member must satisfy regular expression pattern: ` +
				`^[a-zA-Z0-9](-*[a-zA-Z0-9])*"}`,
		},
		"a target model": {
			"e/invocations", header("X-Amzn-SageMaker-Target-Model", "m.tar.gz"), 400, "ValidationError",
			`{"ErrorCode":"TARGET_MODEL_HEADER_NOT_SUPPORTED","Message":"Endpoint e is not a multi-model endpoint ` +
				`and does not support target model header."}`,
		},
		"an inference component": {
			"e/invocations", header("X-Amzn-SageMaker-Inference-Component", "c"), 400, "ValidationError",
			`{"Message":"Inference Component Name header is not allowed for endpoints to which you dont plan to ` +
				`deploy inference components. Please remove the Inference Component Name header and try again."}`,
		},
		"a session": {
			"e/invocations", header("X-Amzn-SageMaker-Session-Id", "NEW_SESSION"), 400, "ValidationError",
			`{"Message":"Endpoint e does not support stateful sessions and therefore no session id header."}`,
		},
		"asynchronous": {
			"e/async-invocations", header("X-Amzn-SageMaker-InputLocation", "s3://b/k"), 400, "ValidationError",
			`{"Message":"InvokeEndpointAsync is not supported: endpoint e has no AsyncInferenceConfig."}`,
		},
		"asynchronous without its input": {
			"e/async-invocations", nil, 400, "ValidationError",
			`{"Message":"1 validation error detected: Value null at 'inputLocation' failed to satisfy constraint: ` +
				`Member must not be null"}`,
		},
		"no such operation": {
			"e/elsewhere", nil, 404, "UnknownOperationException",
			`{"Message":"There is no operation POST /endpoints/e/elsewhere."}`,
		},
	}
}

func TestRefusalsSayWhyInTheAPIsWords(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a refused request reached the container") })
	s.router.Set(traffic.Route{Scope: scope, Name: "empty", Variants: []traffic.Variant{{Name: "v"}}})
	for name, tc := range refusals() {
		t.Run(name, func(t *testing.T) {
			onBoth(t, s, func(t *testing.T, url string) {
				var edits []func(*http.Request)
				if tc.edit != nil {
					edits = append(edits, tc.edit)
				}
				r := do(t, request(t, url+"/endpoints/"+tc.path, "x", edits...))
				if r.status != tc.status || r.body != tc.want || r.header.Get("X-Amzn-Errortype") != tc.code {
					t.Errorf("%d %s %s", r.status, r.header.Get("X-Amzn-Errortype"), r.body)
				}
				if !uuid.MatchString(r.header.Get("X-Amzn-Requestid")) ||
					r.header.Get("Content-Type") != "application/json" {
					t.Errorf("%v", r.header)
				}
			})
		})
	}
}

func TestOnlySignedRequestsReachAContainer(t *testing.T) {
	s := start(t, nil)
	s.serve(t, func(http.ResponseWriter, *http.Request) { t.Error("an unsigned request reached the container") })
	onBoth(t, s, func(t *testing.T, url string) {
		req := request(t, url+"/endpoints/e/invocations", "x")
		req.Header.Del("Authorization")
		r := do(t, req)
		if r.status != 403 || r.header.Get("X-Amzn-Errortype") != "MissingAuthenticationTokenException" ||
			r.body != `{"Message":"Missing Authentication Token"}` {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
		req = request(t, url+"/endpoints/e/invocations", "x")
		req.Body = io.NopCloser(strings.NewReader("y"))
		if r = do(t, req); r.status != 400 || r.header.Get("X-Amzn-Errortype") != "InvalidSignatureException" {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
	})
}

func decode(t *testing.T, body string) (m struct {
	ErrorCode, LogStreamArn, Message, OriginalMessage string
	OriginalStatusCode                                int
},
) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return m
}
