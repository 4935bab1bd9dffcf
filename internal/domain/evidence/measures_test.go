package evidence

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func quantileOf(x []float64, q float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return x[int(q*float64(len(x)-1))]
}

func TestOddsHaveTwoDigits(t *testing.T) {
	for value, want := range map[float64]string{
		-3: "1:1", 0: "1:1", 0.5: "1:3.2", 0.999: "1:10", 1: "1:10", 2: "1:100", 2.072: "1:120", 3.36: "1:2,300",
		4.08: "1:12,000", 5.9999: "1:1,000,000", 6: "1:1,000,000", 6.1: "more than 1:1,000,000",
		300: "more than 1:1,000,000",
	} {
		if got := Odds(value); got != want {
			t.Errorf("%v: %q, want %q", value, got, want)
		}
	}
	if Odds(math.NaN()) != "1:1" {
		t.Error("no number speaks against the new fleet")
	}
}

// The range holds the rate, however often one looks.
func TestTheRangeHoldsTheRate(t *testing.T) {
	const runs = 200
	for _, rate := range []float64{0.002, 0.05, 0.5} {
		missed := 0
		for seed := range uint64(runs) {
			r := rand.New(rand.NewPCG(seed, 2))
			x := 0.0
			for n := 1; n <= 1000; n++ {
				if r.Float64() < rate {
					x++
				} else if n%50 > 0 {
					continue
				}
				if least, most := Range(x, float64(n)); rate < least || rate > most {
					missed++
					break
				}
			}
		}
		if missed > runs/20+9 { // 5 % and three deviations
			t.Errorf("rate %v was missed in %d of %d", rate, missed, runs)
		}
	}
}

func TestTheRangeOfLittleIsWide(t *testing.T) {
	for _, c := range []struct{ x, n, least, most float64 }{
		{0, 0, 0, 1}, {0, 1, 0, 0.975}, {29, 612, 0.0227, 0.0846}, {0, 1000, 0, 0.0064}, {1000, 1000, 0.9935, 1},
	} {
		least, most := Range(c.x, c.n)
		if math.Abs(least-c.least) > 0.01*max(c.least, 0.1) || math.Abs(most-c.most) > 0.01*max(c.most, 0.1) {
			t.Errorf("%v of %v: %.4f to %.4f, want %v to %v", c.x, c.n, least, most, c.least, c.most)
		}
	}
}

// The formula of plans, against what was simulated (docs/gates.md).
func TestWhatIsNeededIsAboutWhatWasMeasured(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	for _, c := range []struct{ old, fresh, share, alpha, want float64 }{
		{0.001, 0.01, 0.05, 0.01, 1662}, {0.005, 0.05, 0.05, 0.01, 238}, {0.001, 0.005, 0.05, 0.01, 11585},
	} {
		if got := g.Needed(Rates(c.fresh, c.old), c.share, c.alpha); math.Abs(got/c.want-1) > 0.02 {
			t.Errorf("%v to %v at %v: %v requests, want %v", c.old, c.fresh, c.share, got, c.want)
		}
	}
	if n := g.Needed(Rates(0.001, 0.001), 0.05, 0.01); !math.IsInf(n, 1) {
		t.Errorf("%v requests show that a healthy fleet is bad", n)
	}
	if n := g.Needed(Rates(1, 0), 1, 0.01); !math.IsInf(n, 1) {
		t.Errorf("with all traffic on the new fleet %v requests show something", n)
	}
	pairs := Pairs(0.01)
	x := make([]float64, pairs.Cells)
	x[0], x[pairs.Cells-1] = 0.95, 0.05
	if n := pairs.Needed(Outcomes{New: x, Old: x}, 1, 0.01); n < 70 || n > 280 {
		t.Errorf("pairs of which 5 %% differ need %v", n)
	}
}

func TestTheSmallestRateIsTheOneThatIsNeededFor(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	small := g.Smallest(0.001, 0.05, 1700, 0.01)
	if small < 0.008 || small > 0.012 {
		t.Errorf("1,700 requests show %v", small)
	}
	if n := g.Needed(Rates(small, 0.001), 0.05, 0.01); math.Abs(n-1700) > 1 {
		t.Errorf("%v needs %v requests", small, n)
	}
	if got := g.Smallest(0.001, 0.05, 1, 0.01); got != 1 {
		t.Errorf("one request shows %v", got)
	}
}

func TestPatienceIsTheTimeOfOneInstance(t *testing.T) {
	if got := Patience(time.Minute, 0.01); !near(got, DefaultCap) {
		t.Errorf("a minute at 1 %% is %v", got)
	}
	if got := Patience(time.Minute, 0.001); !near(got, DefaultCap*1.5) {
		t.Errorf("a minute at 0.1 %% is %v", got)
	}
	least, most := Patience(MaxPatience, 0.01), Patience(MinPatience, 0.01)
	if Patience(time.Second, 0.01) != most || Patience(time.Hour, 0.01) != least {
		t.Error("patience has no bounds")
	}
}

func TestMetricsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{}
	for k := range metrics {
		for _, name := range []string{k.Metric(), k.ProofMetric()} {
			if name == "" || seen[name] {
				t.Errorf("%s is called %q", k, name)
			}
			seen[name] = true
		}
	}
	if Errors.Metric() != "ErrorRateEvidence" || Errors.ProofMetric() != "ErrorRateProof" || Kind("x").Metric() != "" {
		t.Error("a metric has another name than it had")
	}
}

func TestFailuresAreNeverLeftOutOfLatency(t *testing.T) {
	cuts := Cuts{1, 2, 3}
	for what, c := range map[string]struct {
		old     bool
		seconds float64
		e       Ending
		want    int
	}{
		"an old one between cuts":          {true, 1.5, Answered, 1},
		"an old one at a cut":              {true, 2, Answered, 1},
		"a new one has the factor":         {false, 1.05, Answered, 0},
		"a new one beyond it":              {false, 1.11, Answered, 1},
		"the slowest":                      {false, 9, Answered, 3},
		"an old one that failed":           {true, 0.1, Failed, 3},
		"an old one that was given up":     {true, 0.1, Left, 3},
		"a new one that failed":            {false, 9, Failed, 0},
		"a new one that was given up":      {false, 2.5, Left, 2},
		"a new one that was soon given up": {false, 0.5, Left, 0},
	} {
		if got := cuts.Level(c.old, 1.1, c.seconds, c.e); got != c.want {
			t.Errorf("%s: level %d, want %d", what, got, c.want)
		}
	}
}

func TestCutsAreQuantilesOfTheRecentPast(t *testing.T) {
	var h History
	if _, ok := h.Cuts(); ok {
		t.Error("cuts of nothing")
	}
	for i := range 1000 {
		h.Add(float64(i+1)/1000, 1)
	}
	cuts, ok := h.Cuts()
	for i, want := range []float64{0.5, 0.9, 0.99} {
		if !ok || math.Abs(cuts[i]/want-1) > 0.03 {
			t.Errorf("cut %d is %v, want %v", i, cuts[i], want)
		}
	}
	h.Age(600) // five half-lives
	for range 400 {
		h.Add(10, 1)
	}
	if cuts, _ = h.Cuts(); math.Abs(cuts[0]/10-1) > 0.03 {
		t.Errorf("the median of late is %v", cuts[0])
	}
	h.Add(math.NaN(), 1)
	h.Add(-1, 1)
	h.Add(math.Inf(1), 1)
	h.Add(0, 1)
	if cuts, ok = h.Cuts(); !ok || !(cuts[0] > 0) || math.IsInf(cuts[2], 0) {
		t.Errorf("cuts are %v", cuts)
	}
}

func TestAnswersHaveACell(t *testing.T) {
	p := LabelProfile([]uint64{70, 80}, []float64{60, 30}, 10)
	cells := []int{p.Label(70), p.Label(80), p.Label(9), p.NoAnswer(), p.Failure(), p.Cells()}
	if !slices.Equal(cells, []int{0, 1, 2, 3, 4, 5}) {
		t.Errorf("labels: %+v", p)
	}
	if !near(p.Shares[0], 0.6) || !near(p.Bad, 0.1) {
		t.Errorf("shares: %+v", p)
	}
	n := Profile{Cuts: &[3]float64{1, 2, 3}}
	for x, want := range map[float64]int{0: 0, 1: 0, 1.5: 1, 2.5: 2, 4: 3, math.Inf(1): 3, math.Inf(-1): 0} {
		if got := n.Number(x); got != want {
			t.Errorf("%v is in cell %d, want %d", x, got, want)
		}
	}
	if n.Number(math.NaN()) != n.NoAnswer() || n.Cells() != 6 || p.Number(1) != p.NoAnswer() {
		t.Error("what is no number has a cell of numbers")
	}
	g := Drifts(0.03, p, n)
	if g.Cells != p.Cells()+n.Cells() || g.Ways() != 2 || len(g.Sides) != 7+7 {
		t.Errorf("%d cells, %d ways, %d sides", g.Cells, g.Ways(), len(g.Sides))
	}
	for _, s := range g.Sides {
		if s.Name == "" || strings.Contains(s.Name, "70") {
			t.Errorf("a side is called %q", s.Name)
		}
	}
	if wide := LabelProfile(make([]uint64, 40), make([]float64, 40), 1); len(wide.Labels) != MaxLabels {
		t.Errorf("%d labels are told apart", len(wide.Labels))
	}
	if none := LabelProfile(nil, nil, 0); none.Cells() != 3 || none.Bad != 0 {
		t.Errorf("nothing: %+v", none)
	}
}

// An old fleet that refuses one label, which the new one answers, is no drift.
func TestAnOldFleetThatFailsIsNoDriftOfTheNew(t *testing.T) {
	p := LabelProfile([]uint64{1, 2}, []float64{50, 50}, 0)
	run := func(failing bool) float64 {
		r := rand.New(rand.NewPCG(3, 4))
		e := New(Drifts(0.03, p))
		for i := range 20_000 {
			old, label := r.IntN(2) == 0, uint64(1+r.IntN(2))
			cell := p.Label(label)
			if failing && old && label == 1 && r.IntN(2) == 0 {
				cell = p.Failure()
			}
			e.Count(Count{Share: 0.5, Old: old, Cell: cell, N: 1})
			if i%500 == 0 {
				e.Close()
			}
		}
		return e.Value()
	}
	if v := run(true); v > 0 {
		t.Errorf("half of a label that the old fleet fails is evidence %v against the new one", v)
	}
	if v := run(false); v > 0 {
		t.Errorf("no difference is evidence %v", v)
	}
}

// A bad upstream lets a fifth of all requests fail, and of all copies.
func TestCopiesThatFailWithTheirOriginalsAreNoEvidence(t *testing.T) {
	run := func(old, fresh float64) float64 {
		r := rand.New(rand.NewPCG(5, 6))
		p := New(MirrorFailures(0.05))
		for second := range 120 {
			for i := range 5 {
				x := 0.0
				if r.Float64() < fresh {
					x++
				}
				if r.Float64() < old {
					x--
				}
				p.Pair(i%4, x)
			}
			if second%Stride == 9 {
				p.Close()
			}
		}
		return p.Value()
	}
	if v := run(0.2, 0.2); v > 0 {
		t.Errorf("failures of both fleets are evidence %v", v)
	}
	if v := run(0.001, 0.2); v < 2 {
		t.Errorf("failures of copies alone are evidence %v", v)
	}
}
