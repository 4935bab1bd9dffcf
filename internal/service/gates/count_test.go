package gates_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/evidence"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/service/gates"
)

var (
	key   = traffic.Key{Region: "eu-west-3", Name: "e"}
	place = gates.Place{Endpoint: key, Variant: "v"}
	ours  = gates.Fleets{Old: "f-1", New: "f-2"}
)

// sample is a request that was drawn for the new fleet, or the old one.
func sample(green bool, slot int, share float64) traffic.Sample {
	d := traffic.Draw{Variant: "v", Fleet: "f-1", Role: traffic.OldFleet, Slot: slot, Share: share, At: time.Now()}
	if green {
		d.Fleet, d.Role = "f-2", traffic.NewFleet
	}
	return traffic.Sample{Key: key, Variant: "v", Draw: d}
}

// cells are, by gate, fleet (new, old) and cell, how many requests were counted.
type cells map[evidence.Kind]*[2][2]float64

func (c cells) add(k evidence.Kind, n evidence.Count) {
	if c[k] == nil {
		c[k] = new([2][2]float64)
	}
	fleet := 0
	if n.Old {
		fleet = 1
	}
	c[k][fleet][n.Cell] += n.N
}

// random draws a request, and adds to want what it has to count as.
func random(x *rand.Rand, want cells) traffic.Sample {
	s := sample(x.IntN(3) == 0, x.IntN(40), []float64{.05, .25, .5}[x.IntN(3)])
	s.ModelError, s.Retried, s.Abandoned = x.IntN(5) == 0, x.IntN(7) == 0, x.IntN(9) == 0
	s.Status5XX, s.Status4XX = s.ModelError && x.IntN(2) == 0, s.ModelError && x.IntN(3) == 0
	for k, is := range map[evidence.Kind]bool{
		evidence.Errors: s.ModelError && !s.Abandoned, evidence.ServerErrors: s.Status5XX && !s.Abandoned,
		evidence.ClientErrors: s.Status4XX && !s.Abandoned, evidence.Retries: s.Retried,
		evidence.Abandoned: s.Abandoned,
	} {
		n := evidence.Count{Old: s.Draw.Role == traffic.OldFleet, N: 1}
		if is {
			n.Cell = evidence.Event
		}
		want.add(k, n)
	}
	return s
}

// However many count and however often one takes, each request is counted once,
// for the fleet that it was drawn for, with all its events.
func TestEachRequestIsCountedOnceForTheFleetThatWasDrawn(t *testing.T) {
	const seed, workers, each = 1, 4, 20_000
	var c gates.Counter
	c.Watch(place, ours)
	var wg sync.WaitGroup
	var wants [workers]cells
	for i := range workers {
		wants[i] = cells{}
		wg.Go(func() {
			x := rand.New(rand.NewPCG(seed, uint64(i)))
			for range each {
				c.Sample(random(x, wants[i]))
			}
		})
	}
	done := make(chan struct{})
	go func() { defer close(done); wg.Wait() }()
	got := cells{}
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		taken := c.Take(place)
		for k, cs := range taken.Counts {
			for _, n := range cs {
				got.add(k, n)
			}
		}
		if taken.Missed > 0 {
			t.Errorf("seed %d: %d were missed", seed, taken.Missed)
		}
	}
	for k := range got {
		want := [2][2]float64{}
		for _, w := range wants {
			for f := range want {
				for cell := range want[f] {
					want[f][cell] += w[k][f][cell]
				}
			}
		}
		if *got[k] != want {
			t.Errorf("seed %d: %s: counted %v, want %v", seed, k, *got[k], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("seed %d: %d gates count", seed, len(got))
	}
}

// What says nothing of the two fleets is not counted: no draw between them, another
// deployment's, another place, or nobody is interested.
func TestOnlyDrawsBetweenTheTwoFleetsCount(t *testing.T) {
	for name, edit := range map[string]func(*traffic.Sample){
		"no instance was chosen":     func(s *traffic.Sample) { s.Draw = traffic.Draw{} },
		"all goes to the new fleet":  func(s *traffic.Sample) { s.Draw.Share = 1 },
		"nothing goes to it":         func(s *traffic.Sample) { s.Draw.Share = 0 },
		"a remnant":                  func(s *traffic.Sample) { s.Draw.Role = traffic.NeitherFleet },
		"an earlier deployment's":    func(s *traffic.Sample) { s.Draw.Fleet = "f-0" },
		"another variant was drawn":  func(s *traffic.Sample) { s.Draw.Variant = "w" },
		"another endpoint":           func(s *traffic.Sample) { s.Key.Name = "f" },
		"a share that is no number":  func(s *traffic.Sample) { s.Draw.Share = -1 },
		"the new fleet's, as an old": func(s *traffic.Sample) { s.Draw.Role = traffic.OldFleet },
	} {
		var c gates.Counter
		c.Sample(sample(true, 0, .5)) // nobody is interested yet
		c.Watch(place, ours)
		s := sample(true, 0, .5)
		edit(&s)
		c.Sample(s)
		if got := c.Take(place); len(got.Counts) > 0 || got.Missed > 0 {
			t.Errorf("%s: %+v", name, got)
		}
		c.Sample(sample(true, 0, .5))
		if got := c.Take(place); len(got.Counts) != 5 {
			t.Errorf("%s, then one that counts: %+v", name, got)
		}
		c.Forget(place)
		c.Sample(sample(true, 0, .5))
		if got := c.Take(place); len(got.Counts) > 0 {
			t.Errorf("forgotten: %+v", got)
		}
	}
}

// Watching what is watched already loses nothing; another deployment begins anew.
func TestAnotherDeploymentIsCountedFromZero(t *testing.T) {
	var c gates.Counter
	c.Watch(place, ours)
	c.Sample(sample(true, 0, .5))
	c.Watch(place, ours)
	if got := c.Take(place).Counts[evidence.Errors]; len(got) != 1 || got[0].N != 1 {
		t.Errorf("watched again: %+v", got)
	}
	c.Sample(sample(true, 0, .5))
	c.Watch(place, gates.Fleets{Old: "f-2", New: "f-3"})
	if got := c.Take(place).Counts; len(got) > 0 {
		t.Errorf("another deployment begins with %+v", got)
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	var c gates.Counter
	rest, split := sample(true, 0, 0), sample(true, 3, .25)
	c.Watch(place, ours)
	for name, s := range map[string]traffic.Sample{"at rest": rest, "divided": split} {
		c.Sample(s)
		if n := testing.AllocsPerRun(1000, func() { c.Sample(s) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkSample(b *testing.B) {
	var c gates.Counter
	c.Watch(place, ours)
	for name, s := range map[string]traffic.Sample{"rest": sample(false, 0, 0), "divided": sample(true, 3, .25)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.Sample(s)
			}
		})
	}
}

// There are more chances than any deployment has steps: what is beyond is left out,
// and said.
func TestRequestsOfTooManySharesAreMissedAndSaid(t *testing.T) {
	var c gates.Counter
	c.Watch(place, ours)
	for n := range 40 {
		c.Sample(sample(true, 0, float64(n+1)/100))
	}
	if got := c.Take(place); len(got.Counts[evidence.Errors]) != 32 || got.Missed != 8 {
		t.Errorf("%d shares were counted, %d requests missed", len(got.Counts[evidence.Errors]), got.Missed)
	}
}
