package runtime_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/slipway-ml/slipway/internal/api/runtime"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/platform/http1"
	"github.com/slipway-ml/slipway/internal/service/router"
	"github.com/slipway-ml/slipway/internal/wire/sigv4"
)

// listen serves s on a port of the kernel's choice until the benchmark ends.
func listen(b *testing.B, s *http1.Server) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx) // a connection that is still open is the benchmark's own
		<-done
	})
	return l.Addr().String()
}

// signedBytes returns a signed request of 1 KiB as it goes over the wire.
func signedBytes(b *testing.B, addr string) []byte {
	b.Helper()
	body := strings.Repeat("x", 1024)
	req, err := http.NewRequestWithContext(
		b.Context(), "POST", "http://"+addr+"/endpoints/e/invocations", strings.NewReader(body),
	)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(
		b.Context(), creds, req, hex.EncodeToString(sum[:]), "sagemaker", region, time.Now(),
	); err != nil {
		b.Fatal(err)
	}
	var wire bytes.Buffer
	if err := req.Write(&wire); err != nil {
		b.Fatal(err)
	}
	return wire.Bytes()
}

// One connection, one request after the other: the time includes the client
// and the container, the allocations are all three's together.
func BenchmarkInvoke1KiB(b *testing.B) { benchmarkInvoke(b, nil) }

// The same with a record of each, which goes nowhere.
func BenchmarkInvoke1KiBRecorded(b *testing.B) {
	benchmarkInvoke(b, slog.New(slog.NewJSONHandler(io.Discard, nil)))
}

func benchmarkInvoke(b *testing.B, log *slog.Logger) {
	b.Helper()
	container := listen(b, http1.NewServer(http1.Config{}, "/", func(x *http1.Exchange) {
		body, _ := x.Body()
		x.Start(200, int64(len(body)))
		_, _ = x.Write(body)
	}))
	r, err := router.New(router.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	r.Set(traffic.Route{Scope: scope, Name: "e", Variants: []traffic.Variant{
		{Name: "v", Weight: 1, Fleets: []traffic.Fleet{
			{Config: "c", Share: 1, Instances: []traffic.Instance{{ID: "i", Address: container}}},
		}},
	}})
	cfg := runtime.Config{Router: r, Verifier: sigv4.NewVerifier(keyring{}, "sagemaker"), Account: account}
	if log != nil {
		cfg.Log, cfg.Record = log, slog.LevelInfo
	}
	api := runtime.New(cfg)
	addr := listen(b, http1.NewServer(http1.Config{}, runtime.Prefix, api.Serve))

	wire := signedBytes(b, addr)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	read := func() int {
		n := 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
				b.Fatalf("%s", line)
			}
			n++
			if len(line) == 2 {
				n, err = br.Discard(1024)
				if err != nil {
					b.Fatal(err)
				}
				return n
			}
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.Copy(c, bytes.NewReader(wire)); err != nil {
			b.Fatal(err)
		}
		read()
	}
}
