package evidence

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// designs are all gates there are.
func designs() map[string]Gate {
	labels := LabelProfile([]uint64{7, 8, 9}, []float64{600, 300, 90}, 10)
	numbers := Profile{Cuts: &[3]float64{-1, 0, 1}, Bad: 0.01}
	return map[string]Gate{
		"errors": Rate(Errors, DefaultMargins()), "abandoned": Rate(Abandoned, DefaultMargins()),
		"losses": Losses(), "latency": Latencies(Latency), "labels": Drifts(DefaultDrift, labels),
		"labels and sizes": Drifts(DefaultDrift, labels, numbers), "pairs": Pairs(0.01),
		"noisy pairs": NoisyPairs(1.5, 0.01), "copies": MirrorFailures(0.05), "accuracy": Labels(0.005),
	}
}

// onEach runs a test on every gate.
func onEach(t *testing.T, test func(*testing.T, Gate)) {
	for name, g := range designs() {
		t.Run(name, func(t *testing.T) { test(t, g) })
	}
}

// someCounts are counts as requests bring them: of some shares, slots and cells.
func someCounts(r *rand.Rand, g Gate, n int) (all []Count) {
	shares := []float64{0.05, 0.1, 0.25, 0.5}
	for range n {
		c := Count{
			Share: shares[r.IntN(len(shares))], Old: r.IntN(3) > 0 && !g.Paired, Slot: r.IntN(4), Cell: r.IntN(g.Cells),
			N: float64(1 + r.IntN(20)),
		}
		if c.Cell > 0 && r.IntN(3) > 0 {
			c.Cell = 0
		}
		all = append(all, c)
	}
	return all
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// Two routers' counts, in any order and in any parts, are those of one.
func TestCountsAddUpInAnyOrderAndPartition(t *testing.T) {
	onEach(t, func(t *testing.T, g Gate) {
		r := rand.New(rand.NewPCG(1, 2))
		one, two := New(g), New(g)
		for range 60 {
			all := someCounts(r, g, 30)
			var parts []Count
			for _, c := range all {
				one.Count(c)
				first := c
				first.N = float64(r.IntN(int(c.N) + 1))
				c.N -= first.N
				parts = append(parts, first, c)
			}
			r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			for _, c := range parts {
				two.Count(c)
			}
			if !near(one.Value(), two.Value()) {
				t.Fatalf("one router says %v, two say %v", one.Value(), two.Value())
			}
			one.Close()
			two.Close()
		}
	})
}

// Reports come late, twice and in any order; each counts once.
func TestAReportThatIsSentAgainIsNotCountedTwice(t *testing.T) {
	type report struct {
		router                string
		incarnation, sequence uint64
		counts                []Count
	}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		g := Rate(Errors, DefaultMargins())
		one, many, ledger := New(g), New(g), Ledger{}
		for stride := range 20 {
			var sent []report
			for _, router := range []string{"a", "b", "c"} {
				for i := range 5 {
					counts := someCounts(r, g, 10)
					for _, c := range counts {
						one.Count(c)
					}
					rep := report{router, 1 + uint64(stride/10), uint64(stride%10*5+i) + 1, counts}
					sent = append(sent, rep)
					for range r.IntN(3) {
						sent = append(sent, rep)
					}
				}
			}
			r.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
			for _, rep := range sent {
				if ledger.Take(rep.router, rep.incarnation, rep.sequence) {
					for _, c := range rep.counts {
						many.Count(c)
					}
				}
			}
			if !near(one.Value(), many.Value()) {
				t.Fatalf("seed %d: counted once %v, by reports %v", seed, one.Value(), many.Value())
			}
			one.Close()
			many.Close()
		}
	}
}

func TestTheLedgerTakesEachNumberOnce(t *testing.T) {
	var l Ledger
	take := func(incarnation, sequence uint64, want bool) {
		t.Helper()
		if got := l.Take("a", incarnation, sequence); got != want {
			t.Errorf("incarnation %d, report %d: taken %v", incarnation, sequence, got)
		}
	}
	take(5, 0, false) // numbers begin at 1
	take(5, 3, true)
	take(5, 3, false)
	take(5, 1, true) // it was overtaken
	take(5, 1, false)
	take(5, 2, true)
	take(5, 70, true)
	take(5, 2, false) // too old to tell
	take(5, 69, true)
	take(4, 71, false) // of a life that is over
	take(6, 1, true)
	take(6, 1, false)
	take(5, 72, false)
	take(6, 200, true)
	take(6, 136, true)
	take(6, 135, false) // more than 64 behind
	before := l.Clone()
	take(6, 201, true)
	l = before // the transaction was not committed
	take(6, 201, true)
	for i := range maxRouters {
		l.Take(string(rune('A'+i)), 1, 1)
	}
	if len(l.Routers) != maxRouters {
		t.Errorf("%d routers are remembered", len(l.Routers))
	}
}

// A process that is stored and read again after every stride, and in the middle
// of one, says what one says that never was.
func TestAStoredProcessGoesOnWhereItWas(t *testing.T) {
	onEach(t, func(t *testing.T, g Gate) {
		r := rand.New(rand.NewPCG(5, 6))
		kept, stored := New(g), New(g)
		restore := func() {
			t.Helper()
			text, err := json.Marshal(stored.State())
			if err != nil || len(text) > maxState {
				t.Fatalf("%d bytes, %v: %s", len(text), err, text)
			}
			var s State
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			if stored, err = Restore(g, s); err != nil {
				t.Fatal(err)
			}
		}
		for range 100 {
			all := someCounts(r, g, 20)
			for i, c := range all {
				c.Share = 0.25
				kept.Count(c)
				stored.Count(c)
				if i == 10 {
					restore()
				}
			}
			if g.Paired {
				x := r.Float64()
				kept.Pair(1, x)
				stored.Pair(1, x)
			}
			restore()
			kept.Close()
			stored.Close()
			restore()
		}
		// 300 times rounded down by less than 10^-7, and parts of pairs to 1/1024.
		d := kept.Value() - stored.Value()
		if math.Abs(d) > 1e-2 || !g.Paired && (d < -1e-9 || d > 1e-4) {
			t.Errorf("kept %v, stored %v", kept.Value(), stored.Value())
		}
		ours, theirs := kept.Totals()
		again, old := stored.Totals()
		for i := range ours {
			if math.Abs(ours[i]-again[i]) > 0.1 || theirs[i] != old[i] {
				t.Errorf("cell %d: %v of %v", i, again[i], ours[i])
			}
		}
	})
}

// The largest state is not too large; what had no room is not counted, and the
// rest is.
func TestAStateTakesNoMoreThanAKilobyte(t *testing.T) {
	many := make([]float64, MaxLabels)
	hashes := make([]uint64, MaxLabels)
	for i := range many {
		many[i], hashes[i] = 1000, uint64(i)
	}
	all := designs()
	all["the widest"] = Drifts(0.03, LabelProfile(hashes, many, 1), Profile{Cuts: &[3]float64{1, 2, 3}})
	for name, g := range all {
		p := New(g)
		for i := range 300 {
			for slot := range MaxSlots {
				for cell := range g.Cells {
					for _, share := range []float64{0.05, 0.1, 0.5} {
						p.Count(Count{Share: share, Slot: slot, Cell: cell, N: 50_000})
						p.Count(Count{Share: share, Old: true, Slot: slot, Cell: cell, N: 90_000})
					}
				}
			}
			if i < 299 {
				p.Close()
			}
		}
		text, err := json.Marshal(p.State())
		if err != nil || len(text) > maxState {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
		again, err := Restore(g, p.State())
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if again.strides != 299 {
			t.Errorf("%s: %d strides", name, again.strides)
		}
	}
}

func TestAStateOfAnotherGateIsRefused(t *testing.T) {
	good := New(Rate(Errors, DefaultMargins()))
	good.Count(Count{Share: 0.5, Cell: 1, N: 3})
	for what, change := range map[string]func(*State){
		"of another kind":       func(s *State) { s.Kind = Latency },
		"with wealth missing":   func(s *State) { s.Wealth = s.Wealth[:len(s.Wealth)-1] },
		"with too much of it":   func(s *State) { s.Wealth = append(s.Wealth, 0) },
		"with a count missing":  func(s *State) { s.Total = s.Total[:1] },
		"with half a stride":    func(s *State) { s.Open = s.Open[:9] },
		"of an impossible draw": func(s *State) { copy(s.Open, make([]byte, 8)) },
		"of less than no time":  func(s *State) { s.Strides = -1 },
		"that is empty":         func(s *State) { *s = State{Kind: Errors} },
	} {
		s := good.State()
		change(&s)
		if p, err := Restore(Rate(Errors, DefaultMargins()), s); err == nil {
			t.Errorf("a state %s is taken as %v", what, p.Value())
		}
	}
}

// Both fleets ten times as slow, past and present: the same cells, the same value.
func TestScalingAllLatenciesChangesNothing(t *testing.T) {
	value := func(scale float64) float64 {
		r := rand.New(rand.NewPCG(7, 8))
		var h History
		for range 1000 {
			h.Add(scale*math.Exp(0.5*r.NormFloat64()), 1)
		}
		cuts, ok := h.Cuts()
		if !ok {
			t.Fatal("a thousand requests are not enough")
		}
		p := New(Latencies(Latency))
		p.gate.Cap = 0
		for range 5000 {
			old, x := r.IntN(4) > 0, math.Exp(0.5*r.NormFloat64())
			if !old {
				x *= 1.3
			}
			p.Count(Count{Share: 0.25, Old: old, Cell: cuts.Level(old, 1.1, scale*x, Answered), N: 1})
		}
		return p.Value()
	}
	// e^2 is a whole number of bins.
	if a, b := value(0.02), value(0.02*math.Exp(2)); !near(a, b) || a < 1 {
		t.Errorf("%v, and %v at another scale", a, b)
	}
}

// Which instance had them is of no matter as long as none reaches the cap.
func TestMovingCountsBetweenInstancesBelowTheCapChangesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	g := Rate(Errors, DefaultMargins())
	one, spread := New(g), New(g)
	for range 50 {
		for _, c := range someCounts(r, g, 10) {
			if !c.Old {
				c.Cell = None // events of one slot reach the cap soon
			}
			one.Count(c)
			c.Slot = (c.Slot + 1) % 4
			spread.Count(c)
		}
		one.Close()
		spread.Close()
	}
	if !near(one.Value(), spread.Value()) {
		t.Errorf("%v, and %v on other instances", one.Value(), spread.Value())
	}
}

// One instance adds at most the cap in ten seconds, however the share changes in
// them; several add as much each.
func TestAChangeOfTheShareDoesNotRefillTheCap(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	fill := func(shares []float64, slots int) float64 {
		p := New(g)
		for _, s := range shares {
			for slot := range slots {
				p.Count(Count{Share: s, Slot: slot, Cell: Event, N: 100_000})
			}
		}
		return p.Value() * math.Ln10
	}
	one := fill([]float64{0.05}, 1)
	if many := fill([]float64{0.05, 0.06, 0.07, 0.1, 0.2, 0.5}, 1); !near(one, many) || many > DefaultCap {
		t.Errorf("one instance adds %v by one share, %v by six; the cap is %v", one, many, DefaultCap)
	}
	if two := fill([]float64{0.05}, 2); !(two > one+DefaultCap/2) {
		t.Errorf("two instances add %v, one %v", two, one)
	}
	p := New(g)
	for stride := range 20 {
		if p.Value() > 2 {
			if stride != 8 { // seven are not enough, with cash and the re-dealing; the next one's first second is
				t.Errorf("one dead instance was found after %d strides", stride)
			}
			break
		}
		for range 2 {
			p.Count(Count{Share: 0.05, Slot: 3, Cell: Event, N: 25})
			p.Count(Count{Share: 0.05, Old: true, Cell: None, N: 475})
		}
		p.Close()
	}
}

// Where nothing is compared there is no evidence; nothing is ever infinite.
func TestExtremesAreFinite(t *testing.T) {
	onEach(t, func(t *testing.T, g Gate) {
		for _, share := range []float64{0, 1, -1, 2, math.NaN(), math.Inf(1), 1e-300, 1 - 1e-16, 0.05} {
			p, proof := New(g), NewProof(g, 1, false, 0)
			for second := range int64(100) {
				for cell := range g.Cells + 1 {
					for _, n := range []float64{0, -1, math.NaN(), math.Inf(1), 1e-9, 1, 1e9} {
						for _, old := range []bool{false, true} {
							c := Count{Share: share, Old: old, Slot: cell - 1, Cell: cell - 1, N: n}
							p.Count(c)
							proof.Count(second, c)
						}
					}
				}
				p.Close()
				proof.Close(second)
			}
			compared := g.Paired || share > 0 && share < 1
			for _, v := range []float64{p.Value(), proof.Value(), AnyOf(p)} {
				if math.IsNaN(v) || v < Least || v > Most || !compared && v != 0 {
					t.Errorf("share %v: %v", share, v)
				}
			}
		}
		if p := New(g); p.Value() != 0 {
			t.Errorf("without data: %v", p.Value())
		}
	})
}

// A deployment goes through shares at which nothing can be compared and comes
// back: what was counted before still counts, and nothing is lost.
func TestAShareOfNoneOrAllLeavesEvidenceAsItIs(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	plain, through := New(g), New(g)
	for i, share := range []float64{0.05, 0, 1, 0.05, 0, 0.1, 1} {
		for _, p := range []*Process{plain, through} {
			compared := share > 0 && share < 1
			if p == plain && !compared {
				continue
			}
			for slot := range 4 {
				p.Count(Count{Share: share, Slot: slot, Cell: Event, N: float64(i + 1)})
			}
			p.Count(Count{Share: share, Old: true, Cell: None, N: 50})
			p.Close()
		}
	}
	if !near(plain.Value(), through.Value()) || plain.Value() < 1 {
		t.Errorf("%v, and %v with shares of none and all in between", plain.Value(), through.Value())
	}
}

// What Exceeds says by its bound is what Value says.
func TestExceedsAgreesWithValue(t *testing.T) {
	onEach(t, func(t *testing.T, g Gate) {
		r := rand.New(rand.NewPCG(11, 12))
		asked, plain := New(g), New(g)
		for range 300 {
			for _, c := range someCounts(r, g, r.IntN(5)) {
				c.N = float64(r.IntN(3))
				asked.Count(c)
				plain.Count(c)
			}
			at := 4*r.Float64() - 2
			if want := plain.Value() > at; asked.Exceeds(at) != want {
				t.Fatalf("%v exceeds %v: %v", plain.Value(), at, !want)
			}
			if r.IntN(5) == 0 {
				asked.Close()
				plain.Close()
			}
		}
	})
}

// After a day in which all was well what goes bad is seen about as soon as after
// an hour: the share that is dealt anew becomes ever less.
func TestADayOfGoodTimesLeavesSomethingToBet(t *testing.T) {
	g := Rate(Errors, DefaultMargins())
	p := New(g)
	for range 24 * 360 {
		p.Count(Count{Share: 0.05, Cell: None, N: 25})
		p.Count(Count{Share: 0.05, Old: true, Cell: None, N: 475})
		p.Close()
	}
	if v := p.Value(); v < Least+0.001 {
		t.Errorf("after a day without a failure the value is %v", v)
	}
}

func TestTheMeanOfWealthsIsBetweenThem(t *testing.T) {
	loud, quiet := New(Rate(Errors, DefaultMargins())), New(Latencies(Latency))
	for range 10 {
		for slot := range 4 {
			loud.Count(Count{Share: 0.05, Slot: slot, Cell: Event, N: 10})
		}
		loud.Close()
	}
	got := AnyOf(loud, quiet)
	if want := math.Log10((math.Pow(10, loud.Value()) + math.Pow(10, quiet.Value())) / 2); !near(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if AnyOf() != 0 {
		t.Error("no gates have a value")
	}
	if side, v := loud.Leading(); side != 0 || v < 5 {
		t.Errorf("side %d leads with %v", side, v)
	}
}

// A distance between two points of the grid is worth less than it would be
// exactly, and never more.
func TestDistancesAreUnderstatedByLittle(t *testing.T) {
	g := Pairs(0.25)
	for i := range 101 {
		x := float64(i) / 100
		p := New(g)
		p.gate.Cap = 0
		p.Pair(0, x)
		f := g.Sides[0].factors(1, true)
		for e := range f.fresh {
			exact := math.Log1p(g.Sides[0].bet(1, e, g.Sides[0].payoffs(1, false)) * (x - 0.25))
			got := p.gain(e)
			if got > exact+1e-12 || slices.Contains(g.Sides[0].X, x) && !near(got, exact) {
				t.Errorf("distance %v, expert %d: %v instead of %v", x, e, got, exact)
			}
		}
	}
}
