package rollout_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Spec §4.2.
func TestSizesAreRoundedDownToOneInstanceAtLeast(t *testing.T) {
	for _, tt := range []struct {
		size rollout.Size
		of   int
		want int
	}{
		{percent(33), 3, 1},
		{percent(5), 2, 1},
		{percent(50), 3, 1},
		{percent(25), 4, 1},
		{percent(50), 4, 2},
		{percent(99), 10, 9},
		{percent(100), 7, 7},
		{percent(400), 7, 7},
		{percent(10), 0, 0},
		{count(2), 5, 2},
		{count(9), 5, 5},
		{count(1), 0, 0},
	} {
		if got := tt.size.Of(tt.of); got != tt.want {
			t.Errorf("%v of %d = %d, want %d", tt.size, tt.of, got, tt.want)
		}
	}
}

func TestAPlanIsRefusedWithASentence(t *testing.T) {
	timeout := canary(count(1), 300, 300)
	timeout.MaximumExecutionTimeout = secs(600)
	two := []rollout.Variant{{Name: "A", Old: 4, New: 4}, {Name: "B", Old: 4, New: 4}}
	tests := map[string]struct {
		policy   *rollout.Policy
		variants []rollout.Variant
		want     string
	}{
		"no canary size": {
			canary(rollout.Size{}, 0, 0), fleet(4, 4),
			"CanarySize is required for a deployment of type CANARY.",
		},
		"no step size": {
			linear(rollout.Size{}, 0, 0), fleet(4, 4),
			"LinearStepSize is required for a deployment of type LINEAR.",
		},
		"no batch size": {
			rolling(rollout.Size{}, rollout.Size{}, 0), fleet(4, 4),
			"MaximumBatchSize is required for a deployment of type ROLLING.",
		},
		"canary over half": {
			canary(percent(51), 0, 0), fleet(4, 4),
			"CanarySize must be at most 50% of the capacity, not 51%.",
		},
		"step under a tenth": {
			linear(percent(9), 0, 0), fleet(4, 4),
			"LinearStepSize must be between 10% and 50% of the capacity, not 9%.",
		},
		"batch under a 20th": {
			rolling(percent(4), rollout.Size{}, 0), fleet(4, 4),
			"MaximumBatchSize must be between 5% and 50% of the capacity, not 4%.",
		},
		"canary count too many": {
			canary(count(3), 0, 0), fleet(4, 5),
			`CanarySize of 3 instance(s) must be at most 50% of the 5 instance(s) of production variant "A".`,
		},
		"one canary of one": {
			canary(count(1), 0, 0), fleet(1, 1),
			`CanarySize of 1 instance(s) must be at most 50% of the 1 instance(s) of production variant "A".`,
		},
		"step count too few": {
			linear(count(1), 0, 0), fleet(11, 11),
			`LinearStepSize of 1 instance(s) must be between 10% and 50% of the 11 instance(s) of production variant "A".`,
		},
		"batch count too few": {
			rolling(count(1), rollout.Size{}, 0), fleet(21, 21),
			`MaximumBatchSize of 1 instance(s) must be between 5% and 50% of the 21 instance(s) of production variant "A".`,
		},
		"unknown size type": {
			canary(rollout.Size{Type: "CAPACITY_PERCENTAGE", Value: 9}, 0, 0), fleet(4, 4),
			"The type of CanarySize must be INSTANCE_COUNT or CAPACITY_PERCENT.",
		},
		"unknown strategy": {
			&rollout.Policy{Strategy: "BIG_BANG"}, fleet(4, 4),
			`Unknown deployment strategy "BIG_BANG".`,
		},
		"rolling two variants": {
			rolling(percent(50), rollout.Size{}, 0), two,
			"RollingUpdatePolicy is not supported for endpoints with more than one production variant.",
		},
		"other variants": {
			allAtOnce(0),
			[]rollout.Variant{{Name: "A", Old: 4}, {Name: "B", New: 4}},
			`With a deployment policy the new endpoint configuration must contain the same production variants as the current one, but only one of them contains "A".`,
		},
		"timeout not longer than the waits": {
			timeout, fleet(4, 4),
			"MaximumExecutionTimeoutInSeconds (600) must be larger than the total wait of the deployment (600 seconds).",
		},
		"no variants":    {nil, nil, "At least one production variant is required."},
		"negative count": {nil, fleet(-1, 2), `The instance count of production variant "A" must not be negative.`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := rollout.NewPlan(rollout.Update, tt.policy, tt.variants)
			if _, text := fault.Public(err); !errors.Is(err, fault.Invalid) || text != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestWhatTheSpecAllowsIsAccepted(t *testing.T) {
	for name, tt := range map[string]struct {
		policy   *rollout.Policy
		variants []rollout.Variant
	}{
		"a percent canary of one instance": {canary(percent(50), 0, 0), fleet(1, 1)},
		"a small percent canary":           {canary(percent(1), 0, 0), fleet(1, 1)},
		"half the fleet by count":          {canary(count(2), 0, 0), fleet(4, 4)},
		"the size of another strategy": {
			&rollout.Policy{Strategy: rollout.AllAtOnce, CanarySize: percent(99)},
			fleet(4, 4),
		},
		"any rollback batch":              {rolling(percent(50), percent(1), 0), fleet(4, 4)},
		"alarms and nothing else":         {watching(allAtOnce(0)), fleet(4, 4)},
		"other variants without a policy": {nil, []rollout.Variant{{Name: "A", Old: 4}, {Name: "B", New: 4}}},
		"a canary of more than one variant": {
			canary(percent(10), 0, 0),
			[]rollout.Variant{{Name: "A", Old: 1, New: 4}, {Name: "B", Old: 4, New: 4}},
		},
		"other counts of the same variants":    {linear(percent(10), 0, 0), fleet(9, 2)},
		"a stored policy of no use at present": {linear(count(1), 0, 0), fleet(2, 2)},
	} {
		if _, err := rollout.NewPlan(rollout.Update, tt.policy, tt.variants); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// CreateEndpoint stores what UpdateEndpoint would refuse for these fleets
// (spec §2.3, §4.2).
func TestAPolicyIsCheckedWithoutFleetsWhenItIsOnlyStored(t *testing.T) {
	if err := canary(count(7), 0, 0).Check(); err != nil {
		t.Error(err)
	}
	if err := linear(percent(51), 0, 0).Check(); !errors.Is(err, fault.Invalid) {
		t.Errorf("51%% steps: %v", err)
	}
	if _, err := rollout.NewPlan(rollout.Create, canary(count(7), 0, 0), fleet(0, 1)); err != nil {
		t.Error(err)
	}
}

func TestAStoredPlanIsTheSamePlan(t *testing.T) {
	p := plan(t, rollout.Update, watching(rolling(percent(50), count(1), 60)), fleet(4, 4))
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back rollout.Plan
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, back); diff != "" {
		t.Errorf("lost in storage: %s", diff)
	}
}
