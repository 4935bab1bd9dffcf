package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// echo answers with the API's name, the caller and the body it was given.
type echo string

func (e echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := access.From(r.Context())
	body, err := io.ReadAll(r.Body)
	fmt.Fprintf(w, "%s by %q in %q of %s: %s", e, c.AccessKeyID, c.Region, c.Account, body)
	if err != nil {
		fmt.Fprint(w, " ", err)
	}
}

func (e echo) Refuse(w http.ResponseWriter, _ *http.Request, status int, code, message string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s refuses: %s: %s", e, code, message)
}

type client struct {
	http.Handler
	key sigv4.Key
}

func open(t *testing.T, change func(*gateway.Config)) client {
	t.Helper()
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), "000000000000")
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, keys)
	if change != nil {
		change(&c)
	}
	return client{gateway.New(c), keys.Default()}
}

func config(t testing.TB, keys *access.Keys) gateway.Config {
	return gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Account: "000000000000", Region: "us-east-1",
		Log:     slog.New(slog.NewTextHandler(t.Output(), nil)),
		Runtime: echo("runtime"), SageMaker: echo("sagemaker"), Slipway: echo("slipway"), STS: echo("sts"),
		CloudWatch: echo("cloudwatch"), S3: echo("s3"), Metrics: echo("metrics"), Console: echo("console"),
		MaxBody: 1 << 10,
	}
}

// ask is a request, signed for a service unless that is "".
type ask struct {
	method, path, service string
	header                http.Header
	body                  string
}

func (h client) request(t *testing.T, a ask) *http.Request {
	t.Helper()
	out, err := http.NewRequestWithContext(
		context.Background(), a.method, "http://localhost:9400"+a.path, strings.NewReader(a.body),
	)
	if err != nil {
		t.Fatal(err)
	}
	if a.header != nil {
		out.Header = a.header.Clone()
	}
	if a.service != "" {
		sum := sha256.Sum256([]byte(a.body))
		hash := hex.EncodeToString(sum[:])
		if a.service == "s3" {
			out.Header.Set("X-Amz-Content-Sha256", hash)
		}
		err := v4.NewSigner().SignHTTP(
			t.Context(),
			aws.Credentials{AccessKeyID: h.key.ID, SecretAccessKey: h.key.Secret, SessionToken: h.key.SessionToken},
			out, hash, a.service, "eu-west-1", time.Now(),
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	in := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
	in.Host, in.Header = "localhost:9400", out.Header
	return in
}

func (h client) answer(t *testing.T, r *http.Request) (int, string, http.Header) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String(), w.Header()
}

var (
	form   = http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	target = http.Header{"X-Amz-Target": {"SageMaker.ListModels"}, "Content-Type": {"application/x-amz-json-1.1"}}
	alarms = http.Header{"X-Amz-Target": {"GraniteServiceVersion20100801.DescribeAlarms"}, "Content-Type": {
		"application/x-amz-json-1.0",
	}}
	inCBOR = http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}, "Content-Type": {"application/cbor"}}
)

const cborPath = "/service/GraniteServiceVersion20100801/operation/DescribeAlarms"

func TestEachAPIIsToldApart(t *testing.T) {
	h := open(t, nil)
	by := fmt.Sprintf(" by %q in \"eu-west-1\" of 000000000000: ", h.key.ID)
	for name, c := range map[string]struct {
		ask  ask
		want string
	}{
		"SageMaker by its target": {ask{"POST", "/", "sagemaker", target, `{}`}, "sagemaker" + by + "{}"},
		"our own operations by their target": {
			ask{"POST", "/", "sagemaker", http.Header{"X-Amz-Target": {"Slipway.ListDeployments"}}, `{}`},
			"slipway" + by + "{}",
		},
		"STS by its scope": {
			ask{"POST", "/", "sts", form, "Action=GetCallerIdentity"}, "sts" + by + "Action=GetCallerIdentity",
		},
		"STS by GET":                        {ask{"GET", "/?Action=GetCallerIdentity", "sts", nil, ""}, "sts" + by},
		"S3 by its scope":                   {ask{"PUT", "/bucket/key", "s3", nil, "data"}, "s3" + by + "data"},
		"a bucket that is called endpoints": {ask{"GET", "/endpoints/key", "s3", nil, ""}, "s3" + by},
		"the runtime by its path, unverified": {
			ask{"POST", "/endpoints/e/invocations", "", nil, "1,2"}, `runtime by "" in "" of : 1,2`,
		},
		"CloudWatch by its target": {ask{"POST", "/", "monitoring", alarms, `{}`}, "cloudwatch" + by + "{}"},
		"CloudWatch in CBOR": {
			ask{"POST", cborPath, "monitoring", inCBOR, "\xa0"}, "cloudwatch" + by + "\xa0",
		},
		"CloudWatch in CBOR, with a prefix": {
			ask{"POST", "/endpoint/of/mine" + cborPath, "monitoring", inCBOR, "\xa0"}, "cloudwatch" + by + "\xa0",
		},
		"CloudWatch by its scope": {
			ask{"POST", "/", "monitoring", form, "Action=DescribeAlarms"}, "cloudwatch" + by + "Action=DescribeAlarms",
		},
		"CloudWatch by GET": {
			ask{"GET", "/?Action=DescribeAlarms", "monitoring", nil, ""}, "cloudwatch" + by,
		},
		"the console": {
			ask{"GET", "/console/app.js", "", nil, ""}, `console by "" in "" of : `,
		},
	} {
		if status, got, _ := h.answer(t, h.request(t, c.ask)); status != 200 || got != c.want {
			t.Errorf("%s: %d %s\nwant %s", name, status, got, c.want)
		}
	}
}

// refusals of a gateway without a CloudWatch.
var refusals = map[string]struct {
	ask    ask
	status int
	want   string
}{
	"SageMaker": {
		ask{"POST", "/", "", target, `{}`},
		403,
		`{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`,
	},
	"STS": {
		ask{"POST", "/", "", form, "Action=GetCallerIdentity"},
		403,
		`<Type>Sender</Type><Code>MissingAuthenticationToken</Code>`,
	},
	"S3": {
		ask{"GET", "/bucket/key", "", nil, ""}, 403, `s3 refuses: AccessDenied: Access Denied`,
	},
	"nothing in particular": {ask{"POST", "/", "", nil, ""}, 403, `"MissingAuthenticationTokenException"`},
	"an unknown target": {
		ask{"POST", "/", "sagemaker", http.Header{"X-Amz-Target": {"Foo.Bar"}}, ""},
		400,
		`{"__type":"UnknownOperationException","message":"The operation Foo.Bar is not known."}`,
	},
	"an unknown path": {
		ask{"GET", "/nowhere", "sagemaker", nil, ""}, 400, `"message":"No operation is known at GET /nowhere"`,
	},
	"a service not served": {
		ask{"POST", "/", "iot", nil, "{}"}, 403, `"message":"The service iot is not served by Slipway. `,
	},
	"IoT, by its older name": {
		ask{"POST", "/things/x", "execute-api", nil, "{}"},
		403,
		`"message":"The service execute-api is not served by Slipway. `,
	},
	"a service yet to come": {
		ask{"POST", "/", "monitoring", form, "Action=ListMetrics"},
		403,
		`<Message>The service monitoring is not served by Slipway. `,
	},
	"CloudWatch in JSON": {
		ask{"POST", "/", "", alarms, `{}`},
		403,
		`{"__type":"com.amazonaws.cloudwatch#MissingAuthenticationTokenException","message":"Missing Authentication ` +
			`Token"}`,
	},
	"CloudWatch in CBOR": {
		ask{"POST", cborPath, "", inCBOR, ""}, 403, "com.amazonaws.cloudwatch#MissingAuthenticationTokenException",
	},
	"CloudWatch, CBOR by path": {
		ask{"POST", cborPath, "", nil, ""}, 403, "com.amazonaws.cloudwatch#MissingAuthenticationTokenException",
	},
	"CloudWatch for another": {ask{"POST", cborPath, "sagemaker", inCBOR, ""}, 400, "#InvalidSignatureException"},
	"CBOR too large": {
		ask{"POST", cborPath, "monitoring", inCBOR, strings.Repeat("x", 1025)}, 413, "#RequestEntityTooLargeException",
	},
	"a target of another name": {
		ask{"POST", "/", "iot", target, "{}"},
		400,
		`"InvalidSignatureException","message":"Credential should be scoped to correct service: 'sagemaker'."`,
	},
	"a body too large": {
		ask{"POST", "/", "sagemaker", target, strings.Repeat("x", 1025)},
		413,
		`{"__type":"RequestEntityTooLargeException","message":"The request body has more than 1024 bytes."}`,
	},
	"a form too large": {
		ask{"POST", "/", "sts", form, strings.Repeat("x", 1025)}, 413, `<Code>RequestEntityTooLargeException</Code>`,
	},
}

func TestRefusalsSpeakTheLanguageOfTheAPI(t *testing.T) {
	h := open(t, func(c *gateway.Config) { c.CloudWatch = nil })
	for name, c := range refusals {
		t.Run(name, func(t *testing.T) {
			status, got, header := h.answer(t, h.request(t, c.ask))
			if status != c.status || !strings.Contains(got, c.want) {
				t.Errorf("%d %s\nwant %d %s", status, got, c.status, c.want)
			}
			if !strings.HasPrefix(got, "s3") && header.Get("X-Amzn-Requestid") == "" {
				t.Error("no request id")
			}
		})
	}
}

func TestABadSignatureNeverReachesAnAPI(t *testing.T) {
	h := open(t, nil)
	for name, c := range map[string]struct {
		ask  ask
		want string
	}{
		"SageMaker": {ask{"POST", "/", "sagemaker", target, `{}`}, `"InvalidSignatureException"`},
		"STS":       {ask{"POST", "/", "sts", form, "Action=GetCallerIdentity"}, "<Code>SignatureDoesNotMatch</Code>"},
		"S3":        {ask{"GET", "/bucket/key", "s3", nil, ""}, "s3 refuses: SignatureDoesNotMatch"},
	} {
		r := h.request(t, c.ask)
		r.Host = "elsewhere"
		if _, got, _ := h.answer(t, r); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	// The hash of the body is in the signature: the handler hears so before the end.
	r := h.request(t, ask{"PUT", "/bucket/key", "s3", nil, "data"})
	r.Body = io.NopCloser(strings.NewReader("DATA"))
	if _, got, _ := h.answer(t, r); !strings.Contains(got, "XAmzContentSHA256Mismatch") {
		t.Error("S3 with another body:", got)
	}
}

// Clients that came from Query compare with its codes, whatever they speak now.
func TestCloudWatchRefusesByTheCodesOfQuery(t *testing.T) {
	h := open(t, nil)
	for name, a := range map[string]ask{
		"JSON":  {"POST", "/", "monitoring", alarms, `{}`},
		"CBOR":  {"POST", cborPath, "monitoring", inCBOR, "\xa0"},
		"Query": {"POST", "/", "monitoring", form, "Action=DescribeAlarms"},
	} {
		for code, spoil := range map[string]func(*http.Request){
			"SignatureDoesNotMatch":      func(r *http.Request) { r.Host = "elsewhere" },
			"MissingAuthenticationToken": func(r *http.Request) { r.Header.Del("Authorization") },
			"IncompleteSignature": func(r *http.Request) {
				r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), "Signature=", "Sign=", 1))
			},
			"InvalidClientTokenId": func(r *http.Request) {
				r.Header.Set(
					"Authorization", strings.Replace(r.Header.Get("Authorization"), h.key.ID, "AKIASTRANGER", 1),
				)
			},
			"RequestExpired": func(r *http.Request) {
				// In the day that the scope names, or that would be refused first.
				long := time.Now().Add(-time.Hour)
				if long.UTC().Day() != time.Now().UTC().Day() {
					long = time.Now().Add(time.Hour)
				}
				r.Header.Set("X-Amz-Date", long.UTC().Format("20060102T150405Z"))
			},
		} {
			r := h.request(t, a)
			spoil(r)
			_, got, header := h.answer(t, r)
			if code == "MissingAuthenticationToken" && name == "Query" {
				continue // which nothing but the scope tells from STS
			}
			if name == "Query" && !strings.Contains(got, "<Code>"+code+"</Code>") ||
				name != "Query" && header.Get("X-Amzn-Query-Error") != code+";Sender" {
				t.Errorf("%s: %s: %v %s", name, code, header, got)
			}
			if name == "CBOR" && header.Get("Smithy-Protocol") != "rpc-v2-cbor" {
				t.Errorf("%v", header)
			}
		}
	}
}

// endless is a body of which no byte may be read.
type endless struct{ t *testing.T }

func (e endless) Read([]byte) (int, error) {
	e.t.Error("the body of a stranger was read")
	return 0, io.EOF
}

func TestTheBodyOfAStrangerIsNotRead(t *testing.T) {
	h := open(t, nil)
	r := h.request(t, ask{"POST", "/", "sagemaker", target, "{}"})
	r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), h.key.ID, "AKIASTRANGER", 1))
	r.Body = io.NopCloser(endless{t})
	if status, got, _ := h.answer(t, r); status != 400 || !strings.Contains(got, "UnrecognizedClientException") {
		t.Errorf("%d %s", status, got)
	}
}

func TestHealthIsOpenAndReadinessSaysWhyNot(t *testing.T) {
	parts := []gateway.Part{{Name: "routing"}, {Name: "database"}, {Name: "disk", Minor: true}}
	h := open(t, func(c *gateway.Config) { c.Ready = func(string) []gateway.Part { return parts } })
	check := func(path string, status int, want string) {
		t.Helper()
		if s, got, _ := h.answer(t, h.request(t, ask{"GET", path, "", nil, ""})); s != status || got != want {
			t.Errorf("%s: %d %q", path, s, got)
		}
	}
	check("/healthz", 200, "ok\n")
	check("/readyz", 200, "ok\n")
	parts[2].Missing = errors.New("full")
	check("/readyz", 200, "ok; disk: full\n")
	check("/readyz?part=disk", 503, "not ready: disk: full\n")
	parts[1].Missing = errors.New("away")
	check("/readyz", 503, "not ready: database: away; disk: full\n")
	check("/readyz?verbose", 503,
		"routing: ok\ndatabase: away\ndisk: full\nnot ready: database: away; disk: full\n")
	check("/readyz?part=routing", 200, "ok\n")
	check("/readyz?part=x", 404, "There is no such part; ?verbose lists them.\n")
	if s, _, _ := h.answer(t, h.request(t, ask{"POST", "/healthz", "", nil, ""})); s != 405 {
		t.Errorf("POST: %d", s)
	}
}

func TestMetricsWantAKey(t *testing.T) {
	h := open(t, nil)
	for name, c := range map[string]struct {
		prepare func(r *http.Request)
		service string
		status  int
	}{
		"nobody":            {func(*http.Request) {}, "", 401},
		"signed":            {func(*http.Request) {}, "sagemaker", 200},
		"badly signed":      {func(r *http.Request) { r.Host = "elsewhere" }, "sagemaker", 401},
		"basic":             {func(r *http.Request) { r.SetBasicAuth(h.key.ID, h.key.Secret) }, "", 200},
		"basic, wrong":      {func(r *http.Request) { r.SetBasicAuth(h.key.ID, "x") }, "", 401},
		"basic, no user":    {func(r *http.Request) { r.SetBasicAuth("", h.key.Secret) }, "", 401},
		"bearer":            {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+h.key.Secret) }, "", 200},
		"bearer, wrong":     {func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+h.key.ID) }, "", 401},
		"bearer of nothing": {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, "", 401},
	} {
		r := h.request(t, ask{"GET", "/metrics", c.service, nil, ""})
		c.prepare(r)
		status, got, header := h.answer(t, r)
		if status != c.status || status == 200 && !strings.Contains(got, h.key.ID) ||
			status == 401 && header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, status, got)
		}
	}
}

func TestABrowserIsShownTheConsole(t *testing.T) {
	h := open(t, nil)
	r := h.request(t, ask{"GET", "/", "", http.Header{"Accept": {"text/html,*/*"}}, ""})
	if status, _, header := h.answer(t, r); status != 302 || header.Get("Location") != "/console/" {
		t.Errorf("%d %v", status, header)
	}
	r = h.request(t, ask{"GET", "/", "s3", http.Header{"Accept": {"text/html,*/*"}}, ""})
	if _, got, _ := h.answer(t, r); !strings.HasPrefix(got, "s3 by") {
		t.Error("a signed GET went to", got)
	}
}

func TestNothingSecretIsLogged(t *testing.T) {
	var log bytes.Buffer
	h := open(t, func(c *gateway.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	r := h.request(t, ask{"GET", "/metrics", "", nil, ""})
	r.SetBasicAuth("nobody", h.key.Secret)
	h.answer(t, r)
	r = h.request(t, ask{"GET", "/b/k?X-Amz-Signature=presigned-secret", "s3", nil, ""})
	h.answer(t, r)
	if strings.Contains(log.String(), h.key.Secret) || strings.Contains(log.String(), "presigned-secret") ||
		strings.Count(log.String(), "request refused") != 2 {
		t.Error(log.String())
	}
}

func FuzzAnyRequestIsRoutedAndNoneGetsPast(f *testing.F) {
	f.Add("POST", "/endpoints/x", "a=b", "AWS4-HMAC-SHA256 Credential=a/20260101/r/s3/aws4_request", "SageMaker.X")
	f.Add(
		"POST", "/service/GraniteServiceVersion20100801/operation/X", "",
		"AWS4-HMAC-SHA256 Credential=a/20260101/r/monitoring/aws4_request", "GraniteServiceVersion20100801.X",
	)
	f.Add("GET", "/b/k", "AWSAccessKeyId=a&Signature=b&Expires=9", "", "")
	keys, err := access.OpenFile(filepath.Join(f.TempDir(), "credentials"), "000000000000")
	if err != nil {
		f.Fatal(err)
	}
	past := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { f.Error("got past the gateway") })
	h := gateway.New(gateway.Config{
		Verifier: sigv4.NewVerifier(keys), Keys: keys, Log: slog.New(slog.DiscardHandler), SageMaker: past, STS: past,
		CloudWatch: past, Metrics: past,
	})
	f.Fuzz(func(t *testing.T, method, path, query, authorization, target string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.RequestURI, r.URL.RawQuery, r.URL.Path = method, path, query, path
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Amz-Target", target)
		h.ServeHTTP(httptest.NewRecorder(), r)
	})
}
