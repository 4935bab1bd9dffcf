package evidence

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Whatever the split, the margins, the belief and the rates: within what is
// allowed no expert can expect to gain, and none can lose all.
func TestNoExpertGainsWithinWhatIsAllowed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		share, paired := 0.001+0.998*r.Float64(), r.IntN(4) == 0
		s := Side{
			Ratio: 3 * r.Float64(), Plus: 0.2 * r.Float64(), Control: 0.9 * r.Float64() * float64(r.IntN(2)),
			Beliefs: []float64{math.Exp(4*r.Float64() - 1)}, X: []float64{0, 1},
		}
		if paired {
			share, s.Ratio, s.Control = 1, 0, 0
		}
		old := r.Float64()
		edge := s.Ratio*old + s.Plus
		if edge > 1 {
			continue
		}
		fresh := edge
		switch inside := r.IntN(2) == 0; {
		case inside && s.Beliefs[0] > 1:
			fresh *= r.Float64()
		case inside:
			fresh += (1 - edge) * r.Float64() // a proof has to hold beyond the margin
		}
		f := s.factors(share, paired)
		mean := 0.0
		for cell, p := range []float64{1 - fresh, fresh} {
			mean += share * p * math.Exp(f.fresh[0][cell])
		}
		for cell, p := range []float64{1 - old, old} {
			mean += (1 - share) * p * math.Exp(f.old[0][cell])
		}
		if !(mean <= 1+1e-9) {
			t.Fatalf("case %d: %+v, share %g, rates %g of %g: wealth grows by %.12f", i, s, share, fresh, old, mean)
		}
		for _, logs := range [][]float64{f.fresh[0], f.old[0]} {
			for _, l := range logs {
				if !(l > math.Log(floor)-1e-9) {
					t.Fatalf("case %d: %+v, share %g: a request takes all but %g", i, s, share, math.Exp(l))
				}
			}
		}
	}
}
