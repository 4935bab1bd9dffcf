package fleet

import (
	"context"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/edge"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createPlan(
	ctx context.Context, in sagemaker.CreateEdgeDeploymentPlanRequest,
) (out sagemaker.CreateEdgeDeploymentPlanResponse, err error) {
	s, err := hostingapi.Scope(ctx, "CreateEdgeDeploymentPlan", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	p := edge.Plan{Scope: s, Name: *in.EdgeDeploymentPlanName, Fleet: *in.DeviceFleetName, Stages: stagesIn(in.Stages)}
	for _, m := range in.ModelConfigs {
		p.Models = append(p.Models, edge.ModelConfig{Handle: *m.ModelHandle, Job: *m.EdgePackagingJobName})
	}
	id, err := a.svc.CreatePlan(ctx, p, tags.In(in.Tags))
	return sagemaker.CreateEdgeDeploymentPlanResponse{EdgeDeploymentPlanArn: &id}, err
}

// describePlan pages over the stages, in the plan's order.
func (a *api) describePlan(
	ctx context.Context, in sagemaker.DescribeEdgeDeploymentPlanRequest,
) (out sagemaker.DescribeEdgeDeploymentPlanResponse, err error) {
	s, err := hostingapi.Scope(ctx, "DescribeEdgeDeploymentPlan", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	// A page is found by the name of its first stage.
	pages, from, err := page.Open[string]("DescribeEdgeDeploymentPlan", s, *in.EdgeDeploymentPlanName, in.NextToken)
	if err != nil {
		return out, err
	}
	size, err := limit(in.MaxResults, defaultStages)
	if err != nil {
		return out, err
	}
	p, err := a.svc.Plan(ctx, s, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	c := p.Counts()
	out = sagemaker.DescribeEdgeDeploymentPlanResponse{
		EdgeDeploymentPlanArn: new(p.ARN()), EdgeDeploymentPlanName: &p.Name, DeviceFleetName: &p.Fleet,
		EdgeDeploymentSuccess: shape.Int(c.Success()), EdgeDeploymentPending: shape.Int(c.Pending()),
		EdgeDeploymentFailed: shape.Int(c.Failed),
		Stages:               []sagemaker.DeploymentStageStatusSummary{}, CreationTime: shape.At(p.Created),
		LastModifiedTime: shape.At(p.Modified),
	}
	for _, m := range p.Models {
		out.ModelConfigs = append(
			out.ModelConfigs, sagemaker.EdgeDeploymentModelConfig{ModelHandle: &m.Handle, EdgePackagingJobName: &m.Job},
		)
	}
	first := 0
	if from != "" {
		if first = p.Stage(from); first < 0 {
			return out, page.Invalid() // the stage is gone meanwhile
		}
	}
	end := min(first+size, len(p.Stages))
	for _, st := range p.Stages[first:end] {
		out.Stages = append(out.Stages, stageOut(st))
	}
	if end < len(p.Stages) {
		out.NextToken = pages.Next(p.Stages[end].Name)
	}
	return out, nil
}

func (a *api) deletePlan(
	ctx context.Context, in sagemaker.DeleteEdgeDeploymentPlanRequest,
) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "DeleteEdgeDeploymentPlan", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	return out, a.svc.DeletePlan(ctx, s, *in.EdgeDeploymentPlanName)
}

func (a *api) createStage(
	ctx context.Context, in sagemaker.CreateEdgeDeploymentStageRequest,
) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "CreateEdgeDeploymentStage", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	return out, a.svc.AddStages(ctx, s, *in.EdgeDeploymentPlanName, stagesIn(in.Stages))
}

func (a *api) deleteStage(
	ctx context.Context, in sagemaker.DeleteEdgeDeploymentStageRequest,
) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "DeleteEdgeDeploymentStage", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	return out, a.svc.DeleteStage(ctx, s, *in.EdgeDeploymentPlanName, *in.StageName)
}

func (a *api) startStage(
	ctx context.Context, in sagemaker.StartEdgeDeploymentStageRequest,
) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "StartEdgeDeploymentStage", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	return out, a.svc.StartStage(ctx, s, *in.EdgeDeploymentPlanName, *in.StageName)
}

func (a *api) stopStage(ctx context.Context, in sagemaker.StopEdgeDeploymentStageRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "StopEdgeDeploymentStage", arn.KindEdgeDeployment, *in.EdgeDeploymentPlanName)
	if err != nil {
		return out, err
	}
	return out, a.svc.StopStage(ctx, s, *in.EdgeDeploymentPlanName, *in.StageName)
}

func stagesIn(in []sagemaker.DeploymentStage) (out []edge.Stage) {
	for _, st := range in {
		sel := st.DeviceSelectionConfig
		s := edge.Stage{Name: *st.StageName, Selection: edge.Selection{
			Type: edge.SubsetType(*sel.DeviceSubsetType), Percentage: int(shape.Val(sel.Percentage)),
			Names: sel.DeviceNames, NameContains: shape.Val(sel.DeviceNameContains),
		}}
		if st.DeploymentConfig != nil {
			s.OnFailure = edge.FailurePolicy(*st.DeploymentConfig.FailureHandlingPolicy)
		}
		out = append(out, s)
	}
	return out
}

func stageOut(st edge.Stage) sagemaker.DeploymentStageStatusSummary {
	sel := &sagemaker.DeviceSelectionConfig{
		DeviceSubsetType: new(sagemaker.DeviceSubsetType(st.Selection.Type)), DeviceNames: st.Selection.Names,
		DeviceNameContains: shape.Text(st.Selection.NameContains),
	}
	if st.Selection.Type == edge.ByPercentage {
		sel.Percentage = shape.Int(st.Selection.Percentage)
	}
	return sagemaker.DeploymentStageStatusSummary{
		StageName: &st.Name, DeviceSelectionConfig: sel,
		DeploymentConfig: &sagemaker.EdgeDeploymentConfig{
			FailureHandlingPolicy: new(sagemaker.FailureHandlingPolicy(st.OnFailure)),
		},
		DeploymentStatus: &sagemaker.EdgeDeploymentStatus{
			StageStatus:                  new(sagemaker.StageStatus(st.Status)),
			EdgeDeploymentSuccessInStage: shape.Int(st.Counts.Success()),
			EdgeDeploymentPendingInStage: shape.Int(st.Counts.Pending()),
			EdgeDeploymentFailedInStage:  shape.Int(st.Counts.Failed),
			EdgeDeploymentStatusMessage:  shape.Text(st.Message), EdgeDeploymentStageStartTime: shape.At(st.Started),
		},
	}
}
