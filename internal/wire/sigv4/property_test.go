package sigv4_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// rawRequest is a request as a data plane of one's own would hold it.
type rawRequest struct {
	method, path, query string
	headers             map[string]string
}

func (r *rawRequest) Method() string { return r.method }
func (r *rawRequest) Path() string   { return r.path }
func (r *rawRequest) Query() string  { return r.query }
func (r *rawRequest) Header(name string) (string, bool) {
	v, ok := r.headers[name]
	return v, ok
}

func newRawRequest(r *http.Request) *rawRequest {
	raw := &rawRequest{
		method: r.Method, path: r.URL.EscapedPath(), query: r.URL.RawQuery, headers: map[string]string{"host": r.Host},
	}
	for k, v := range r.Header {
		raw.headers[strings.ToLower(k)] = strings.Join(v, ",")
	}
	if c, ok := sigv4.FromHTTP(r).Header("content-length"); ok {
		raw.headers["content-length"] = c
	}
	return raw
}

func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func drawCall(t *rapid.T) call {
	c := invoke()
	c.service = rapid.SampledFrom([]string{"sagemaker", "s3", "sts", "monitoring"}).Draw(t, "service")
	c.key = rapid.SampledFrom([]string{"AKIDEXAMPLE", "ASIASESSION"}).Draw(t, "key")
	c.method = rapid.SampledFrom([]string{"GET", "PUT", "POST", "DELETE", "HEAD"}).Draw(t, "method")
	var path strings.Builder
	for _, seg := range rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "segments") {
		path.WriteString("/" + string(rfc3986(seg)))
	}
	if path.Len() == 0 {
		path.WriteString("/")
	}
	q := url.Values{}
	for _, name := range rapid.SliceOfN(rapid.StringMatching(`[a-zA-Z0-9-]{1,8}`), 0, 4).Draw(t, "names") {
		q.Set(name, rapid.String().Draw(t, "value"))
	}
	c.target = "http://h.example:8080/" + strings.TrimPrefix(path.String(), "/")
	if s := q.Encode(); s != "" {
		c.target += "?" + s
	}
	c.header = http.Header{}
	for _, name := range rapid.SliceOfN(rapid.StringMatching(`X-[A-Z][a-z]{1,6}`), 0, 4).Draw(t, "headers") {
		c.header[name] = rapid.SliceOfN(rapid.StringMatching(`[!-~]( {0,3}[!-~]){0,9}`), 1, 2).Draw(t, "values")
	}
	c.body = rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "body")
	return c
}

func rfc3986(s string) []byte {
	return []byte(strings.ReplaceAll(url.QueryEscape(s), "+", "%20"))
}

func TestWhatTheSDKSignsVerifiesAndNothingElse(t *testing.T) {
	for name, keys := range map[string]sigv4.Keyring{
		"a table of keys": testRing(), "sessions without a table": newSessionRing(),
	} {
		t.Run(name, func(t *testing.T) { signedVerifies(t, keys) })
	}
}

func signedVerifies(t *testing.T, keys sigv4.Keyring) {
	rapid.Check(t, func(rt *rapid.T) {
		v := sigv4.NewVerifier(keys) // it remembers
		c := drawCall(rt)
		var r *http.Request
		if rapid.Bool().Draw(rt, "presigned") {
			r = c.presigned(t, "600")
			if c.service == "s3" {
				c.hash = "UNSIGNED-PAYLOAD"
				r = c.presigned(t, "600")
			}
		} else {
			r = c.signed(t)
		}
		if _, err := v.Verify(sigv4.FromHTTP(r), c.body, now); err != nil {
			rt.Fatalf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		}
		raw := newRawRequest(r)
		if _, err := v.Verify(raw, c.body, now); err != nil {
			rt.Fatalf("as raw request: %v", err)
		}
		body := tamper(rt, raw, c)
		if id, err := v.Verify(raw, body, now); err == nil {
			rt.Fatalf("a tampered request verified for %v: %+v", id, raw)
		}
	})
}

// tamper flips one bit of something that is signed, and returns the body.
func tamper(t *rapid.T, r *rawRequest, c call) []byte {
	flip := func(s string) string {
		if s == "" {
			return "x"
		}
		b := []byte(s)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "byte")
		b[i] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		return string(b)
	}
	body := c.body
	signed := []string{"host", "x-amz-date", "authorization"}
	if len(body) > 0 {
		signed = append(signed, "content-length")
	}
	for k := range c.header {
		signed = append(signed, strings.ToLower(k))
	}
	switch kind := rapid.SampledFrom([]string{"method", "path", "query", "header", "body"}).Draw(t, "tamper"); {
	case kind == "path":
		was := r.path
		// Spelling apart, S3 signs what a path says: change what it says.
		if r.path = flip(r.path); c.service == "s3" && same(was, r.path) {
			r.path += "x"
		}
	case kind == "query":
		was := r.query
		if r.query = flip(r.query); sameQuery(was, r.query) {
			r.query += "&x=y"
		}
	case kind == "header":
		name := rapid.SampledFrom(signed).Draw(t, "header")
		was, ok := r.headers[name]
		if !ok {
			r.method += "x"
			break
		}
		r.headers[name] = flip(was)
		if fields(was) == fields(r.headers[name]) {
			r.headers[name] += "x"
		}
	case kind == "body" && c.hash == "":
		body = []byte(flip(string(body)))
	default:
		r.method = flip(r.method)
	}
	return body
}

func same(a, b string) bool {
	a, b = strings.ReplaceAll(a, "%2F", "%252F"), strings.ReplaceAll(b, "%2F", "%252F")
	da, err1 := url.PathUnescape(a)
	db, err2 := url.PathUnescape(b)
	return err1 != nil || err2 != nil || da == db
}

func sameQuery(a, b string) bool {
	qa, err1 := url.ParseQuery(a)
	qb, err2 := url.ParseQuery(b)
	return err1 != nil || err2 != nil || qa.Encode() == qb.Encode()
}

func fields(s string) string { return strings.Join(strings.Fields(s), " ") }

func FuzzTheAuthenticationIsParsedWithoutPanicOrFalseAccept(f *testing.F) {
	c := invoke()
	r := newRawRequest(c.signed(f))
	f.Add(r.headers["authorization"], r.headers["x-amz-date"], "")
	p := newRawRequest(c.presigned(f, "60"))
	f.Add("", "", p.query)
	f.Add(
		"AWS4-HMAC-SHA256 Credential=a/b/c/d/e,Credential=,=,", "20260731T000000Z",
		"X-Amz-Signature&X-Amz-Date=%zz&&=&+",
	)
	valid := r.headers["authorization"]
	v := sigv4.NewVerifier(testRing())
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		raw := &rawRequest{method: "POST", path: "/", query: query, headers: map[string]string{"host": "h"}}
		if authorization != "" {
			raw.headers["authorization"] = authorization
		}
		if date != "" {
			raw.headers["x-amz-date"] = date
		}
		if id, err := v.Verify(raw, nil, now); err == nil {
			t.Errorf("%q %q %q verified as %v (valid was %q)", authorization, date, query, id, valid)
		}
	})
}
