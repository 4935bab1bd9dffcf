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
			EnableCapture: new(shape.Val(c.EnableCapture)), CaptureStatus: new(sagemaker.CaptureStatusStopped),
			CurrentSamplingPercentage: c.InitialSamplingPercentage, DestinationS3Uri: c.DestinationS3Uri,
			KmsKeyId: new(shape.Val(c.KmsKeyId)),
		}
	}
	for _, vv := range v.Variants {
		config := variantOf(doc, vv.Name)
		out.ProductionVariants = append(out.ProductionVariants, sagemaker.ProductionVariantSummary{
			VariantName: &vv.Name, DeployedImages: images(vv), VariantStatus: statuses(vv.Statuses),
			CurrentWeight: new(float32(vv.CurrentWeight)), DesiredWeight: new(float32(vv.DesiredWeight)),
			CurrentInstanceCount: new(int32(vv.CurrentCount)), DesiredInstanceCount: new(int32(vv.DesiredCount)),
			RoutingConfig: config.RoutingConfig, ManagedInstanceScaling: config.ManagedInstanceScaling,
		})
	}
	return nil
}

// pending shows the fleet that a deployment brings up.
func pending(p hosting.PendingView, config []byte) (*sagemaker.PendingDeploymentSummary, error) {
	var doc sagemaker.CreateEndpointConfigInput
	if err := shape.Stored(config, &doc); err != nil {
		return nil, err
	}
	out := &sagemaker.PendingDeploymentSummary{EndpointConfigName: &p.ConfigName, StartTime: shape.At(p.Start)}
	for _, vv := range p.Variants {
		config := variantOf(doc, vv.Name)
		out.ProductionVariants = append(out.ProductionVariants, sagemaker.PendingProductionVariantSummary{
			VariantName: &vv.Name, DeployedImages: images(vv), VariantStatus: statuses(vv.Statuses),
			CurrentWeight: new(float32(vv.CurrentWeight)), DesiredWeight: new(float32(vv.DesiredWeight)),
			CurrentInstanceCount: new(int32(vv.CurrentCount)), DesiredInstanceCount: new(int32(vv.DesiredCount)),
			InstanceType:    new(sagemaker.ProductionVariantInstanceType(vv.InstanceType)),
			AcceleratorType: config.AcceleratorType,
			RoutingConfig:   config.RoutingConfig, ManagedInstanceScaling: config.ManagedInstanceScaling,
		})
	}
	return out, nil
}

// variantOf is what the configuration's document says of a variant.
func variantOf(doc sagemaker.CreateEndpointConfigInput, variant string) sagemaker.ProductionVariant {
	for _, v := range doc.ProductionVariants {
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
