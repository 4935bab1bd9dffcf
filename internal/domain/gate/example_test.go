package gate_test

import (
	"slices"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

func TestExamplesAreThePairsThatDifferTheMost(t *testing.T) {
	var all []gate.Example
	for i, d := range []float64{0.5, 0, 1, 0.25, 1, 0.75} {
		e := gate.Example{Under: "s3://b/p/e/v", Distance: d}.Captured(t0.Add(time.Duration(i) * time.Second))
		if before := slices.Clone(all); len(gate.WithExample(all, e)) == 0 && d > 0 || !slices.Equal(before, all) {
			t.Fatalf("with %+v", e)
		}
		all = gate.WithExample(all, e)
	}
	all = gate.WithExample(all, gate.Example{Distance: 1}) // which nobody captured
	all[0].Inference = "order 7"
	want := []string{
		`Captured below s3://b/p/e/v/2026/01/02/14/: a request that was over at 2026-01-02T14:02:12Z, inference id ` +
			`"order 7", whose answers differ (1 of 1).`,
		"Captured below s3://b/p/e/v/2026/01/02/14/: a request that was over at 2026-01-02T14:02:14Z, whose answers differ " +
			"(1 of 1).",
		"Captured below s3://b/p/e/v/2026/01/02/14/: a request that was over at 2026-01-02T14:02:15Z, whose answers differ " +
			"(0.75 of 1).",
	}
	if got := (gate.Fact{Examples: all}).Differs(); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
