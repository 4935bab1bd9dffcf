package gate_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

var t0 = time.Date(2026, 1, 2, 14, 2, 10, 0, time.UTC)

var names = gate.Names{New: "v3", Old: "v2"}

func seen(k gate.Kind, log10, bad float64, n int64, oldBad float64, oldN int64) gate.Fact {
	return gate.Fact{Kind: k, Log10: log10, Since: t0, Seen: gate.Seen{
		New: gate.Tally{Events: bad, Requests: n}, Old: gate.Tally{Events: oldBad, Requests: oldN},
	}}
}

func sided(f gate.Fact, side string, cut time.Duration) gate.Fact {
	f.Seen.Side, f.Seen.Cut = side, cut
	return f
}

func TestWhatAGateHasAgainstAFleet(t *testing.T) {
	for want, c := range map[string]struct {
		words string
		seen  gate.Fact
	}{
		"v3 fails 1.1 % of requests (17 of 1,533), v2 0.1 % at the same time; 0.25 % was allowed (1.5 times v2's plus " +
			"0.1 points). Evidence 1:120.": {
			"action=rollback", seen(gate.Errors, 2.0719, 17, 1533, 29, 29127),
		},
		"v3 needs a second instance for 50 % of requests (1 of 2), v2 0 % at the same time; 2 % was allowed (3 times " +
			"v2's plus 2 points). Evidence 1:1.": {
			"ratio=3 plus=0.02", seen(gate.Retries, -1, 1, 2, 0, 40),
		},
		"A tenth of v2's requests take longer than 35 ms; 27 % of v3's take longer than 38 ms (10 % slower was " +
			"allowed). Evidence 1:2,300 after 210 requests.": {
			"", sided(seen(gate.Latency, 3.3617, 56.7, 210, 399, 3990), "p90", 35*time.Millisecond),
		},
		"Half of v2's streams wait for their beginning longer than 1.2 s; 60 % of v3's wait longer than 1.4 s (20 % " +
			"slower was allowed). Evidence 1:10 after 50 requests.": {
			"factor=1.2", sided(seen(gate.FirstChunk, 1, 30, 50, 0, 0), "p50", 1200*time.Millisecond),
		},
		"12 % of v3's answers are label 3 (12 of 100), 20 % of v2's at the same time; a difference of 3 points was allowed. " +
			"Evidence more than 1:1,000,000.": {
			"", sided(seen(gate.Drift, 7, 12, 100, 200, 1000), "label 3", 0),
		},
		"v3 answers 100 % of requests differently than v2 (2.5 % to 100 %, 95 %); 1 % was allowed; evidence 1:1 after " +
			"1 request.": {
			mirrored, seen(gate.Disagreement, 0, 1, 1, 0, 0),
		},
		"v3 answers 4.9 % of requests differently than v2 (2.4 % to 8.7 %, 95 %); 1 % was allowed; evidence 1:12,000 after " +
			"612 requests.": {
			mirrored, seen(gate.Disagreement, 4.0792, 30, 612, 0, 0),
		},
		"v3 fails 50 % of the copies of what v2 answers; 5 % was allowed; evidence 1:1,000 after 20 copies.": {
			mirrored, seen(gate.MirrorFailure, 3, 10, 20, 0, 0),
		},
		"Of 2,706 labelled requests, v2 alone was right on 4 % and v3 alone on 2 %; a loss of 0.5 points was allowed. " +
			"Evidence 1:100.": {
			"", seen(gate.Accuracy, 2, 54, 2706, 108, 2706),
		},
		`All gates together speak against v3, "errors" the loudest. Evidence 1:1,000.`: {
			"", sided(seen(gate.Any, 3, 0, 0, 0, 0), "errors", 0),
		},
	} {
		kind := c.seen.Kind
		if kind == gate.MirrorFailure {
			kind = gate.Disagreement
		}
		g := one(t, c.seen.Kind, tag(kind, c.words), nil)
		if got := g.Against(c.seen, names); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", g.Kind, got, want)
		}
	}
}

func TestWhatIsNotProvenAndWhatCouldNotBeSeen(t *testing.T) {
	errors := one(t, gate.Errors, tag(gate.Errors, "action=hold alpha=0.01"), nil)
	few := seen(gate.Errors, 0, 0, 36, 1, 684)
	const begins = "Not proven: 36 of v3's requests were compared; about 2,"
	if got := errors.Lacking(few, names); !strings.HasPrefix(got, begins) ||
		!strings.HasSuffix(got, "are needed to show that it fails at most 0.5 points more.") {
		t.Error(got)
	}
	few.Held, few.HeldSince = "all traffic is on v3", t0
	if got := errors.Now(few, names); got != "All traffic is on v3: nothing to compare with since 14:02:10." {
		t.Error(got)
	}
	if got := errors.Lacking(few, names); !strings.Contains(got, "none can be now: all traffic is on v3") {
		t.Error(got)
	}
	if got := errors.Now(gate.Fact{Kind: gate.Errors}, names); got != "Nothing was compared yet." {
		t.Error(got)
	}
	for want, f := range map[string]gate.Fact{
		"Nothing was compared, so nothing could be seen.":                         {Kind: gate.Errors},
		"3 of v3's requests are too few to see anything, even if all had failed.": seen(gate.Errors, 0, 0, 3, 0, 57),
	} {
		if got := errors.Unseen(f, names); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	many := seen(gate.Errors, 0, 1, 1700, 32, 32300)
	if got := errors.Unseen(many, names); !strings.Contains(got, "times v2's, could not") {
		t.Error(got)
	}
	pairs := one(t, gate.Disagreement, tag(gate.Disagreement, mirrored+" action=hold"), nil)
	f := seen(gate.Disagreement, 0, 0, 451, 0, 0)
	if got := pairs.Lacking(f, names); !strings.HasPrefix(got, "Not proven: 451 pairs of answers were compared; abo") {
		t.Error(got)
	}
	f.Seen.Unseen = 0.3
	if got := pairs.Unseen(f, names); !strings.Contains(got, "of answers may differ (95 %). 30 % of the copies") {
		t.Error(got)
	}
	p := gate.Proven{Kind: gate.Errors, Step: 0, Proof: 3.2, Requests: 1348}
	const want = "Proven in step 1, for some time of it: v3 fails at most 0.5 points more than v2 (evidence " +
		"1:1,600 after 1,348 requests)."
	if got := errors.ProofOf(p, names); got != want {
		t.Error(got)
	}
}

// Whatever was seen, a sentence can be said of it.
func TestEverySentenceCanBeSaid(t *testing.T) {
	for seed := range uint64(3000) {
		d := rand.New(rand.NewPCG(seed, 2))
		k := gate.Kinds()[d.IntN(len(gate.Kinds()))]
		words := ""
		if k == gate.Disagreement {
			words = mirrored
		}
		for _, g := range read(t, tag(k, words), nil) {
			count := func() int64 { return int64(math.Pow(10, d.Float64()*12)) * int64(d.IntN(2)) }
			f := seen(g.Kind, d.Float64()*310-5, 0, count(), 0, count())
			f.Seen.New.Events = float64(f.Seen.New.Requests) * d.Float64() * float64(d.IntN(2))
			f.Seen.Old.Events = float64(f.Seen.Old.Requests) * d.Float64() * float64(d.IntN(2))
			f.Seen.Side, f.Seen.Cut = []string{"", "p50", "p90", "p99"}[d.IntN(4)], time.Duration(d.Int64N(1e10))
			for _, s := range []string{
				g.Against(f, names), g.Lacking(f, names), g.Unseen(f, names), g.Now(f, names),
			} {
				if strings.Contains(s, "NaN") || strings.Contains(s, "Inf") || strings.Contains(s, "%!") ||
					strings.Contains(s, "-0") || s != "" && !strings.HasSuffix(s, ".") {
					t.Fatalf("seed %d: of %s: %s", seed, g.Kind, s)
				}
			}
		}
	}
}

func TestATrailIsBoundedAndKeepsItsHighestAndItsLastPoint(t *testing.T) {
	for seed := range uint64(40) {
		d := rand.New(rand.NewPCG(seed, 3))
		var trail gate.Trail
		top, at := gate.Point{Log10: math.Inf(-1)}, t0
		var last gate.Point
		for range d.IntN(20_000) {
			at = at.Add(time.Duration(1+d.IntN(3000)) * time.Millisecond)
			last = gate.Point{At: at, Log10: d.NormFloat64()}
			if last.Log10 > top.Log10 {
				top = last
			}
			trail = trail.Add(last)
			if n := len(trail.Points); n > gate.MaxPoints || trail.Points[n-1] != last {
				t.Fatalf("seed %d: %d points, the last is %v, want %v", seed, n, trail.Points[n-1], last)
			}
		}
		highest, before := math.Inf(-1), time.Time{}
		for _, p := range trail.Points {
			highest = max(highest, p.Log10)
			if !p.At.After(before) {
				t.Fatalf("seed %d: %v after %v", seed, p.At, before)
			}
			before = p.At
		}
		if len(trail.Points) > 0 && highest != top.Log10 {
			t.Fatalf("seed %d: the highest is %v, was %v", seed, highest, top)
		}
	}
	trail := gate.Trail{}.Add(gate.Point{At: t0, Log10: 1}).Add(gate.Point{At: t0.Add(1), Log10: math.NaN()})
	if trail = trail.Add(gate.Point{At: t0.Add(-time.Hour), Log10: 2}); len(trail.Points) != 1 {
		t.Errorf("the clock was set back: %+v", trail)
	}
}

// Values that fall slowly are as many points as others: the way there is seen.
func TestATrailThatFallsKeepsPointsOfAllOfIt(t *testing.T) {
	var trail gate.Trail
	for n := range 20_000 {
		trail = trail.Add(gate.Point{At: t0.Add(time.Duration(n) * time.Second), Log10: -float64(n)})
	}
	if len(trail.Points) < gate.MaxPoints/2-1 || trail.Every > 1024*time.Second {
		t.Errorf("%d points, one every %s", len(trail.Points), trail.Every)
	}
}
