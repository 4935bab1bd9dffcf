package evidence

import "math"

// Outcomes are the chances of the cells of a gate, by which a plan expects
// requests to end on each fleet.
type Outcomes struct{ New, Old []float64 }

// Rates returns the outcomes of an event that befalls a share of each fleet's
// requests, as gates of Rate have them.
func Rates(fresh, old float64) Outcomes {
	return Outcomes{New: []float64{1 - fresh, fresh}, Old: []float64{1 - old, old}}
}

// Needed returns after about how many of the new fleet's requests a gate would
// reach 1/alpha if they were drawn by share and ended as o says; +Inf if it would
// not, or not by betting. Half of the deployments would take longer; measured
// figures are within a quarter (docs/gates.md), with instances so many that Cap
// does not matter. Of pairs, share is 1 and what is counted is pairs.
func (g *Gate) Needed(o Outcomes, share, alpha float64) float64 {
	best := g.growth(g.Sides, o, share)
	if !(best > 0) {
		return math.Inf(1)
	}
	// 1.8 is what experts and cash cost, half again what one waits for as luck
	// has it and as the cap holds back.
	return 1.5 * (-math.Log(alpha) + 1.8) / best
}

// NeededToProve returns the same of a gate's proof.
func (g *Gate) NeededToProve(o Outcomes, share, alpha float64) float64 {
	need := math.Inf(1)
	for i := range g.Proof {
		best := g.growth(g.Proof[i:i+1], o, share)
		if !(best > 0) {
			return math.Inf(1)
		}
		n := (-math.Log(alpha) + math.Log(float64(g.Proof[i].experts()))) / best
		if i == 0 || n > need {
			need = n
		}
	}
	return need
}

// growth is by how much the logarithm of the best expert's wealth can be
// expected to grow for each request of the new fleet.
func (g *Gate) growth(sides []Side, o Outcomes, share float64) float64 {
	if len(o.New) < g.Cells || len(o.Old) < g.Cells || !(share > 0) || !g.Paired && share >= 1 {
		return 0
	}
	olds := 0.0 // requests of the old fleet for each of the new one
	if g.Paired {
		share = 1
	} else {
		olds = (1 - share) / share
	}
	best := math.Inf(-1)
	for _, r := range newTable(sides, share, g.Paired).rows {
		best = max(best, gain(r.first, r.fresh, o.New)+olds*gain(r.first, r.old, o.Old))
	}
	return best
}

// Smallest returns the smallest rate of the new fleet that so many of its
// requests would have shown, where the old fleet's rate is old, in a gate of
// Rate; 1 if they would have shown none.
func (g *Gate) Smallest(old, share, requests, alpha float64) float64 {
	least, most := old, 1.0
	if !(g.Needed(Rates(1, old), share, alpha) <= requests) {
		return 1
	}
	for range 40 {
		mid := (least + most) / 2
		if g.Needed(Rates(mid, old), share, alpha) <= requests {
			most = mid
		} else {
			least = mid
		}
	}
	return most
}

// Range returns the rates that events of n requests do not exclude, x of them
// having had the event: a range that holds the true one with 95 % however often
// it is looked at (the sequence of a Beta(1/2, 1/2) mixture, Robbins 1970).
func Range(x, n float64) (least, most float64) {
	if !(n > 0) {
		return 0, 1
	}
	x = max(0, min(n, x))
	mixed := logBeta(0.5+x, 0.5+n-x) - logBeta(0.5, 0.5) - math.Log(20)
	excluded := func(p float64) bool { return mixed > xlogy(x, p)+xlogy(n-x, 1-p) }
	bisect := func(inside, outside float64) float64 {
		if !excluded(outside) {
			return outside
		}
		for range 60 {
			if mid := (inside + outside) / 2; excluded(mid) {
				outside = mid
			} else {
				inside = mid
			}
		}
		return outside
	}
	return bisect(x/n, 0), bisect(x/n, 1)
}

// xlogy is x·ln(y), 0 where x is.
func xlogy(x, y float64) float64 {
	if x == 0 {
		return 0
	}
	return x * math.Log(y)
}

func logBeta(a, b float64) float64 {
	la, _ := math.Lgamma(a)
	lb, _ := math.Lgamma(b)
	lab, _ := math.Lgamma(a + b)
	return la + lb - lab
}
