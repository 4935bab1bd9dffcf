package slipway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
)

// tagged gives v2 a tag that sets a gate.
func (w *world) tagged(k gate.Kind, words string) {
	w.t.Helper()
	w.ok("SageMaker.AddTags", `{"ResourceArn":"arn:aws:sagemaker:us-east-1:000000000000:endpoint-config/v2","Tags":[{`+
		`"Key":"`+gate.TagPrefix+string(k)+`","Value":"`+words+`"}]}`)
}

// saw says what the errors gate has seen by now.
func (w *world) saw(log10, proof float64, step int) {
	now := time.Now().UTC()
	f := gate.Fact{
		Kind: gate.Errors, Variant: "main", Deployment: w.last(), Since: now, At: now, Log10: log10, Proof: proof,
		Step: step,
		Seen: gate.Seen{New: gate.Tally{Events: 17, Requests: 1533}, Old: gate.Tally{Events: 29, Requests: 29127}},
	}
	if len(w.seen) > 0 {
		f.Since, f.Trail = w.seen[0].Since, w.seen[0].Trail
	}
	f.Trail = f.Trail.Add(gate.Point{At: now, Log10: log10, Proof: proof})
	w.seen = []gate.Fact{f}
}

func TestTheGatesOfADeploymentInProgressAreShown(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		got := w.ok("Slipway.DescribeGates", `{"EndpointName":"e"}`)
		if !strings.Contains(got, "nothing is compared") {
			t.Errorf("without a deployment: %s", got)
		}
		w.tagged(gate.Errors, "action=hold ratio=2")
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.after(time.Minute)
		w.saw(0.7, 1.1, 0)
		w.after(time.Minute)
		w.saw(0.4, 2.2, 0)
		w.golden("gates.json", w.ok("Slipway.DescribeGates", `{"EndpointName":"e"}`))
		w.refused("Slipway.DescribeGates", `{"EndpointName":"x"}`, `{"__type":"ValidationException","message":"Could `+
			`not find endpoint \"arn:aws:sagemaker:us-east-1:000000000000:endpoint/x\"."}`)
	})
}

func TestTheRecordSaysWhatWasProvenAndWhatCouldNotBeSeen(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.tagged(gate.Errors, "action=hold")
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.answered = 1533
		w.after(5 * time.Minute)
		w.saw(0.2, 1, 0)
		w.after(5 * time.Minute)
		w.saw(0.1, 3.2, 0)
		w.settle()
		w.answered = 2000
		w.after(2 * time.Minute)
		w.golden("proven.json", w.describe())
	})
}

func TestTheRecordSaysWhatAGateHadAgainstTheNewFleet(t *testing.T) {
	inWorld(t, func(w *world) {
		w.endpoint()
		w.tagged(gate.Errors, "action=rollback")
		w.ok("SageMaker.UpdateEndpoint", canary)
		w.settle()
		w.answered = 1533
		time.Sleep(31 * time.Second)
		w.saw(3.5, 0, 0)
		w.settle()
		got := w.describe()
		const why = `gate \"errors\" fired: v2 fails 1.1 % of requests (17 of 1,533), v1 0.1 % at the same time; 0.25 % ` +
			`was allowed (1.5 times v1's plus 0.1 points). Evidence 1:3,200.`
		if strings.Count(got, why) < 2 || !strings.Contains(got, `"Verdict":"RolledBack"`) {
			t.Errorf("%s\nwant %s", got, why)
		}
	})
}
