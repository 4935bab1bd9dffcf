package packaging_test

import (
	"fmt"
	"testing"

	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/models"
)

// BenchmarkPackage takes packaging jobs of a small model from creation to
// COMPLETED, each in its own durable transactions: what a job costs besides its
// bytes, which package bundle measures.
func BenchmarkPackage(b *testing.B) {
	w := start(b)
	w.compile("c", domain.Compile{Input: w.put("m.tar.gz", models.Archive("v2")), Framework: "ONNX"})
	n := 0
	for b.Loop() {
		n++
		name := fmt.Sprintf("p-%d", n)
		if _, err := w.CreatePackaging(
			b.Context(), scope, name,
			domain.Pack{
				CompilationJob: "c", ModelName: "digits", ModelVersion: fmt.Sprint(n % 100), OutputAt: "s3://models/p",
			},
			nil, nil,
		); err != nil {
			b.Fatal(err)
		}
		if n%200 == 0 {
			w.await(domain.Packaging, name) // a queue is bounded
		}
	}
	for i := range n {
		w.await(domain.Packaging, fmt.Sprintf("p-%d", i+1))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "packages/s")
}
