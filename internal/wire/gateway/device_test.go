package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/api/s3"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/gateway"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// devices is a gateway that devices call, and who they are.
type devices struct {
	client
	sessions *access.Sessions
	asked    *[]string // of what decides about objects
}

// openDevices opens one whose devices may have the objects below their thing's
// name in the bucket "own". Certificates called "revoked" are.
func openDevices(t testing.TB, change func(*gateway.Config)) devices {
	t.Helper()
	y := devices{asked: new([]string), sessions: access.NewSessions([32]byte{7})}
	keys, err := access.OpenFile(filepath.Join(t.TempDir(), "credentials"), "000000000000")
	if err != nil {
		t.Fatal(err)
	}
	ring := access.Ring{Keys: keys, Sessions: y.sessions}
	c := config(t, keys)
	c.Verifier, c.Keys = sigv4.NewVerifier(ring), ring
	c.Edge, c.IoT, c.Enroll = echo("edge"), echo("iot"), echo("enroll")
	c.SessionAlive = func(d access.Device) bool { return d.CertificateID != "revoked" }
	c.DeviceS3 = s3.ForDevices(func(_ context.Context, s arn.Scope, who edge.Caller, r edge.ObjectRequest) error {
		*y.asked = append(*y.asked, string(r.Access)+" "+r.Bucket+"/"+r.Key)
		switch {
		case r.Bucket == "down":
			return errors.New("no database")
		case r.Bucket == "own" && (r.Key == "" || strings.HasPrefix(r.Key, who.Thing+"/")):
			return nil
		}
		return fault.New(fault.Denied, "Access Denied")
	})
	if change != nil {
		change(&c)
	}
	y.client = client{gateway.New(c), keys.Default()}
	return y
}

// device returns a client that is a device with that certificate.
func (y devices) device(t testing.TB, thing, certificate string) client {
	t.Helper()
	c, err := y.sessions.Issue(access.Session{
		Thing: thing, Alias: "a", RoleARN: "arn:aws:iam::123456789012:role/r", CertificateID: certificate,
		Account: "000000000000", Expires: time.Now().Add(time.Hour),
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return client{y.Handler, sigv4.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey, SessionToken: c.SessionToken}}
}

const (
	denied     = "User: arn:aws:sts::000000000000:assumed-role/r/cam-1 is not authorized to perform this operation"
	jsonDenied = `{"__type":"AccessDeniedException","message":"` + denied + `"}`
	s3Denied   = "s3 refuses: AccessDenied: " + denied     // no request for a device to make
	notIts     = "s3 refuses: AccessDenied: Access Denied" // no object of the device's
	wantsKey   = "Show an access key: signed, as Basic user and password, or its secret as a Bearer token.\n"
)

func TestADeviceReachesItsOwnAPIAndNothingElse(t *testing.T) {
	y := openDevices(t, nil)
	h := y.device(t, "cam-1", "good")
	ok := func(api string) string {
		return fmt.Sprintf("%s by %q in \"eu-west-1\" of 000000000000: ", api, h.key.ID)
	}
	deploys := http.Header{"X-Amz-Target": {"Slipway.ListDeployments"}}
	copies := http.Header{"X-Amz-Copy-Source": {"/other/secret"}}
	forbidden := `{"message":"` + denied + `"}`
	for name, c := range map[string]struct {
		ask    ask
		status int
		want   string
	}{
		"deployments": {ask{"POST", "/GetDeployments", "sagemaker", nil, "{}"}, 200, ok("edge") + "{}"},
		"registration": {
			ask{"POST", "/GetDeviceRegistration", "sagemaker", nil, "{}"}, 200, ok("edge") + "{}",
		},
		"a heartbeat": {ask{"POST", "/SendHeartbeat", "sagemaker", nil, "{}"}, 200, ok("edge") + "{}"},
		"who it is": {
			ask{"POST", "/", "sts", form, "Action=GetCallerIdentity"}, 200, ok("sts") + "Action=GetCallerIdentity",
		},
		"its own object":        {ask{"GET", "/own/cam-1/x", "s3", nil, ""}, 200, ok("s3")},
		"its own object's head": {ask{"HEAD", "/own/cam-1/x", "s3", nil, ""}, 200, ok("s3")},
		"to put its own object": {ask{"PUT", "/own/cam-1/x?x-id=PutObject", "s3", nil, "data"}, 200, ok("s3") + "data"},
		"where its bucket is":   {ask{"GET", "/own?location=", "s3", nil, ""}, 200, ok("s3")},

		"another's object":         {ask{"GET", "/own/cam-2/x", "s3", nil, ""}, 403, notIts},
		"to put another's object":  {ask{"PUT", "/own/cam-2/x", "s3", nil, "data"}, 403, notIts},
		"another's bucket":         {ask{"GET", "/other?location", "s3", nil, ""}, 403, notIts},
		"to delete its own object": {ask{"DELETE", "/own/cam-1/x", "s3", nil, ""}, 403, s3Denied},
		"to list its bucket":       {ask{"GET", "/own?list-type=2", "s3", nil, ""}, 403, s3Denied},
		"to list all buckets":      {ask{"GET", "/", "s3", nil, ""}, 403, s3Denied},
		"to make a bucket":         {ask{"PUT", "/own", "s3", nil, ""}, 403, s3Denied},
		"to begin an upload":       {ask{"POST", "/own/cam-1/x?uploads=", "s3", nil, ""}, 403, s3Denied},
		"to tag its own object":    {ask{"PUT", "/own/cam-1/x?tagging=", "s3", nil, ""}, 403, s3Denied},
		"to copy into its own":     {ask{"PUT", "/own/cam-1/x", "s3", copies, ""}, 403, s3Denied},
		"SageMaker":                {ask{"POST", "/", "sagemaker", target, `{}`}, 403, jsonDenied},
		"our own operations":       {ask{"POST", "/", "sagemaker", deploys, `{}`}, 403, jsonDenied},
		"an operation that is none": {
			ask{"POST", "/", "sagemaker", http.Header{"X-Amz-Target": {"Other.Op"}}, `{}`}, 403, jsonDenied,
		},
		"IoT": {ask{"GET", "/things", "iot", nil, ""}, 403, forbidden},
		"a service that is not here": {
			ask{"POST", "/", "application-autoscaling", nil, ""},
			403,
			`{"Message":"The service application-autoscaling is not served by Slipway.` + elsewhere + `"}`,
		},
		"metrics of the server": {ask{"GET", "/metrics", "sagemaker", nil, ""}, 401, wantsKey},
	} {
		t.Run(name, func(t *testing.T) {
			if status, got, _ := h.answer(t, h.request(t, c.ask)); status != c.status || got != c.want {
				t.Errorf("%d %s\nwant %d %s", status, got, c.status, c.want)
			}
		})
	}
}

func TestADeviceIsRefusedByCloudWatchInItsProtocols(t *testing.T) {
	h := openDevices(t, nil).device(t, "cam-1", "good")
	for want, a := range map[string]ask{
		"<Code>AccessDenied</Code>": {"POST", "/", "monitoring", form, "Action=DescribeAlarms"},
		"AccessDenied":              {"POST", cborPath, "monitoring", inCBOR, "\xa0"},
	} {
		if status, got, _ := h.answer(t, h.request(t, a)); status != 403 || !strings.Contains(got, want) {
			t.Error(status, got)
		}
	}
}

func TestARevokedCertificateEndsItsSessions(t *testing.T) {
	y := openDevices(t, nil)
	h := y.device(t, "cam-1", "revoked")
	status, got, header := h.answer(t, h.request(t, ask{"POST", "/SendHeartbeat", "sagemaker", nil, "{}"}))
	if status != 400 || header.Get("x-amzn-ErrorType") != "UnrecognizedClientException" ||
		got != `{"Message":"The security token included in the request is invalid."}` {
		t.Error(status, got, header)
	}
	if status, got, _ := h.answer(t, h.request(t, ask{"GET", "/own/cam-1/x", "s3", nil, ""})); status != 400 ||
		!strings.HasPrefix(got, "s3 refuses: InvalidToken: ") {
		t.Error(status, got)
	}
	if len(*y.asked) != 0 {
		t.Error(*y.asked)
	}
}

func TestADeviceOfAnotherRegionIsAnother(t *testing.T) {
	y := openDevices(t, nil)
	for region, want := range map[string]int{"": 200, "eu-west-1": 200, "us-east-1": 403} {
		c, err := y.sessions.Issue(access.Session{
			Thing: "cam-1", RoleARN: "r", CertificateID: "c", Account: "000000000000", Region: region,
			Expires: time.Now().Add(time.Hour),
		}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		h := client{y.Handler, sigv4.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey, SessionToken: c.SessionToken}}
		if status, got, _ := h.answer(
			t, h.request(t, ask{"POST", "/SendHeartbeat", "sagemaker", nil, "{}"}),
		); status != want {
			t.Errorf("%q: %d %s", region, status, got)
		}
	}
}

func TestAnOperatorMayDoAllThatDevicesMay(t *testing.T) {
	y := openDevices(t, nil)
	by := fmt.Sprintf(" by %q in \"eu-west-1\" of 000000000000: ", y.key.ID)
	for name, c := range map[string]struct {
		ask    ask
		status int
		want   string
	}{
		"a heartbeat": {ask{"POST", "/SendHeartbeat", "sagemaker", nil, "{}"}, 200, "edge" + by + "{}"},
		"IoT":         {ask{"DELETE", "/things/a?expectedVersion=1", "iot", nil, ""}, 200, "iot" + by},
		"any object":  {ask{"DELETE", "/other/x", "s3", nil, ""}, 200, "s3" + by},
		"a heartbeat, unsigned": {
			ask{"POST", "/SendHeartbeat", "", nil, "{}"}, 403, `{"Message":"Missing Authentication Token"}`,
		},
		"a heartbeat, for another": {ask{"POST", "/SendHeartbeat", "iot", nil, "{}"}, 200, "iot" + by + "{}"},
		"a bucket called enroll":   {ask{"POST", "/enroll", "s3", nil, ""}, 200, "s3" + by},
		"an enrolment, unverified": {ask{"POST", "/enroll", "", nil, "csr"}, 200, `enroll by "" in "" of : csr`},
		"too large an enrolment": {
			ask{"POST", "/enroll", "", nil, strings.Repeat("x", 64<<10+1)},
			413, `{"message":"The request body has more than 65536 bytes."}`,
		},
		"no enrolment": {ask{"GET", "/enroll", "", nil, ""}, 403, notIts},
	} {
		if status, got, _ := y.answer(t, y.request(t, c.ask)); status != c.status || got != c.want {
			t.Errorf("%s: %d %.200s\nwant %d %.200s", name, status, got, c.status, c.want)
		}
	}
}

// elsewhere is what a refusal of a service says that is served.
const elsewhere = " Slipway serves SageMaker and its runtime, SageMaker Edge, CloudWatch, S3, STS and IoT."

func TestWhatIsNotBehindTheGatewayIsSaidSo(t *testing.T) {
	y := openDevices(t, func(c *gateway.Config) {
		c.Edge, c.IoT, c.Enroll, c.DeviceS3, c.SessionAlive = nil, nil, nil, nil, nil
	})
	for name, c := range map[string]struct {
		ask    ask
		status int
		want   string
	}{
		"the devices' API": {
			ask{"POST", "/SendHeartbeat", "sagemaker", nil, "{}"},
			403,
			`{"Message":"The service sagemaker is not served by Slipway.` + elsewhere + `"}`,
		},
		"IoT": {
			ask{"GET", "/things", "iot", nil, ""},
			403,
			`{"message":"The service iot is not served by Slipway.` + elsewhere + `"}`,
		},
		"enrolment": {ask{"POST", "/enroll", "", nil, ""}, 403, notIts},
	} {
		if status, got, _ := y.answer(t, y.request(t, c.ask)); status != c.status || got != c.want {
			t.Errorf("%s: %d %s", name, status, got)
		}
	}
	h := y.device(t, "cam-1", "revoked")
	if status, got, _ := h.answer(t, h.request(t, ask{"GET", "/own/cam-1/x", "s3", nil, ""})); status != 403 {
		t.Error(status, got)
	}
}

func TestADeviceThatCannotBeJudgedIsToldToComeAgain(t *testing.T) {
	y := openDevices(t, nil)
	h := y.device(t, "cam-1", "good")
	if status, got, _ := h.answer(t, h.request(t, ask{"GET", "/down/x", "s3", nil, ""})); status != 503 ||
		got != "s3 refuses: ServiceUnavailable: Please try again." {
		t.Error(status, got)
	}
}

func TestADeviceOfOneRegionIsNoneOfAnotherAndOverwritesNothing(t *testing.T) {
	var asked, condition string
	y := openDevices(t, func(c *gateway.Config) {
		c.DeviceS3 = s3.ForDevices(func(_ context.Context, s arn.Scope, who edge.Caller, r edge.ObjectRequest) error {
			asked = string(r.Access) + " in " + s.Region
			return nil
		})
		c.S3 = inS3{http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) { condition = r.Header.Get("If-None-Match") },
		)}
	})
	c, err := y.sessions.Issue(access.Session{
		Thing: "cam-1", Alias: "a", RoleARN: "arn:aws:iam::123456789012:role/r", CertificateID: "good",
		Account: "000000000000", Region: "us-west-2", Expires: time.Now().Add(time.Hour),
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := client{y.Handler, sigv4.Key{ID: c.AccessKeyID, Secret: c.SecretAccessKey, SessionToken: c.SessionToken}}
	for method, want := range map[string][2]string{"GET": {"GET in us-west-2", ""}, "PUT": {"PUT in us-west-2", "*"}} {
		asked, condition = "", ""
		y.ServeHTTP(httptest.NewRecorder(), h.raw(t, method, "localhost:9400", "/own/cam-1/x")) // signs for eu-west-1
		if got := [2]string{asked, condition}; got != want {
			t.Errorf("%s: %q", method, got)
		}
	}
}

// An object's name is read as S3 will understand it, whatever the request
// looks like.
func TestNoSpellingLeadsADeviceToAnothersObject(t *testing.T) {
	reached := ""
	y := openDevices(t, func(c *gateway.Config) {
		c.S3 = inS3{http.HandlerFunc(
			func(_ http.ResponseWriter, r *http.Request) { reached = r.Method + " " + r.Host + r.URL.Path },
		)}
	})
	h := y.device(t, "cam-1", "good")
	n := 0
	for _, path := range []string{
		"/own/cam-1/x", "/own/cam-1/../cam-2/x", "/own/cam-1%2F..%2Fcam-2/x", "//own/cam-1/x", "/own//cam-1/x",
		"/%6Fwn/cam-1/x", "/own/cam%2D1/x", "/own/cam-1/", "/own/cam-1",
		"/own/cam-1/x?versionId=1", "/own/cam-1/x?acl", "/own/cam-1/x?LOCATION=", "/own/?location",
		"/own/cam-1/x?uploadId=1&partNumber=1", "/own/cam-1/x?a=%zz",
	} {
		for _, method := range []string{"GET", "PUT", "HEAD", "POST", "DELETE"} {
			for _, host := range []string{
				"localhost:9400", "own.localhost:9400", "other.LOCALHOST", "other.localhost.",
				"own.s3.us-east-1.amazonaws.com", "other.S3.amazonaws.com.", "other.s3.amazonaws.com:443",
			} {
				reached, *y.asked = "", nil
				in := h.raw(t, method, host, path)
				y.ServeHTTP(httptest.NewRecorder(), in)
				if reached == "" {
					continue
				}
				n++
				verb := map[string]string{"GET": "GET", "HEAD": "GET", "PUT": "PUT"}[method]
				object := strings.TrimPrefix(in.URL.Path, "/")
				if in.URL.Query().Has("location") {
					verb = "LOCATION"
				}
				if host != "localhost:9400" || !slices.Equal(*y.asked, []string{verb + " " + object}) {
					t.Errorf("%s was reached after %q", reached, *y.asked)
				}
			}
		}
	}
	if n == 0 {
		t.Error("nothing was reached")
	}
}

// raw is a request for S3 whose path is signed and sent as it is.
func (h client) raw(t *testing.T, method, host, path string) *http.Request {
	t.Helper()
	in := httptest.NewRequest(method, path, http.NoBody)
	out := httptest.NewRequest(method, "http://"+host+path, http.NoBody)
	in.Host = host
	out.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
	keys := aws.Credentials{AccessKeyID: h.key.ID, SecretAccessKey: h.key.Secret, SessionToken: h.key.SessionToken}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), keys, out, "UNSIGNED-PAYLOAD", "s3", "eu-west-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	in.Header = out.Header
	return in
}

type inS3 struct{ http.Handler }

func (inS3) Refuse(w http.ResponseWriter, _ *http.Request, status int, _, message string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, message)
}
