package sagemaker

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/domain/traffic"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createEndpointConfig(
	ctx context.Context, in sagemaker.CreateEndpointConfigInput,
) (out sagemaker.CreateEndpointConfigOutput, err error) {
	s, err := Scope(ctx, "CreateEndpointConfig", arn.KindEndpointConfig, *in.EndpointConfigName)
	if err != nil {
		return out, err
	}
	if err := checkConfig(in); err != nil {
		return out, err
	}
	id, err := a.ctl.CreateEndpointConfig(ctx, endpointConfig(s, in), tags.In(in.Tags))
	return sagemaker.CreateEndpointConfigOutput{EndpointConfigArn: &id}, err
}

// endpointConfig turns the request into the domain's configuration.
func endpointConfig(s arn.Scope, in sagemaker.CreateEndpointConfigInput) hosting.EndpointConfig {
	doc := in
	doc.Tags = nil // they are records of their own
	doc.ProductionVariants, doc.ShadowProductionVariants = nil, nil
	c := hosting.EndpointConfig{Scope: s, Name: *in.EndpointConfigName}
	for _, v := range in.ProductionVariants {
		v = weighted(v)
		doc.ProductionVariants = append(doc.ProductionVariants, v)
		c.Variants = append(c.Variants, variant(v))
	}
	for _, v := range in.ShadowProductionVariants {
		v = weighted(v)
		doc.ShadowProductionVariants = append(doc.ShadowProductionVariants, v)
		c.Shadows = append(c.Shadows, variant(v))
	}
	c.Capture = capture(in.DataCaptureConfig)
	c.Document = shape.Append(nil, doc)
	return c
}

// weighted returns a variant with the default of its weight, which Describe shows.
func weighted(v sagemaker.ProductionVariant) sagemaker.ProductionVariant {
	if v.InitialVariantWeight == nil {
		v.InitialVariantWeight = new(float32(1))
	}
	return v
}

// capture is what a configuration asks to be captured; nil: nothing.
func capture(in *sagemaker.DataCaptureConfig) *traffic.Capture {
	if in == nil || !enabled(*in) {
		return nil
	}
	c := &traffic.Capture{Destination: *in.DestinationS3Uri, Percent: int(*in.InitialSamplingPercentage)}
	for _, o := range in.CaptureOptions {
		c.Input = c.Input || *o.CaptureMode != sagemaker.CaptureModeOutput
		c.Output = c.Output || *o.CaptureMode != sagemaker.CaptureModeInput
	}
	if h := in.CaptureContentTypeHeader; h != nil {
		c.CSV, c.JSON = h.CsvContentTypes, h.JsonContentTypes
	}
	return c
}

// enabled reports whether a capture is on, which it is unless it is switched off.
func enabled(c sagemaker.DataCaptureConfig) bool { return c.EnableCapture == nil || *c.EnableCapture }

func variant(v sagemaker.ProductionVariant) hosting.Variant {
	routing := traffic.Random
	if v.RoutingConfig != nil {
		routing = traffic.Strategy(*v.RoutingConfig.RoutingStrategy)
	}
	return hosting.Variant{
		Name: *v.VariantName, ModelName: *v.ModelName, InstanceType: string(shape.Val(v.InstanceType)),
		InstanceCount: int(shape.Val(v.InitialInstanceCount)), Weight: float64(*v.InitialVariantWeight),
		Routing:         routing,
		DownloadTimeout: shape.SecondsOf(v.ModelDataDownloadTimeoutInSeconds),
		StartupTimeout:  shape.SecondsOf(v.ContainerStartupHealthCheckTimeoutInSeconds),
	}
}

func (a *api) describeEndpointConfig(
	ctx context.Context, in sagemaker.DescribeEndpointConfigInput,
) (out sagemaker.DescribeEndpointConfigOutput, err error) {
	s, err := Scope(ctx, "DescribeEndpointConfig", arn.KindEndpointConfig, *in.EndpointConfigName)
	if err != nil {
		return out, err
	}
	c, err := a.ctl.EndpointConfig(ctx, s, *in.EndpointConfigName)
	if err != nil {
		return out, err
	}
	var doc sagemaker.CreateEndpointConfigInput
	if err := shape.Stored(c.Document, &doc); err != nil {
		return out, err
	}
	// ACK's controller waits until it reads EnableNetworkIsolation.
	isolated := shape.Val(doc.EnableNetworkIsolation)
	return sagemaker.DescribeEndpointConfigOutput{
		EndpointConfigName: &c.Name, EndpointConfigArn: new(c.ARN()), CreationTime: shape.At(c.Created),
		ProductionVariants: doc.ProductionVariants, ShadowProductionVariants: doc.ShadowProductionVariants,
		DataCaptureConfig: doc.DataCaptureConfig, KmsKeyId: doc.KmsKeyId,
		AsyncInferenceConfig: doc.AsyncInferenceConfig,
		ExplainerConfig:      doc.ExplainerConfig, ExecutionRoleArn: doc.ExecutionRoleArn, VpcConfig: doc.VpcConfig,
		EnableNetworkIsolation: &isolated, MetricsConfig: doc.MetricsConfig,
	}, nil
}

func (a *api) listEndpointConfigs(
	ctx context.Context, in sagemaker.ListEndpointConfigsInput,
) (out sagemaker.ListEndpointConfigsOutput, err error) {
	l, err := newListing(ctx, "ListEndpointConfigs", arn.KindEndpointConfig, in.NextToken, hosting.Filter{
		NameContains: shape.Val(in.NameContains), CreatedFrom: shape.TimeOf(in.CreationTimeAfter),
		CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
		SortBy:        hosting.SortBy(shape.Val(in.SortBy)),
		Ascending:     shape.Val(in.SortOrder) == sagemaker.OrderKeyAscending,
		Limit:         int(shape.Val(in.MaxResults)),
	})
	if err != nil {
		return out, err
	}
	sums, more, err := a.ctl.ListEndpointConfigs(ctx, l.scope, l.filter)
	out.NextToken = l.token(sums, more)
	for _, c := range sums {
		out.EndpointConfigs = append(out.EndpointConfigs, sagemaker.EndpointConfigSummary{
			EndpointConfigName: &c.Name, EndpointConfigArn: new(l.scope.EndpointConfig(c.Name)),
			CreationTime: shape.At(c.Created),
		})
	}
	return out, err
}

func (a *api) deleteEndpointConfig(
	ctx context.Context, in sagemaker.DeleteEndpointConfigInput,
) (out shape.None, err error) {
	s, err := Scope(ctx, "DeleteEndpointConfig", arn.KindEndpointConfig, *in.EndpointConfigName)
	if err != nil {
		return out, err
	}
	return out, a.ctl.DeleteEndpointConfig(ctx, s, *in.EndpointConfigName)
}
