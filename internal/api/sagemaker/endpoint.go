package sagemaker

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/service/control"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createEndpoint(
	ctx context.Context, in sagemaker.CreateEndpointInput,
) (out sagemaker.CreateEndpointOutput, err error) {
	s, err := Scope(ctx, "CreateEndpoint", arn.KindEndpoint, *in.EndpointName)
	if err != nil {
		return out, err
	}
	dc, err := deploymentConfig(in.DeploymentConfig)
	if err != nil {
		return out, err
	}
	id, err := a.ctl.CreateEndpoint(ctx, control.CreateEndpointInput{
		Scope: s, Name: *in.EndpointName, Config: *in.EndpointConfigName, DeploymentConfig: dc, Tags: tags.In(in.Tags),
		By: by(ctx),
	})
	return sagemaker.CreateEndpointOutput{EndpointArn: &id}, err
}

func (a *api) updateEndpoint(
	ctx context.Context, in sagemaker.UpdateEndpointInput,
) (out sagemaker.UpdateEndpointOutput, err error) {
	u, err := Update(ctx, "UpdateEndpoint", in)
	if err != nil {
		return out, err
	}
	id, err := a.ctl.UpdateEndpoint(ctx, u)
	return sagemaker.UpdateEndpointOutput{EndpointArn: &id}, err
}

// Update is what an UpdateEndpoint asks for, if the caller may do op to the
// endpoint. Planning an update reads it, too.
func Update(
	ctx context.Context, op string, in sagemaker.UpdateEndpointInput,
) (out control.UpdateEndpointInput, err error) {
	s, err := Scope(ctx, op, arn.KindEndpoint, *in.EndpointName)
	if err != nil {
		return out, err
	}
	dc, err := deploymentConfig(in.DeploymentConfig)
	if err != nil {
		return out, err
	}
	var exclude []hosting.Property
	for _, p := range in.ExcludeRetainedVariantProperties {
		exclude = append(exclude, hosting.Property(*p.VariantPropertyType))
	}
	return control.UpdateEndpointInput{
		Scope: s, Name: *in.EndpointName, Config: *in.EndpointConfigName,
		RetainAll: shape.Val(in.RetainAllVariantProperties), Exclude: exclude,
		DeploymentConfig: dc, RetainDeploymentConfig: shape.Val(in.RetainDeploymentConfig), By: by(ctx),
	}, nil
}

// deploymentConfig keeps the guardrails as they were sent, for Describe, beside
// what they mean; nil if none were sent.
func deploymentConfig(in *sagemaker.DeploymentConfig) (*hosting.DeploymentConfig, error) {
	if in == nil {
		return nil, nil
	}
	if in.BlueGreenUpdatePolicy != nil && in.RollingUpdatePolicy != nil {
		return nil, fault.New(
			fault.Invalid, "Only one of BlueGreenUpdatePolicy and RollingUpdatePolicy can be specified.",
		)
	}
	out := &hosting.DeploymentConfig{Document: shape.Append(nil, in)}
	p := rollout.Policy{Strategy: rollout.AllAtOnce}
	if bg := in.BlueGreenUpdatePolicy; bg != nil {
		route := bg.TrafficRoutingConfiguration
		p.Strategy = rollout.Strategy(*route.Type)
		p.CanarySize, p.LinearStepSize = size(route.CanarySize), size(route.LinearStepSize)
		p.WaitInterval = shape.SecondsOf(route.WaitIntervalInSeconds)
		p.TerminationWait = shape.SecondsOf(bg.TerminationWaitInSeconds)
		p.MaximumExecutionTimeout = shape.SecondsOf(bg.MaximumExecutionTimeoutInSeconds)
	}
	if r := in.RollingUpdatePolicy; r != nil {
		p = rollout.Policy{
			Strategy: rollout.Rolling, MaximumBatchSize: size(r.MaximumBatchSize),
			RollbackMaximumBatchSize: size(r.RollbackMaximumBatchSize),
			WaitInterval:             shape.SecondsOf(r.WaitIntervalInSeconds),
			MaximumExecutionTimeout:  shape.SecondsOf(r.MaximumExecutionTimeoutInSeconds),
		}
	}
	if ar := in.AutoRollbackConfiguration; ar != nil {
		for _, alarm := range ar.Alarms {
			if alarm.AlarmName != nil {
				p.Alarms = append(p.Alarms, *alarm.AlarmName)
			}
		}
	}
	if in.BlueGreenUpdatePolicy != nil || in.RollingUpdatePolicy != nil || len(p.Alarms) > 0 {
		out.Policy = &p // otherwise nothing was asked for
		return out, p.Check()
	}
	return out, nil
}

func size(s *sagemaker.CapacitySize) rollout.Size {
	if s == nil {
		return rollout.Size{}
	}
	return rollout.Size{Type: rollout.SizeType(*s.Type), Value: int(*s.Value)}
}

func (a *api) updateWeights(
	ctx context.Context, in sagemaker.UpdateEndpointWeightsAndCapacitiesInput,
) (out sagemaker.UpdateEndpointWeightsAndCapacitiesOutput, err error) {
	s, err := Scope(ctx, "UpdateEndpointWeightsAndCapacities", arn.KindEndpoint, *in.EndpointName)
	if err != nil {
		return out, err
	}
	var desires []hosting.Desire
	for _, d := range in.DesiredWeightsAndCapacities {
		if err := refuse(feature{d.ServerlessUpdateConfig != nil, "ServerlessUpdateConfig"}); err != nil {
			return out, err
		}
		desire := hosting.Desire{Variant: *d.VariantName}
		if d.DesiredWeight != nil {
			desire.Weight = new(float64(*d.DesiredWeight))
		}
		if d.DesiredInstanceCount != nil {
			desire.Count = new(int(*d.DesiredInstanceCount))
		}
		desires = append(desires, desire)
	}
	id, err := a.ctl.UpdateWeightsAndCapacities(ctx, control.ScaleEndpointInput{
		Scope: s, Name: *in.EndpointName, Desires: desires, By: by(ctx),
	})
	return sagemaker.UpdateEndpointWeightsAndCapacitiesOutput{EndpointArn: &id}, err
}

func (a *api) deleteEndpoint(ctx context.Context, in sagemaker.DeleteEndpointInput) (out shape.None, err error) {
	s, err := Scope(ctx, "DeleteEndpoint", arn.KindEndpoint, *in.EndpointName)
	if err != nil {
		return out, err
	}
	return out, a.ctl.DeleteEndpoint(ctx, s, *in.EndpointName, by(ctx))
}

func (a *api) listEndpoints(
	ctx context.Context, in sagemaker.ListEndpointsInput,
) (out sagemaker.ListEndpointsOutput, err error) {
	l, err := newListing(ctx, "ListEndpoints", arn.KindEndpoint, in.NextToken, hosting.Filter{
		NameContains: shape.Val(in.NameContains), CreatedFrom: shape.TimeOf(in.CreationTimeAfter),
		CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
		ModifiedAfter: shape.TimeOf(in.LastModifiedTimeAfter), ModifiedBefore: shape.TimeOf(in.LastModifiedTimeBefore),
		Status: hosting.Status(shape.Val(in.StatusEquals)),
		SortBy: hosting.SortBy(shape.Val(in.SortBy)), Ascending: shape.Val(in.SortOrder) == sagemaker.OrderKeyAscending,
		Limit: int(shape.Val(in.MaxResults)),
	})
	if err != nil {
		return out, err
	}
	sums, more, err := a.ctl.ListEndpoints(ctx, l.scope, l.filter)
	out.NextToken = l.token(sums, more)
	for _, e := range sums {
		out.Endpoints = append(out.Endpoints, sagemaker.EndpointSummary{
			EndpointName: &e.Name, EndpointArn: new(l.scope.Endpoint(e.Name)),
			EndpointStatus: new(sagemaker.EndpointStatus(e.Status)),
			CreationTime:   shape.At(e.Created), LastModifiedTime: shape.At(e.Modified),
		})
	}
	return out, err
}
