package rollout_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// ordered gives orders.
func ordered(orders ...rollout.Order) func(*rollout.Facts) {
	return func(f *rollout.Facts) { f.Orders = orders }
}

func said(v rollout.Verb, after int) rollout.Order {
	return rollout.Order{Verb: v, By: "ann", At: t0.Add(secs(after))}
}

// both bends facts twice.
func both(a, b func(*rollout.Facts)) func(*rollout.Facts) {
	return func(f *rollout.Facts) { a(f); b(f) }
}

func TestAPausedBakeStandsStillAndGoesOnWhereItStood(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(100))
	pause := said(rollout.Pause, 100)
	r.rest(ordered(pause))
	if want := t0.Add(rollout.DefaultTimeout); !r.wake.Equal(want) {
		t.Errorf("paused, it wakes %v, want the timeout %v", r.wake, want)
	}
	if _, paused := r.state.Paused(); !paused {
		t.Error("it is not paused")
	}
	r.now = t0.Add(secs(5000))
	r.rest(ordered(pause))
	if got, want := line(r.state), "Baking old 3/4 new 1/4 25%"; got != want {
		t.Errorf("long after: %s, want %s", got, want)
	}
	resume := said(rollout.Resume, 5000)
	r.rest(ordered(pause, resume))
	if want := t0.Add(secs(5200)); !r.wake.Equal(want) {
		t.Errorf("resumed, it wakes %v after the beginning, want %v", r.wake.Sub(t0), want.Sub(t0))
	}
	r.now = r.wake
	r.rest(ordered(pause, resume))
	want := []rollout.Followed{
		{Order: pause, Phase: rollout.Baking, From: pause.At, Until: resume.At, Extended: secs(4900)},
		{Order: resume, Phase: rollout.Baking},
	}
	if diff := cmp.Diff(want, r.state.Followed); diff != "" || r.state.Step != 1 || r.state.Held != 0 {
		t.Errorf("%s held %v, orders (-want +got):\n%s", line(r.state), r.state.Held, diff)
	}
}

func TestAnOrderCountsFromWhenItWasGivenNotFromWhenItIsFollowed(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(400))
	r.rest(ordered(said(rollout.Pause, 100), said(rollout.Resume, 350))) // nobody was there to follow them
	if want := t0.Add(secs(550)); r.state.Step != 0 || !r.wake.Equal(want) {
		t.Errorf("%s of step %d bakes until %v after the beginning, want %v", line(r.state), r.state.Step,
			r.wake.Sub(t0), want.Sub(t0))
	}
}

func TestAPauseHoldsWhatGoesForwardAndNothingElse(t *testing.T) {
	roll := watching(rolling(percent(50), rollout.Size{}, 60))
	short := watching(canary(count(1), 300, 120))
	short.MaximumExecutionTimeout = secs(600)
	tests := map[string]struct {
		ride   *ride
		bend   func(*rollout.Facts)
		want   string
		reason string
	}{
		"instances get ready, no traffic shifts": {
			at(t, rollout.Update, short, fleet(4, 4), rollout.Launching, 0, 0),
			nothingChanges, "Launching old 4/4 new 0/4 0%", "",
		},
		"traffic has just shifted": {
			at(t, rollout.Update, short, fleet(4, 4), rollout.Shifting, 0, 0),
			nothingChanges, "Shifting old 3/4 new 1/4 25%", "",
		},
		"a bake ends no more": {at(t, rollout.Update, short, fleet(4, 4), rollout.Baking, 0,
			secs(300)), nothingChanges, "Baking old 3/4 new 1/4 25%", ""},
		"nothing commits": {at(t, rollout.Update, short, fleet(4, 4), rollout.Baking, 1,
			secs(200)), nothingChanges, "Baking old 0/4 new 4/4 100%", ""},
		"no batch is launched": {
			at(t, rollout.Update, roll, fleet(4, 4), rollout.Retiring, 0, 0),
			nothingChanges, "Retiring old 2/2 new 2/2 50%", "",
		},
		"a capacity update takes no instance on": {
			at(t, rollout.Scale, nil, fleet(2, 4), rollout.Launching, 0, 0),
			nothingChanges, "Launching old 2/4 new 0/0 0%", "",
		},
		"an endpoint is not created": {
			at(t, rollout.Create, nil, fleet(0, 2), rollout.Launching, 0, 0), nothingChanges,
			"Launching old 0/0 new 0/2 0%", "",
		},
		"an alarm rolls back": {
			at(t, rollout.Update, short, fleet(4, 4), rollout.Baking, 0, 0), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"a failure rolls back": {
			at(t, rollout.Update, short, fleet(4, 4), rollout.Launching, 0, 0), cannotStart,
			"RolledBack old 4/4 new 0/0 0%", "it broke",
		},
		"the timeout rolls back, and the text says": {
			at(t, rollout.Update, short, fleet(4, 4), rollout.Baking, 0, 0),
			func(f *rollout.Facts) {
				f.Now = t0.Add(secs(600))
			}, "RolledBack old 4/4 new 0/0 0%", timedOut + " It was paused for 600 of them.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			paused := ordered(rollout.Order{Verb: rollout.Pause, At: tt.ride.now})
			r := tt.ride.rest(paused)
			r.rest(both(paused, tt.bend))
			if got := line(r.state); got != tt.want || r.state.Reason != tt.reason {
				t.Errorf("%s because %q, want %s because %q", got, r.state.Reason, tt.want, tt.reason)
			}
			if _, paused := r.state.Paused(); paused != r.state.Phase.Undoable() {
				t.Errorf("paused in %s: %v", r.state.Phase, paused)
			}
		})
	}
}

func TestAPromotedDeploymentWaitsForInstancesAndAlarmsAlone(t *testing.T) {
	c := watching(linear(percent(50), 600, 600))
	c.MinimumRequests = 1000
	r := at(t, rollout.Update, c, fleet(2, 2), rollout.Baking, 0, secs(10))
	orders := ordered(said(rollout.Pause, 5), said(rollout.Promote, 10))
	r.rest(both(orders, notReady))
	if got, want := line(r.state), "Baking old 1/2 new 1/2 50%"; got != want {
		t.Errorf("with an instance that dips: %s, want %s", got, want)
	}
	r.rest(orders)
	if got, want := line(r.state), "Baking old 0/2 new 2/2 100%"; got != want || r.wake.Sub(r.now) != time.Millisecond {
		t.Errorf("%s for %v, want %s just long enough to read the alarms", got, r.wake.Sub(r.now), want)
	}
	r.now = r.wake
	again := *r
	if again.rest(both(orders, firing)); again.state.Phase != rollout.RolledBack {
		t.Errorf("with an alarm: %s", line(again.state))
	}
	if r.rest(orders); r.state.Phase != rollout.Succeeded {
		t.Errorf("without: %s", line(r.state))
	}
	if diff := cmp.Diff([]int{0, 1}, r.state.Unproven); diff != "" {
		t.Errorf("steps without a request (-want +got):\n%s", diff)
	}
}

func TestAnAbortRollsBackInOneWriteAndSaysWho(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(300))
	abort := ordered(said(rollout.Abort, 300))
	r.turn(abort)
	if got, want := line(r.state), "Returning old 4/4 new 0/4 0%"; got != want || !r.state.Turned.Equal(r.now) {
		t.Errorf("%s, want %s", got, want)
	}
	r.rest(abort)
	if want := "Endpoint deployment was aborted by ann."; r.state.Phase != rollout.RolledBack ||
		r.state.Reason != want {
		t.Errorf("%s because %q, want %q", line(r.state), r.state.Reason, want)
	}
}

func TestAnOrderThatComesTooLateIsIgnoredAndSaysWhy(t *testing.T) {
	c := watching(canary(count(1), 300, 120))
	back := at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0, 0)
	back.turn(firing)
	over := at(t, rollout.Update, c, fleet(4, 4), rollout.Succeeded, 1, 0)
	tests := map[string]struct {
		ride *ride
		verb rollout.Verb
		kind fault.Kind
		want string
	}{
		"being rolled back": {
			back, rollout.Promote, fault.InUse,
			"The deployment can no longer be promoted: it is being rolled back.",
		},
		"committed": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Committed, 1, 0), rollout.Abort,
			fault.InUse, "The deployment can no longer be aborted: all traffic has moved, and what is left over is " +
				"being terminated.",
		},
		"over": {
			over, rollout.Pause, fault.InUse,
			"The deployment can no longer be paused: it has ended.",
		},
		"a deletion": {
			at(t, rollout.Delete, nil, fleet(4, 0), rollout.Committed, 0, 0), rollout.Abort,
			fault.InUse, "The deletion of an endpoint cannot be aborted.",
		},
		"not paused": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0, 0), rollout.Resume,
			fault.Invalid, "The deployment is not paused.",
		},
		"not a verb": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0, 0), "Dance",
			fault.Invalid, "A deployment can be paused, resumed, promoted and aborted, nothing else.",
		},
		"an alarm fired meanwhile": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0, 0), rollout.Pause, 0,
			"The deployment can no longer be paused: it is being rolled back.",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tt.ride
			late := ordered(rollout.Order{Verb: tt.verb, At: r.now})
			if tt.kind == 0 {
				r.turn(both(late, firing))
			} else if err := r.plan.Obeys(r.state, tt.verb); !errors.Is(err, tt.kind) || err.Error() != tt.want {
				t.Errorf("Obeys says %v, want %q of kind %v", err, tt.want, tt.kind)
			}
			was := line(r.state)
			r.turn(late)
			if got := r.state.Followed[0].Ignored; got != tt.want || line(r.state) != was {
				t.Errorf("%s became %s, ignored because %q, want %q", was, line(r.state), got, tt.want)
			}
		})
	}
}

func TestOrdersThatAreNotFollowedYetCountForTheNext(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, 0)
	obeys := func(v rollout.Verb, given ...rollout.Verb) bool {
		var orders []rollout.Order
		for _, g := range given {
			orders = append(orders, rollout.Order{Verb: g, At: r.now})
		}
		return r.plan.Obeys(r.state, v, orders...) == nil
	}
	many := make([]rollout.Verb, 0, rollout.MaxOrders)
	for range rollout.MaxOrders / 2 {
		many = append(many, rollout.Pause, rollout.Resume)
	}
	for what, ok := range map[string]bool{
		"resume after pause":           obeys(rollout.Resume, rollout.Pause),
		"pause twice":                  !obeys(rollout.Pause, rollout.Pause),
		"pause after resume":           obeys(rollout.Pause, rollout.Pause, rollout.Resume),
		"nothing after abort":          !obeys(rollout.Resume, rollout.Pause, rollout.Abort),
		"promote ends a pause":         !obeys(rollout.Resume, rollout.Pause, rollout.Promote),
		"promote twice":                !obeys(rollout.Promote, rollout.Promote),
		"promote what paused again":    obeys(rollout.Promote, rollout.Promote, rollout.Pause),
		"no pause after too many":      !obeys(rollout.Pause, many...),
		"an abort always":              obeys(rollout.Abort, many...),
		"resume of one that is paused": obeys(rollout.Resume, many[:rollout.MaxOrders-1]...),
	} {
		if !ok {
			t.Errorf("wrong: %s", what)
		}
	}
}

func TestABakeWaitsForItsMinimumOfRequests(t *testing.T) {
	c := canary(count(1), 300, 0)
	c.MinimumRequests, c.MaximumExecutionTimeout = 100, secs(1000)
	r := start(t, plan(t, rollout.Update, c, fleet(4, 4)))
	came := func(n int64) func(*rollout.Facts) { return func(f *rollout.Facts) { f.GreenRequests = n } }
	r.rest(came(7))
	r.now = r.now.Add(secs(300))
	r.rest(came(106))
	if got, want := line(r.state), "Baking old 3/4 new 1/4 25%"; got != want || r.wake.Sub(r.now) != time.Second {
		t.Errorf("%s, asks again in %v, want %s in a second", got, r.wake.Sub(r.now), want)
	}
	r.rest(came(107))
	if got, want := line(r.state), "Baking old 0/4 new 4/4 100%"; got != want {
		t.Errorf("%s, want %s: a step without a wait waits for requests too", got, want)
	}
	r.now = t0.Add(secs(1000))
	if r.rest(came(206)); r.state.Phase != rollout.RolledBack {
		t.Errorf("%s, want RolledBack by the timeout", line(r.state))
	}
}

func TestABakeWithoutARequestIsMarked(t *testing.T) {
	for requests, want := range map[int64][]int{0: {0, 1}, 1: nil} {
		r := start(t, plan(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4)))
		n := int64(0)
		r.end(func(f *rollout.Facts) { n += requests; f.GreenRequests = n })
		if diff := cmp.Diff(want, r.state.Unproven); diff != "" || r.state.Phase != rollout.Succeeded {
			t.Errorf("%s with %d request(s) a turn, marked (-want +got):\n%s", r.state.Phase, requests, diff)
		}
	}
}

func TestAPauseSurvivesAClockThatIsSetBack(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(100))
	pause := said(rollout.Pause, 100)
	r.rest(ordered(pause))
	r.now = r.now.Add(-time.Hour)
	r.rest(ordered(pause))
	began := r.now
	r.now = r.now.Add(secs(60))
	r.rest(ordered(pause, rollout.Order{Verb: rollout.Resume, At: r.now}))
	if want := began.Add(secs(360)); !r.wake.Equal(want) {
		t.Errorf("bakes for %v from when the clock was set back, want %v", r.wake.Sub(began), want.Sub(began))
	}
}

// What the record of a deployment is made of.
func TestFollowedOrdersAreStored(t *testing.T) {
	r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(1))
	r.rest(ordered(said(rollout.Pause, 1), said(rollout.Pause, 1)))
	got, err := json.Marshal(r.state.Followed)
	const since = `"2026-01-02T03:04:06Z"`
	want := fmt.Sprintf(`[{"verb":"Pause","by":"ann","at":%[1]s,"phase":"Baking","step":0,"from":%[1]s},`+
		`{"verb":"Pause","by":"ann","at":%[1]s,"phase":"Baking","step":0,"ignored":"The deployment is paused already."}]`, since)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestWhatPausesAddUpTo(t *testing.T) {
	pause, resume := rollout.Pause, rollout.Resume
	tests := map[string]struct {
		now    int // after t0; the bake of 300 s begins at t0
		orders []rollout.Order
		want   int // the bake ends so long after t0
	}{
		"two pauses in one bake": {
			100,
			[]rollout.Order{said(pause, 10), said(resume, 20), said(pause, 30), said(resume, 50)},
			330,
		},
		"the same time does not count twice": {
			100,
			[]rollout.Order{said(pause, 10), said(resume, 50), said(pause, 20), said(resume, 60)},
			350,
		},
		"a pause before the bake began counts from there": {
			100,
			[]rollout.Order{said(pause, -50), said(resume, 50)},
			350,
		},
		"an order from the future counts from now": {
			100,
			[]rollout.Order{said(pause, 10), said(resume, 500)},
			390,
		},
		"a resume before its pause counts for nothing": {
			100,
			[]rollout.Order{said(pause, 50), said(resume, 10)},
			300,
		},
		"a pause of a bake that has elapsed does not last": {
			310,
			[]rollout.Order{said(pause, 305), said(resume, 309)},
			310,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := at(t, rollout.Update, canary(count(1), 300, 120), fleet(4, 4), rollout.Baking, 0, secs(tt.now))
			dip := both(ordered(tt.orders...), notReady) // lest the step ends
			r.rest(dip)
			ends := rollout.DefaultTimeout
			if tt.want > tt.now {
				ends = secs(tt.want)
			}
			if got := r.wake.Sub(t0); got != ends {
				t.Errorf("asks again %v after the beginning, want %v", got, ends)
			}
			if tt.want == tt.now && r.state.Held != 0 {
				t.Errorf("held for %v", r.state.Held)
			}
		})
	}
}
