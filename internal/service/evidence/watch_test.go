package evidence

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// watched runs a watch in a bubble; the test takes the database away.
func watched(t *testing.T, f func(w *Watch, away *atomic.Bool, run func() (stop func()))) {
	synctest.Test(t, func(t *testing.T) {
		var away atomic.Bool
		w := NewWatch(func(context.Context) error {
			if away.Load() {
				return errors.New("it is away")
			}
			return nil
		})
		f(w, &away, func() (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); w.Run(ctx) }()
			return func() { cancel(); <-done }
		})
	})
}

func wantGap(t *testing.T, w *Watch, missed string, ago time.Duration) {
	t.Helper()
	if g := w.LastGap(); g.Missed != missed || time.Since(g.Until) != ago {
		t.Errorf("the last gap is %q, %v ago, want %q, %v ago", g.Missed, time.Since(g.Until), missed, ago)
	}
}

func TestAServerHasObservedSinceItStarted(t *testing.T) {
	watched(t, func(w *Watch, _ *atomic.Bool, run func() func()) {
		defer run()()
		time.Sleep(time.Hour)
		wantGap(t, w, "the server was started meanwhile", time.Hour)
	})
}

// Whoever asks first when the process goes on is told, whatever ran first.
func TestAProcessThatStoodStillKnows(t *testing.T) {
	watched(t, func(w *Watch, _ *atomic.Bool, run func() func()) {
		stop := run()
		time.Sleep(time.Minute)
		stop()
		time.Sleep(Blink + time.Second)
		wantGap(t, w, "the server stood still", 0)
		defer run()()
		time.Sleep(time.Minute)
		wantGap(t, w, "the server stood still", time.Minute)
	})
}

func TestADatabaseThatWasAwayIsAGap(t *testing.T) {
	watched(t, func(w *Watch, away *atomic.Bool, run func() func()) {
		defer run()()
		time.Sleep(time.Minute + time.Millisecond)
		away.Store(true)
		time.Sleep(2 * time.Second) // not for long
		away.Store(false)
		time.Sleep(time.Minute)
		wantGap(t, w, "the server was started meanwhile", 2*time.Minute+2*time.Second+time.Millisecond)
		away.Store(true)
		time.Sleep(20 * time.Second)
		away.Store(false)
		time.Sleep(5 * time.Second)
		if g := w.LastGap(); g.Missed != noAnswer || time.Since(g.Until) < 3*time.Second {
			t.Errorf("the last gap is %+v", g)
		}
	})
}

func TestAClockThatIsSetIsAGap(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		watched(t, func(w *Watch, _ *atomic.Bool, run func() func()) {
			defer run()()
			time.Sleep(time.Minute)
			w.mu.Lock()
			w.wall = w.wall.Add(-by)
			w.mu.Unlock()
			wantGap(t, w, "the clock was changed", 0)
		})
	}
}
