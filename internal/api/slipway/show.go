package slipway

import (
	"time"

	"github.com/slipway-ml/slipway/internal/domain/gate"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/record"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

func seconds(d time.Duration) *float64 { return new(d.Seconds()) }

// percent is a share of 0 to 1 without the noise of binary fractions.
func percent(share float64) *float64 { return new(float64(int64(share*10000+0.5)) / 100) }

func summary(r record.Record) slipway.DeploymentSummary {
	s := slipway.DeploymentSummary{
		DeploymentId: new(string(r.ID)), EndpointName: &r.Name, EndpointArn: new(r.EndpointARN()),
		Kind: new(string(r.Plan.Kind)), Strategy: new(string(r.Plan.Policy.Strategy)),
		PreviousEndpointConfigName: shape.Text(r.From), EndpointConfigName: shape.Text(r.To()),
		Phase: new(string(r.State.Phase)), Verdict: new(string(r.Verdict())), Summary: new(r.Sentence()),
		FailureReason: shape.Text(r.State.Reason),
		StartTime:     shape.At(r.Begun), EndTime: shape.At(r.Ended), StartedBy: shape.Text(r.By),
	}
	if pause, ok := r.State.Paused(); ok {
		s.PausedSince = shape.At(pause.From)
	}
	if r.Counted() {
		s.Requests = &r.Exposure.Requests
	}
	return s
}

func detail(r record.Record, now time.Time) slipway.DescribeDeploymentOutput {
	s := summary(r)
	out := slipway.DescribeDeploymentOutput{
		DeploymentId: s.DeploymentId, EndpointName: s.EndpointName, EndpointArn: s.EndpointArn, Kind: s.Kind,
		Strategy:                   s.Strategy,
		PreviousEndpointConfigName: s.PreviousEndpointConfigName, EndpointConfigName: s.EndpointConfigName,
		Phase: s.Phase, Verdict: s.Verdict, Summary: s.Summary, FailureReason: s.FailureReason,
		StartTime: s.StartTime, EndTime: s.EndTime, PausedSince: s.PausedSince, StartedBy: s.StartedBy,
		TrafficPercent: percent(r.Share()), Requests: s.Requests,
		Plan: plan(record.Foresee(r.Plan, record.Allowance{}), false),
	}
	if r.Green != nil {
		out.ModelData = modelData(r.Green.Variants)
	}
	for _, st := range r.Steps(now) {
		out.Steps = append(out.Steps, step(r, st))
	}
	out.Events = eventsOf(r.Events)
	for _, o := range r.Orders() {
		out.Orders = append(out.Orders, order(o))
	}
	for _, j := range r.Gates() {
		if j.Seen || j.Gate.Origin() != gate.BuiltIn { // else nobody set it, and it has nothing to tell
			out.Gates = append(out.Gates, judgedBy(j))
		}
	}
	return out
}

func eventsOf(in []record.Event) (out []slipway.DeploymentEvent) {
	for _, e := range in {
		out = append(out, slipway.DeploymentEvent{
			Time: shape.At(e.At), Kind: new(string(e.Kind)), Message: new(e.Message),
			DeploymentId: shape.Text(string(e.Deployment)),
		})
	}
	return out
}

// modelData says which version of its data each variant of the new fleet serves,
// and which the fleet before it, if the same place held another then.
func modelData(vs []hosting.FleetVariant) (out []slipway.DeployedModelDatum) {
	for _, v := range vs {
		if d := v.Container.ModelData; d != nil {
			out = append(out, slipway.DeployedModelDatum{
				VariantName: &v.Name, S3Uri: &d.URI, Version: shape.Text(d.Version),
				PreviousVersion: shape.Text(v.Replaced),
			})
		}
	}
	return out
}

func step(r record.Record, s record.Step) slipway.DeploymentStep {
	out := slipway.DeploymentStep{
		Time: shape.At(s.At), ElapsedSeconds: seconds(s.At.Sub(r.Begun)), Phase: new(string(s.Phase)),
		StepNumber:      new(int32(s.Number)),
		DurationSeconds: seconds(s.Lasted), Variants: variants(s.Variants), FailureReason: shape.Text(s.Reason),
		Note: shape.Text(s.Note),
	}
	if r.Counted() && !s.Phase.Terminal() {
		out.Requests = &s.Requests
	}
	for _, a := range s.Tripped {
		out.Alarms = append(out.Alarms, slipway.TrippedAlarm{
			AlarmName: &a.Name, StateReason: shape.Text(a.Reason), StateUpdatedTimestamp: shape.At(a.Since),
			TrafficTakenBackTime: shape.At(a.Taken),
		})
	}
	return out
}

func order(o record.Order) slipway.DeploymentOrder {
	out := slipway.DeploymentOrder{
		Time: shape.At(o.At), Order: new(string(o.Verb)), By: &o.By, Effect: &o.Effect,
		PausedFrom: shape.At(o.From), PausedUntil: shape.At(o.Until),
	}
	if !o.Pending {
		out.Phase, out.StepNumber = new(string(o.Phase)), new(int32(o.Step+1))
	}
	if o.Verb == rollout.Pause && o.Extended > 0 {
		out.ExtendedSeconds = seconds(o.Extended)
	}
	return out
}

func variants(in []record.VariantStep) (out []slipway.StepVariant) {
	for _, v := range in {
		out = append(out, slipway.StepVariant{
			VariantName: &v.Name, TrafficPercent: percent(v.NewShare),
			PreviousInstanceCount: new(int32(v.OldWanted)), PreviousActiveInstanceCount: new(int32(v.OldActive)),
			InstanceCount: new(int32(v.NewWanted)), ActiveInstanceCount: new(int32(v.NewActive)),
		})
	}
	return out
}

// plan shows a forecast; its worst case only if it was made with allowances.
func plan(f record.Forecast, worst bool) *slipway.DeploymentPlan {
	p := f.Plan.Policy
	out := &slipway.DeploymentPlan{
		Kind: new(string(f.Plan.Kind)), Strategy: new(string(p.Strategy)),
		TotalWaitInSeconds:               seconds(f.Wait),
		MaximumExecutionTimeoutInSeconds: seconds(p.MaximumExecutionTimeout), PeakInstanceCount: new(int32(f.Peak)),
		AlarmNames: p.Alarms,
	}
	if worst {
		out.WorstCaseInSeconds = seconds(f.Worst)
	}
	for _, v := range f.Plan.Variants {
		out.Variants = append(out.Variants, slipway.PlanVariant{
			VariantName: &v.Name, PreviousInstanceCount: new(int32(v.Old)), InstanceCount: new(int32(v.New)),
		})
	}
	for _, s := range f.Steps {
		st := slipway.PlannedStep{
			StartsAfterSeconds: seconds(s.At), Phase: new(string(s.Phase)), StepNumber: new(int32(s.Number)),
			WaitInSeconds: seconds(s.Wait), Variants: variants(s.Variants), TotalInstanceCount: new(int32(s.Instances)),
		}
		if worst {
			st.WorstCaseInSeconds = seconds(s.Worst)
		}
		out.Steps = append(out.Steps, st)
	}
	return out
}
