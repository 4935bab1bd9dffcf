package slipway

import (
	"context"
	"time"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/slipway"
)

// planCaller returns who calls, if they may do op to the plan.
func planCaller(ctx context.Context, op, plan string) (access.Caller, error) {
	return access.Authorize(ctx, "slipway:"+op, func(s arn.Scope) string { return s.EdgeDeployment(plan) })
}

func (a *api) setEdgePolicy(
	ctx context.Context, in slipway.SetEdgePolicyInput,
) (out slipway.SetEdgePolicyOutput, err error) {
	c, err := planCaller(ctx, "SetEdgePolicy", *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	p, err := policyIn(*in.Policy)
	if err != nil {
		return out, err
	}
	if err := a.fleets.SetPolicy(ctx, c.Scope(), *in.EdgeDeploymentPlanName, p, c.ARN); err != nil {
		return out, err
	}
	return slipway.SetEdgePolicyOutput{
		EdgeDeploymentPlanArn: new(c.Scope().EdgeDeployment(*in.EdgeDeploymentPlanName)), Policy: policyOut(p),
	}, nil
}

func (a *api) describeEdgeDeployment(
	ctx context.Context, in slipway.DescribeEdgeDeploymentInput,
) (out slipway.DescribeEdgeDeploymentOutput, err error) {
	name := *in.EdgeDeploymentPlanName
	c, err := planCaller(ctx, "DescribeEdgeDeployment", name)
	if err != nil {
		return out, err
	}
	p, err := a.fleets.Plan(ctx, c.Scope(), name)
	if err != nil {
		return out, err
	}
	events, err := a.fleets.History(ctx, c.Scope(), name)
	if err != nil {
		return out, err
	}
	out = slipway.DescribeEdgeDeploymentOutput{
		EdgeDeploymentPlanArn: new(p.ARN()), EdgeDeploymentPlanName: &p.Name, DeviceFleetName: &p.Fleet,
		Policy: policyOut(p.Policy),
		Stages: []slipway.EdgeStage{}, Events: []slipway.EdgeEvent{},
	}
	for _, s := range p.Stages {
		n := s.Counts
		out.Stages = append(out.Stages, slipway.EdgeStage{
			StageName: &s.Name, StageStatus: new(string(s.Status)), Message: shape.Text(s.Message),
			Verdict:               shape.Text(string(s.Verdict)),
			FailureHandlingPolicy: new(string(s.OnFailure)), DeploymentName: shape.Text(s.Deployment),
			StartTime: shape.At(s.Started),
			Success:   shape.Int(n.Success()), Pending: shape.Int(n.Pending()), Failed: shape.Int(n.Failed),
			Stopped: shape.Int(n.Stopped), Late: shape.Int(s.Late), Mirror: mirrored(s),
		})
	}
	for _, e := range events {
		out.Events = append(out.Events, slipway.EdgeEvent{
			Time: shape.At(e.At), StageName: shape.Text(e.Stage), Kind: new(string(e.Kind)),
			Message: shape.Text(e.Text), By: shape.Text(e.By),
		})
	}
	return out, nil
}

func (a *api) setPackageFloor(
	ctx context.Context, in slipway.SetEdgePackageFloorInput,
) (out slipway.SetEdgePackageFloorOutput, err error) {
	c, err := access.From(ctx)
	if err != nil {
		return out, err
	}
	if (in.EdgePackagingJobName == nil) == (in.Serial == nil) {
		return out, fault.New(fault.Invalid, "Exactly one of EdgePackagingJobName or Serial must be specified.")
	}
	var serial int64
	if in.Serial != nil {
		serial = *in.Serial
	} else {
		job := c.Scope().EdgePackagingJob(*in.EdgePackagingJobName)
		if err := access.Allow(c, "slipway:SetEdgePackageFloor", job); err != nil {
			return out, err
		}
		var model string
		if model, serial, err = a.jobs.Serial(ctx, c.Scope(), *in.EdgePackagingJobName); err != nil {
			return out, err
		}
		if model != *in.ModelName {
			return out, fault.New(
				fault.Invalid, "The packaging job %q made a package of the model %q, not of %q.",
				*in.EdgePackagingJobName, model, *in.ModelName,
			)
		}
	}
	return slipway.SetEdgePackageFloorOutput{
		ModelName: in.ModelName, Serial: &serial,
	}, a.jobs.SetFloor(ctx, c.Scope(), *in.ModelName, serial)
}

func policyIn(in slipway.EdgePolicy) (edge.Policy, error) {
	p := edge.Policy{
		AutoNext: shape.Val(in.AutoNext), Bake: shape.SecondsOf(in.BakeInSeconds),
		SuccessThreshold: shape.Val(in.SuccessThreshold),
		MinSample:        int(shape.Val(in.MinimumSample)), Reachable: shape.SecondsOf(in.ReachableInSeconds),
		FailureThreshold: shape.Val(in.FailureThreshold),
		DeviceTimeout:    shape.SecondsOf(in.DeviceTimeoutInSeconds),
	}
	switch shape.Val(in.OnFailure) {
	case slipway.EdgeReactionStop:
		p.OnFailure = edge.StopStage
	case slipway.EdgeReactionRollback:
		p.OnFailure = edge.RollBackPlan
	}
	if in.MaximumDisagreement == nil {
		if in.MirrorInSeconds != nil || in.MinimumPairs != nil || in.MirrorShare != nil || in.ComparedOutputs != nil {
			return p, fault.New(fault.Invalid, "How models are compared says nothing without MaximumDisagreement.")
		}
		return p, nil
	}
	p.Mirror = &edge.Mirror{
		MaxDisagreement: *in.MaximumDisagreement, Time: shape.SecondsOf(in.MirrorInSeconds),
		MinPairs: int(shape.Val(in.MinimumPairs)), Share: shape.Val(in.MirrorShare),
	}
	if in.MirrorInSeconds == nil {
		p.Mirror.Time = edge.DefaultMirrorTime
	}
	if in.MinimumPairs == nil {
		p.Mirror.MinPairs = edge.DefaultMinPairs
	}
	for _, o := range in.ComparedOutputs {
		p.Mirror.Outputs = append(p.Mirror.Outputs, edge.ComparedOutput{
			Name: *o.OutputName, Tolerance: shape.Val(o.Tolerance),
		})
	}
	return p, nil
}

func policyOut(p edge.Policy) *slipway.EdgePolicy {
	seconds := func(d time.Duration) *int32 { return new(int32(d / time.Second)) }
	on := slipway.EdgeReactionNone
	if p.OnFailure != edge.NoReaction {
		on = slipway.EdgeReaction(p.OnFailure)
	}
	out := &slipway.EdgePolicy{
		AutoNext: &p.AutoNext, BakeInSeconds: seconds(p.Bake), SuccessThreshold: &p.SuccessThreshold,
		MinimumSample:      shape.Int(p.MinSample),
		ReachableInSeconds: seconds(p.Window()), FailureThreshold: &p.FailureThreshold, OnFailure: &on,
		DeviceTimeoutInSeconds: seconds(p.DeviceTimeout),
	}
	if m := p.Mirror; m != nil {
		out.MaximumDisagreement, out.MirrorInSeconds = &m.MaxDisagreement, seconds(m.Time)
		out.MinimumPairs, out.MirrorShare = shape.Int(m.MinPairs), new(m.Share)
		if m.Share == 0 {
			*out.MirrorShare = 100
		}
		for _, o := range m.Outputs {
			out.ComparedOutputs = append(out.ComparedOutputs, slipway.ComparedOutput{
				OutputName: &o.Name, Tolerance: &o.Tolerance,
			})
		}
	}
	return out
}

// mirrored tells what the devices of a stage have told of models that they
// compared; nil if its order does not ask for that.
func mirrored(s edge.Stage) *slipway.EdgeMirror {
	if s.Mirror == nil {
		return nil
	}
	m := s.Mirrored
	return &slipway.EdgeMirror{
		Summary: new(m.String()), MaximumDisagreement: &s.Mirror.MaxDisagreement, Disagreement: new(m.Percent()),
		Compared: &m.Compared, Differing: &m.Differing, Failed: &m.Failed,
		DevicesAgreed: shape.Int(m.Agreed), DevicesDisagreed: shape.Int(m.Refused),
		DevicesNotProven: shape.Int(m.Unproven), DevicesWithoutModel: shape.Int(m.Fresh),
	}
}
