package sigv4_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// version2 is a presigned PUT in Version 2, as boto3 writes one: what is to be among
// the headers stands in the query.
type version2 struct {
	md5, contentType string // in the query, signed
	amz              map[string]string
	header           http.Header
	body             string
}

func (c version2) request() *http.Request {
	end := now.Add(time.Minute).Unix()
	text := fmt.Sprintf("PUT\n%s\n%s\n%d\n", c.md5, c.contentType, end)
	q := url.Values{}
	for name, v := range map[string]string{"content-md5": c.md5, "content-type": c.contentType} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for name, v := range c.amz { // one at the most
		text += name + ":" + v + "\n"
		q.Set(name, v)
	}
	k := testRing()["AKIDEXAMPLE"]
	h := hmac.New(sha1.New, []byte(k.Secret))
	_, _ = io.WriteString(h, text+"/b/k") // a hash never fails
	q.Set("AWSAccessKeyId", k.ID)
	q.Set("Signature", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	q.Set("Expires", fmt.Sprint(end))
	r := httptest.NewRequest("PUT", "/b/k?"+q.Encode(), bytes.NewReader([]byte(c.body)))
	for name, values := range c.header {
		r.Header[name] = values
	}
	return r
}

// read verifies a request and reads it to its end.
func read(r *http.Request) error {
	_, p, err := sigv4.NewVerifier(testRing()).VerifyS3(r, now)
	if err == nil {
		_, err = io.Copy(io.Discard, p)
	}
	return err
}

// Whoever signs a URL for one body, or for one type, gets no other.
func TestWhatAURLOfVersion2AsksOfTheBodyHolds(t *testing.T) {
	sum := md5.Sum([]byte("hello"))
	md5Of := base64.StdEncoding.EncodeToString(sum[:])
	hash := hashOf([]byte("hello"))
	for name, c := range map[string]struct {
		c    version2
		want string
	}{
		"its MD5":       {version2{md5: md5Of, body: "hello"}, ""},
		"another body":  {version2{md5: md5Of, body: "other"}, "BadDigest"},
		"no MD5 at all": {version2{md5: "x", body: "hello"}, "InvalidDigest"},
		"MD5 sent, too": {version2{md5: md5Of, header: http.Header{"Content-Md5": {md5Of}}, body: "hello"}, ""},
		"its type":      {version2{contentType: "text/csv", body: "hello"}, ""},
		"its type sent": {version2{contentType: "a/b", header: http.Header{"Content-Type": {"a/b"}}}, ""},
		"another type": {
			version2{contentType: "a/b", header: http.Header{"Content-Type": {"a/c"}}}, "SignatureDoesNotMatch",
		},
		"its hash": {version2{amz: map[string]string{"x-amz-content-sha256": hash}, body: "hello"}, ""},
		"not its hash": {
			version2{amz: map[string]string{"x-amz-content-sha256": hash}, body: "other"}, "XAmzContentSHA256Mismatch",
		},
		"chunks, signed": {
			version2{amz: map[string]string{"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}},
			"AccessDenied",
		},
		"an end of V4's": {version2{amz: map[string]string{"x-amz-expires": "1"}}, "InvalidRequest"},
		"its checksum":   {version2{amz: map[string]string{"x-amz-checksum-crc32": "NhCmhg=="}, body: "hello"}, ""},
		"another's checksum": {
			version2{amz: map[string]string{"x-amz-checksum-crc32": "NhCmhg=="}, body: "other"}, "BadDigest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.c.request()
			err := read(r)
			e, _ := errors.AsType[*sigv4.Error](err)
			if got := code(e); got != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if c.want == "" && r.Header.Get("Content-Type") != c.c.contentType {
				t.Errorf("the handler sees the type %q", r.Header.Get("Content-Type"))
			}
		})
	}
}

func code(e *sigv4.Error) string {
	if e == nil {
		return ""
	}
	return e.Code
}

// So it is in Version 4, in whatever way the request is signed.
func TestWhatAQueryAsksIsHeardOrRefused(t *testing.T) {
	sum := md5.Sum([]byte("hello"))
	md5Of := url.QueryEscape(base64.StdEncoding.EncodeToString(sum[:]))
	hash := hashOf([]byte("hello"))
	for name, c := range map[string]struct {
		query, body string
		inHeader    bool // where the signature is
		want        string
	}{
		"an MD5":                       {"content-md5=" + md5Of, "hello", false, ""},
		"another MD5":                  {"content-md5=" + md5Of, "other", false, "BadDigest"},
		"another MD5, in header":       {"Content-MD5=" + md5Of, "other", true, "BadDigest"},
		"a hash":                       {"X-Amz-Content-Sha256=" + hash, "hello", false, ""},
		"another hash":                 {"X-Amz-Content-Sha256=" + hash, "other", false, "XAmzContentSHA256Mismatch"},
		"a hash spelt otherwise":       {"x-amz-content-sha256=" + hash, "other", false, "InvalidRequest"},
		"another hash than the header": {"X-Amz-Content-Sha256=" + hash, "other", true, "InvalidRequest"},
		"an end spelt otherwise":       {"x-amz-expires=1", "hello", false, "InvalidRequest"},
		"an end beside a header":       {"X-Amz-Expires=1", "hello", true, "InvalidRequest"},
		"a condition":                  {"if-none-match=%2A", "hello", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in := put(c.body, nil, "UNSIGNED-PAYLOAD")
			in.target += "?" + c.query
			r := in.signed(t)
			if !c.inHeader {
				if c.query[:3] == "X-A" {
					in.hash = hash
				}
				r = in.presigned(t, "60")
			}
			err := read(r)
			e, _ := errors.AsType[*sigv4.Error](err)
			if got := code(e); got != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if name == "a condition" && r.Header.Get("If-None-Match") != "*" {
				t.Error("the condition was dropped")
			}
		})
	}
}
