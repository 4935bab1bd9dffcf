package sigv4_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

func TestAPresignedURLIsGoodForAWeekAtMost(t *testing.T) {
	k := testRing()["AKIDEXAMPLE"]
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		good, longest time.Duration
		want          bool
	}{
		"a week":                        {7 * day, 0, true},
		"ten years":                     {3650 * day, 0, false},
		"eight days":                    {8 * day, 0, false},
		"eight days where ten may be":   {8 * day, 10 * day, true},
		"eleven days where ten may be":  {11 * day, 10 * day, false},
		"two hours where one may be":    {2 * time.Hour, time.Hour, false},
		"half an hour where one may be": {30 * time.Minute, time.Hour, true},
	} {
		v := sigv4.NewVerifier(testRing())
		v.LongestPresigned = c.longest
		if got := verifies(v, presignV2("GET", "/b/k", "", nil, now.Add(c.good), k)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		if c.good > 7*day { // Version 4 has no such thing
			continue
		}
		in := put("", nil, "UNSIGNED-PAYLOAD")
		seconds := int(c.good / time.Second)
		if got := verifies(v, in.presigned(t, strconv.Itoa(seconds))); got != c.want {
			t.Errorf("%s in version 4: %v", name, got)
		}
	}
}

// A request presigned in Version 2 would else become another by a parameter that
// its signature does not cover: to delete a setting would be to delete a bucket.
func TestParametersThatVersion2DoesNotSignAreRefused(t *testing.T) {
	v := sigv4.NewVerifier(testRing())
	for _, name := range []string{
		"attributes", "legal-hold", "retention", "publicAccessBlock", "ownershipControls", "encryption", "policyStatus",
		"renameObject", "anything",
	} {
		r := presignV2("GET", "/b/k", "", nil, now.Add(time.Minute), testRing()["AKIDEXAMPLE"])
		r.URL.RawQuery += "&" + name
		if verifies(v, r) {
			t.Errorf("with %s it still verifies", name)
		}
	}
	r := presignV2("GET", "/b", "", nil, now.Add(time.Minute), testRing()["AKIDEXAMPLE"])
	r.URL.RawQuery += "&prefix=a&max-keys=2"
	if !verifies(v, r) {
		t.Error("a page of a listing is refused")
	}
}

func TestHeadersInTheQueryAreHeardOrRefused(t *testing.T) {
	v := sigv4.NewVerifier(testRing())
	in := put("", nil, "UNSIGNED-PAYLOAD")
	const owner = "X-Amz-Expected-Bucket-Owner"
	for name, c := range map[string]struct {
		query string
		want  bool
	}{
		"once":            {"x-amz-expected-bucket-owner=1", true},
		"twice":           {"x-amz-expected-bucket-owner=1&x-amz-expected-bucket-owner=2", false},
		"with a new line": {"x-amz-expected-bucket-owner=1%0A", false},
	} {
		in := in
		in.target += "?" + c.query
		r := in.signed(t)
		if got := verifies(v, r); got != c.want || c.want && r.Header.Get(owner) != "1" {
			t.Errorf("%s: %v, %v", name, got, r.Header)
		}
	}
	in.header = http.Header{owner: {"1"}}
	in.target += "?x-amz-expected-bucket-owner=2"
	if verifies(v, in.signed(t)) {
		t.Error("the query says 2 and the header 1")
	}
	in = put("data", http.Header{"X-Amz-Trailer": {"x-amz-checksum-crc32"}}, "")
	if verifies(v, in.signed(t)) {
		t.Error("a trailer is announced, and nothing can follow the body")
	}
}

func TestAHeaderThatWasSentTwiceIsOne(t *testing.T) {
	in := put("", http.Header{"X-Amz-Meta-A": {"1", "2"}}, "UNSIGNED-PAYLOAD")
	r := in.signed(t)
	if !verifies(sigv4.NewVerifier(testRing()), r) || r.Header.Get("X-Amz-Meta-A") != "1,2" {
		t.Errorf("%v", r.Header)
	}
}

// signedWith signs a request without a body as paws 0.8 does: with a length that
// it writes as given, whatever it sends.
func signedWith(method, length string) *http.Request {
	r := httptest.NewRequest(method, "http://h.example/b/k", nil)
	r.Header.Set("X-Amz-Date", now.Format("20060102T150405Z"))
	r.Header.Set("X-Amz-Content-Sha256", hashOf(nil))
	const signed = "content-length;host;x-amz-content-sha256;x-amz-date;x-empty"
	request := strings.Join([]string{
		method, "/b/k", "", "content-length:" + length, "host:h.example", "x-amz-content-sha256:" + hashOf(nil),
		"x-amz-date:" + r.Header.Get("X-Amz-Date"), "x-empty:", "", signed, hashOf(nil),
	}, "\n")
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		_, _ = io.WriteString(h, text) // a hash never fails
		return h.Sum(nil)
	}
	k := testRing()["AKIDEXAMPLE"]
	day := now.Format("20060102")
	key := []byte("AWS4" + k.Secret)
	for _, part := range []string{day, "us-east-1", "s3", "aws4_request"} {
		key = mac(key, part)
	}
	scope := day + "/us-east-1/s3/aws4_request"
	text := strings.Join([]string{
		"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hashOf([]byte(request)),
	}, "\n")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+k.ID+"/"+scope+", SignedHeaders="+signed+
		", Signature="+hex.EncodeToString(mac(key, text)))
	return r
}

func TestALengthOfNothingIsSignedEmptyOrAsZero(t *testing.T) {
	v := sigv4.NewVerifier(testRing())
	for _, method := range []string{"GET", "HEAD"} {
		for _, sent := range []string{"", "0"} {
			for length, want := range map[string]bool{"": true, "0": true, "1": false} {
				r := signedWith(method, length)
				if sent != "" {
					r.Header.Set("Content-Length", sent)
				}
				_, _, err := v.VerifyS3(r, now)
				if (err == nil) != want {
					t.Errorf("%s, signed %q and sent %q: %v", method, length, sent, err)
				}
				raw := newRawRequest(signedWith(method, length)) // which may say nothing of its length
				delete(raw.headers, "content-length")
				if _, err := v.Verify(raw, nil, now); (err == nil) != want {
					t.Errorf("%s, signed %q and not sent: %v", method, length, err)
				}
			}
		}
	}
	r := signedWith("GET", "0")
	r.Header.Set("X-Empty", "full")
	e, ok := errors.AsType[*sigv4.Error](func() error { _, _, err := v.VerifyS3(r, now); return err }())
	if !ok || e.Code != "SignatureDoesNotMatch" {
		t.Errorf("a header that was signed empty is full: %v", e)
	}
}

// A body that one header says is in chunks and another says is not would be stored
// with its chunks' frames.
func TestADecodedLengthHoldsWithoutChunks(t *testing.T) {
	v := sigv4.NewVerifier(testRing())
	for length, want := range map[string]bool{"3": false, "13": true, "x": false, "-13": false} {
		r := put("3\r\nabc\r\n0\r\n\r\n"[:13], http.Header{
			"X-Amz-Decoded-Content-Length": {length}, "Content-Encoding": {"aws-chunked"},
		}, "").signed(t)
		if got := verifies(v, r); got != want {
			t.Errorf("%s of 13: %v", length, got)
		}
	}
}
