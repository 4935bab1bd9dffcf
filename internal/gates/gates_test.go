package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
)

// bakes is how many of each scenario are lived through; make sim asks for more. A
// bake is one goroutine's alone: with the race detector, which makes it ten times
// as slow, a few are enough.
func bakes(t *testing.T, usual int) int {
	t.Helper()
	if raceEnabled {
		return (usual + 5) / 6
	}
	text := os.Getenv("SLIPWAY_SIM_BAKES")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return max(usual, n)
}

// named finds a scenario of the page.
func named(t *testing.T, name string) scenario {
	t.Helper()
	for _, s := range everything() {
		if s.name == name {
			return s
		}
	}
	t.Fatalf("no scenario is called %s", name)
	return scenario{}
}

// against bakes a scenario and returns how many times each judge was against it.
func against(s scenario, runs int) (n [judges + peers]int) {
	tables := newTables()
	for run := range runs {
		for j, f := range (life{s, tables, 7, uint64(run), never}).live() {
			if f.Yes {
				n[j]++
			}
		}
	}
	return n
}

// A deployment that nothing is wrong with, or that is exactly as bad as allowed,
// is stopped no more often than was promised.
func TestFalseAlarmsAreAsRareAsPromised(t *testing.T) {
	for _, name := range []string{"same-10", "same-bursts-10", "edge"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := named(t, name)
			s.rps = 10
			runs := bakes(t, 60)
			n := against(s, runs)
			allowed := 0.01*float64(runs) + 3*math.Sqrt(0.01*float64(runs))
			for j := range margin5 + 1 {
				if j != margin5 && float64(n[j]) > allowed {
					t.Errorf("%s: %d of %d bakes were stopped, %.1f may be", judged[j], n[j], runs, allowed)
				}
			}
			if float64(n[anyGate]) > allowed || float64(n[any3]) > allowed/3 {
				t.Errorf("any: %d of %d bakes were stopped at 2, %d at 3", n[anyGate], runs, n[any3])
			}
		})
	}
}

// Nor where much fails in both fleets, in bursts and with bad moments of hosts.
func TestFalseAlarmsAreRareWhereMuchFails(t *testing.T) {
	for _, s := range counted() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			runs := min(500, bakes(t, 60)) // of each of ten
			allowed := 0.01*float64(runs) + 3*math.Sqrt(0.01*float64(runs))
			if s.incidents {
				allowed *= 2 // single instances are no coins: see the page
			}
			n := against(s, runs)
			if float64(n[errorGate]) > allowed || float64(n[strictGate]) > allowed/3 {
				t.Errorf("%d of %d bakes were stopped at 2, %d at 3", n[errorGate], runs, n[strictGate])
			}
		})
	}
}

// Bad moments of single instances are no fault of the model, nor of hosts with
// instances of both fleets; copies that fail in them are no disagreement.
func TestIncidentsStopFewDeployments(t *testing.T) {
	for _, name := range []string{"same-incidents-10", "same-hosts-10", "same-one-incidents"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := named(t, name)
			s.rps, s.alone = 10, true
			runs := bakes(t, 60)
			n := against(s, runs)
			if allowed := max(2, runs/50); n[anyGate] > allowed || n[pairGate] > max(1, runs/100) {
				t.Errorf("%d of %d bakes were stopped, by pairs %d; %d may be", n[anyGate], runs, n[pairGate], allowed)
			}
		})
	}
}

// An old fleet that refuses its heaviest requests makes the new one, which
// answers them, no slower.
func TestAnOldFleetThatRefusesWorkDoesNotLookFast(t *testing.T) {
	s := named(t, "same-sheds")
	s.rps, s.alone = 20, true
	runs := bakes(t, 40)
	if n := against(s, runs); n[latencyGate] > 1 || n[anyGate] > 1 {
		t.Errorf("latency stopped %d of %d bakes, any %d", n[latencyGate], runs, n[anyGate])
	}
}

// What the page says of detection is what the shipping code does.
func TestWhatIsBadIsFoundAsThePageSays(t *testing.T) {
	m := readMeasured(t)
	var mu sync.Mutex
	tables, runs := newTables(), max(100, min(300, bakes(t, 0)/5))
	if raceEnabled {
		runs = 10
	}
	for name, judge := range map[string]int{
		"dead": anyGate, "one-dead": errorGate, "hangs": abandonedGate, "err-0.5-5": errorGate, "lat+30": latencyGate,
		"one-of-4-bad": latencyGate, "flip-5": pairGate, "bias-0.2": numberGate, "one-err-0.5-5": errorGate,
		"failing-dead": errorGate, "failing-one-dead": errorGate,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := named(t, name)
			s.alone = true
			r := &results{}
			for run := range runs {
				for j, f := range (life{s, tables, 11, uint64(run), judge}).live() {
					if f.Yes {
						r.Found[j] = append(r.Found[j], f)
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			is, was := summarize(r).Judges[judge], verdict{}
			page, known := m.Bakes[name]
			if known {
				was = page.Judges[judge]
			}
			if found := float64(len(r.Found[judge])) / float64(runs); found < 0.97 {
				t.Errorf("found in %.0f %%", 100*found)
			}
			known = known && !raceEnabled
			if ratio := float64(is.Requests) / float64(was.Requests); known && (ratio < 0.8 || ratio > 1.25) {
				t.Errorf("found after %d requests in the median, the page says %d", is.Requests, was.Requests)
			}
		})
	}
}

// A proof is wrong no more often than was said, and costs what the page says.
func TestProofsAreAsThePageSays(t *testing.T) {
	m := readMeasured(t)
	for _, c := range proofs() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			runs := max(20, min(200, bakes(t, 0)/10))
			if raceEnabled {
				runs = 5
			}
			if c.name == "narrow" || c.name == "healthy-0.5" {
				return // they take long; the page has them
			}
			var after []int
			for run := range runs {
				if n := c.live(13, uint64(run))[1]; n > 0 {
					after = append(after, n)
				}
			}
			if c.wrong {
				if allowed := 0.01*float64(runs) + 3*math.Sqrt(0.01*float64(runs)); float64(len(after)) > allowed {
					t.Errorf("wrongly proven in %d of %d", len(after), runs)
				}
				return
			}
			is, was := quantile(after, 0.5), m.Extras.Proofs[c.name].Median[1]
			if len(after) < runs-1 {
				t.Errorf("proven in %d of %d", len(after), runs)
			}
			known := m.Extras.Runs > 0 && !raceEnabled
			if known && (float64(is) > 1.4*float64(was) || float64(is) < 0.6*float64(was)) {
				t.Errorf("proven after %d, the page says %d", is, was)
			}
		})
	}
}

// Counted as they end, requests that hang are missing exactly until the rest has
// proven that all is well: what a proof by the second of the draw is for.
func TestCountedAsTheyEndRequestsThatHangWouldProveAnything(t *testing.T) {
	c := proofCase{share: 0.5, old: 0.001, fresh: 0.001, hangs: 0.05, margin: 0.01, seconds: 300}
	for run := range uint64(10) {
		if after := c.live(1, run); after[0] > 0 {
			t.Errorf("run %d: proven after %v requests", run, after)
		}
		c.naive = true
		if after := c.live(1, run); after[1] == 0 {
			t.Errorf("run %d: counted as they end they prove nothing; the scenario tests nothing", run)
		}
		c.naive = false
	}
}

// After a day of good times a failure is found about as soon as after eight hours,
// and after none in less than a quarter of the requests.
func TestLongBakesStayAwake(t *testing.T) {
	tables, longest, runs := newTables(), 8, 40
	if raceEnabled {
		runs = 9
	}
	if os.Getenv("SLIPWAY_SIM_BAKES") != "" {
		longest = 24
	}
	median := func(hours int) int {
		var after []int
		for run := range runs {
			n, lowest := patient(tables, hours, 17, uint64(run))
			if after = append(after, n); lowest < -2.99 {
				t.Errorf("%d hours leave %v", hours, lowest)
			}
		}
		return quantile(after, 0.5)
	}
	if first, last := median(0), median(longest); last > 4*first || first > 2200 || first < 1100 {
		t.Errorf("after no time %d requests are needed, after %d hours %d", first, longest, last)
	}
}

// A new instance that is killed every twenty seconds leaves the route, so that
// nothing else speaks; its losses do.
func TestACrashLoopIsFound(t *testing.T) {
	for run := range uint64(50) {
		if at := crashLoop(20, 19, run); at == 0 || at > 240 {
			t.Errorf("run %d: found after %d seconds", run, at)
		}
		if at := crashLoop(0, 19, run); at > 0 {
			t.Errorf("run %d: as many losses as the old fleet has are evidence after %d seconds", run, at)
		}
	}
}

// The page says what is in the file of numbers, and the file is whole.
func TestThePageHasTheNumbers(t *testing.T) {
	m := readMeasured(t)
	was, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	is, err := m.page(string(was))
	if err != nil {
		t.Fatal(err)
	}
	if is != string(was) {
		t.Errorf("%s does not say what %s does: go run ./internal/gates -keep … -write .", page, numbers)
	}
	if n, missing := m.harmless(), m.missing(); n < 20_000 || n < wanted && missing == "" {
		t.Errorf("the page is of %d harmless bakes, and says that it lacks %q", n, missing)
	}
}

func TestTheExactRangeOfAChance(t *testing.T) {
	for _, c := range []struct {
		n, of       int
		least, most float64
	}{
		{0, 10_000, 0, 0.000369}, {1, 10, 0.002529, 0.445016}, {5, 100, 0.016432, 0.112835}, {10, 10, 0.691503, 1},
	} {
		least, most := clopperPearson(c.n, c.of)
		if math.Abs(least-c.least) > 1e-5 || math.Abs(most-c.most) > 1e-5 {
			t.Errorf("%d of %d: %v to %v, want %v to %v", c.n, c.of, least, most, c.least, c.most)
		}
	}
}

// A measurement that is interrupted goes on, to the same end.
func TestAMeasurementGoesOn(t *testing.T) {
	s := scenario{name: "short", errNew: 0.9, rps: 2}
	tables, dir := newTables(), t.TempDir()
	whole, err := measure(s, tables, 3, 5, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, runs := range []int{2, 3, 5} {
		r, err := measure(s, tables, 3, runs, dir)
		if err != nil {
			t.Fatal(err)
		}
		if runs == 5 {
			if a, b := asJSON(t, whole), asJSON(t, r); a != b {
				t.Errorf("in one go %s, in three %s", a, b)
			}
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func readMeasured(t *testing.T) *measured {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", numbers))
	if err != nil {
		t.Fatal(err)
	}
	m := new(measured)
	if err := json.Unmarshal(text, m); err != nil {
		t.Fatal(err)
	}
	return m
}
