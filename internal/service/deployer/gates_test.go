package deployer_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
)

// Facts implements evidence.Gates.
func (y *yard) Facts(hosting.DeploymentID) []gate.Fact {
	if f := y.gates.Load(); f != nil {
		return *f
	}
	return nil
}

// keep is what is to be kept of the evidence: the phases in which it was asked for.
func (y *yard) keep(id hosting.DeploymentID) (hosting.KeptEvidence, bool) {
	n := y.asked.Add(1)
	return hosting.KeptEvidence{
		Deployment: id, Life: "g", Number: n, Documents: map[string]string{"a": fmt.Sprint(n)},
	}, true
}

// saw says what the errors gate of a deployment has seen by now.
func (y *yard) saw(deployment string, log10, proof float64) {
	now := time.Now().UTC()
	f := gate.Fact{
		Kind: gate.Errors, Variant: "a", Deployment: deployment, Since: now, At: now, Log10: log10, Proof: proof,
		Seen: gate.Seen{New: gate.Tally{Events: 17, Requests: 1533}, Old: gate.Tally{Events: 29, Requests: 29127}},
	}
	f.Trail = f.Trail.Add(gate.Point{At: now, Log10: log10, Proof: proof})
	y.gates.Store(&[]gate.Fact{f})
}

// gated updates to c2 by a canary of a minute that the errors gate judges.
func (y *yard) gated(words string) {
	y.create(2)
	synctest.Wait()
	y.obey(hosting.InstanceReady)
	gates, err := gate.Read(map[string]string{gate.TagPrefix + "errors": words}, nil)
	if err != nil {
		y.t.Fatal(err)
	}
	y.change(func(e *hosting.Endpoint) error {
		policy := &rollout.Policy{
			Strategy: rollout.Canary, CanarySize: rollout.Size{Type: rollout.InstanceCount, Value: 1},
			WaitInterval: time.Minute, TerminationWait: time.Minute,
		}
		return e.Update(hosting.Update{
			Launch: launch("c2", 2), Gates: gates,
			DeploymentConfig: &hosting.DeploymentConfig{Policy: policy, Document: []byte(`{}`)},
		})
	})
	y.obey(hosting.InstanceReady)
	y.want(hosting.Updating, "c1", rollout.Baking)
}

func TestAGateTakesTheTrafficBackWithinASecondAndTheRecordSaysWhy(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.gated("action=rollback")
		time.Sleep(10 * time.Second)
		y.saw("d-another", 300, 0) // of another deployment: nothing to this one
		time.Sleep(10 * time.Second)
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Baking)
		y.saw("d-c2", 3.5, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Withdrawing)
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c1", "")
		r, err := y.db.Deployment(y.t.Context(), scope, "d-c2")
		if err != nil {
			y.t.Fatal(err)
		}
		const why = `Endpoint deployment was rolled back because gate "errors" fired: c2 fails 1.1 % of requests (17 of ` +
			`1,533), c1 0.1 % at the same time; 0.25 % was allowed (1.5 times c1's plus 0.1 points). Evidence 1:3,200.`
		if r.State.Reason != why {
			y.t.Errorf("got  %s\nwant %s", r.State.Reason, why)
		}
		kept := r.Deployment.Gates
		if len(kept) != 1 || kept[0].Log10 != 3.5 || len(kept[0].Trail.Points) != 1 || len(r.Proven) != 0 {
			y.t.Errorf("the record has %+v and %+v", kept, r.Proven)
		}
	})
}

func TestAHeldBakeEndsWithinASecondOfItsProof(t *testing.T) {
	inBubble(t, func(y *yard) {
		defer y.start()()
		y.gated("action=hold")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		y.want(hosting.Updating, "c1", rollout.Baking)
		asked := fmt.Sprint(y.asked.Load())
		if kept, err := y.db.Evidence(y.t.Context(), "d-c2"); err != nil || kept["a"] != asked || asked == "0" {
			y.t.Errorf("kept with the phases is %v, of %s: %v", kept, asked, err)
		}
		if step := y.endpoint().Deployment.State.Step; step != 0 {
			y.t.Errorf("step %d was reached without a proof", step)
		}
		y.saw("d-c2", 0, 3.2)
		time.Sleep(time.Second)
		synctest.Wait()
		d := y.endpoint().Deployment
		if d == nil || d.State.Step != 1 {
			y.t.Fatalf("proven, it goes on baking: %+v", d)
		}
		if len(d.Proven) != 1 || d.Proven[0].Step != 0 || d.Proven[0].Proof != 3.2 || d.Proven[0].Requests != 1533 {
			y.t.Errorf("the record has %+v", d.Proven)
		}
		time.Sleep(time.Minute)
		y.obey(hosting.InstanceReady)
		y.obey(hosting.InstanceReady)
		y.want(hosting.InService, "c2", "")
		if kept, err := y.db.Evidence(y.t.Context(), "d-c2"); err != nil || len(kept) > 0 {
			y.t.Errorf("after the end %v is kept: %v", kept, err)
		}
		r, err := y.db.Deployment(y.t.Context(), scope, "d-c2")
		if err != nil || len(r.Proven) != 1 || strings.Contains(r.State.Reason, "gate") {
			y.t.Errorf("%+v, %q, %v", r.Proven, r.State.Reason, err)
		}
	})
}
