package bundle_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/bundle"
)

// weights are bytes that compress as little as those of real models.
func weights(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
		if i%4 == 3 { // signs and exponents are much alike
			b[i] = 0x3c | b[i]&0x83
		}
	}
	return b
}

type discard struct{}

func (discard) Write(p []byte) (int, error)                    { return len(p), nil }
func (discard) Close() error                                   { return nil }
func (d discard) Create(string, int64) (io.WriteCloser, error) { return d, nil }

func BenchmarkWrite(b *testing.B) {
	_, k := authority(b)
	data := weights(16 << 20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := bundle.Write(b.Context(), io.Discard, manifest(1),
			[]bundle.Source{bundle.Bytes("model.onnx", data)}, k); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUnpack(b *testing.B) {
	for name, size := range map[string]int{"16MiB": 16 << 20, "4KiB": 4 << 10} {
		b.Run(name, func(b *testing.B) {
			a, k := authority(b)
			pkg := pack(b, manifest(1), k, bundle.Bytes("model.onnx", weights(size)))
			b.SetBytes(int64(size))
			v := trusting(a)
			for b.Loop() {
				if _, err := v.Unpack(b.Context(), bytes.NewReader(pkg), discard{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(pkg))/float64(size), "packed/byte")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	a, k := authority(b)
	s, _, err := unpack(b, trusting(a), pack(b, manifest(1), k, bundle.Bytes("model.onnx", weights(16<<20))))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(16 << 20)
	for b.Loop() {
		if _, err := trusting(a).Check(b.Context(), s.files); err != nil {
			b.Fatal(err)
		}
	}
}
