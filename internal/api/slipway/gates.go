package slipway

import (
	"context"
	"fmt"
	"math"

	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func (a *api) describeGates(
	ctx context.Context, in slipway.DescribeGatesInput,
) (out slipway.DescribeGatesOutput, err error) {
	c, err := caller(ctx, "DescribeGates", *in.EndpointName)
	if err != nil {
		return out, err
	}
	v, err := a.ctl.GatesOf(ctx, c.Scope(), *in.EndpointName)
	if err != nil {
		return out, err
	}
	e := v.Endpoint
	out = slipway.DescribeGatesOutput{
		EndpointName: &e.Name, EndpointArn: new(e.ARN()), Gates: []slipway.DeploymentGate{},
	}
	if v.Record == nil {
		out.Summary = new(fmt.Sprintf("Endpoint %q has no deployment in progress: nothing is compared.", e.Name))
		return out, nil
	}
	r := v.Record
	out.DeploymentId, out.Phase = new(string(r.ID)), new(string(r.State.Phase))
	out.PreviousEndpointConfigName, out.EndpointConfigName = shape.Text(r.From), shape.Text(r.To())
	out.StepNumber = new(int32(r.State.Step + 1))
	for _, j := range r.Gates() {
		out.Gates = append(out.Gates, judgedBy(j))
	}
	out.Summary = new(r.Sentence() + " " + v.Chances.String())
	out.Updates, out.FalseRollbackChance = &v.Chances.Updates, &v.Chances.Each
	out.ExpectedFalseRollbacks = &v.Chances.Expected
	return out, nil
}

// judgedBy shows what a gate came to.
func judgedBy(j record.Judged) slipway.DeploymentGate {
	g := slipway.DeploymentGate{
		GateName: new(string(j.Gate.Kind)), VariantName: &j.Variant, Action: new(string(j.Gate.Action)),
		Origin: new(string(j.Gate.Origin())), Alpha: &j.Gate.Alpha, Threshold: new(j.Gate.Threshold()),
		Statements: j.Said, Words: []slipway.GateWord{},
	}
	for _, w := range j.Gate.Words() {
		g.Words = append(g.Words, slipway.GateWord{Word: &w.Word, Value: &w.Value, Origin: new(string(w.From))})
	}
	if !j.Seen {
		return g
	}
	f := j.Fact
	g.Evidence, g.Proof, g.ProofStepNumber = finite(f.Log10), finite(f.Proof), new(int32(f.Step+1))
	g.Held, g.HeldSince, g.Since, g.Time = shape.Text(f.Held), shape.At(f.HeldSince), shape.At(f.Since), shape.At(f.At)
	g.Requests, g.PreviousRequests = &f.Seen.New.Requests, &f.Seen.Old.Requests
	for _, p := range f.Trail.Points {
		g.Points = append(g.Points, slipway.GatePoint{
			Time: shape.At(p.At), Evidence: finite(p.Log10), Proof: finite(p.Proof),
		})
	}
	return g
}

// finite is a value that JSON has, to three digits; nil if it has none.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return new(math.Round(v*1000) / 1000)
}
