package sigv4_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// The two examples of "Signature Calculations for the Authorization Header:
// Transferring Payload in Multiple Chunks" in the S3 API reference: a key, a
// head, and the signature of every chunk and of the trailer.
var (
	docTime = time.Date(2013, 5, 24, 0, 0, 0, 0, time.UTC)
	docRing = ring{
		"AKIAIOSFODNN7EXAMPLE": {ID: "AKIAIOSFODNN7EXAMPLE", Secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
	}
)

const docCredential = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"

func docRequest(body string, trailer bool) *http.Request {
	r := httptest.NewRequest("PUT", "/examplebucket/chunkObject.txt", strings.NewReader(body))
	r.Host = "s3.amazonaws.com"
	r.Header = http.Header{
		"X-Amz-Date": {"20130524T000000Z"}, "X-Amz-Storage-Class": {"REDUCED_REDUNDANCY"},
		"Content-Encoding":             {"aws-chunked"},
		"X-Amz-Decoded-Content-Length": {"66560"}, "Content-Length": {"66824"},
		"X-Amz-Content-Sha256": {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"},
		"Authorization": {
			docCredential +
				"SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;" +
				"x-amz-decoded-content-length;x-amz-storage-class," +
				"Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
		},
	}
	if trailer {
		r.Header.Del("Content-Length")
		r.Header.Set("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
		r.Header.Set("X-Amz-Trailer", "x-amz-checksum-crc32c")
		r.Header.Set(
			"Authorization",
			docCredential+
				"SignedHeaders=content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"+
				"x-amz-storage-class;x-amz-trailer,"+
				"Signature=106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
		)
	}
	return r
}

func docBody() string {
	return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" +
		strings.Repeat("a", 65536) +
		"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" +
		strings.Repeat("a", 1024) +
		"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
}

func docTrailerBody() string {
	return "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" +
		strings.Repeat("a", 65536) +
		"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" +
		strings.Repeat("a", 1024) +
		"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
		"x-amz-checksum-crc32c:sOO8/" +
		"Q==\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
}

// readS3 verifies the head and reads the body in pieces of an odd length.
func readS3(v *sigv4.Verifier, r *http.Request, at time.Time) ([]byte, *sigv4.Payload, error) {
	_, p, err := v.VerifyS3(r, at)
	if err != nil {
		return nil, nil, err
	}
	b, err := io.ReadAll(iotest.OneByteReader(p))
	return b, p, err
}

func TestSignedChunksOfTheReferenceVerify(t *testing.T) {
	v := sigv4.NewVerifier(docRing)
	want := strings.Repeat("a", 66560)
	for name, r := range map[string]*http.Request{
		"plain": docRequest(docBody(), false), "with a trailer": docRequest(docTrailerBody(), true),
	} {
		got, p, err := readS3(v, r, docTime)
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
			continue
		}
		if p.Size() != 66560 {
			t.Errorf("%s: size %d", name, p.Size())
		}
		if sum := p.Checksums()[checksum.CRC32C]; name == "with a trailer" && sum != "sOO8/Q==" {
			t.Errorf("checksums %v", p.Checksums())
		}
	}
}

func TestSpoiledChunksEndInAnErrorAndNeverInEOF(t *testing.T) {
	v := sigv4.NewVerifier(docRing)
	for name, c := range map[string]struct {
		trailer       bool
		before, after string
		want          string
	}{
		"a byte of data":      {false, "aaa\r\n400", "aab\r\n400", "SignatureDoesNotMatch"},
		"a chunk's signature": {false, "0055627c", "1055627c", "SignatureDoesNotMatch"},
		"no signature":        {false, ";chunk-signature=0055", ";chunk-sign=0055", "IncompleteBody"},
		"the last signature":  {false, "b6c6ea8a", "c6c6ea8a", "SignatureDoesNotMatch"},
		"a chunk less": {
			false,
			"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" +
				strings.Repeat("a", 1024) + "\r\n",
			"", "SignatureDoesNotMatch",
		},
		"nothing after the first": {
			false,
			"400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" +
				strings.Repeat("a", 1024) +
				"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
			"", "IncompleteBody",
		},
		"more than declared":      {false, "400;", "401;", "IncompleteBody"},
		"a length that overflows": {false, "400;", "7fffffffffffffff;", "IncompleteBody"},
		"a length that is none":   {false, "400;", "-1;", "IncompleteBody"},
		"data past the chunk":     {false, "a\r\n400", "aa\r\n400", "IncompleteBody"},
		"something after the end": {false, "9df9\r\n\r\n", "9df9\r\n\r\nx", "IncompleteBody"},
		"a trailer out of nowhere": {
			false, "9df9\r\n\r\n", "9df9\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "MalformedTrailerError",
		},
		"another checksum":          {true, "sOO8/Q==", "sOO8/A==", "SignatureDoesNotMatch"},
		"another trailer signature": {true, "d81f82fc", "e81f82fc", "SignatureDoesNotMatch"},
		"no trailer signature": {
			true, "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n", "",
			"SignatureDoesNotMatch",
		},
		"a header after it": {true, "e435\r\n\r\n", "e435\r\nx-amz-meta-a:b\r\n\r\n", "MalformedTrailerError"},
		"the end cut off": {
			true, "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n", "", "IncompleteBody",
		},
	} {
		body := docBody()
		if c.trailer {
			body = docTrailerBody()
		}
		changed := strings.Replace(body, c.before, c.after, 1)
		if changed == body {
			t.Fatalf("%s: nothing to replace", name)
		}
		_, _, err := readS3(v, docRequest(changed, c.trailer), docTime)
		if e, ok := errors.AsType[*sigv4.Error](err); !ok || e.Code != c.want {
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}

func crc32Of(s string) string {
	h := checksum.CRC32.New()
	_, _ = io.WriteString(h, s) // a hash never fails
	return checksum.Encode(h)
}

func put(body string, header http.Header, hash string) call {
	return call{
		method: "PUT", target: "http://127.0.0.1:9400/bucket/key", service: "s3", key: "AKIDEXAMPLE", at: now,
		header: header, body: []byte(body), hash: hash,
	}
}

func TestEveryFormOfPayloadIsCheckedToItsEnd(t *testing.T) {
	const text = "hello, chunks"
	sum := md5.Sum([]byte(text))
	trailer := func(crc string) string {
		return fmt.Sprintf(
			"%x\r\n%s\r\n%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:%s\r\n\r\n", 5, text[:5], len(text)-5, text[5:], crc,
		)
	}
	trailing := http.Header{
		"X-Amz-Trailer": {"x-amz-checksum-crc32"}, "X-Amz-Decoded-Content-Length": {fmt.Sprint(len(text))},
	}
	for name, c := range map[string]struct {
		call call
		want string // "" for success
	}{
		"the hash of the body": {put(text, nil, hashOf([]byte(text))), ""},
		"the hash of another":  {put(text, nil, hashOf([]byte("x"))), "XAmzContentSHA256Mismatch"},
		"unsigned":             {put(text, nil, "UNSIGNED-PAYLOAD"), ""},
		"an MD5 that holds": {
			put(text, http.Header{"Content-Md5": {base64.StdEncoding.EncodeToString(sum[:])}}, "UNSIGNED-PAYLOAD"), "",
		},
		"another MD5": {
			put(text+"!", http.Header{"Content-Md5": {base64.StdEncoding.EncodeToString(sum[:])}}, "UNSIGNED-PAYLOAD"),
			"BadDigest",
		},
		"no MD5 at all": {
			put(text, http.Header{"Content-Md5": {"xx"}}, "UNSIGNED-PAYLOAD"), "InvalidDigest",
		},
		"a checksum that holds": {
			put(text, http.Header{"X-Amz-Checksum-Crc32": {crc32Of(text)}}, "UNSIGNED-PAYLOAD"), "",
		},
		"another checksum": {
			put(text, http.Header{"X-Amz-Checksum-Crc32": {crc32Of("x")}}, "UNSIGNED-PAYLOAD"), "BadDigest",
		},
		"no checksum at all": {
			put(text, http.Header{"X-Amz-Checksum-Crc32": {"AA=="}}, "UNSIGNED-PAYLOAD"), "InvalidRequest",
		},
		"two checksums": {
			put(
				text, http.Header{"X-Amz-Checksum-Crc32": {crc32Of(text)}, "X-Amz-Checksum-Crc32c": {crc32Of(text)}},
				"UNSIGNED-PAYLOAD",
			),
			"InvalidRequest",
		},
		"a checksum nobody can compute": {
			put(text, http.Header{"X-Amz-Checksum-Xxhash3": {"AA=="}}, "UNSIGNED-PAYLOAD"), "NotImplemented",
		},
		"a trailer that holds": {
			put(trailer(crc32Of(text)), trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "",
		},
		"a trailer that does not": {
			put(trailer(crc32Of("x")), trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "BadDigest",
		},
		"a trailer that is none": {
			put(trailer("x"), trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "InvalidRequest",
		},
		"a trailer left out": {
			put("d\r\n"+text+"\r\n0\r\n\r\n", trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "MalformedTrailerError",
		},
		"a trailer nobody knows": {
			put(
				"d\r\n"+text+"\r\n0\r\n\r\n",
				http.Header{"X-Amz-Trailer": {"x-a"}, "X-Amz-Decoded-Content-Length": {"13"}},
				"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			),
			"InvalidRequest",
		},
		"chunks without decoded length": {
			put(
				trailer(crc32Of(text)), http.Header{"X-Amz-Trailer": {"x-amz-checksum-crc32"}},
				"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
			),
			"MissingContentLength",
		},
		"fewer bytes than declared": {
			put("0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
			"IncompleteBody",
		},
		"a hash that is no hash": {
			put(text, nil, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "InvalidRequest",
		},
		"a line without end": {
			put(strings.Repeat("0", 40<<10), trailing, "STREAMING-UNSIGNED-PAYLOAD-TRAILER"), "IncompleteBody",
		},
		"an x-amz header not signed too": {
			put(text, http.Header{"X-Amz-Acl": {"unsigned"}}, "UNSIGNED-PAYLOAD"), "AccessDenied",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.call.signed(t)
			if r.Header.Get("X-Amz-Acl") != "" {
				replace("Authorization", ";x-amz-acl", "")(r)
			}
			got, _, err := readS3(sigv4.NewVerifier(testRing()), r, now)
			switch e, ok := errors.AsType[*sigv4.Error](err); {
			case c.want == "" && (err != nil || string(got) != text):
				t.Errorf("%q, %v", got, err)
			case c.want != "" && (!ok || e.Code != c.want):
				t.Errorf("%v; want %s", err, c.want)
			}
		})
	}
}

// presignV2 does what boto3 does by default for a custom endpoint.
func presignV2(method, path, query string, amz map[string]string, expires time.Time, k sigv4.Key) *http.Request {
	q := url.Values{}
	text := fmt.Sprintf("%s\n\n%s\n%d\n", method, amz["content-type"], expires.Unix())
	for _, name := range []string{"x-amz-acl", "x-amz-security-token"} {
		if v := amz[name]; v != "" {
			text += name + ":" + v + "\n"
			q.Set(name, v)
		}
	}
	if v := amz["content-type"]; v != "" {
		q.Set("content-type", v)
	}
	text += path
	if query != "" {
		text += "?" + query
	}
	h := hmac.New(sha1.New, []byte(k.Secret))
	_, _ = io.WriteString(h, text) // a hash never fails
	q.Set("AWSAccessKeyId", k.ID)
	q.Set("Signature", base64.StdEncoding.EncodeToString(h.Sum(nil)))
	q.Set("Expires", fmt.Sprint(expires.Unix()))
	return httptest.NewRequest(method, path+"?"+strings.TrimPrefix(query+"&"+q.Encode(), "&"), nil)
}

func TestVersion2PresignedRequestsVerify(t *testing.T) {
	v := sigv4.NewVerifier(testRing())
	k, session := testRing()["AKIDEXAMPLE"], testRing()["ASIASESSION"]
	end := now.Add(time.Minute)
	atHost := func(host string, r *http.Request) *http.Request {
		r.Host = host
		return r
	}
	ofHost := atHost("bkt.localhost:9400", presignV2("GET", "/bkt/k", "", nil, end, k))
	ofHost.URL.Path, ofHost.URL.RawPath = "/k", ""
	ofHost.RequestURI = "/k?" + ofHost.URL.RawQuery
	for name, c := range map[string]struct {
		r    *http.Request
		at   time.Time
		want string
	}{
		"a bucket in the host name": {ofHost, now, ""},
		"another bucket's host name": {
			atHost("other.s3.amazonaws.com", presignV2("PUT", "/b/k", "", nil, end, k)), now, "SignatureDoesNotMatch",
		},
		"a plain GET":             {presignV2("GET", "/b/a%20key", "", nil, end, k), now, ""},
		"with parameters":         {presignV2("GET", "/b/k", "partNumber=1&uploadId=x", nil, end, k), now, ""},
		"a parameter of no value": {presignV2("POST", "/b/k", "uploads", nil, end, k), now, ""},
		"headers in the query": {
			presignV2("PUT", "/b/k", "", map[string]string{"content-type": "text/csv", "x-amz-acl": "private"}, end, k),
			now, "",
		},
		"a session": {
			presignV2("GET", "/b/k", "", map[string]string{"x-amz-security-token": session.SessionToken}, end, session),
			now, "",
		},
		"a session without token": {presignV2("GET", "/b/k", "", nil, end, session), now, "InvalidToken"},
		"an expired session": {
			presignV2("GET", "/b/k", "", nil, end, testRing()["ASIAEXPIRED"]), now, "ExpiredToken",
		},
		"expired": {presignV2("GET", "/b/k", "", nil, end, k), end, "AccessDenied"},
		"an unknown key": {
			presignV2("GET", "/b/k", "", nil, end, sigv4.Key{ID: "x", Secret: "x"}), now, "InvalidAccessKeyId",
		},
		"another secret": {
			presignV2("GET", "/b/k", "", nil, end, sigv4.Key{ID: k.ID, Secret: "x"}), now, "SignatureDoesNotMatch",
		},
	} {
		id, _, err := v.VerifyS3(c.r, c.at)
		e, ok := errors.AsType[*sigv4.Error](err)
		if c.want == "" && (err != nil || id.Service != "s3") || c.want != "" && (!ok || e.Code != c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, id, err, c.want)
		}
	}
	for name, spoil := range map[string]func(r *http.Request){
		"another path":   func(r *http.Request) { r.RequestURI = strings.Replace(r.RequestURI, "/b/k", "/b/l", 1) },
		"another method": func(r *http.Request) { r.Method = "PUT" },
		"another expiry": func(
			r *http.Request,
		) {
			r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "Expires=1", "Expires=2", 1)
		},
		"a subresource":      func(r *http.Request) { r.URL.RawQuery += "&tagging" },
		"a header":           func(r *http.Request) { r.Header.Set("X-Amz-Meta-A", "b") },
		"a header in query":  func(r *http.Request) { r.URL.RawQuery += "&x-amz-meta-a=b" },
		"two signatures":     func(r *http.Request) { r.URL.RawQuery += "&Signature=x" },
		"a second mechanism": func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 x") },
	} {
		r := presignV2("GET", "/b/k", "", nil, end, k)
		if spoil(r); verifies(v, r) {
			t.Errorf("with %s it still verifies", name)
		}
	}
}

func verifies(v *sigv4.Verifier, r *http.Request) bool {
	_, _, err := v.VerifyS3(r, now)
	return err == nil
}

func TestHeadersOfAPresignedQueryReachTheHandler(t *testing.T) {
	c := put("", http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}, "UNSIGNED-PAYLOAD")
	c.method = "GET"
	r := c.presigned(t, "60")
	if r.Header.Get("X-Amz-Checksum-Mode") != "" {
		t.Fatal("the signer left the header where it was")
	}
	if !verifies(sigv4.NewVerifier(testRing()), r) || r.Header.Get("X-Amz-Checksum-Mode") != "ENABLED" {
		t.Errorf("headers %v", r.Header)
	}
}

// signedChunks is a short body in two chunks, signed as the head r says.
func signedChunks(r *http.Request, k sigv4.Key, parts ...string) string {
	sign := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = io.WriteString(h, text) // a hash never fails
		return h.Sum(nil)
	}
	key := []byte("AWS4" + k.Secret)
	for _, part := range []string{now.Format("20060102"), "eu-west-1", "s3", "aws4_request"} {
		key = sign(key, part)
	}
	_, previous, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
	var b strings.Builder
	for _, part := range append(parts, "") {
		text := "AWS4-HMAC-SHA256-PAYLOAD\n" + r.Header.Get("X-Amz-Date") + "\n" + now.Format("20060102") +
			"/eu-west-1/s3/aws4_request\n" + previous + "\n" + hashOf(nil) + "\n" + hashOf([]byte(part))
		previous = hex.EncodeToString(sign(key, text))
		fmt.Fprintf(&b, "%x;chunk-signature=%s\r\n%s", len(part), previous, part)
		b.WriteString("\r\n")
	}
	return b.String()
}

func FuzzSignedChunksEndWellOnlyWithTheSignedData(f *testing.F) {
	v := sigv4.NewVerifier(testRing())
	c := put("", http.Header{"X-Amz-Decoded-Content-Length": {"5"}}, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	head := c.signed(f)
	body := signedChunks(head, testRing()["AKIDEXAMPLE"], "abc", "de")
	f.Add([]byte(body))
	f.Add([]byte(body[strings.Index(body, "\r\n0;")+2:]))
	f.Add([]byte("5;chunk-signature=00\r\nabcde\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := head.Clone(t.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		_, p, err := v.VerifyS3(r, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p); err == nil && string(got) != "abcde" {
			t.Errorf("%q ended well", got)
		}
	})
}

func TestShortSignedChunksVerify(t *testing.T) {
	c := put("", http.Header{"X-Amz-Decoded-Content-Length": {"5"}}, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
	r := c.signed(t)
	r.Body = io.NopCloser(strings.NewReader(signedChunks(r, testRing()["AKIDEXAMPLE"], "abc", "de")))
	if got, _, err := readS3(sigv4.NewVerifier(testRing()), r, now); err != nil || string(got) != "abcde" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzUnsignedChunksEndWellOnlyAtTheirDeclaredLength(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n"))
	f.Add([]byte("0\r\n\r\n"))
	v := sigv4.NewVerifier(testRing())
	c := put(
		"", http.Header{"X-Amz-Trailer": {"x-amz-checksum-crc32"}, "X-Amz-Decoded-Content-Length": {"3"}},
		"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
	)
	head := c.signed(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := head.Clone(t.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		_, p, err := v.VerifyS3(r, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(p); err == nil &&
			(len(got) != 3 || p.Checksums()[checksum.CRC32] != crc32Of(string(got))) {
			t.Errorf("%q ended well", got)
		}
	})
}
