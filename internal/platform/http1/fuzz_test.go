package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

// asHead makes of s what a connection would hand to the parser.
func asHead(s string) string {
	s += "\r\n\r\n"
	return s[:strings.Index(s, "\r\n\r\n")+4]
}

// Whatever we accept, net/http accepts and frames alike: two parsers that
// agree cannot be played against each other.
func FuzzRequestHead(f *testing.F) {
	for _, s := range []string{
		"POST /endpoints/e HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n",
		"POST /endpoints/e?x=%20 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive, x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX:\t y \t\r\nx: z\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"\r\n\r\n", "G / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = asHead(s)
		var h requestHead
		if err := h.parse(s, 64); err != nil {
			return
		}
		if h.chunked && h.length >= 0 || h.length < -1 {
			t.Fatalf("framing %+v", h.framing)
		}
		for _, fd := range h.fields {
			if !allToken(fd.Name) || !cleanValue(fd.Value) || fd.Value != trimOWS(fd.Value) {
				t.Fatalf("field %q: %q", fd.Name, fd.Value)
			}
			if v, ok := h.fields.get(strings.ToLower(fd.Name)); !ok || !strings.Contains(v, fd.Value) {
				t.Fatalf("get %q: %q", fd.Name, v)
			}
		}
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(s)))
		if err != nil {
			// It knows a few more rules about targets and hosts, none about framing.
			if strings.Contains(err.Error(), "Content-Length") || strings.Contains(err.Error(), "transfer encoding") {
				t.Fatalf("net/http refuses the framing: %v", err)
			}
			return
		}
		want := h.length
		if want < 0 && !h.chunked {
			want = 0
		}
		if req.Method != h.method || req.ContentLength != want || h.chunked != (len(req.TransferEncoding) == 1) {
			t.Fatalf("net/http reads %s %d %v, we read %s %+v", req.Method, req.ContentLength, req.TransferEncoding,
				h.method, h.framing)
		}
	})
}

func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HTTP/1.0 404\r\n\r\n",
		"HTTP/1.1 204 \r\nConnection: close\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 99 x\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 304 N\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = asHead(s)
		var h responseHead
		if err := h.parse(s, 64); err != nil {
			return
		}
		if h.status < 100 || h.status > 999 || h.length < -1 {
			t.Fatalf("%+v", h)
		}
		for _, method := range []string{"POST", "HEAD"} {
			resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(s)), &http.Request{Method: method})
			none := bodyless(method, h.status) || h.status < 200 // those are read over
			switch {
			case h.err != nil && !none: // it is refused
			case err != nil && !none && (strings.Contains(err.Error(), "Content-Length") ||
				strings.Contains(err.Error(), "transfer encoding")):
				t.Fatalf("net/http refuses the framing: %v", err)
			case err != nil:
			case resp.StatusCode != h.status:
				t.Fatalf("net/http reads %d, we read %d", resp.StatusCode, h.status)
			case none || resp.ProtoMinor != 1:
			case len(resp.TransferEncoding) == 1 != h.chunked, !h.chunked && resp.ContentLength != h.length:
				t.Fatalf("net/http reads %d %v, we read %+v", resp.ContentLength, resp.TransferEncoding, h.framing)
			}
		}
	})
}

// decodeAll feeds body in pieces of n bytes.
func decodeAll(body []byte, n int) (data, rest []byte, err error) {
	var d chunked
	var window []byte
	for fed := 0; d.state != chunkDone; {
		used, p, err := d.next(window)
		if err != nil {
			return data, nil, err
		}
		data = append(data, p...)
		window = window[used:]
		if used > 0 {
			continue
		}
		if fed == len(body) {
			return data, nil, io.ErrUnexpectedEOF
		}
		m := min(n, len(body)-fed)
		window = append(bytes.Clone(window), body[fed:fed+m]...)
		fed += m
	}
	return data, window, nil
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"3\r\nabc\r\n0\r\n\r\n", "0\r\n\r\n", "a;x=y\r\n0123456789\r\n1 \r\nz\r\n0\r\nT: v\r\n\r\n", "3\nabc\n0\n\n",
		"ffffffffffffffff\r\n", "1\r\nab", "-1\r\n", "0\r\nbad\r\n\r\n", "\r\n",
		"0;" + strings.Repeat("x", 300) + "\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		whole, _, err := decodeAll(body, len(body)+1)
		single, _, err1 := decodeAll(body, 1)
		if (err == nil) != (err1 == nil) {
			t.Fatalf("at once: %v, byte by byte: %v", err, err1)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(whole, single) {
			t.Fatalf("at once %q, byte by byte %q", whole, single)
		}
		std, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(body)))
		if err != nil || !bytes.Equal(std, whole) {
			t.Fatalf("net/http reads %q (%v), we read %q", std, err, whole)
		}
	})
}

const benchHead = "POST /endpoints/my-endpoint/invocations HTTP/1.1\r\nHost: 127.0.0.1:9400\r\n" +
	"Accept-Encoding: identity\r\nContent-Type: application/json\r\n" +
	"User-Agent: Boto3/1.43.11 md/Botocore#1.43.11 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11 " +
	"cfg/retry-mode#legacy Botocore/1.43.11\r\n" +
	"X-Amz-Date: 20261121T195305Z\r\n" +
	"Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261121/us-west-2/sagemaker/aws4_request, " +
	"SignedHeaders=content-type;host;x-amz-date, " +
	"Signature=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n" +
	"amz-sdk-invocation-id: 5ab1f7c8-2e5c-4f43-9a79-d8ab0a1a3cf1\r\namz-sdk-request: attempt=1\r\n" +
	"Content-Length: 1024\r\n\r\n"

func BenchmarkParseRequestHead(b *testing.B) {
	var h requestHead
	b.ReportAllocs()
	for b.Loop() {
		if err := h.parse(benchHead, 128); err != nil {
			b.Fatal(err)
		}
		h.fields.get("x-amzn-sagemaker-target-variant")
		h.fields.get("content-type")
	}
}
