package metric

import (
	"math"
	"slices"
	"testing"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func stat(t testing.TB, name string) Stat {
	t.Helper()
	s, err := ParseStat(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func distOf(vs ...float64) *Dist {
	d := new(Dist)
	for _, v := range vs {
		d.Add(v)
	}
	return d
}

func TestStatisticsOfAFewValues(t *testing.T) {
	hundred := new(Dist)
	for i := range 100 {
		hundred.Add(float64(i + 1))
	}
	for name, c := range map[string]struct {
		d    *Dist
		stat string
		want float64
	}{
		"count":                               {distOf(1, 2, 3), "SampleCount", 3},
		"sum":                                 {distOf(1, 2, 3), "Sum", 6},
		"average":                             {distOf(0, 0, 1, 1), "Average", 0.5},
		"minimum":                             {distOf(3, -1, 2), "Minimum", -1},
		"maximum":                             {distOf(3, -1, 2), "Maximum", 3},
		"a percentile of equal values":        {distOf(7, 7, 7), "p99.9", 7},
		"the lowest":                          {hundred, "p0", 1},
		"the highest":                         {hundred, "p100", 100},
		"the median":                          {hundred, "p50", 50},
		"a high percentile":                   {hundred, "p99", 99},
		"a percentile of negative values":     {distOf(-3, -2, -1), "p50", -2},
		"the mean of the lower 90 %":          {hundred, "tm90", 45.5},
		"the same, written out":               {hundred, "TM(:90%)", 45.5},
		"the mean of the middle":              {hundred, "IQM", 50.5},
		"the mean between values":             {hundred, "TM(10:20)", 15.5},
		"how many lie below":                  {hundred, "tc90", 90},
		"how many lie between values":         {hundred, "TC(10:20)", 10},
		"the sum of the lower tenth":          {hundred, "ts10", 55},
		"which share lies at or under 30":     {hundred, "PR(:30)", 30},
		"which share lies above 30":           {hundred, "PR(30:)", 70},
		"outliers count as the 90th":          {hundred, "wm90", (45.5*90 + 900) / 100},
		"outliers at both ends":               {hundred, "WM(10%:90%)", 50.5},
		"a trimmed mean of equal values":      {distOf(4, 4, 4), "tm50", 4},
		"a share that cuts a value's samples": {distOf(0, 0, 0, 10), "TM(50%:100%)", 5},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := stat(t, c.stat).Of(c.d)
			if !ok || math.Abs(got-c.want) > Accuracy*math.Abs(c.want)+1e-9 {
				t.Errorf("%s = %v, %v; want %v", c.stat, got, ok, c.want)
			}
		})
	}
}

func TestStatisticsThatNobodyKnowsAreRefused(t *testing.T) {
	for _, name := range []string{
		"", "Median", "p", "p101", "p-1", "p1e1", "pp9", "P99", "p9.9.9", "tm", "TM", "TM()", "TM(:)", "TM(5%:4%)",
		"TM(5%:4)",
		"PR(10%:20%)", "TM(1:2", "IQM(1:2)", "XX(1:2)", "p99 ", "sum", "TM(1:2:3)", "tmx",
	} {
		if s, err := ParseStat(name); err == nil {
			t.Errorf("%q was read as %v", name, s)
		}
	}
}

func TestASetHasPercentilesOnlyIfItsSamplesAreEqual(t *testing.T) {
	p50 := stat(t, "p50")
	for name, c := range map[string]struct {
		set  Set
		want bool
	}{
		"one sample":         {Set{1, 5, 5, 5}, true},
		"equal samples":      {Set{4, 20, 5, 5}, true},
		"different samples":  {Set{4, 20, 1, 9}, false},
		"a set of nothing":   {Set{0, 0, 0, 0}, false},
		"one that disagrees": {Set{4, 3, 5, 5}, false},
	} {
		d := new(Dist)
		d.AddSet(c.set)
		if _, ok := p50.Of(d); ok != c.want {
			t.Errorf("%s: a percentile is there: %v", name, ok)
		}
		if d.Count != c.set.SampleCount || d.Sum != c.set.Sum {
			t.Errorf("%s: %v samples, sum %v", name, d.Count, d.Sum)
		}
	}
	mixed := distOf(1, 2, 3)
	mixed.AddSet(Set{4, 20, 1, 9})
	mixed.Add(4)
	if _, ok := p50.Of(mixed); ok || mixed.Count != 8 || mixed.Max != 9 || mixed.Sum != 30 {
		t.Errorf("a set among samples: %+v", mixed)
	}
}

// The library's sketch is the oracle: same mapping, other stores.
func TestPercentilesAreThoseOfDDSketch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := rapid.SliceOfN(rapid.Float64Range(rapid.SampledFrom([]float64{0, -1e6}).Draw(t, "least"), 1e6), 2,
			300).Draw(t, "values")
		q := rapid.Float64Range(0.001, 0.999).Draw(t, "quantile")
		for i, v := range vs {
			if math.Abs(v) < 1e-9 {
				vs[i] = 0 // further apart than a distribution keeps values
			}
		}
		d := distOf(vs...)
		sketch := ddsketch.NewDDSketchFromStoreProvider(logBins, storeProvider)
		for _, v := range vs {
			if err := sketch.Add(v); err != nil {
				t.Fatal(err)
			}
		}
		want, err := sketch.GetValueAtQuantile(q)
		if err != nil {
			t.Fatal(err)
		}
		want = min(d.Max, max(d.Min, want))
		// Among negative values the library rounds ranks the other way.
		if got, ok := d.Quantile(q); !ok || d.Min >= 0 && math.Abs(got-want) > 1e-9*math.Abs(want) {
			t.Errorf("p%v = %v, want %v", q*100, got, want)
		}
		slices.Sort(vs)
		exact := vs[int(q*float64(len(vs)-1))]
		if got, _ := d.Quantile(q); math.Abs(got-exact) > Accuracy*1.001*math.Abs(exact)+1e-300 {
			t.Errorf("p%v = %v, but the value was %v", q*100, got, exact)
		}
	})
}

// drawDist draws samples whose sums do not depend on their order.
func drawDist(t *rapid.T, label string) *Dist {
	d := new(Dist)
	for range rapid.IntRange(0, 12).Draw(t, label+" adds") {
		v := float64(rapid.IntRange(-50, 1<<20).Draw(t, label))
		switch rapid.IntRange(0, 9).Draw(t, label+" how") {
		case 0:
			d.AddSet(Set{SampleCount: 3, Sum: 3 * v, Minimum: v - 1, Maximum: v + 1})
		case 1:
			d.AddN(v, 0.5)
		case 2:
			d.AddN(0, 4)
		default:
			d.Add(v)
		}
	}
	return d
}

// equalDists compares what statistics can see.
func equalDists(a, b *Dist) string {
	used := cmp.Transformer("used", func(b bins) map[int]float64 {
		m := map[int]float64{}
		for i, n := range b.n {
			if n > 0 {
				m[b.first+i] = n
			}
		}
		return m
	})
	return cmp.Diff(a, b, cmp.AllowUnexported(Dist{}), used, cmpopts.EquateApprox(1e-12, 0))
}

func merged(ds ...*Dist) *Dist {
	all := new(Dist)
	for _, d := range ds {
		all.Merge(d)
	}
	return all
}

func TestMergingIsCommutativeAndAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := drawDist(t, "a"), drawDist(t, "b"), drawDist(t, "c")
		if d := equalDists(merged(a, b), merged(b, a)); d != "" {
			t.Errorf("a+b and b+a differ: %s", d)
		}
		if d := equalDists(merged(merged(a, b), c), merged(a, merged(b, c))); d != "" {
			t.Errorf("(a+b)+c and a+(b+c) differ: %s", d)
		}
		if d := equalDists(merged(a), a); d != "" {
			t.Errorf("nothing+a differs from a: %s", d)
		}
	})
}

func TestMergingIsTheSameAsAddingAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		vs := rapid.SliceOfN(rapid.IntRange(-1000, 100000), 0, 60).Draw(t, "values")
		direct, parts := new(Dist), [3]Dist{}
		for i, v := range vs {
			direct.Add(float64(v))
			parts[i%3].Add(float64(v))
		}
		if d := equalDists(direct, merged(&parts[0], &parts[1], &parts[2])); d != "" {
			t.Error(d)
		}
	})
}

func TestADistributionIsBoundedWhateverTheValues(t *testing.T) {
	d := new(Dist)
	for e := -1000; e <= 360; e++ {
		d.Add(math.Ldexp(1, e))
		d.Add(-math.Ldexp(1, e))
	}
	if n := len(d.pos.n) + len(d.neg.n); n > 2*(maxBins+16) {
		t.Errorf("%d bins", n)
	}
	if got, _ := d.Quantile(0.999); math.Abs(got/math.Ldexp(1, 358)-1) > 2 {
		t.Errorf("a high percentile is %v", got)
	}
}

func TestPackingKeepsEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawDist(t, "d")
		if d.Count == 0 {
			return
		}
		packed := appendDist(nil, 7, d)
		r := reader{b: packed}
		var got Dist
		slot, ok := r.next(&got, true)
		if !ok || slot != 7 || len(r.b) != 0 {
			t.Fatalf("slot %d, %v, %d bytes left", slot, ok, len(r.b))
		}
		if diff := equalDists(d, &got); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzReadingDamagedBlocks(f *testing.F) {
	f.Add(appendDist(appendDist(nil, 1, distOf(1, 1)), 2, distOf(0, 1, -5, 2.5)))
	half := new(Dist)
	half.AddN(3, 0.5)
	half.Add(4)
	f.Add(appendDist(nil, 59, half))
	f.Add([]byte{0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Series
		if err := s.Restore([]Chunk{{Tier: 0, Start: 60, Data: b}}); err != nil {
			return
		}
		for _, d := range s.Distributions(Window{Start: timeAt(0), Period: second1, Count: 200}) {
			if d == nil {
				continue
			}
			if q, ok := d.Quantile(0.5); ok && !(q >= d.Min && q <= d.Max) {
				t.Errorf("the median %v is not within %v and %v", q, d.Min, d.Max)
			}
		}
	})
}
