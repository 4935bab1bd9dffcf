package evidence

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/platform/clock"
)

// Blink is the longest time that may go by unobserved without being a gap: a
// busy machine is no reason to start a bake over.
const Blink = 3 * time.Second

// askEvery is how often the database is asked whether it is there.
const askEvery = time.Second

// Watch notices when nobody was watching: before this server started, while its
// process stood still, while the database was away, and when the clock was
// changed, so that how long something took is not known.
type Watch struct {
	ping func(context.Context) error

	mu       sync.Mutex // guards what follows
	looked   time.Time  // the last time that this process was seen to run
	wall     time.Time  // what the clock on the wall said then
	answered time.Time  // the last time that the database did
	last     rollout.Gap
}

// NewWatch returns a watch that begins now. ping asks the database for
// something that needs all of it, writing included.
func NewWatch(ping func(context.Context) error) *Watch {
	now := time.Now()
	return &Watch{
		ping: ping, looked: now, wall: now.Round(0), answered: now,
		last: rollout.Gap{Until: now, Missed: "the server was started meanwhile"},
	}
}

// Run looks around until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { clock.Every(ctx, Blink/6, func() { w.LastGap() }) })
	clock.Every(ctx, askEvery, func() {
		ask, cancel := context.WithTimeout(ctx, Blink)
		defer cancel()
		if w.ping(ask) == nil {
			w.storeAnswered()
		}
	})
}

// storeAnswered takes note that the database answered just now.
func (w *Watch) storeAnswered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.look(now)
	if w.storeAway(now) {
		w.last = rollout.Gap{From: w.answered, Until: now, Missed: noAnswer}
	}
	w.answered = now
}

// LastGap returns the last gap. There was none from its end until now.
func (w *Watch) LastGap() rollout.Gap {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.look(now)
	if w.storeAway(now) { // whole seconds, so that not every look finds another gap
		return rollout.Gap{From: w.answered, Until: now.Truncate(time.Second).Add(time.Second), Missed: noAnswer}
	}
	return w.last
}

const noAnswer = "the database did not answer"

// storeAway reports whether the database has not answered for long. w.mu is
// held.
func (w *Watch) storeAway(now time.Time) bool { return now.Sub(w.answered) > Blink+askEvery }

// look compares how much time has passed since the last look by both clocks:
// the one that nobody sets, which stops only with the machine, and the one of
// the wall. w.mu is held.
func (w *Watch) look(now time.Time) {
	passed, told := now.Sub(w.looked), now.Round(0).Sub(w.wall)
	switch {
	case passed > Blink:
		w.last = rollout.Gap{From: w.looked, Until: now, Missed: "the server stood still"}
		w.answered = now // it is the same gap
	case told-passed > Blink, passed-told > Blink:
		w.last = rollout.Gap{From: w.looked, Until: now, Missed: "the clock was changed"}
	}
	w.looked, w.wall = now, now.Round(0)
}
