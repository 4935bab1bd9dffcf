package evidence

import "math"

// Side is one question: is the mean of an outcome X on the new fleet above
// Ratio times its mean on the old one, plus Plus?
type Side struct {
	Name    string
	Ratio   float64 // times the old fleet's mean; 0 in gates of pairs
	Plus    float64 // added to it, in units of X
	Control float64 // a guess of the old fleet's mean, which only lessens noise; 0 for rare events
	// Beliefs are the experts: each believes that the new fleet is so many times
	// worse than allowed (in a Proof: below 1, so much better).
	Beliefs []float64
	// Stakes are the experts' bets themselves, instead of Beliefs, where outcomes
	// may be negative: a part of wealth per unit of X.
	Stakes []float64
	// Cautious is how many more experts there are, of gates with a Cap. The first
	// stakes a fifth of the least that the others do, and each that follows a fifth
	// of the one before. The more requests there are in a stride the less has to be
	// staked on each to gain the Cap, and the less the failures of the old fleet
	// take meanwhile: that share of the Cap that they have of the new one's.
	Cautious int
	// First is the first cell of the gate that this side looks at, and X the
	// outcome of that cell and those that follow. Old has it where the old fleet's
	// is another: an outcome that is unknown counts for the new fleet.
	First int
	X     []float64
	Old   []float64
}

// experts is how many bets a side has; the last are those of cautious experts.
func (s *Side) experts() int { return s.bold() + s.Cautious }

// bold is how many of them are not cautious.
func (s *Side) bold() int { return max(len(s.Beliefs), len(s.Stakes)) }

// outcomes returns X by cell, of one fleet.
func (s *Side) outcomes(old bool) []float64 {
	if old && s.Old != nil {
		return s.Old
	}
	return s.X
}

// payoffs returns what one outcome of a fleet pays per unit that was bet: with
// the fleets drawn by share, its mean is the new fleet's mean of X less what is
// allowed, whatever the old fleet's mean is at that moment.
func (s *Side) payoffs(share float64, old bool) []float64 {
	k := s.Control*(1-s.Ratio) - s.Plus
	xs := s.outcomes(old)
	y := make([]float64, len(xs))
	for i, x := range xs {
		switch {
		case !old:
			y[i] = (x-s.Control)/share + k
		case share < 1:
			y[i] = -s.Ratio*(x-s.Control)/(1-share) + k
		default:
			y[i] = k
		}
	}
	return y
}

// floor is what an outcome leaves of wealth at the least.
const floor = 0.05

// lessCautious is how many times the stake of a cautious expert the one before
// stakes.
const lessCautious = 5

// bet returns the part of wealth that expert i puts on the outcome of one
// request, so that none of the payoffs takes more than 1-floor of it.
func (s *Side) bet(share float64, i int, payoffs ...[]float64) float64 {
	if n := i - s.bold() + 1; n > 0 {
		least := s.bet(share, 0, payoffs...)
		for other := 1; other < s.bold(); other++ {
			least = min(least, s.bet(share, other, payoffs...))
		}
		return least / math.Pow(lessCautious, float64(n))
	}
	var l float64
	if s.Stakes != nil {
		l = s.Stakes[i]
	} else {
		pi := 0.0 // the part of all events that is the new fleet's, when it has all that is allowed and Plus is 0
		if s.Ratio > 0 {
			pi = share * s.Ratio / (share*s.Ratio + 1 - share)
		}
		worse := s.Beliefs[i] - 1
		l = share * (1 - pi) * worse / ((1 + pi*worse) * (1 - s.Control))
	}
	worst := 0.0
	for _, ys := range payoffs {
		for _, y := range ys {
			worst = min(worst, l*y)
		}
	}
	if worst < floor-1 {
		l *= (floor - 1) / worst
	}
	return l
}

// factors are, for each expert of a side, the logarithm of what one outcome
// multiplies its wealth by: by cell, of the new fleet's requests and the old's.
type factors struct{ fresh, old [][]float64 }

// factors works them out for requests that were drawn by share. If a draw could
// not have gone either way there is nothing to compare: every factor is 1.
func (s *Side) factors(share float64, paired bool) factors {
	var f factors
	idle := !paired && !(share > 0 && share < 1)
	var fresh, old []float64
	if !idle {
		fresh, old = s.payoffs(share, false), s.payoffs(share, true)
	}
	for i := range s.experts() {
		a, b := make([]float64, len(s.X)), make([]float64, len(s.X))
		if !idle {
			l := s.bet(share, i, fresh, old)
			for c := range a {
				a[c], b[c] = math.Log1p(l*fresh[c]), math.Log1p(l*old[c])
			}
		}
		f.fresh, f.old = append(f.fresh, a), append(f.old, b)
	}
	return f
}
