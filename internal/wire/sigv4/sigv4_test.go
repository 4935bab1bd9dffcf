package sigv4_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

var now = time.Date(2026, 7, 30, 12, 0, 0, 0, time.UTC)

type ring map[string]sigv4.Key

func (r ring) Key(id string) (sigv4.Key, bool) { k, ok := r[id]; return k, ok }

func testRing() ring {
	return ring{
		"AKIDEXAMPLE": {
			ID: "AKIDEXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
			ARN: "arn:aws:iam::000000000000:user/a", UserID: "AIDA",
		},
		"ASIASESSION": {
			ID: "ASIASESSION", Secret: "another/secret", SessionToken: "to/ken==", Expires: now.Add(time.Hour),
		},
		"ASIAEXPIRED": {ID: "ASIAEXPIRED", Secret: "another/secret", SessionToken: "to/ken==", Expires: now},
	}
}

func credentialsOf(id string) aws.Credentials {
	k := testRing()[id]
	return aws.Credentials{AccessKeyID: k.ID, SecretAccessKey: k.Secret, SessionToken: k.SessionToken}
}

func hashOf(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// call is a request to be signed, and how.
type call struct {
	method, target string
	header         http.Header
	body           []byte
	service        string
	key            string
	at             time.Time
	hash           string
}

func invoke() call {
	return call{
		method: "POST", target: "http://127.0.0.1:9400/endpoints/e/invocations", service: "sagemaker",
		key: "AKIDEXAMPLE", at: now,
		header: http.Header{
			"Content-Type": {"text/csv"}, "Amz-Sdk-Invocation-Id": {"8b1"}, "Amz-Sdk-Request": {"attempt=1; max=3"},
		},
		body: []byte("1,2,3"),
	}
}

func (c call) request(t testing.TB) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), c.method, c.target, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range c.header {
		r.Header[k] = v
	}
	return r
}

func (c call) payloadHash() string {
	if c.hash != "" {
		return c.hash
	}
	return hashOf(c.body)
}

// signed returns the request as a server receives it, signed in its headers.
func (c call) signed(t testing.TB) *http.Request {
	t.Helper()
	r := c.request(t)
	if c.service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", c.payloadHash())
	}
	err := v4.NewSigner().SignHTTP(context.Background(), credentialsOf(c.key), r, c.payloadHash(), c.service,
		"eu-west-1", c.at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = c.service == "s3" })
	if err != nil {
		t.Fatal(err)
	}
	return asReceived(r, c.body)
}

// presigned returns the request as a server receives it, signed in its query.
func (c call) presigned(t testing.TB, expires string) *http.Request {
	t.Helper()
	r := c.request(t)
	if expires != "" {
		q := r.URL.Query()
		q.Set("X-Amz-Expires", expires)
		r.URL.RawQuery = q.Encode()
	}
	u, h, err := v4.NewSigner().PresignHTTP(context.Background(), credentialsOf(c.key), r, c.payloadHash(), c.service,
		"eu-west-1", c.at,
		func(o *v4.SignerOptions) { o.DisableURIPathEscaping = c.service == "s3" })
	if err != nil {
		t.Fatal(err)
	}
	c.target, c.header = u, h
	return asReceived(c.request(t), c.body)
}

func asReceived(r *http.Request, body []byte) *http.Request {
	in := httptest.NewRequest(r.Method, r.URL.RequestURI(), bytes.NewReader(body))
	in.Host, in.Header = r.URL.Host, r.Header.Clone()
	return in
}

func verify(r *http.Request, body []byte, at time.Time) (sigv4.Identity, error) {
	return sigv4.NewVerifier(testRing()).Verify(sigv4.FromHTTP(r), body, at)
}

func TestARequestSignedByTheSDKVerifies(t *testing.T) {
	c := invoke()
	id, err := verify(c.signed(t), c.body, now)
	want := sigv4.Identity{
		AccessKeyID: "AKIDEXAMPLE", ARN: "arn:aws:iam::000000000000:user/a", UserID: "AIDA", Region: "eu-west-1",
		Service: "sagemaker", Signed: now,
	}
	if err != nil || id != want {
		t.Fatalf("Verify = %+v, %v; want %+v", id, err, want)
	}
}

func TestARequestWithASessionTokenVerifies(t *testing.T) {
	c := invoke()
	c.key = "ASIASESSION"
	if _, err := verify(c.signed(t), c.body, now); err != nil {
		t.Error("header form:", err)
	}
	if _, err := verify(c.presigned(t, ""), c.body, now); err != nil {
		t.Error("presigned form:", err)
	}
}

func TestAPresignedRequestVerifiesUntilItExpires(t *testing.T) {
	c := invoke()
	c.service, c.method, c.target, c.hash = "s3", "GET", "http://127.0.0.1:9400/b/a%20key/"+
		"with%2Bplus?response-content-type=text%2Fcsv", "UNSIGNED-PAYLOAD"
	c.header, c.body = nil, nil
	r := c.presigned(t, "60")
	if _, err := verify(r, nil, now.Add(59*time.Second)); err != nil {
		t.Error("in time:", err)
	}
	wantError(t, r, nil, now.Add(60*time.Second), "AccessDenied 403 Request has expired")
	wantError(t, r, nil, now.Add(-16*time.Minute), "AccessDenied 403 Request is not yet valid")
}

func wantError(t *testing.T, r *http.Request, body []byte, at time.Time, want string) {
	t.Helper()
	id, err := verify(r, body, at)
	e, ok := errors.AsType[*sigv4.Error](err)
	if !ok {
		t.Errorf("Verify = %+v, %v; want %s", id, err, want)
		return
	}
	if got := fmt.Sprintf("%s %d %s", e.Code, e.Status, e.Message); !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// failure is a request that is spoilt in one way, and what it is told.
type failure struct {
	change func(c *call)
	spoil  func(r *http.Request)
	at     time.Time
	want   string
}

const mismatch = "InvalidSignatureException 400 The request signature we calculated does not match the signature you " +
	"provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."

var failures = map[string]failure{
	"no authentication at all": {
		spoil: func(r *http.Request) { r.Header.Del("Authorization") },
		want:  "MissingAuthenticationTokenException 403 Missing Authentication Token",
	},
	"no signature": {
		spoil: func(r *http.Request) {
			r.Header.Set("Authorization", cut(r.Header.Get("Authorization"), ", Signature"))
		},
		want: "IncompleteSignatureException 400 Authorization header requires 'Signature' parameter.",
	},
	"nothing but the algorithm and no date": {
		spoil: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256")
			r.Header.Del("X-Amz-Date")
		},
		want: "IncompleteSignatureException 400 Authorization header requires 'Credential' parameter. Authorization " +
			"header requires 'Signature' parameter. Authorization header requires 'SignedHeaders' parameter. " +
			"Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
	},
	"a parameter given twice": {
		spoil: func(r *http.Request) { r.Header.Set("Authorization", r.Header.Get("Authorization")+", Signature=00") },
		want:  "IncompleteSignatureException 400 ",
	},
	"a credential with four parts": {
		spoil: replace("Authorization", "/eu-west-1", ""),
		want:  "IncompleteSignatureException 400 Credential must have exactly 5 slash-delimited elements",
	},
	"a hostile region": {
		spoil: replace("Authorization", "/eu-west-1", "/eu:west"), want: "IncompleteSignatureException 400 Credential",
	},
	"another algorithm": {
		spoil: replace("Authorization", "AWS4-HMAC", "AWS5-HMAC"),
		want:  "IncompleteSignatureException 400 Unsupported AWS 'algorithm'",
	},
	"Version 2": {
		spoil: func(r *http.Request) { r.Header.Set("Authorization", "AWS AKIDEXAMPLE:x") },
		want:  "IncompleteSignatureException 400 Unsupported AWS 'algorithm'",
	},
	"a date that is none": {
		spoil: replace("X-Amz-Date", "20260730", "20260732"),
		want:  "IncompleteSignatureException 400 Date must be in ISO-8601 'basic format'. Got '20260732T120000Z'.",
	},
	"a scope of another day": {
		spoil: replace("Authorization", "20260730", "20260729"),
		want: "InvalidSignatureException 400 Date in Credential scope does not match YYYYMMDD from ISO-8601 version " +
			"of date from HTTP: '20260729' != '20260730', from '20260730T120000Z'.",
	},
	"a service nobody serves": {
		change: func(c *call) { c.service = "dynamodb" },
		want:   "InvalidSignatureException 400 Credential should be scoped to correct service: 'sagemaker', 's3'",
	},
	"host not signed": {
		spoil: replace("Authorization", "host;", ""),
		want: "IncompleteSignatureException 400 'Host' or ':authority' must be a 'SignedHeader' in the AWS " +
			"Authorization.",
	},
	"an unknown key": {
		spoil: replace("Authorization", "AKIDEXAMPLE", "AKIDUNKNOWN"),
		want:  "UnrecognizedClientException 400 The security token included in the request is invalid.",
	},
	"a token for a key without": {
		spoil: func(r *http.Request) {
			r.Header.Set("X-Amz-Security-Token", "x")
			replace("Authorization", ";x-amz-date", ";x-amz-date;x-amz-security-token")(r)
		},
		want: "UnrecognizedClientException 400 The security token included in the request is invalid.",
	},
	"a token not signed": {
		spoil: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "x") },
		want:  "InvalidSignatureException 400 There were headers",
	},
	"a target not signed": {
		spoil: func(r *http.Request) { r.Header.Set("X-Amz-Target", "SageMaker.DeleteModel") },
		want:  "InvalidSignatureException 400 There were headers",
	},
	"a token left out": {
		change: func(c *call) { c.key = "ASIASESSION" },
		spoil:  func(r *http.Request) { r.Header.Del("X-Amz-Security-Token") },
		want:   "UnrecognizedClientException 400 ",
	},
	"an expired session": {
		change: func(c *call) { c.key = "ASIAEXPIRED" },
		want:   "ExpiredTokenException 400 The security token included in the request is expired",
	},
	"an old signature": {
		at: now.Add(5*time.Minute + time.Second),
		want: "InvalidSignatureException 400 Signature expired: 20260730T120000Z is now earlier than " +
			"20260730T120001Z (20260730T120501Z - 5 min.)",
	},
	"an early signature": {
		at: now.Add(-5*time.Minute - time.Second),
		want: "InvalidSignatureException 400 Signature not yet current: 20260730T120000Z is still later than " +
			"20260730T115959Z (20260730T115459Z + 5 min.)",
	},
	"another signature": {spoil: func(r *http.Request) {
		h := r.Header.Get("Authorization")
		r.Header.Set("Authorization", h[:len(h)-4]+"0000")
	}, want: mismatch},
	"another method":   {spoil: func(r *http.Request) { r.Method = "PUT" }, want: mismatch},
	"another host":     {spoil: func(r *http.Request) { r.Host = "127.0.0.1:9401" }, want: mismatch},
	"another header":   {spoil: replace("Content-Type", "csv", "CSV"), want: mismatch},
	"a header less":    {spoil: func(r *http.Request) { r.Header.Del("Amz-Sdk-Request") }, want: mismatch},
	"a parameter more": {spoil: func(r *http.Request) { r.URL.RawQuery = "x=y" }, want: mismatch},
	"both forms": {
		spoil: func(r *http.Request) { r.URL.RawQuery = "X-Amz-Signature=00" },
		want:  "IncompleteSignatureException 400 Only one auth mechanism allowed",
	},
	"S3: bad signature": {
		change: s3, spoil: func(r *http.Request) { r.Method = "PUT" },
		want: "SignatureDoesNotMatch 403 The request signature we calculated does not match",
	},
	"S3: unknown key": {
		change: s3, spoil: replace("Authorization", "AKIDEXAMPLE", "AKIDUNKNOWN"),
		want: "InvalidAccessKeyId 403 The AWS Access Key Id you provided does not exist in our records.",
	},
	"S3: skew": {
		change: s3, at: now.Add(15*time.Minute + time.Second),
		want: "RequestTimeTooSkewed 403 The difference between the request time and the current time is too large.",
	},
	"S3: no payload hash": {
		change: s3, spoil: func(r *http.Request) { r.Header.Del("X-Amz-Content-Sha256") },
		want: "InvalidRequest 400 Missing required header for this request: x-amz-content-sha256",
	},
	"S3: another body": {
		change: func(c *call) { s3(c); c.hash = hashOf([]byte("other")) }, want: "XAmzContentSHA256Mismatch 400 ",
	},
}

func TestEachFailureHasItsOwnError(t *testing.T) {
	for name, c := range failures {
		t.Run(name, func(t *testing.T) {
			k := invoke()
			if c.change != nil {
				c.change(&k)
			}
			r := k.signed(t)
			if c.spoil != nil {
				c.spoil(r)
			}
			at := c.at
			if at.IsZero() {
				at = now
			}
			wantError(t, r, k.body, at, c.want)
		})
	}
}

func TestEachFailureOfAPresignedRequestHasItsOwnError(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"no date": {
			"X-Amz-Date=", "X-Amz-Dat=",
			"AuthorizationQueryParametersError 400 Query-string authentication version 4 requires",
		},
		"two signatures": {
			"X-Amz-Expires=", "X-Amz-Signature=00&X-Amz-Expires=", "AuthorizationQueryParametersError 400 Query-string",
		},
		"a week and more": {
			"X-Amz-Expires=60", "X-Amz-Expires=604801",
			"AuthorizationQueryParametersError 400 X-Amz-Expires must be less than a week",
		},
		"a negative expiry": {
			"X-Amz-Expires=60", "X-Amz-Expires=-1",
			"AuthorizationQueryParametersError 400 X-Amz-Expires must be non-negative",
		},
		"no number": {
			"X-Amz-Expires=60", "X-Amz-Expires=6O",
			"AuthorizationQueryParametersError 400 X-Amz-Expires should be a number",
		},
		"no expiry": {
			"X-Amz-Expires=60", "a=b", "AuthorizationQueryParametersError 400 X-Amz-Expires should be a number",
		},
		"another expiry": {"X-Amz-Expires=60", "X-Amz-Expires=61", "SignatureDoesNotMatch 403 "},
		"another algorithm": {
			"HMAC-SHA256", "HMAC-SHA1", "AuthorizationQueryParametersError 400 X-Amz-Algorithm only supports",
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := invoke()
			s3(&k)
			k.hash = "UNSIGNED-PAYLOAD"
			r := k.presigned(t, "60")
			changed := strings.Replace(r.URL.RawQuery, c.old, c.new, 1)
			if changed == r.URL.RawQuery {
				t.Fatal("nothing to replace")
			}
			r.URL.RawQuery = changed
			wantError(t, r, nil, now, c.want)
		})
	}
}

func s3(c *call) {
	c.service, c.target, c.method = "s3", "http://127.0.0.1:9400/bucket/a%20key", "GET"
	c.body, c.header = nil, nil
}

func cut(s, at string) string { s, _, _ = strings.Cut(s, at); return s }

func replace(header, before, after string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set(header, strings.Replace(r.Header.Get(header), before, after, 1))
	}
}

func TestQueryServicesHearTheirOwnCodes(t *testing.T) {
	c := invoke()
	c.service, c.target, c.body = "sts", "http://127.0.0.1:9400/", []byte("Action=GetCallerIdentity&Version=2011-06-15")
	r := c.signed(t)
	replace("Authorization", "AKIDEXAMPLE", "AKIDUNKNOWN")(r)
	wantError(t, r, c.body, now, "InvalidClientTokenId 403 ")
	if e := sigv4.Missing().In(sigv4.StyleS3); e.Code != "AccessDenied" || e.Status != 403 {
		t.Error("In(StyleS3) =", e)
	}
}

func TestARotatedSecretDoesNotPassByTheCache(t *testing.T) {
	keys := testRing()
	v := sigv4.NewVerifier(keys)
	c := invoke()
	r := c.signed(t)
	for range 2 { // the second time from the cache
		if _, err := v.Verify(sigv4.FromHTTP(r), c.body, now); err != nil {
			t.Fatal(err)
		}
	}
	k := keys[c.key]
	k.Secret = "rotated"
	keys[c.key] = k
	if _, err := v.Verify(sigv4.FromHTTP(r), c.body, now); err == nil {
		t.Error("the old secret still verifies")
	}
}

func TestAnIdentityOutlivesTheBufferOfItsRequest(t *testing.T) {
	c := invoke()
	raw := newRawRequest(c.signed(t))
	buf := []byte(raw.headers["authorization"])
	v := sigv4.NewVerifier(testRing())
	raw.headers["authorization"] = unsafeString(buf)
	id, err := v.Verify(raw, c.body, now)
	if err != nil {
		t.Fatal(err)
	}
	clear(buf)
	if id.AccessKeyID != "AKIDEXAMPLE" || id.Region != "eu-west-1" || id.Service != "sagemaker" {
		t.Errorf("identity became %+v", id)
	}
	// The cache must not hold views of the buffer either.
	raw.headers["authorization"] = c.signed(t).Header.Get("Authorization")
	if id, err = v.Verify(raw, c.body, now); err != nil || id.Region != "eu-west-1" {
		t.Errorf("from the cache: %+v, %v", id, err)
	}
}

func TestAKeyIsLoggedWithoutItsSecret(t *testing.T) {
	k := testRing()["ASIASESSION"]
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("key", "key", k)
	text := fmt.Sprintf("%v %+v %#v %s %s", k, k, k, k, b.String())
	if strings.Contains(text, k.Secret) || strings.Contains(text, k.SessionToken) {
		t.Error("a secret was printed:", text)
	}
}

// S3 decodes a path before it encodes it: spelling does not matter.
func TestS3AcceptsAnotherSpellingOfTheSamePath(t *testing.T) {
	c := invoke()
	s3(&c)
	c.target = "http://127.0.0.1:9400/bucket/a%20key%2Bplus~"
	r := c.signed(t)
	r.RequestURI = "/bucket/a%20key+plus%7e"
	if _, err := verify(r, nil, now); err != nil {
		t.Error(err)
	}
}

func TestARequestDatedByDateVerifies(t *testing.T) {
	c := invoke()
	r := c.signed(t)
	sum := r.Header.Get("X-Amz-Date")
	// The signature covers x-amz-date, so a Date alone is refused for its
	// signature, not for its form.
	r.Header.Del("X-Amz-Date")
	r.Header.Set("Date", now.Format(time.RFC1123))
	wantError(t, r, c.body, now, "InvalidSignatureException 400 The request signature")
	r.Header.Set("Date", "yesterday")
	wantError(t, r, c.body, now, "IncompleteSignatureException 400 The Date header")
	if sum == "" {
		t.Error("the signer set no date")
	}
}
