package objects_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/slipway-ml/slipway/internal/platform/objects"
	"github.com/slipway-ml/slipway/internal/platform/objects/checksum"
)

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			s := open(b, b.TempDir())
			data := make([]byte, size)
			b.SetBytes(int64(size))
			for b.Loop() {
				if _, err := s.Put(b.Context(), bucket, "a/b/c", bytes.NewReader(data),
					objects.Put{Algorithm: checksum.CRC32}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGet64MiB(b *testing.B) {
	s := open(b, b.TempDir())
	data := make([]byte, 64<<20)
	if _, err := s.Put(b.Context(), bucket, "k", bytes.NewReader(data), objects.Put{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		o, err := s.Open(b.Context(), bucket, "k")
		if err != nil {
			b.Fatal(err)
		}
		if err := o.CopyTo(io.Discard, 0, o.Size()); err != nil {
			b.Fatal(err)
		}
		if err := o.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkListAThousandOfTenThousand(b *testing.B) {
	s := open(b, b.TempDir())
	for i := range 10000 {
		put(b, s, fmt.Sprintf("flat/%05d", i), "")
	}
	for b.Loop() {
		if p, err := s.List(b.Context(), bucket, objects.List{Prefix: "flat/", After: "flat/05000"}); err != nil ||
			len(p.Objects) != objects.MaxList {
			b.Fatal(len(p.Objects), err)
		}
	}
}
