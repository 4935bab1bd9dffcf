package sigv4_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// What an SDK signs verifies, whatever the path, the query and the headers are, in
// the header and in the query; said otherwise in one place, it does not.
func FuzzWhatIsSignedIsWhatVerifies(f *testing.F) {
	f.Add("bucket/key", "a=b&c", "v", "x", false, false)
	f.Add("b//k/../%2e/ü +&=;", "uploads&x=%20+%2B", " a  b ", "\x00", true, true)
	f.Add("", "=&&a=&a=b&A=", "\t", "", true, false)
	f.Add("~!*'()", "q=~!*'()&tagging", "a,b", "%", false, true)
	keys := testRing()
	f.Fuzz(func(t *testing.T, path, query, value, other string, s3, presigned bool) {
		c := invoke()
		q, err := url.ParseQuery(query)
		unprintable := func(b byte) bool { return b < ' ' || b > '~' }
		if err != nil || len(q) > 20 || slices.ContainsFunc([]byte(value), unprintable) {
			return // no header of HTTP
		}
		for name := range q {
			if strings.HasPrefix(strings.ToLower(name), "x-amz-") || slices.ContainsFunc([]string{
				"awsaccesskeyid", "signature", "expires", "content-md5", "content-type",
			}, func(s string) bool { return strings.EqualFold(s, name) }) {
				return // it says something of the signature, or is a header
			}
		}
		c.target = "http://h.example/" + strings.ReplaceAll(string(rfc3986(path)), "%2F", "/")
		if s3 {
			c.service, c.hash = "s3", "UNSIGNED-PAYLOAD"
		}
		if s := strings.ReplaceAll(q.Encode(), "+", "%20"); s != "" {
			c.target += "?" + s
		}
		c.header = http.Header{"X-Fuzz": {value}}
		var r *http.Request
		if presigned {
			r = c.presigned(t, "60")
		} else {
			r = c.signed(t)
		}
		v := sigv4.NewVerifier(keys)
		verify := func(r *rawRequest) error { _, err := v.Verify(r, c.body, now); return err }
		raw := newRawRequest(r)
		if err := verify(raw); err != nil {
			t.Fatalf("%s %s %v: %v", r.Method, r.URL, r.Header, err)
		}
		if strings.TrimSpace(other) == "" || strings.ContainsAny(other, "&=%+#? ;/.") {
			return // it may say the same
		}
		for name, change := range map[string]func(*rawRequest){
			"another path":      func(r *rawRequest) { r.path += url.PathEscape(other) },
			"another host":      func(r *rawRequest) { r.headers["host"] += other },
			"another parameter": func(r *rawRequest) { r.query += "&" + url.QueryEscape(other) + "=1" },
			"another method":    func(r *rawRequest) { r.method += other },
		} {
			changed := newRawRequest(r)
			change(changed)
			if err := verify(changed); err == nil {
				t.Errorf("%s verifies: %+v", name, changed)
			}
		}
	})
}

// What is presigned in Version 2 verifies, and with one parameter more only as long
// as that is one of those that choose nothing.
func FuzzVersion2(f *testing.F) {
	f.Add("/bucket/key", "uploadId", "a.b", "acl", "")
	f.Add("/b/%20+", "response-content-type", "text", "X-Amz-Acl", "public-read")
	f.Add("/b", "versionId", "", "prefix", "a")
	f.Add("/b/k", "tagging", "", "Tagging", "x")
	k := testRing()["AKIDEXAMPLE"]
	harmless := []string{
		"x-id", "prefix", "delimiter", "encoding-type", "list-type", "marker", "max-keys", "start-after",
		"continuation-token", "fetch-owner", "key-marker", "version-id-marker", "upload-id-marker", "max-uploads",
		"max-parts", "part-number-marker", "max-buckets", "bucket-region",
	}
	f.Fuzz(func(t *testing.T, path, name, value, more, as string) {
		signed := []string{
			"uploadId", "partNumber", "response-content-type", "tagging", "versionId", "uploads", "delete",
		}
		if !slices.Contains(signed, name) || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
			return
		}
		u, err := url.Parse("http://h" + path)
		if err != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.EscapedPath() != path ||
			strings.ContainsAny(path, "\r\n \t") {
			return
		}
		query := name
		if value != "" {
			query += "=" + value
		}
		if url.QueryEscape(value) != value {
			return // presignV2 writes what it signs
		}
		r := presignV2("GET", path, query, nil, now.Add(time.Minute), k)
		v := sigv4.NewVerifier(testRing())
		if !verifies(v, r) {
			t.Fatalf("%s does not verify", r.URL)
		}
		if more == "" {
			return
		}
		other := httptest.NewRequest("GET", "/", nil)
		other.URL, other.Host = &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}, r.Host
		other.URL.RawQuery = r.URL.RawQuery + "&" + url.QueryEscape(more) + "=" + url.QueryEscape(as)
		same := func(s string) bool { return strings.EqualFold(s, more) }
		if verifies(v, other) && !slices.ContainsFunc(harmless, same) {
			t.Errorf("%s verifies with %q, too", r.URL, more)
		}
	})
}

// A body in chunks that are signed ends well if it is what was signed, in whatever
// pieces, and with the length and the trailer that were announced.
func FuzzChunksRoundTrip(f *testing.F) {
	f.Add([]byte("hello, chunks"), 3, 0)
	f.Add([]byte{}, 1, 1)
	f.Add([]byte("x"), 70000, -1)
	f.Fuzz(func(t *testing.T, data []byte, piece, off int) {
		if piece < 1 || len(data) > 1<<16 {
			return
		}
		var parts []string
		for chunk := range slices.Chunk(data, piece) {
			parts = append(parts, string(chunk))
			if len(parts) > 64 {
				return
			}
		}
		c := put("", http.Header{
			"X-Amz-Decoded-Content-Length": {fmt.Sprint(len(data) + off)},
		}, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
		r := c.signed(t)
		body := signedChunks(r, testRing()["AKIDEXAMPLE"], parts...)
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		got, _, err := readS3(sigv4.NewVerifier(testRing()), r, now)
		if (err == nil) != (off == 0) || off == 0 && !bytes.Equal(got, data) {
			t.Errorf("%d bytes, said to be %d, in pieces of %d: %d, %v", len(data), len(data)+off, piece, len(got), err)
		}
	})
}
