package rollout_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// undo is where a deployment stands when its verdict falls, and what follows.
type undo struct {
	from *ride
	want []string
}

// wantUndone brings each deployment down by a failure and compares the states
// that follow.
func wantUndone(t *testing.T, tests map[string]undo) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tt.from
			r.trail = nil
			r.turn(func(f *rollout.Facts) { f.Failure = "it broke" })
			r.end(nil)
			if diff := cmp.Diff(tt.want, r.trail); diff != "" {
				t.Errorf("rollback (-want +got):\n%s", diff)
			}
			if r.state.Reason != "it broke" {
				t.Errorf("reason %q", r.state.Reason)
			}
			if !r.now.Equal(r.state.Turned) {
				t.Errorf("took %s, though nothing had to be waited for", r.now.Sub(r.state.Turned))
			}
		})
	}
}

// The blue/green column of spec §4.6.
func TestBlueGreenRollsBackInOneStep(t *testing.T) {
	from := func(c *rollout.Policy, ph rollout.Phase, step int, vs ...rollout.Variant) *ride {
		if vs == nil {
			vs = fleet(4, 4)
		}
		return start(t, plan(t, rollout.Update, c, vs)).to(ph, step)
	}
	wholeFleet := []string{
		"Returning old 4/4 new 0/4 0%",
		"Withdrawing old 4/4 new 0/0 0%",
		"RolledBack old 4/4 new 0/0 0%",
	}
	wantUndone(t, map[string]undo{
		"while creating, traffic never moved": {
			from: from(canary(count(1), 300, 120), rollout.Launching, 0),
			want: []string{
				"Withdrawing old 4/4 new 0/0 0%",
				"RolledBack old 4/4 new 0/0 0%",
			},
		},
		"right after the canary flip": {
			from: from(canary(count(1), 300, 120), rollout.Shifting, 0),
			want: wholeFleet,
		},
		"in the canary bake":            {from: from(canary(count(1), 300, 120), rollout.Baking, 0), want: wholeFleet},
		"in the final bake":             {from: from(canary(count(1), 300, 120), rollout.Baking, 1), want: wholeFleet},
		"in the middle of a linear one": {from: from(linear(percent(25), 60, 60), rollout.Baking, 2), want: wholeFleet},
		"without a policy":              {from: from(nil, rollout.Shifting, 0), want: wholeFleet},
		"RollbackMaximumBatchSize does not matter": {from: from(&rollout.Policy{
			Strategy: rollout.Canary, CanarySize: count(1), WaitInterval: secs(60), RollbackMaximumBatchSize: count(1),
		}, rollout.Baking, 0), want: wholeFleet},
		"all variants at once": {from: from(canary(count(1), 60, 60), rollout.Baking, 0,
			rollout.Variant{Name: "A", Old: 2, New: 2}, rollout.Variant{Name: "B", Old: 3, New: 6}), want: []string{
			"Returning old 2/2 new 0/2 0% old 3/3 new 0/6 0%",
			"Withdrawing old 2/2 new 0/0 0% old 3/3 new 0/0 0%",
			"RolledBack old 2/2 new 0/0 0% old 3/3 new 0/0 0%",
		}},
		"variants that came leave, those that left come back": {from: from(nil, rollout.Shifting, 0,
			rollout.Variant{Name: "goes", Old: 2}, rollout.Variant{Name: "comes", New: 1}), want: []string{
			"Returning old 2/2 new 0/0 0% old 0/0 new 0/1 0%",
			"Withdrawing old 2/2 new 0/0 0% old 0/0 new 0/0 0%",
			"RolledBack old 2/2 new 0/0 0% old 0/0 new 0/0 0%",
		}},
	})
}

// The rolling column of spec §4.6, everything missing relaunched at once.
func TestRollingRollsBackAtOnce(t *testing.T) {
	from := func(back rollout.Size, ph rollout.Phase, step int) *ride {
		return start(t, plan(t, rollout.Update, rolling(percent(50), back, 60), fleet(4, 4))).to(ph, step)
	}
	relaunched := []string{
		"Restoring old 2/4 new 2/2 50%",
		"Returning old 4/4 new 0/2 0%",
		"Withdrawing old 4/4 new 0/0 0%",
		"RolledBack old 4/4 new 0/0 0%",
	}
	wantUndone(t, map[string]undo{
		"while creating the first batch": {from: from(rollout.Size{}, rollout.Launching, 0), want: []string{
			"Withdrawing old 4/4 new 0/0 0%",
			"RolledBack old 4/4 new 0/0 0%",
		}},
		"in the first bake the old batch is still alive": {
			from: from(rollout.Size{}, rollout.Baking, 0),
			want: []string{
				"Returning old 4/4 new 0/2 0%",
				"Withdrawing old 4/4 new 0/0 0%",
				"RolledBack old 4/4 new 0/0 0%",
			},
		},
		"while the first old batch is terminated": {
			from: from(rollout.Size{}, rollout.Retiring, 0),
			want: relaunched,
		},
		"while creating the second batch, which is dropped": {
			from: from(rollout.Size{}, rollout.Launching, 1),
			want: relaunched,
		},
		"in the last bake the idle old batch takes traffic now": {
			from: from(rollout.Size{}, rollout.Baking, 1),
			want: append([]string{"Returning old 2/2 new 2/4 50%"}, relaunched...),
		},
		"100% is at once too": {
			from: from(percent(100), rollout.Baking, 1),
			want: append([]string{"Returning old 2/2 new 2/4 50%"}, relaunched...),
		},
	})
}

// The rolling column of spec §4.6 with a RollbackMaximumBatchSize.
func TestRollingRollsBackBatchByBatch(t *testing.T) {
	from := func(back rollout.Size, ph rollout.Phase, step int) *ride {
		return start(t, plan(t, rollout.Update, rolling(percent(50), back, 60), fleet(4, 4))).to(ph, step)
	}
	oneByOne := []string{
		"Withdrawing old 2/2 new 2/2 50%",
		"Restoring old 2/3 new 2/2 50%",
		"Returning old 3/3 new 1/2 25%",
		"Withdrawing old 3/3 new 1/1 25%",
		"Restoring old 3/4 new 1/1 25%",
		"Returning old 4/4 new 0/1 0%",
		"Withdrawing old 4/4 new 0/0 0%",
		"RolledBack old 4/4 new 0/0 0%",
	}
	wantUndone(t, map[string]undo{
		"the alive share flips, then one by one": {
			from: from(count(1), rollout.Baking, 1),
			want: append([]string{"Returning old 2/2 new 2/4 50%"}, oneByOne...),
		},
		"the batch that was being created goes first": {from: from(percent(25), rollout.Launching, 1), want: oneByOne},
		"the batch that was being terminated is gone": {from: from(count(1), rollout.Retiring, 0), want: oneByOne},
		"a batch larger than what is missing does it in one": {from: from(count(3), rollout.Baking, 1), want: []string{
			"Returning old 2/2 new 2/4 50%",
			"Withdrawing old 2/2 new 2/2 50%",
			"Restoring old 2/4 new 2/2 50%",
			"Returning old 4/4 new 0/2 0%",
			"Withdrawing old 4/4 new 0/0 0%",
			"RolledBack old 4/4 new 0/0 0%",
		}},
	})
}

func TestARollbackOfUnequalFleetsNeverOverloadsTheOldOnes(t *testing.T) {
	r := start(t, plan(t, rollout.Update, rolling(percent(34), count(1), 60), fleet(2, 5))).to(rollout.Baking, 4)
	r.trail = nil
	r.turn(func(f *rollout.Facts) { f.Failure = "it broke" })
	r.end(nil)
	want := []string{
		"Returning old 1/1 new 3/5 60%", // one of two old ones carries 40%, not more than its half
		"Withdrawing old 1/1 new 3/3 60%",
		"Restoring old 1/2 new 3/3 60%",
		"Returning old 2/2 new 0/3 0%",
		"Withdrawing old 2/2 new 0/0 0%",
		"RolledBack old 2/2 new 0/0 0%",
	}
	if diff := cmp.Diff(want, r.trail); diff != "" {
		t.Errorf("rollback (-want +got):\n%s", diff)
	}
}

func TestARollbackGoesOnWhileAnOldInstanceIsBeingReplaced(t *testing.T) {
	r := start(t, plan(t, rollout.Update, canary(count(1), 300, 0), fleet(4, 4))).to(rollout.Baking, 0)
	r.turn(func(f *rollout.Facts) { f.Failure, f.Old[0].Ready = "it broke", 3 })
	if got, want := line(r.state), "Returning old 4/4 new 0/4 0%"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestARollingRollbackDoesNotWaitForOldInstancesThatDipped(t *testing.T) {
	r := start(t, plan(t, rollout.Update, rolling(percent(50), count(1), 60), fleet(4, 4))).to(rollout.Baking, 0)
	r.turn(func(f *rollout.Facts) { f.Failure, f.Old[0].Ready = "it broke", 1 })
	if got, want := line(r.state), "Returning old 4/4 new 0/2 0%"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestARollbackWithNobodyToGoBackToKeepsServingAndWaits(t *testing.T) {
	dead := func(f *rollout.Facts) { f.Old[0] = rollout.Fleet{Exists: 4} }
	r := start(t, plan(t, rollout.Update, canary(count(1), 300, 0), fleet(4, 4))).to(rollout.Baking, 0)
	r.turn(func(f *rollout.Facts) { dead(f); f.Failure = "it broke" })
	r.rest(dead)
	if got, want := line(r.state), "Restoring old 3/4 new 1/4 25%"; got != want {
		t.Fatalf("%s, want %s", got, want)
	}
	r.turn(func(f *rollout.Facts) { f.Old[0].Ready = 1 })
	if got, want := line(r.state), "Returning old 4/4 new 0/4 0%"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestARollbackThatFailsKeepsServingWhatIsHealthy(t *testing.T) {
	canaryBake := func() *ride {
		return start(t, plan(t, rollout.Update, canary(count(1), 300, 0), fleet(4, 4))).to(rollout.Baking, 0)
	}
	half := rolling(percent(50), rollout.Size{}, 60)
	tests := map[string]struct {
		from   *ride
		old    int // ready old instances; -1: nor is a new one ready
		expire bool
		want   string
		status string
	}{
		"blue/green, old fleet gone: the new one serves alone": {
			canaryBake(), 0, false,
			"Failed old 0/0 new 4/4 100%", "Failed",
		},
		"blue/green, old fleet never ready: the new one serves alone": {
			canaryBake(), 0, true,
			"Failed old 0/0 new 4/4 100%", "Failed",
		},
		"blue/green, nothing healthy anywhere: all stay wanted": {
			canaryBake(), -1, false, "Failed old 3/4 new 1/4 25%",
			"Failed",
		},
		"a variant that only the rejected configuration has does not come back": {
			start(t, plan(t, rollout.Update, nil,
				[]rollout.Variant{{Name: "A", Old: 2, New: 2}, {Name: "comes", New: 1}})).to(rollout.Shifting, 0),
			0, false,
			"Failed old 0/0 new 2/2 100% old 0/0 new 0/0 0%", "Failed",
		},
		"rolling: the mix goes on": {
			start(t, plan(t, rollout.Update, half, fleet(4, 4))).to(rollout.Baking, 1), 3, false,
			"RollbackFailed old 2/2 new 2/2 50%", "UpdateRollbackFailed",
		},
		"rolling, no old instance left: the new ones serve alone": {
			start(t, plan(t, rollout.Update, half, fleet(4, 4))).to(rollout.Launching, 1), 0, false,
			"RollbackFailed old 0/0 new 2/2 100%", "UpdateRollbackFailed",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := tt.from
			cut := func(f *rollout.Facts) {
				f.Old[0].Ready = min(f.Old[0].Ready, max(tt.old, 0))
				if tt.old < 0 {
					f.New[0].Ready = 0
				}
			}
			r.turn(func(f *rollout.Facts) { cut(f); f.Failure = "It broke." })
			r.rest(cut)
			why := "It broke. The rollback failed: The previous instances were not ready within 28800 seconds."
			if tt.expire {
				r.now = r.wake
				r.rest(cut)
			} else {
				why = "It broke. The rollback failed: No luck."
				r.rest(func(f *rollout.Facts) { cut(f); f.OldFailure = "No luck." })
			}
			if got := line(r.state); got != tt.want || rollout.Status(r.plan, r.state) != tt.status {
				t.Errorf("%s as %s, want %s as %s", got, rollout.Status(r.plan, r.state), tt.want, tt.status)
			}
			if r.state.Reason != why {
				t.Errorf("reason %q, want %q", r.state.Reason, why)
			}
		})
	}
}

func TestAFailedCreateWantsNothingAndFailedScalingTheOldCounts(t *testing.T) {
	tests := map[string]struct {
		kind rollout.Kind
		vs   []rollout.Variant
		want []string
	}{
		"create": {rollout.Create, fleet(0, 2), []string{"Failed old 0/0 new 0/0 0%"}},
		"scale": {
			rollout.Scale, fleet(2, 4),
			[]string{"Withdrawing old 2/2 new 0/0 0%", "RolledBack old 2/2 new 0/0 0%"},
		},
	}
	for name, tt := range tests {
		wantUndone(t, map[string]undo{name: {from: start(t, plan(t, tt.kind, nil, tt.vs)), want: tt.want}})
	}
}
