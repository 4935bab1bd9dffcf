package sagemaker

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/rollout"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

func (a *api) describeEndpoint(
	ctx context.Context, in sagemaker.DescribeEndpointInput,
) (out sagemaker.DescribeEndpointOutput, err error) {
	s, err := Scope(ctx, "DescribeEndpoint", arn.KindEndpoint, *in.EndpointName)
	if err != nil {
		return out, err
	}
	v, err := a.ctl.Endpoint(ctx, s, *in.EndpointName)
	if err != nil {
		return out, err
	}
	out = sagemaker.DescribeEndpointOutput{
		EndpointName: &v.Name, EndpointArn: new(v.ARN()), EndpointConfigName: &v.ConfigName,
		EndpointStatus: new(sagemaker.EndpointStatus(v.Status)), FailureReason: shape.Text(v.FailureReason),
		CreationTime: shape.At(v.Created), LastModifiedTime: shape.At(v.Modified),
	}
	if v.LastConfig != nil {
		out.LastDeploymentConfig = new(sagemaker.DeploymentConfig)
		if err := shape.Stored(v.LastConfig.Document, out.LastDeploymentConfig); err != nil {
			return out, err
		}
	}
	if err := describeFleet(&out, v); err != nil {
		return out, err
	}
	if v.Pending != nil {
		out.PendingDeploymentSummary, err = pending(*v.Pending, v.Deployment.Green.ConfigDoc)
	}
	return out, err
}

// describeFleet shows the fleet in service, with what Describe echoes of its
// configuration as that was when it went into service.
func describeFleet(out *sagemaker.DescribeEndpointOutput, v hosting.View) error {
	if v.Fleet == nil {
		return nil // it never was in service
	}
	var doc sagemaker.CreateEndpointConfigInput
	if err := shape.Stored(v.Fleet.ConfigDoc, &doc); err != nil {
		return err
	}
	out.MetricsConfig = doc.MetricsConfig
	if c := doc.DataCaptureConfig; c != nil {
		out.DataCaptureConfig = &sagemaker.DataCaptureConfigSummary{
			EnableCapture: new(enabled(*c)), CaptureStatus: new(sagemaker.CaptureStatusStopped),
			CurrentSamplingPercentage: c.InitialSamplingPercentage, DestinationS3Uri: c.DestinationS3Uri,
			KmsKeyId: new(shape.Val(c.KmsKeyId)),
		}
		if v.Capturing {
			out.DataCaptureConfig.CaptureStatus = new(sagemaker.CaptureStatusStarted)
		}
	}
	out.ProductionVariants = summaries(v.Variants, doc.ProductionVariants)
	out.ShadowProductionVariants = summaries(v.Shadows, doc.ShadowProductionVariants)
	return nil
}

// summaries shows variants of the fleet in service; config is what their
// configuration says of them.
func summaries(vs []hosting.VariantView, config []sagemaker.ProductionVariant) (
	out []sagemaker.ProductionVariantSummary,
) {
	for _, vv := range vs {
		config := variantOf(config, vv.Name)
		out = append(out, sagemaker.ProductionVariantSummary{
			VariantName: &vv.Name, DeployedImages: images(vv), VariantStatus: statuses(vv.Statuses),
			CurrentWeight: new(float32(vv.CurrentWeight)), DesiredWeight: new(float32(vv.DesiredWeight)),
			CurrentInstanceCount: new(int32(vv.CurrentCount)), DesiredInstanceCount: new(int32(vv.DesiredCount)),
			RoutingConfig: config.RoutingConfig, ManagedInstanceScaling: config.ManagedInstanceScaling,
		})
	}
	return out
}

// pending shows the fleet that a deployment brings up.
func pending(p hosting.PendingView, config []byte) (*sagemaker.PendingDeploymentSummary, error) {
	var doc sagemaker.CreateEndpointConfigInput
	if err := shape.Stored(config, &doc); err != nil {
		return nil, err
	}
	return &sagemaker.PendingDeploymentSummary{
		EndpointConfigName: &p.ConfigName, StartTime: shape.At(p.Start),
		ProductionVariants:       pendingVariants(p.Variants, doc.ProductionVariants),
		ShadowProductionVariants: pendingVariants(p.Shadows, doc.ShadowProductionVariants),
	}, nil
}

// pendingVariants shows variants of a fleet that is brought up; config is what
// their configuration says of them.
func pendingVariants(vs []hosting.VariantView, config []sagemaker.ProductionVariant) (
	out []sagemaker.PendingProductionVariantSummary,
) {
	for _, vv := range vs {
		config := variantOf(config, vv.Name)
		out = append(out, sagemaker.PendingProductionVariantSummary{
			VariantName: &vv.Name, DeployedImages: images(vv), VariantStatus: statuses(vv.Statuses),
			CurrentWeight: new(float32(vv.CurrentWeight)), DesiredWeight: new(float32(vv.DesiredWeight)),
			CurrentInstanceCount: new(int32(vv.CurrentCount)), DesiredInstanceCount: new(int32(vv.DesiredCount)),
			InstanceType:    new(sagemaker.ProductionVariantInstanceType(vv.InstanceType)),
			AcceleratorType: config.AcceleratorType,
			RoutingConfig:   config.RoutingConfig, ManagedInstanceScaling: config.ManagedInstanceScaling,
		})
	}
	return out
}

// variantOf is what a configuration says of a variant.
func variantOf(config []sagemaker.ProductionVariant, variant string) sagemaker.ProductionVariant {
	for _, v := range config {
		if shape.Val(v.VariantName) == variant {
			return v
		}
	}
	return sagemaker.ProductionVariant{}
}

// images shows the image of a variant. A name that is looked up in the server's
// configuration is not resolved any further.
func images(v hosting.VariantView) []sagemaker.DeployedImage {
	return []sagemaker.DeployedImage{{
		SpecifiedImage: &v.Container.Image, ResolvedImage: &v.Container.Image, ResolutionTime: shape.At(v.Resolved),
	}}
}

func statuses(in []rollout.VariantStatus) (out []sagemaker.ProductionVariantStatus) {
	for _, s := range in {
		out = append(out, sagemaker.ProductionVariantStatus{
			Status: new(sagemaker.VariantStatus(s.Status)), StatusMessage: shape.Text(s.Message),
			StartTime: shape.At(s.StartTime),
		})
	}
	return out
}
