package rollout_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// The worked examples of spec §4.8.
func TestWorkedExamples(t *testing.T) {
	type step struct{ Active, Percent, Wait int }
	tests := map[string]struct {
		n      int
		policy *rollout.Policy
		want   []step
	}{
		"canary of one of three": {3, canary(count(1), 300, 120), []step{{1, 33, 300}, {3, 100, 120}}},
		"canary of 25% of four":  {4, canary(percent(25), 60, 30), []step{{1, 25, 60}, {4, 100, 30}}},
		"linear by 33% of three": {
			3, linear(percent(33), 180, 120),
			[]step{{1, 33, 180}, {2, 67, 180}, {3, 100, 120}},
		},
		"linear by 20% of five": {
			5, linear(percent(20), 300, 300),
			[]step{{1, 20, 300}, {2, 40, 300}, {3, 60, 300}, {4, 80, 300}, {5, 100, 300}},
		},
		"rolling by 33% of three": {
			3, rolling(percent(33), rollout.Size{}, 180),
			[]step{{1, 33, 180}, {2, 67, 180}, {3, 100, 180}},
		},
		"rolling by 5% of two":       {2, rolling(percent(5), rollout.Size{}, 60), []step{{1, 50, 60}, {2, 100, 60}}},
		"linear with a short rest":   {7, linear(count(3), 60, 0), []step{{3, 43, 60}, {6, 86, 60}, {7, 100, 0}}},
		"canary of one in percent":   {1, canary(percent(10), 60, 30), []step{{1, 100, 60}, {1, 100, 30}}},
		"all at once, baked":         {4, allAtOnce(120), []step{{4, 100, 120}}},
		"no policy":                  {4, nil, []step{{4, 100, 0}}},
		"rolling one of one, by 50%": {1, rolling(percent(50), rollout.Size{}, 60), []step{{1, 100, 60}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := plan(t, rollout.Update, tt.policy, fleet(tt.n, tt.n))
			var got []step
			total := time.Duration(0)
			line := rollout.Timeline(p, t0)
			for i, m := range line {
				if m.State.Phase == rollout.Shifting {
					wait := line[min(i+2, len(line)-1)].At - m.At // after Baking, or at once
					c := m.State.Variants[0]
					got = append(got, step{c.NewActive, int(math.Round(c.NewShare * 100)), int(wait.Seconds())})
					total += wait
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if last := line[len(line)-1]; total != p.TotalWait() || last.At != total ||
				last.State.Phase != rollout.Succeeded {
				t.Errorf("ends %s after %s; total wait %s, waits add up to %s", last.State.Phase, last.At,
					p.TotalWait(), total)
			}
		})
	}
}

// timeline is what a plan shall run through, in the words of line.
type timeline struct {
	kind     rollout.Kind
	policy   *rollout.Policy
	variants []rollout.Variant
	want     []string
}

func wantTimelines(t *testing.T, tests map[string]timeline) {
	t.Helper()
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, m := range rollout.Timeline(plan(t, tt.kind, tt.policy, tt.variants), t0) {
				got = append(got, fmt.Sprint(m.At, " ", line(m.State)))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("timeline (-want +got):\n%s", diff)
			}
		})
	}
}

// The stage tables of spec §4.4.
func TestBlueGreenStageByStage(t *testing.T) {
	wantTimelines(t, map[string]timeline{
		"no policy: up, over, down": {rollout.Update, nil, fleet(2, 2), []string{
			"0s Launching old 2/2 new 0/2 0%",
			"0s Shifting old 0/2 new 2/2 100%",
			"0s Committed old 0/0 new 2/2 100%",
			"0s Succeeded old 0/0 new 2/2 100%",
		}},
		"all at once bakes the termination wait, not the interval": {
			rollout.Update,
			&rollout.Policy{Strategy: rollout.AllAtOnce, WaitInterval: secs(999), TerminationWait: secs(120)},
			fleet(4, 4),
			[]string{
				"0s Launching old 4/4 new 0/4 0%",
				"0s Shifting old 0/4 new 4/4 100%",
				"0s Baking old 0/4 new 4/4 100%",
				"2m0s Committed old 0/0 new 4/4 100%",
				"2m0s Succeeded old 0/0 new 4/4 100%",
			},
		},
		"canary launches the whole fleet first": {rollout.Update, canary(count(1), 300, 120), fleet(4, 4), []string{
			"0s Launching old 4/4 new 0/4 0%",
			"0s Shifting old 3/4 new 1/4 25%",
			"0s Baking old 3/4 new 1/4 25%",
			"5m0s Shifting old 0/4 new 4/4 100%",
			"5m0s Baking old 0/4 new 4/4 100%",
			"7m0s Committed old 0/0 new 4/4 100%",
			"7m0s Succeeded old 0/0 new 4/4 100%",
		}},
		"linear bakes between its steps and then once more": {
			rollout.Update, linear(percent(33), 180, 120),
			fleet(3, 3),
			[]string{
				"0s Launching old 3/3 new 0/3 0%",
				"0s Shifting old 2/3 new 1/3 33%",
				"0s Baking old 2/3 new 1/3 33%",
				"3m0s Shifting old 1/3 new 2/3 67%",
				"3m0s Baking old 1/3 new 2/3 67%",
				"6m0s Shifting old 0/3 new 3/3 100%",
				"6m0s Baking old 0/3 new 3/3 100%",
				"8m0s Committed old 0/0 new 3/3 100%",
				"8m0s Succeeded old 0/0 new 3/3 100%",
			},
		},
		"linear without a termination wait does not bake its last step": {
			rollout.Update, linear(percent(50), 60, 0),
			fleet(2, 2),
			[]string{
				"0s Launching old 2/2 new 0/2 0%",
				"0s Shifting old 1/2 new 1/2 50%",
				"0s Baking old 1/2 new 1/2 50%",
				"1m0s Shifting old 0/2 new 2/2 100%",
				"1m0s Committed old 0/0 new 2/2 100%",
				"1m0s Succeeded old 0/0 new 2/2 100%",
			},
		},
		"canary to a larger fleet turns off old instances in proportion, rounded up": {
			rollout.Update,
			canary(percent(25), 60, 0), fleet(3, 8),
			[]string{
				"0s Launching old 3/3 new 0/8 0%",
				"0s Shifting old 3/3 new 2/8 25%",
				"0s Baking old 3/3 new 2/8 25%",
				"1m0s Shifting old 0/3 new 8/8 100%",
				"1m0s Committed old 0/0 new 8/8 100%",
				"1m0s Succeeded old 0/0 new 8/8 100%",
			},
		},
	})
}

// The rolling table of spec §4.4.
func TestRollingStageByStage(t *testing.T) {
	wantTimelines(t, map[string]timeline{
		"rolling launches, shifts, bakes and retires batch by batch": {
			rollout.Update,
			rolling(percent(33), rollout.Size{}, 180), fleet(3, 3),
			[]string{
				"0s Launching old 3/3 new 0/1 0%",
				"0s Shifting old 2/3 new 1/1 33%",
				"0s Baking old 2/3 new 1/1 33%",
				"3m0s Retiring old 2/2 new 1/1 33%",
				"3m0s Launching old 2/2 new 1/2 33%",
				"3m0s Shifting old 1/2 new 2/2 67%",
				"3m0s Baking old 1/2 new 2/2 67%",
				"6m0s Retiring old 1/1 new 2/2 67%",
				"6m0s Launching old 1/1 new 2/3 67%",
				"6m0s Shifting old 0/1 new 3/3 100%",
				"6m0s Baking old 0/1 new 3/3 100%",
				"9m0s Committed old 0/0 new 3/3 100%",
				"9m0s Succeeded old 0/0 new 3/3 100%",
			},
		},
		"rolling to a smaller fleet keeps the old share that remains, rounded up": {
			rollout.Update,
			rolling(percent(50), rollout.Size{}, 60), fleet(5, 2),
			[]string{
				"0s Launching old 5/5 new 0/1 0%",
				"0s Shifting old 3/5 new 1/1 50%",
				"0s Baking old 3/5 new 1/1 50%",
				"1m0s Retiring old 3/3 new 1/1 50%",
				"1m0s Launching old 3/3 new 1/2 50%",
				"1m0s Shifting old 0/3 new 2/2 100%",
				"1m0s Baking old 0/3 new 2/2 100%",
				"2m0s Committed old 0/0 new 2/2 100%",
				"2m0s Succeeded old 0/0 new 2/2 100%",
			},
		},
	})
}

// What has no table there.
func TestOtherDeploymentsStageByStage(t *testing.T) {
	wantTimelines(t, map[string]timeline{
		"variants step together, each by its own size": {
			rollout.Update, linear(count(1), 60, 0),
			[]rollout.Variant{{Name: "A", Old: 2, New: 2}, {Name: "B", Old: 3, New: 3}},
			[]string{
				"0s Launching old 2/2 new 0/2 0% old 3/3 new 0/3 0%",
				"0s Shifting old 1/2 new 1/2 50% old 2/3 new 1/3 33%",
				"0s Baking old 1/2 new 1/2 50% old 2/3 new 1/3 33%",
				"1m0s Shifting old 0/2 new 2/2 100% old 1/3 new 2/3 67%",
				"1m0s Baking old 0/2 new 2/2 100% old 1/3 new 2/3 67%",
				"2m0s Shifting old 0/2 new 2/2 100% old 0/3 new 3/3 100%",
				"2m0s Committed old 0/0 new 2/2 100% old 0/0 new 3/3 100%",
				"2m0s Succeeded old 0/0 new 2/2 100% old 0/0 new 3/3 100%",
			},
		},
		"without a policy variants may come and go": {
			rollout.Update, nil,
			[]rollout.Variant{{Name: "goes", Old: 2}, {Name: "comes", New: 1}},
			[]string{
				"0s Launching old 2/2 new 0/0 0% old 0/0 new 0/1 0%",
				"0s Shifting old 0/2 new 0/0 0% old 0/0 new 1/1 100%",
				"0s Committed old 0/0 new 0/0 0% old 0/0 new 1/1 100%",
				"0s Succeeded old 0/0 new 0/0 0% old 0/0 new 1/1 100%",
			},
		},
		"create serves as soon as all are ready, whatever policy is stored": {
			rollout.Create,
			canary(count(1), 300, 120), fleet(0, 2),
			[]string{
				"0s Launching old 0/0 new 0/2 0%",
				"0s Shifting old 0/0 new 2/2 100%",
				"0s Succeeded old 0/0 new 2/2 100%",
			},
		},
		"scaling out grows, then is done": {rollout.Scale, nil, fleet(2, 4), []string{
			"0s Launching old 2/4 new 0/0 0%",
			"0s Committed old 4/4 new 0/0 0%",
			"0s Succeeded old 4/4 new 0/0 0%",
		}},
		"scaling in never waits for the instances that go": {rollout.Scale, nil, fleet(4, 2), []string{
			"0s Launching old 4/4 new 0/0 0%",
			"0s Committed old 2/2 new 0/0 0%",
			"0s Succeeded old 2/2 new 0/0 0%",
		}},
		"delete wants nothing": {rollout.Delete, nil, fleet(3, 0), []string{
			"0s Committed old 0/0 new 0/0 0%",
			"0s Succeeded old 0/0 new 0/0 0%",
		}},
	})
}
