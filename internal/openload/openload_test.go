package openload

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestEveryRequestEndsInExactlyOneClass(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	boom := errors.New("boom")
	seen := map[int]int{}
	cfg := Config{Rate: 20000, Count: 1000, MaxInFlight: 8, OnResult: func(r Result) { seen[r.Seq]++ }}
	rep, err := Run(ctx, cfg, func(ctx context.Context, seq int) error {
		switch {
		case seq == 600:
			cancel()
			return nil
		case seq%5 == 0:
			return boom
		}
		return ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum := rep.Count(OK) + rep.Count(Failed) + rep.Count(Cancelled) + rep.Count(Unsent); sum != 1000 ||
		rep.Requests != 1000 {
		t.Errorf("the classes sum to %d: %v", sum, rep)
	}
	if rep.Count(Unsent) == 0 || rep.Count(Failed) == 0 || !errors.Is(rep.FirstErr, boom) {
		t.Errorf("unexpected report: %v, first error %v", rep, rep.FirstErr)
	}
	if len(seen) != 1000-rep.Count(Unsent) {
		t.Errorf("%d results were told of, %d were sent", len(seen), 1000-rep.Count(Unsent))
	}
	for seq, n := range seen {
		if n != 1 {
			t.Errorf("request %d was told of %d times", seq, n)
		}
	}
}

// With one place and a stall of 100 ms, a closed loop would see one slow
// request; an open loop sees all that were due in that time.
func TestAStallIsSeenByEveryRequestThatFellIntoIt(t *testing.T) {
	slow := 0
	cfg := Config{Rate: 500, Count: 100, MaxInFlight: 1, OnResult: func(r Result) {
		if r.Latency() > 20*time.Millisecond {
			slow++
		}
	}}
	_, err := Run(t.Context(), cfg, func(_ context.Context, seq int) error {
		if seq == 10 {
			time.Sleep(100 * time.Millisecond) // a slow answer
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if slow < 30 {
		t.Errorf("only %d requests felt a stall in which 50 were due", slow)
	}
}

func TestNoMoreRequestsAreUnderWayThanAllowed(t *testing.T) {
	var now, most atomic.Int64
	_, err := Run(t.Context(), Config{Rate: 50000, Count: 500, MaxInFlight: 7}, func(context.Context, int) error {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(100 * time.Microsecond) // as long as an answer takes
		now.Add(-1)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if most.Load() > 7 {
		t.Errorf("%d requests were under way at a time", most.Load())
	}
}

func TestAHangingCallIsCancelledAfterTheGrace(t *testing.T) {
	rep, err := Run(t.Context(), Config{Rate: 1000, Count: 3, Grace: 200 * time.Millisecond},
		func(ctx context.Context, seq int) error {
			if seq == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Count(Cancelled) != 1 || rep.Count(OK) != 2 {
		t.Errorf("unexpected report: %v", rep)
	}
}

func TestStoppingLetsWhatIsUnderWayFinish(t *testing.T) {
	stop := make(chan struct{})
	rep, err := Run(t.Context(), Config{Rate: 1000, Count: 100000, Stop: stop},
		func(ctx context.Context, seq int) error {
			if seq == 20 {
				close(stop)
				time.Sleep(20 * time.Millisecond) // an answer under way
			}
			return ctx.Err()
		})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Count(OK) != rep.Requests || rep.Requests < 21 || rep.Requests > 1000 {
		t.Errorf("unexpected report: %v", rep)
	}
}

func TestTheRateIsKept(t *testing.T) {
	rep, err := Run(t.Context(), Config{Rate: 1000, Duration: 300 * time.Millisecond},
		func(context.Context, int) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if rep.Requests != 300 || rep.Elapsed < 299*time.Millisecond {
		t.Errorf("%v", rep)
	}
}

func TestARunWithoutRateOrCountIsRefused(t *testing.T) {
	for name, cfg := range map[string]Config{"no rate": {Count: 1}, "nothing to send": {Rate: 1}} {
		if _, err := Run(t.Context(), cfg, func(context.Context, int) error { return nil }); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestQuantilesAreRightWithinOnePercent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.Uint64().Draw(t, "seed")
		r := rand.New(rand.NewPCG(seed, 1))
		var h Histogram
		values := make([]time.Duration, rapid.IntRange(1, 500).Draw(t, "n"))
		for i := range values {
			values[i] = time.Duration(r.Uint64N(1 << r.UintN(40)))
			h.Add(values[i])
		}
		slices.Sort(values)
		for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
			want := values[max(int(q*float64(len(values))+0.9999999), 1)-1]
			if got := h.Quantile(q); got < want || float64(got) > float64(want)*1.01+1 {
				t.Fatalf("quantile %v is %d, want %d", q, got, want)
			}
		}
		if h.Max() != values[len(values)-1] || h.Len() != len(values) {
			t.Fatalf("max %v, len %d", h.Max(), h.Len())
		}
	})
}
