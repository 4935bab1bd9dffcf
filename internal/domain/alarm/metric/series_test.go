package metric

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/DataDog/sketches-go/ddsketch/store"
	"pgregory.net/rapid"
)

const second1 = time.Second

var storeProvider store.Provider = store.DenseStoreConstructor

// t0 is a multiple of every tier's span but the coarsest, as any hour is not.
var t0 = time.Date(2026, 11, 21, 19, 0, 0, 0, time.UTC)

func timeAt(s int64) time.Time { return time.Unix(s, 0).UTC() }

func TestAPeriodHasTheSamplesBetweenItsEnds(t *testing.T) {
	var s Series
	for i := range 600 {
		s.Add(t0.Add(time.Duration(i)*time.Second), float64(i))
	}
	for _, period := range []int{1, 5, 10, 20, 30, 60, 300, 600} {
		w := Window{Start: t0, Period: time.Duration(period) * time.Second, Count: 600 / period}
		for i, p := range s.Points(w, Sum) {
			from, to := i*period, (i+1)*period-1
			if want := float64((from + to) * period / 2); p.Value != want || p.Samples != float64(period) {
				t.Errorf("period %d from %d: %+v, want the sum %v", period, from, p, want)
			}
		}
	}
	slid := s.Points(Window{Start: t0.Add(7 * time.Second), Period: 5 * time.Second, Count: 1}, Minimum)
	if slid[0].Value != 7 {
		t.Errorf("a window that is not aligned begins with %v", slid[0].Value)
	}
	if got := s.Points(Window{Start: t0.Add(time.Hour), Period: time.Minute, Count: 3}, Sum); slices.ContainsFunc(got,
		Point.Known) {
		t.Errorf("later periods have values: %v", got)
	}
}

func TestSeveralSeriesAreReadTogether(t *testing.T) {
	var counts, none Series
	counts.Add(t0, 1)
	none.Add(t0, 3)
	none.Add(t0.Add(time.Second), 7)
	got := Points(Window{Start: t0, Period: time.Second, Count: 2}, stat(t, "p100"), &counts, &none)
	if want := []Point{{3, 2}, {7, 1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Rolling up gives what adding to the coarse period directly would, whatever
// the order of the samples and wherever they are kept.
func TestRollingUpIsTheSameAsAddingDirectly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Series
		period := rapid.SampledFrom([]int64{1, 5, 10, 60, 300}).Draw(t, "period")
		direct := map[int64]*Dist{}
		for range rapid.IntRange(0, 80).Draw(t, "samples") {
			at := rapid.Int64Range(0, 1800).Draw(t, "at")
			v := float64(rapid.IntRange(-5, 5000).Draw(t, "value"))
			s.Add(t0.Add(time.Duration(at)*time.Second), v)
			if direct[at/period] == nil {
				direct[at/period] = new(Dist)
			}
			direct[at/period].Add(v)
			if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
				s.Changes()
			}
		}
		got := s.Distributions(Window{
			Start: t0, Period: time.Duration(period) * time.Second,
			Count: int(1800/period) + 1,
		})
		for i, d := range got {
			want := direct[int64(i)]
			if (d == nil) != (want == nil) {
				t.Fatalf("period %d: %v, want %v", i, d, want)
			}
			if d != nil {
				if diff := equalDists(want, d); diff != "" {
					t.Errorf("period %d: %s", i, diff)
				}
			}
		}
	})
}

func TestSamplesBecomeCoarserWithAgeButAreNotLost(t *testing.T) {
	var s Series
	const samples = 7200
	for i := range samples {
		s.Add(t0.Add(time.Duration(i)*time.Second), float64(i%100))
	}
	p90 := stat(t, "p90")
	for _, age := range []time.Duration{0, 4 * time.Hour, 31 * time.Hour, 8 * 24 * time.Hour} {
		s.Expire(t0.Add(2*time.Hour + age))
		w := Window{Start: t0, Period: time.Hour, Count: 2}
		for i, p := range s.Points(w, SampleCount) {
			if p.Value != 3600 {
				t.Errorf("after %v hour %d has %v samples", age, i, p.Value)
			}
		}
		if p := s.Points(w, p90)[0]; math.Abs(p.Value-89) > 2 {
			t.Errorf("after %v the p90 is %v", age, p.Value)
		}
		fine := s.Points(Window{Start: t0, Period: time.Second, Count: 1}, Sum)[0].Known()
		minute := s.Points(Window{Start: t0, Period: time.Minute, Count: 1}, Sum)[0].Known()
		if fine != (age <= Retention(time.Second)-2*time.Hour) || minute != (age < Retention(time.Minute)) {
			t.Errorf("after %v: seconds %v, minutes %v", age, fine, minute)
		}
	}
	s.Expire(t0.Add(70 * 24 * time.Hour))
	if !s.Empty() {
		t.Error("after 70 days there is still something")
	}
}

func TestRetentionIsWhatTheTiersKeep(t *testing.T) {
	for period, want := range map[time.Duration]time.Duration{
		time.Second: 3 * time.Hour, 30 * time.Second: 3 * time.Hour, time.Minute: 30 * time.Hour,
		5 * time.Minute: 7 * 24 * time.Hour, time.Hour: 63 * 24 * time.Hour,
	} {
		if got := Retention(period); got != want {
			t.Errorf("%v: %v, want %v", period, got, want)
		}
	}
}

func TestASeriesIsBoundedEvenIfNobodyExpiresIt(t *testing.T) {
	var s Series
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		s.Add(t0.Add(time.Duration(r.Int64N(int64(400*24*time.Hour)))), 1)
	}
	for level, bs := range s.blocks {
		if len(bs) > tiers[level].most() {
			t.Errorf("tier %d has %d blocks", level, len(bs))
		}
		if !slices.IsSortedFunc(bs, func(a, b block) int { return int(a.start - b.start) }) {
			t.Errorf("tier %d is not in order", level)
		}
	}
}

func TestWhatWasWrittenCanBeRestored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Series
		disk := map[place]Chunk{}
		var now time.Time
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			at := t0.Add(time.Duration(rapid.IntRange(0, 6*3600).Draw(t, "at")) * time.Second)
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				for _, c := range s.Changes() {
					disk[place{c.Tier, c.Start}] = c
					if len(c.Data) == 0 {
						delete(disk, place{c.Tier, c.Start})
					}
				}
			case 1:
				if at.After(now) {
					now = at
				}
				s.Expire(now)
			default:
				s.Add(at, float64(rapid.IntRange(0, 100).Draw(t, "value")))
			}
		}
		var chunks []Chunk
		for _, c := range s.Changes() {
			delete(disk, place{c.Tier, c.Start})
			if len(c.Data) > 0 {
				chunks = append(chunks, c)
			}
		}
		for _, c := range disk {
			chunks = append(chunks, c)
		}
		var restored Series
		if err := restored.Restore(chunks); err != nil {
			t.Fatal(err)
		}
		w := Window{Start: t0, Period: time.Second, Count: 6*3600 + 1}
		hours := Window{Start: t0, Period: time.Hour, Count: 7}
		if want, got := s.Points(w, Sum), restored.Points(w, Sum); !slices.Equal(want, got) {
			t.Error("the seconds differ")
		}
		if want, got := s.Points(hours, SampleCount), restored.Points(hours, SampleCount); !slices.Equal(want, got) {
			t.Errorf("the hours differ: %v, want %v", got, want)
		}
	})
}

func TestOnlyWhatChangedIsWrittenAgain(t *testing.T) {
	var s Series
	s.Add(t0, 1)
	s.Add(t0.Add(2*time.Minute), 1)
	if got := s.Changes(); len(got) != 2 {
		t.Errorf("first: %v", got)
	}
	if got := s.Changes(); len(got) != 0 {
		t.Errorf("nothing changed, but: %v", got)
	}
	s.Add(t0, 1)
	changed := s.Changes()
	if len(changed) != 1 || changed[0].Start != t0.Unix() {
		t.Errorf("one block changed, but: %v", changed)
	}
	var restored Series
	if err := restored.Restore(changed); err != nil {
		t.Fatal(err)
	}
	restored.Expire(t0.Add(4 * time.Hour))
	got := restored.Changes()
	if len(got) != 2 || got[0].Tier != 0 || got[0].Start != t0.Unix() || got[0].Data != nil || got[1].Tier != 1 {
		t.Errorf("a restored block that moved to the next tier is not to be deleted: %v", got)
	}
}

func TestDamagedChunksAreRefused(t *testing.T) {
	good := appendDist(nil, 1, distOf(1, 2))
	for name, chunks := range map[string][]Chunk{
		"cut short":             {{Start: 60, Data: good[:len(good)-1]}},
		"a slot beyond the end": {{Start: 60, Data: appendDist(nil, slots, distOf(1, 2))}},
		"an unknown tier":       {{Tier: 9, Start: 60, Data: good}},
		"a start between spans": {{Start: 61, Data: good}},
		"slots out of order":    {{Start: 60, Data: append(slices.Clone(good), good...)}},
		"twice the same":        {{Start: 60, Data: good}, {Start: 60, Data: good}},
	} {
		var s Series
		if err := s.Restore(chunks); err == nil || !s.Empty() {
			t.Errorf("%s: %v, empty %v", name, err, s.Empty())
		}
	}
}

func TestAnyFindsTheLatestSample(t *testing.T) {
	var s Series
	if s.Any(time.Time{}) {
		t.Error("an empty series has samples")
	}
	s.Add(t0, 1)
	if !s.Any(t0) || s.Any(t0.Add(time.Second)) {
		t.Error("an open second is not found, or too much is")
	}
	s.Changes()
	if !s.Any(t0) || s.Any(t0.Add(time.Second)) {
		t.Error("a packed second is not found, or too much is")
	}
}

// latencies are log-normal, about 20 ms.
func latencies(n int) []float64 {
	r := rand.New(rand.NewPCG(3, 4))
	vs := make([]float64, n)
	for i := range vs {
		vs[i] = math.Round(20_000 * math.Exp(r.NormFloat64()/2))
	}
	return vs
}

// BenchmarkAdd is one sample per operation, 200 a second.
func BenchmarkAdd(b *testing.B) {
	for name, vs := range map[string][]float64{"ones": {1}, "errors": {0, 0, 0, 1}, "latency": latencies(4096)} {
		b.Run(name, func(b *testing.B) {
			var s Series
			b.ReportAllocs()
			at := t0
			i := 0
			for b.Loop() {
				if i%200 == 0 {
					at = t0.Add(time.Duration(i/200) * time.Second)
				}
				s.Add(at, vs[i%len(vs)])
				i++
			}
		})
	}
}

// BenchmarkMemory reports the bytes that a series takes at 200 samples a
// second, for three hours of seconds and all that older tiers hold when full.
func BenchmarkMemory(b *testing.B) {
	for name, vs := range map[string][]float64{"ones": {1}, "errors": {0, 0, 0, 1}, "latency": latencies(4096)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				s := new(Series)
				for i := range 3 * 3600 * 200 {
					s.Add(t0.Add(time.Duration(i/200)*time.Second), vs[i%len(vs)])
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "B/3h")
				for level := 1; level < len(tiers); level++ {
					var block []byte
					d := merged(s.Distributions(Window{
						Start: t0, Period: time.Minute,
						Count: int(tiers[level].res / 60),
					})...)
					for slot := range slots {
						block = appendDist(block, slot, d)
					}
					b.ReportMetric(float64(len(block))/slots*float64(tiers[level].keep/tiers[level].res), "B/"+
						[]string{"", "30h", "7d", "63d"}[level])
				}
				runtime.KeepAlive(s)
			}
		})
	}
}

func BenchmarkReadThreeSeconds(b *testing.B) {
	var s Series
	vs := latencies(4096)
	for i := range 600 * 200 {
		s.Add(t0.Add(time.Duration(i/200)*time.Second), vs[i%len(vs)])
	}
	for _, name := range []string{"Sum", "p99"} {
		st := stat(b, name)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Points(Window{Start: t0.Add(597 * time.Second), Period: time.Second, Count: 3}, st)
			}
		})
	}
}

func BenchmarkAddLate(b *testing.B) {
	vs := latencies(4096)
	var s Series
	for i := range 600 * 200 {
		s.Add(t0.Add(time.Duration(i/200)*time.Second), vs[i%len(vs)])
	}
	for b.Loop() {
		s.Add(t0.Add(30*time.Second), vs[0])
		s.Add(t0.Add(34*time.Second), vs[1])
	}
}
