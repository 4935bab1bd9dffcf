package sigv4_test

import (
	"bytes"
	"context"
	"net/http"
	"testing"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// Verifying a 1 KiB InvokeEndpoint, beside the SDK's signer making the same
// signature in the same run.
func BenchmarkInvokeEndpoint1KiB(b *testing.B) {
	c := invoke()
	c.body = bytes.Repeat([]byte("0.5,"), 256)
	v := sigv4.NewVerifier(testRing())
	b.Run("verify/raw", func(b *testing.B) {
		r := newListRequest(newRawRequest(c.signed(b)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(r, c.body, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify/nethttp", func(b *testing.B) {
		r := c.signed(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(sigv4.FromHTTP(r), c.body, now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify/raw/parallel", func(b *testing.B) {
		r := newListRequest(newRawRequest(c.signed(b)))
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := v.Verify(r, c.body, now); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("sdk-sign", func(b *testing.B) {
		r, signer, keys := c.request(b), v4.NewSigner(), credentialsOf(c.key)
		b.ReportAllocs()
		for b.Loop() {
			h := r.Header.Clone()
			if err := signer.SignHTTP(context.Background(), keys,
				&http.Request{Method: r.Method, URL: r.URL, Header: h, ContentLength: r.ContentLength},
				hashOf(c.body), c.service, "eu-west-1", now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// listRequest keeps its headers in a list, as a lean HTTP server does.
type listRequest struct {
	rawRequest
	list []field
}

type field struct{ name, value string }

func newListRequest(r *rawRequest) *listRequest {
	l := &listRequest{rawRequest: *r}
	for k, v := range r.headers {
		l.list = append(l.list, field{k, v})
	}
	return l
}

func (r *listRequest) Header(name string) (string, bool) {
	for i := range r.list {
		if r.list[i].name == name {
			return r.list[i].value, true
		}
	}
	return "", false
}
