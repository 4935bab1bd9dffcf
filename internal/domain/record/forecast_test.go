package record_test

import (
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

func TestTrafficTooThinToProveAnythingIsSuspicious(t *testing.T) {
	p := canary(t) // of a quarter for five minutes, then of all for two
	patient := p
	patient.Policy.MinimumRequests = 50
	glanced := p
	glanced.Policy.TerminationWait = 0
	for name, c := range map[string]struct {
		plan     rollout.Plan
		requests int64
		want     string
	}{
		"none": {
			p, 0,
			"The endpoint has answered no request in the last 5m0s: without traffic, a deployment proves nothing.",
		},
		"a few": {
			p, 20,
			"At the rate of the last 5m0s (20 requests), the new fleet would see about 5.0 requests in the 5m0s that " +
				"step 1 is baked: that proves little.",
		},
		"just enough in both steps":      {p, 40, ""},
		"enough":                         {p, 1000, ""},
		"enough where it is baked":       {glanced, 40, ""},
		"a few, but they are waited for": {patient, 20, ""},
	} {
		got := ""
		for _, f := range record.Starved(c.plan, c.requests, 5*time.Minute) {
			got += f.Message
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestAForecastKnowsItsPeakAndItsWorstCase(t *testing.T) {
	a := record.Allowance{Launch: 10 * time.Minute, Stop: 9 * time.Minute}
	f := record.Foresee(canary(t), a)
	if f.Wait != 7*time.Minute || f.Worst != 17*time.Minute || f.Peak != 8 {
		t.Errorf("waits %s, at most %s, %d instances", f.Wait, f.Worst, f.Peak)
	}
	p := canary(t)
	p.Policy.MinimumRequests = 1
	if f := record.Foresee(p, a); f.Worst != rollout.DefaultTimeout {
		t.Errorf("waiting for requests ends after %s", f.Worst)
	}
	p.Policy = rollout.Policy{
		Strategy: rollout.Rolling, MaximumBatchSize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
		WaitInterval: time.Minute, MaximumExecutionTimeout: time.Hour,
	}
	// Four batches: each may launch for ten minutes, bakes one, and may stop for nine.
	if f := record.Foresee(p, a); f.Wait != 4*time.Minute || f.Worst != time.Hour || f.Peak != 5 {
		t.Errorf("rolling waits %s, at most %s, %d instances", f.Wait, f.Worst, f.Peak)
	}
}

func TestTheShortestBakeIsOneOfThoseThatThereAre(t *testing.T) {
	for name, c := range map[string]struct {
		first, last time.Duration
		step        int
		want        time.Duration
	}{
		"the last":                {5 * time.Minute, 2 * time.Minute, 2, 2 * time.Minute},
		"the first":               {time.Minute, 2 * time.Minute, 1, time.Minute},
		"the last step has none":  {5 * time.Minute, 0, 1, 5 * time.Minute},
		"no step is baked at all": {0, 0, 0, 0},
		"both are baked as long":  {time.Minute, time.Minute, 1, time.Minute},
	} {
		p := canary(t)
		p.Policy.WaitInterval, p.Policy.TerminationWait = c.first, c.last
		if step, got := record.ShortestBake(p); step != c.step || got != c.want {
			t.Errorf("%s: step %d for %s", name, step, got)
		}
	}
}

func TestStepsThatAreNotAsSmallAsAskedForAreSuspicious(t *testing.T) {
	quarter := rollout.Size{Type: rollout.CapacityPercent, Value: 25}
	for name, c := range map[string]struct {
		policy rollout.Policy
		counts []int
		want   string
	}{
		"a canary of four": {rollout.Policy{Strategy: rollout.Canary, CanarySize: quarter}, []int{4}, ""},
		"a canary of two":  {rollout.Policy{Strategy: rollout.Canary, CanarySize: quarter}, []int{2}, ""},
		"a canary of one": {
			rollout.Policy{Strategy: rollout.Canary, CanarySize: quarter},
			[]int{1},
			`FirstStepTakesAll: CanarySize is 25% of the capacity, but one instance at the least: production ` +
				`variant "a" will have only 1, so step 1 moves all of its traffic.`,
		},
		"of the second variant": {
			rollout.Policy{Strategy: rollout.Linear, LinearStepSize: quarter},
			[]int{4, 1},
			`FirstStepTakesAll: LinearStepSize is 25% of the capacity, but one instance at the least: production ` +
				`variant "b" will have only 1, so step 1 moves all of its traffic.`,
		},
		"a batch of one": {
			rollout.Policy{Strategy: rollout.Rolling, MaximumBatchSize: quarter},
			[]int{1},
			`FirstStepTakesAll: MaximumBatchSize is 25% of the capacity, but one instance at the least: production ` +
				`variant "a" will have only 1, so step 1 moves all of its traffic.`,
		},
		"all at once": {rollout.Policy{Strategy: rollout.AllAtOnce}, []int{1}, ""},
		"all at once, with a size": {
			rollout.Policy{Strategy: rollout.AllAtOnce, CanarySize: quarter},
			[]int{4},
			"SizeIgnored: CanarySize is ignored: a deployment of type ALL_AT_ONCE moves all traffic in one step.",
		},
		"all at once, with a step": {
			rollout.Policy{Strategy: rollout.AllAtOnce, LinearStepSize: quarter},
			[]int{4},
			"SizeIgnored: LinearStepSize is ignored: a deployment of type ALL_AT_ONCE moves all traffic in one step.",
		},
		"the size of another type": {
			rollout.Policy{
				Strategy: rollout.Canary, CanarySize: quarter,
				LinearStepSize: quarter,
			},
			[]int{4},
			"SizeIgnored: LinearStepSize is ignored: the steps of a deployment of type CANARY are set by CanarySize.",
		},
	} {
		c.policy.Alarms, c.policy.WaitInterval, c.policy.TerminationWait = []string{"errors"}, time.Minute, time.Minute
		var variants []rollout.Variant
		for i, n := range c.counts {
			variants = append(variants, rollout.Variant{Name: string(rune('a' + i)), Old: n, New: n})
		}
		p, err := rollout.NewPlan(rollout.Update, &c.policy, variants)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := ""
		for _, f := range record.Suspicious(&hosting.Endpoint{Deployment: &hosting.Deployment{Plan: p}}) {
			got += f.Code + ": " + f.Message
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}
