package mirror

import (
	"math/rand/v2"
	"testing"
	"time"
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
	var table seen
	table.limit = 1
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, want := range []string{"", causeDistinct} {
		if got := table.again("d", uint64(i), now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := table.again("another", 0, now.Add(2*distinct)); got != "" {
		t.Error(got)
	}
}
