package mirror

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestARequestIsSeenOnceInTenMinutes(t *testing.T) {
	for s := range uint64(200) {
		rng := rand.New(rand.NewPCG(s, 1))
		table := seen{limit: 50}
		last := map[uint64]time.Time{}
		now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		for range 2000 {
			now = now.Add(time.Duration(rng.IntN(int(20 * time.Second))))
			hash := uint64(rng.IntN(100))
			switch cause := table.again("d", hash, now); cause {
			case "":
				if before, ok := last[hash]; ok && now.Sub(before) < distinct {
					t.Fatalf("seed %d: seen again after %v", s, now.Sub(before))
				}
				last[hash] = now
			case causeRepeated:
				if before, ok := last[hash]; !ok || now.Sub(before) > 3*distinct {
					t.Fatalf("seed %d: it is no repetition: %v", s, now.Sub(before))
				}
			}
			if n := len(table.now) + len(table.past); n > 2*table.limit {
				t.Fatalf("seed %d: %d are remembered", s, n)
			}
		}
	}
}

// However many different requests there are, some are compared at all times, each
// once, and when they become fewer, all are.
func TestOfTooManyDifferentRequestsAPartIsComparedAtAllTimes(t *testing.T) {
	const limit, perSecond, seconds = 1 << 10, 20, 3600 // 12 times the limit in each stretch
	rng := rand.New(rand.NewPCG(7, 2))
	table := seen{limit: limit}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	last := map[uint64]time.Time{}
	minute := map[int]int{}
	for s := range seconds {
		now = now.Add(time.Second)
		for range perSecond {
			hash := rng.Uint64()
			if rng.IntN(4) == 0 { // one of some that come again
				hash = 0x9e3779b97f4a7c15 * uint64(rng.IntN(500))
			}
			if table.again("d", hash, now) == "" {
				if before, ok := last[hash]; ok && now.Sub(before) < distinct {
					t.Fatalf("seed 7: seen again after %v", now.Sub(before))
				}
				last[hash] = now
				minute[s/60]++
			}
			if len(table.now) > limit || len(table.past) > limit {
				t.Fatalf("%d and %d are remembered", len(table.now), len(table.past))
			}
		}
	}
	for m := range seconds / 60 {
		if minute[m] < 10 {
			t.Errorf("seed 7: %d of %d are compared in minute %d", minute[m], perSecond*60, m)
		}
	}
	for range 3 { // quiet stretches
		for range 9 {
			now = now.Add(time.Minute)
			table.again("d", 0, now)
		}
		now = now.Add(time.Minute + time.Second)
		table.again("d", 0, now)
	}
	for range 50 {
		if got := table.again("d", rng.Uint64(), now); got != "" {
			t.Errorf("seed 7: %q with room for %d", got, limit)
		}
	}
}

// Which requests are left out because there are too many is drawn by the requests
// alone: that is nothing which a gate has to hear of.
func TestRequestsThatAreTooManyToBeComparedAreNotToldAsUnseen(t *testing.T) {
	var told []Kind
	m := &Mirror{cfg: Config{Pairs: func(p Pair) { told = append(told, p.Kind) }}}
	m.pairs = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pairs"}, []string{"result"})
	for _, cause := range []string{causeRepeated, causeDistinct, causeClosed, causeQueue} {
		(&both{m: m}).shed(cause)
	}
	if len(told) != 1 || told[0] != Shed {
		t.Errorf("told of %v, want of the queue alone", told)
	}
}
