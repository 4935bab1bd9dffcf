package rollout_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// at returns a ride that came to rest in the phase and step, after wait there.
func at(t *testing.T, kind rollout.Kind, c *rollout.Policy, vs []rollout.Variant, ph rollout.Phase, step int,
	wait time.Duration,
) *ride {
	r := start(t, plan(t, kind, c, vs)).to(ph, step)
	r.now = r.now.Add(wait)
	return r
}

const (
	alarmed = "Endpoint deployment was rolled back because the following CloudWatch alarm(s) are in ALARM " +
		"state: [a, b]."
	timedOut = "Endpoint deployment was rolled back because it exceeded MaximumExecutionTimeoutInSeconds of " +
		"600 seconds."
)

func firing(f *rollout.Facts)          { f.FiringAlarms = []string{"b", "stranger", "a"} }
func takenBack(f *rollout.Facts)       { f.TakenBack = "it answers otherwise." }
func deleted(f *rollout.Facts)         { f.DeletedAlarms = []string{"stranger", "a"} }
func bothAlarms(f *rollout.Facts)      { firing(f); f.FiringAlarms = f.FiringAlarms[:1]; deleted(f) }
func notReady(f *rollout.Facts)        { f.New[0].Ready-- }
func nothingChanges(_ *rollout.Facts)  {}
func oldStillThere(f *rollout.Facts)   { f.Old[0].Exists++ }
func newStillThere(f *rollout.Facts)   { f.New[0].Exists++ }
func cannotStart(f *rollout.Facts)     { f.Failure = "it broke" }
func strangerAlarms(f *rollout.Facts)  { f.FiringAlarms = []string{"stranger"} }
func waitingAndAlarm(f *rollout.Facts) { notReady(f); firing(f) }

func TestTurns(t *testing.T) {
	short := watching(canary(count(1), 300, 120))
	short.MaximumExecutionTimeout = secs(600)
	roll := watching(rolling(percent(50), rollout.Size{}, 60))
	up := func(ph rollout.Phase, step, wait int) *ride {
		return at(t, rollout.Update, short, fleet(4, 4), ph, step, secs(wait))
	}
	batch := func(ph rollout.Phase, step, wait int) *ride {
		return at(t, rollout.Update, roll, fleet(4, 4), ph, step, secs(wait))
	}
	tests := map[string]struct {
		ride   *ride
		bend   func(*rollout.Facts)
		want   string // once at rest
		reason string
	}{
		"no traffic before every new instance is ready": {
			up(rollout.Launching, 0, 0), notReady,
			"Launching old 4/4 new 0/4 0%", "",
		},
		"alarms do not matter while instances are created": {
			up(rollout.Launching, 0, 0), waitingAndAlarm,
			"Launching old 4/4 new 0/4 0%", "",
		},
		"an alarm that fires already keeps traffic from moving": {
			up(rollout.Launching, 0, 0), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"an alarm right after the flip undoes it": {
			up(rollout.Shifting, 0, 0), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"an alarm in the middle of a bake undoes it": {
			up(rollout.Baking, 0, 100), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"traffic that was taken back does not come back": {
			up(rollout.Baking, 0, 100), takenBack,
			"RolledBack old 4/4 new 0/0 0%", "Endpoint deployment was rolled back because it answers otherwise.",
		},
		"an alarm at the instant a bake ends undoes it": {
			up(rollout.Baking, 0, 300), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"an alarm at the end of the final bake undoes it": {
			up(rollout.Baking, 1, 120), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"an alarm that is deleted in a bake undoes it, and is not said to be in ALARM": {
			up(rollout.Baking, 0, 100), deleted,
			"RolledBack old 4/4 new 0/0 0%", "Endpoint deployment was rolled back because the following CloudWatch " +
				"alarm(s) were deleted: [a].",
		},
		"one in ALARM and one deleted": {
			up(rollout.Baking, 0, 100), bothAlarms,
			"RolledBack old 4/4 new 0/0 0%", "Endpoint deployment was rolled back because the following CloudWatch " +
				"alarm(s) are in ALARM state: [b], and the following CloudWatch alarm(s) were deleted: [a].",
		},
		"alarms of others are not ours": {
			up(rollout.Baking, 0, 100), strangerAlarms,
			"Baking old 3/4 new 1/4 25%", "",
		},
		"a bake is not over before its time": {
			up(rollout.Baking, 0, 299), nothingChanges,
			"Baking old 3/4 new 1/4 25%", "",
		},
		"a bake that is over moves on": {
			up(rollout.Baking, 0, 300), nothingChanges,
			"Baking old 0/4 new 4/4 100%", "",
		},
		"the next step waits for an instance that dipped": {
			up(rollout.Baking, 0, 300), notReady,
			"Baking old 3/4 new 1/4 25%", "",
		},
		"old instances stay while a new one dips": {
			up(rollout.Baking, 1, 120), notReady,
			"Baking old 0/4 new 4/4 100%", "",
		},
		"an instance that cannot start undoes a bake": {
			up(rollout.Baking, 0, 1), cannotStart,
			"RolledBack old 4/4 new 0/0 0%", "it broke",
		},
		"a timeout undoes the creation": {
			up(rollout.Launching, 0, 600), notReady,
			"RolledBack old 4/4 new 0/0 0%", timedOut,
		},
		"a timeout undoes a bake that waits for an instance": {
			up(rollout.Baking, 1, 300), notReady,
			"RolledBack old 4/4 new 0/0 0%", timedOut,
		},
		"an alarm is too late once committed": {
			up(rollout.Committed, 1, 0), firing,
			"Succeeded old 0/0 new 4/4 100%", "",
		},
		"a failure is too late once committed": {
			up(rollout.Committed, 1, 0), cannotStart,
			"Succeeded old 0/0 new 4/4 100%", "",
		},
		"a timeout is too late once committed": {
			up(rollout.Committed, 1, 999), nothingChanges,
			"Succeeded old 0/0 new 4/4 100%", "",
		},
		"it is over only when the old fleet has gone": {
			up(rollout.Committed, 1, 0), oldStillThere,
			"Committed old 0/0 new 4/4 100%", "",
		},
		"a retired batch must be gone before the next launches": {
			batch(rollout.Retiring, 0, 0), oldStillThere,
			"Retiring old 2/2 new 2/2 50%", "",
		},
		"alarms are watched while a batch retires": {
			batch(rollout.Retiring, 0, 0), firing,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"alarms are watched while the next batch is created": {
			batch(rollout.Launching, 1, 0), waitingAndAlarm,
			"RolledBack old 4/4 new 0/0 0%", alarmed,
		},
		"rolling bakes its last batch": {
			batch(rollout.Baking, 1, 59), nothingChanges,
			"Baking old 0/2 new 4/4 100%", "",
		},
		"rolled back only when the new fleet has gone": {
			up(rollout.Baking, 0, 0),
			func(f *rollout.Facts) { firing(f); newStillThere(f) }, "Withdrawing old 4/4 new 0/0 0%", alarmed,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tt.ride.rest(tt.bend)
			if got := line(r.state); got != tt.want || r.state.Reason != tt.reason {
				t.Errorf("%s because %q, want %s because %q", got, r.state.Reason, tt.want, tt.reason)
			}
		})
	}
}

func TestItWakesWhenTheNextThingIsDue(t *testing.T) {
	c := canary(count(1), 300, 120)
	c.MaximumExecutionTimeout = secs(600)
	tests := map[string]struct {
		ride *ride
		bend func(*rollout.Facts)
		want time.Duration // after t0; 0: only a fact can move it
	}{
		"creating: at the timeout": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Launching, 0, 0),
			notReady, secs(600),
		},
		"baking: when baked": {at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0,
			secs(100)), nil, secs(300)},
		"baked, but not ready: at the timeout": {at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 0,
			secs(301)), notReady, secs(600)},
		"a bake that would outlive it: timeout": {at(t, rollout.Update, c, fleet(4, 4), rollout.Launching, 0,
			secs(400)), nil, secs(600)},
		"cleaning up: when a fact changes": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Committed, 1, 0),
			oldStillThere, 0,
		},
		"over: never": {
			at(t, rollout.Update, c, fleet(4, 4), rollout.Succeeded, 1, 0),
			nil, 0,
		},
		"deleting: when a fact changes": {
			at(t, rollout.Delete, nil, fleet(4, 0), rollout.Committed, 0, 0),
			oldStillThere, 0,
		},
		"creating an endpoint: at our own timeout": {
			at(t, rollout.Create, nil, fleet(0, 2), rollout.Launching, 0, 0),
			notReady, rollout.DefaultTimeout,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tt.ride.rest(tt.bend)
			want := time.Time{}
			if tt.want > 0 {
				want = t0.Add(tt.want)
			}
			if !r.wake.Equal(want) {
				t.Errorf("wakes %v, want %v", r.wake, want)
			}
		})
	}
}

func TestABakeStartsOverWhenTheClockIsSetBack(t *testing.T) {
	c := canary(count(1), 300, 120)
	c.MaximumExecutionTimeout = secs(1000)
	r := at(t, rollout.Update, c, fleet(4, 4), rollout.Baking, 1, 0) // began 300 s ago
	r.now = r.now.Add(-time.Hour)
	r.rest(nil)
	if want := r.now.Add(secs(120)); !r.wake.Equal(want) {
		t.Errorf("the bake ends at %v, want %v", r.wake, want)
	}
	r.rest(notReady)
	r.now = r.now.Add(secs(120))
	r.rest(notReady)
	if want := r.state.Begun.Add(secs(1000)); !r.wake.Equal(want) || r.now.Sub(r.state.Begun) != secs(420) {
		t.Errorf("times out at %v, having run %v", r.wake, r.now.Sub(r.state.Begun))
	}
}

func TestARollbackTimesOutNoLaterWhenTheClockIsSetBack(t *testing.T) {
	dead := func(f *rollout.Facts) { f.Old[0].Ready, f.Failure = 0, "it broke" }
	r := at(t, rollout.Update, rolling(percent(50), rollout.Size{}, 60), fleet(4, 4), rollout.Baking, 1, 0)
	r.rest(dead)
	r.now = r.now.Add(-time.Hour)
	r.rest(dead)
	if want := r.now.Add(rollout.DefaultTimeout); !r.wake.Equal(want) {
		t.Errorf("gives up at %v, want %v", r.wake, want)
	}
}

func TestTheFirstShiftDoesNotHappenWhileAnAlarmFires(t *testing.T) {
	r := at(t, rollout.Update, watching(canary(count(1), 300, 120)), fleet(4, 4), rollout.Launching, 0, 0)
	r.turn(firing)
	if got, want := line(r.state), "Withdrawing old 4/4 new 0/0 0%"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestNewWeightsDoNotWaitForAnInstanceThatDips(t *testing.T) {
	r := at(t, rollout.Scale, nil, fleet(3, 3), rollout.Launching, 0, 0)
	if r.rest(func(f *rollout.Facts) { f.Old[0].Ready = 1 }); r.state.Phase != rollout.Succeeded {
		t.Errorf("%s, want Succeeded", line(r.state))
	}
}

func TestTimesAreStoredInUTCWhateverTheClockReads(t *testing.T) {
	p := plan(t, rollout.Update, nil, fleet(2, 2))
	now := time.Now()
	s := rollout.Start(p, now)
	n, _ := rollout.Next(p, s, ideal(s, now.Add(time.Second)))
	for _, at := range []time.Time{s.Begun, s.Since, n.Since} {
		if at != at.Round(0).UTC() {
			t.Errorf("%v is not plain UTC", at)
		}
	}
}

func TestAlarmsAreReadOnceAfterTheFlipEvenWithoutABake(t *testing.T) {
	r := at(t, rollout.Update, watching(allAtOnce(0)), fleet(2, 2), rollout.Launching, 0, 0)
	r.rest(nil)
	if got, want := line(r.state), "Baking old 0/2 new 2/2 100%"; got != want || !r.wake.After(r.now) {
		t.Fatalf("%s until %v, want %s until just after the flip", got, r.wake, want)
	}
	r.now = r.wake
	r.rest(firing)
	if r.state.Phase != rollout.RolledBack {
		t.Errorf("%s, want RolledBack", r.state.Phase)
	}
}

func TestInstancesTakeTrafficAsTheyGetReadyWhenScalingOut(t *testing.T) {
	r := start(t, plan(t, rollout.Scale, nil,
		[]rollout.Variant{{Name: "A", Old: 1, New: 4}, {Name: "B", Old: 3, New: 2}}))
	ready := func(n int) func(*rollout.Facts) {
		return func(f *rollout.Facts) { f.Old[0].Ready = n }
	}
	for n, want := range map[int]string{
		1: "Launching old 1/4 new 0/0 0% old 3/3 new 0/0 0%",
		2: "Launching old 2/4 new 0/0 0% old 3/3 new 0/0 0%",
		4: "Succeeded old 4/4 new 0/0 0% old 2/2 new 0/0 0%",
	} {
		s := r.state
		if got := line(r.rest(ready(n)).state); got != want {
			t.Errorf("with %d ready: %s, want %s", n, got, want)
		}
		r.state = s
	}
	r.rest(ready(3)).rest(ready(2))
	if got, want := line(r.state), "Launching old 3/4 new 0/0 0% old 3/3 new 0/0 0%"; got != want {
		t.Errorf("after a dip: %s, want %s", got, want)
	}
}

func TestTimeoutsOfCreateAndScaleHaveTheirOwnWords(t *testing.T) {
	for kind, want := range map[rollout.Kind]string{
		rollout.Create: "The endpoint was not ready within 28800 seconds.",
		rollout.Scale:  "The capacity update was rolled back because it did not finish within 28800 seconds.",
	} {
		vs := fleet(0, 2)
		if kind == rollout.Scale {
			vs = fleet(1, 2)
		}
		r := start(t, plan(t, kind, nil, vs))
		r.now = t0.Add(rollout.DefaultTimeout)
		r.rest(func(f *rollout.Facts) { f.Old[0].Ready, f.New[0].Ready = 0, 0 })
		if r.state.Reason != want {
			t.Errorf("%s: %q, want %q", kind, r.state.Reason, want)
		}
	}
}
