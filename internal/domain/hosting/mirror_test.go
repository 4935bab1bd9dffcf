package hosting_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// mirrored begins a canary of one instance of four that mirrors a share, and
// returns the route's words on that in each phase until it is over.
func mirrored(t *testing.T, share float64, strategy rollout.Strategy, action gate.Action) (out []string) {
	t.Helper()
	e, is := inService(t, v("a", 4, 1))
	policy := &rollout.Policy{
		Strategy: strategy, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
		MaximumBatchSize: rollout.Size{Type: rollout.InstanceCount, Value: 2}, WaitInterval: time.Minute,
	}
	if err := e.Update(hosting.Update{
		Launch: launch("c2", v("a", 4, 1)), DeploymentConfig: &hosting.DeploymentConfig{Policy: policy},
	}); err != nil {
		t.Fatal(err)
	}
	e.Deployment.Plan.Policy.Gates = []gate.Gate{{
		Kind: gate.Disagreement, Action: action, Alpha: 0.01, Mirror: &gate.Mirror{Share: share},
		Outputs: []gate.Output{{Selector: "json:label"}, {Selector: "csv:1", Within: 0.5}},
	}}
	judged := action == gate.Rollback
	now, last := t0, ""
	for range 100 {
		now = now.Add(10 * time.Second)
		is = ready(e, is, "")
		facts := e.Facts(is, nil, now)
		facts.Observed.Until = now
		if m := e.Route(is).Variants[0].Mirror; m != nil {
			if m.From != "f-c1" || m.Judged != judged {
				t.Errorf("what %s answers is mirrored, judged %v", m.From, m.Judged)
			}
			last = fmt.Sprintf("%s of %.3f on %d of %s, %d outputs", e.Deployment.State.Phase, m.Ratio,
				len(m.To.Instances), m.To.Config, len(m.Outputs))
		} else {
			last = fmt.Sprintf("%s of nothing", e.Deployment.State.Phase)
		}
		if len(out) == 0 || out[len(out)-1] != last {
			out = append(out, last)
		}
		_, surplus := e.Reconcile(is)
		var kept []hosting.Instance
		for _, i := range is {
			gone := false
			for _, s := range surplus {
				gone = gone || s == i.ID
			}
			if !gone {
				kept = append(kept, i)
			}
		}
		is = kept
		next, _ := rollout.Next(e.Deployment.Plan, e.Deployment.State, facts)
		if e.Apply(next, now); e.Ended() {
			return out
		}
	}
	t.Fatalf("never ended: %v", out)
	return nil
}

func TestCopiesGoToInstancesThatAnswerNothing(t *testing.T) {
	if diff := cmp.Diff([]string{
		"Launching of 0.800 on 4 of c2, 2 outputs",
		"Shifting of 0.800 on 3 of c2, 2 outputs",
		"Baking of 0.800 on 3 of c2, 2 outputs",
		"Shifting of nothing",
		"Committed of nothing",
	}, mirrored(t, 0.8, rollout.Canary, gate.Report)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCopiesNeverMakeANewInstanceBusierThanAnOldOne(t *testing.T) {
	// In a rolling update all new instances answer: copies are a tenth of what they do.
	if diff := cmp.Diff([]string{
		"Launching of 0.500 on 2 of c2, 2 outputs",
		"Shifting of 0.100 on 2 of c2, 2 outputs",
		"Baking of 0.100 on 2 of c2, 2 outputs",
		"Retiring of 0.100 on 2 of c2, 2 outputs",
		"Launching of 1.000 on 2 of c2, 2 outputs",
		"Shifting of nothing",
		"Baking of nothing",
		"Committed of nothing",
	}, mirrored(t, 1, rollout.Rolling, gate.Rollback)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestADeploymentWithoutConsentMirrorsNothing(t *testing.T) {
	e, is := inService(t, v("a", 4, 1))
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	e.Deployment.Plan.Policy.Gates = []gate.Gate{{Kind: gate.Disagreement, Action: gate.Report, Alpha: 0.01}}
	is = ready(e, is, "")
	if m := e.Route(is).Variants[0].Mirror; m != nil {
		t.Errorf("%+v", m)
	}
}

// A gate may fire while the new fleet gets nothing but copies: then those stop at
// once, though no traffic moves.
func TestARouteSaysHowCopiesStop(t *testing.T) {
	for _, share := range []float64{0, 0.25} {
		e, is := inService(t, v("a", 4, 1))
		if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
			t.Fatal(err)
		}
		e.Deployment.Begun = t0.Add(time.Hour) // by a clock that was set back
		e.Deployment.Plan.Policy.Gates = []gate.Gate{{
			Kind: gate.Disagreement, Action: gate.Rollback, Alpha: 0.01,
			Mirror: &gate.Mirror{Share: 1, First: time.Minute},
		}}
		is = ready(e, is, "")
		active := int(4 * share)
		e.Apply(rollout.State{Phase: rollout.Baking, Begun: t0, Since: t0, Variants: []rollout.Split{
			{OldWanted: 4, OldActive: 4 - active, NewWanted: 4, NewActive: active, NewShare: share},
		}}, t0)
		r := e.Route(is)
		if r.Variants[0].Mirror == nil {
			t.Fatal("nothing is copied")
		}
		g := r.Guard
		if g == nil || g.Variants[0].Mirror != nil || !g.Begun.Equal(t0) || len(g.Variants[0].Fleets) != 1 {
			t.Errorf("with %v of the traffic the guard is %+v", share, r.Guard)
		}
	}
}

// Before the first shift alarms decide nothing: one that fires while the last new
// instances start, and recovers, must not be remembered against the deployment because
// the first of them get copies already. What gates find in those counts.
func TestAlarmsGuardNoRouteBeforeTheFirstShift(t *testing.T) {
	for name, c := range map[string]struct {
		phase rollout.Phase
		step  int
		want  int // alarms
	}{
		"launching":              {rollout.Launching, 0, 0},
		"copies alone":           {rollout.Baking, 0, 1},
		"launching a next batch": {rollout.Launching, 1, 1},
	} {
		e, is := inService(t, v("a", 4, 1))
		if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
			t.Fatal(err)
		}
		e.Deployment.Plan.Policy.Alarms = []string{"errors"}
		e.Deployment.Plan.Policy.Gates = []gate.Gate{{
			Kind: gate.Disagreement, Action: gate.Rollback, Alpha: 0.01,
			Mirror: &gate.Mirror{Share: 1, First: time.Minute},
		}}
		is = ready(e, is, "")
		s := e.Deployment.State
		s.Phase, s.Step = c.phase, c.step
		e.Apply(s, t0)
		r := e.Route(is)
		if r.Variants[0].Mirror == nil || r.Guard == nil {
			t.Fatalf("%s: nothing is copied, or that is not guarded: %+v", name, r)
		}
		if got := len(r.Guard.Alarms); got != c.want {
			t.Errorf("%s: %d alarms guard the route, want %d", name, got, c.want)
		}
	}
}

// Answers are read from the begin of a deployment on whose gates compare them, and of
// no other.
func TestAnswersAreReadWhileAGateComparesThem(t *testing.T) {
	e, is := inService(t, v("a", 4, 1))
	if by := e.Route(is).Variants[0].Reads; by != "" {
		t.Errorf("without a deployment %q reads", by)
	}
	if err := e.Update(hosting.Update{Launch: launch("c2", v("a", 4, 1))}); err != nil {
		t.Fatal(err)
	}
	if by := e.Route(is).Variants[0].Reads; by != "" {
		t.Errorf("without a gate %q reads", by)
	}
	e.Deployment.Plan.Policy.Gates = []gate.Gate{{Kind: gate.Drift, Action: gate.Rollback, Alpha: 0.01}}
	route := e.Route(ready(e, is, ""))
	if by := route.Variants[0].Reads; by != string(e.Deployment.ID) {
		t.Errorf("%q reads before traffic moves", by)
	}
	e.Deployment.State.Phase = rollout.RolledBack
	if by := e.Route(is).Variants[0].Reads; by != "" {
		t.Errorf("%q reads though it is decided", by)
	}
}
