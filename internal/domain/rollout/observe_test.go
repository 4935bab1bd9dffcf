package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// since says that observing began again so long ago.
func since(ago time.Duration, missed string) func(*rollout.Facts) {
	return func(f *rollout.Facts) {
		f.Observed.Last = rollout.Gap{From: f.Now.Add(-ago - secs(18)), Until: f.Now.Add(-ago), Missed: missed}
	}
}

func TestABakeLastsItsWaitInOnePiece(t *testing.T) {
	c := watching(canary(count(1), 300, 120))
	baking := func(step, wait int) *ride {
		return at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, step, secs(wait))
	}
	const canaryBakes, allBake = "Baking old 3/4 new 1/4 25%", "Baking old 0/4 new 4/4 100%"
	for name, tt := range map[string]struct {
		ride  *ride
		bend  func(*rollout.Facts)
		want  string
		again time.Duration // from now, it asks again
	}{
		"a server that starts when the wait is over bakes in full": {
			baking(0, 300), since(0, "it was started"), canaryBakes, secs(300),
		},
		"so does the termination wait": {baking(1, 120), since(0, "it was started"), allBake, secs(120)},
		"what was observed counts": {
			baking(0, 300), since(secs(100), "it stood still"), canaryBakes, secs(200),
		},
		"a gap before the bake is none":         {baking(0, 300), since(secs(300), "it was new"), allBake, secs(120)},
		"what nobody has looked at yet is none": {baking(0, 300), blind, canaryBakes, secs(1)},
		"nobody observes":                       {baking(0, 300), nobody, canaryBakes, secs(1)},
	} {
		t.Run(name, func(t *testing.T) {
			r := tt.ride.rest(tt.bend)
			if got := line(r.state); got != tt.want || !r.wake.Equal(r.now.Add(tt.again)) {
				t.Errorf("%s until %v, want %s for %v", got, r.wake.Sub(r.now), tt.want, tt.again)
			}
		})
	}
}

// blind are the facts of a turn whose evidence is older than the end of the bake.
func blind(f *rollout.Facts) { f.Observed.Until = f.Now.Add(-time.Microsecond) }

func nobody(f *rollout.Facts) { f.Observed = rollout.Observation{} }

func TestAGapIsInTheRecordAndTheTimeoutBoundsIt(t *testing.T) {
	c := watching(canary(count(1), 300, 0))
	c.MaximumExecutionTimeout = secs(600)
	r := at(t, rollout.Update, c, fleet(2, 2), rollout.Baking, 0, secs(200))
	r.rest(since(0, "the server stood still"))
	want := rollout.Gap{From: r.now.Add(-secs(18)), Until: r.now, Missed: "the server stood still"}
	if len(r.state.Gaps) != 1 || r.state.Gaps[0] != want {
		t.Errorf("the record says %+v, want %+v", r.state.Gaps, want)
	}
	for range 10 { // it goes on
		r.now = r.now.Add(secs(1))
		r.rest(since(0, "the server stood still"))
	}
	if len(r.state.Gaps) != 1 || !r.state.Gaps[0].Until.Equal(r.now) {
		t.Errorf("a gap that goes on is %+v", r.state.Gaps)
	}
	for n := range 100 {
		r.rest(since(0, fmt.Sprint("reason ", n)))
		r.now = r.now.Add(secs(3))
	}
	if n := len(r.state.Gaps); n > 20 {
		t.Errorf("%d gaps are remembered", n)
	}
	r.now = t0.Add(secs(600))
	r.rest(since(0, "the database did not answer"))
	if got := r.state.Reason; !strings.HasSuffix(got, " A bake started over because reason 99.") {
		t.Errorf("rolled back because %s", got)
	}
}

// A pause and a gap in one bake: neither time is counted, nor any of it twice.
func TestABakeThatStartedOverStandsStillWhilePaused(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 0), fleet(2, 2), rollout.Baking, 0, secs(100))
	orders := []rollout.Order{{Verb: rollout.Pause, At: r.now}}
	gap := rollout.Gap{}
	given := func(f *rollout.Facts) { f.Orders, f.Observed.Last = orders, gap }
	r.rest(given)
	r.now = r.now.Add(secs(50))
	gap = rollout.Gap{Until: r.now, Missed: "it was started"}
	r.now = r.now.Add(secs(30))
	orders = append(orders, rollout.Order{Verb: rollout.Resume, At: r.now})
	r.rest(given)
	if r.rest(given); !r.wake.Equal(r.now.Add(secs(300))) {
		t.Errorf("it bakes for another %v", r.wake.Sub(r.now))
	}
}

// Requests that came while nobody measured them are no proof.
func TestAMinimumOfRequestsIsCountedAnewAfterAGap(t *testing.T) {
	c := canary(count(1), 60, 0)
	c.MinimumRequests = 10
	r := at(t, rollout.Update, c, fleet(2, 2), rollout.Baking, 0, secs(60))
	until := r.now
	answered := func(n int64) func(*rollout.Facts) {
		return func(f *rollout.Facts) { f.GreenRequests, f.Observed.Last.Until = n, until }
	}
	r.rest(answered(50))
	r.now = r.now.Add(secs(60))
	if r.rest(answered(59)); r.state.Step != 0 {
		t.Errorf("nine requests were enough")
	}
	if r.rest(answered(60)); r.state.Step != 1 {
		t.Errorf("ten requests were not enough: %s", line(r.state))
	}
}
