package gateway

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

func signedFor(service string) http.Header {
	scope := "A/20260101/us-east-1/" + service + "/aws4_request"
	return http.Header{"Authorization": {"AWS4-HMAC-SHA256 Credential=" + scope + ", Signature=0"}}
}

var (
	unsigned = http.Header{}
	form     = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	page     = http.Header{"Accept": {"text/html"}}
	inCBOR   = http.Header{"Smithy-Protocol": {"rpc-v2-cbor"}}
)

const (
	granite = "GraniteServiceVersion20100801"
	metrics = "/behind/service/" + granite + "/operation/ListMetrics"
)

func targeted(h http.Header, target string) http.Header {
	h = h.Clone()
	h.Set("X-Amz-Target", target)
	return h
}

var routings = map[string]struct {
	method, path string
	header       http.Header
	want         string
}{
	"health":                            {"GET", "/healthz", unsigned, "health"},
	"health, whatever it is signed for": {"GET", "/healthz", signedFor("s3"), "health"},
	"readiness":                         {"GET", "/readyz", unsigned, "readiness"},
	"metrics":                           {"GET", "/metrics", unsigned, "metrics"},
	"an object":                         {"GET", "/b/k", signedFor("s3"), "S3"},
	"a bucket called like a call":       {"GET", "/GetDeployments", signedFor("s3"), "S3"},
	"an object, signed as of old": {
		"GET", "/endpoints/k?AWSAccessKeyId=A&Signature=s&Expires=1", unsigned, "S3",
	},
	"a device's orders":                {"POST", "/GetDeployments", signedFor("sagemaker"), "Edge"},
	"a device's orders, unsigned":      {"POST", "/GetDeployments", unsigned, "Edge"},
	"a device's orders by another way": {"GET", "/GetDeployments", signedFor("sagemaker"), "Edge"},
	"a device's registration":          {"POST", "/GetDeviceRegistration", signedFor("sagemaker"), "Edge"},
	"a heartbeat":                      {"POST", "/SendHeartbeat", signedFor("sagemaker"), "Edge"},
	"a heartbeat for another service":  {"POST", "/SendHeartbeat", signedFor("dynamodb"), "unserved service"},
	"a thing":                          {"GET", "/things", signedFor("iot"), "IoT"},
	"a thing, from an older SDK":       {"GET", "/things", signedFor("execute-api"), "IoT"},
	"a thing with a target": {
		"POST", "/", targeted(signedFor("iot"), "SageMaker.ListModels"), "SageMaker",
	},
	"an enrollment":                      {"POST", "/enroll", unsigned, "enrollment"},
	"an enrollment that reads":           {"GET", "/enroll", unsigned, "S3"},
	"an enrollment that is signed":       {"POST", "/enroll", signedFor("sagemaker"), "unknown operation"},
	"an invocation":                      {"POST", "/endpoints/e/invocations", signedFor("sagemaker"), "runtime"},
	"an invocation, unsigned":            {"POST", "/endpoints/e/invocations", unsigned, "runtime"},
	"a page of the console":              {"GET", "/console/x.js", unsigned, "console"},
	"a browser":                          {"GET", "/", page, "console"},
	"a browser that asks something":      {"GET", "/?Action=GetCallerIdentity", page, "STS"},
	"a browser elsewhere":                {"GET", "/b", page, "S3"},
	"who am I":                           {"POST", "/", signedFor("sts"), "STS"},
	"who am I, with nothing but a form":  {"POST", "/", form, "STS"},
	"who am I, with nothing but a query": {"GET", "/?Action=GetCallerIdentity", unsigned, "STS"},
	"metrics in CBOR, by the header": {
		"POST", "/", inCBOR, "CloudWatch in CBOR",
	},
	"metrics in CBOR, by the path": {
		"POST", metrics, targeted(unsigned, "SageMaker.A"), "CloudWatch in CBOR",
	},
	"metrics in JSON": {
		"POST", "/", targeted(unsigned, granite+".ListMetrics"), "CloudWatch in JSON",
	},
	"metrics in JSON, odd target": {
		"POST", "/", targeted(signedFor("monitoring"), "Other.Op"), "CloudWatch in JSON",
	},
	"metrics in Query": {
		"POST", "/", signedFor("monitoring"), "CloudWatch in Query",
	},
	"models": {
		"POST", "/", targeted(signedFor("sagemaker"), "SageMaker.ListModels"), "SageMaker",
	},
	"models, unsigned": {
		"POST", "/", targeted(unsigned, "SageMaker.ListModels"), "SageMaker",
	},
	"deployments": {
		"POST", "/", targeted(signedFor("sagemaker"), "Slipway.ListDeployments"), "Slipway",
	},
	"a target of nobody": {
		"POST", "/", targeted(unsigned, "SageMakerX.Op"), "unknown operation",
	},
	"no operation of SageMaker":           {"GET", "/b/k", signedFor("sagemaker"), "unknown operation"},
	"another service of AWS":              {"POST", "/", signedFor("dynamodb"), "unserved service"},
	"nothing at all":                      {"POST", "/", unsigned, "unknown operation"},
	"an object, unsigned":                 {"GET", "/b/k", unsigned, "S3"},
	"an object called like our health":    {"GET", "http://b.s3.us-east-1.amazonaws.com/healthz", unsigned, "S3"},
	"an object called like an invocation": {"PUT", "http://b.s3.amazonaws.com/endpoints/k", unsigned, "S3"},
	"health, by a name of S3":             {"GET", "http://s3.amazonaws.com/healthz", unsigned, "health"},
	"S3 Control":                          {"GET", "/v20180820/tags/arn", signedFor("s3"), "unserved service"},
	"a form of a browser": {
		"POST", "/b", http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, "S3 forms",
	},
}

type noS3 struct{ http.Handler }

func (noS3) Refuse(http.ResponseWriter, *http.Request, int, string, string) {}

func TestEachRequestTakesItsRoute(t *testing.T) {
	g := New(Config{S3: noS3{}, Enroll: http.NotFoundHandler(), Console: http.NotFoundHandler()}).(*gateway)
	taken := map[*route]bool{}
	for name, tt := range routings {
		r := httptest.NewRequest(tt.method, tt.path, http.NoBody)
		r.Header = tt.header
		rt := g.routeOf(r)
		taken[rt] = true
		if rt.name != tt.want {
			t.Errorf("%s: led to %s, not %s", name, rt.name, tt.want)
		}
	}
	for i := range g.routes {
		if rt := &g.routes[i]; !taken[rt] {
			t.Errorf("nothing takes route %d, to %s", i, rt.name)
		}
	}
}

func TestWhatIsNotThereHasNoRoute(t *testing.T) {
	g := New(Config{}).(*gateway)
	for _, at := range []string{"POST /enroll", "GET /console/x.js", "GET /"} {
		method, path, _ := strings.Cut(at, " ")
		r := httptest.NewRequest(method, path, http.NoBody)
		r.Header.Set("Accept", "text/html")
		if got := g.routeOf(r).name; got != "S3" {
			t.Errorf("%s: led to %s", at, got)
		}
	}
}

// On the way of invocations, a key of a bucket may look like one.
func TestOnlyABucketsHostMakesAnInvocationAnObject(t *testing.T) {
	for at, want := range map[string]bool{
		"http://127.0.0.1:9400/endpoints/e/invocations":                            false,
		"http://b.s3.amazonaws.com/endpoints/e/invocations":                        true,
		"http://b.s3.eu-west-1.amazonaws.com:9400/endpoints/k":                     true,
		"http://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/e/invocations": false,
		"http://b.localhost:9400/endpoints/k?AWSAccessKeyId=a&Signature=s":         true,
		"http://slipway.localhost:9400/endpoints/e/invocations":                    false,
	} {
		if got := OfS3(sigv4.FromHTTP(httptest.NewRequest("POST", at, http.NoBody))); got != want {
			t.Errorf("%s: %v", at, got)
		}
	}
	r := httptest.NewRequest("PUT", "http://b.localhost:9400/endpoints/k", http.NoBody)
	r.Header = signedFor("s3")
	if !OfS3(sigv4.FromHTTP(r)) {
		t.Error("an object that is signed for S3 is none")
	}
}
