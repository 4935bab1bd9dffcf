package sagemaker

import (
	"slices"
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// What the real API can do and Slipway cannot is refused here by its name. Being
// accepted and then ignored would look like success. Members that only describe
// AWS's own infrastructure (roles, networks, keys, volumes) are kept and echoed.

// feature is one such thing, and whether a request asks for it.
type feature struct {
	asked bool
	name  string
}

// refuse returns the first thing asked for, as a fault.
func refuse(features ...feature) error {
	for _, f := range features {
		if f.asked {
			return awserr.Unsupported(f.name)
		}
	}
	return nil
}

func checkModel(in sagemaker.CreateModelInput, containers []sagemaker.ContainerDefinition) error {
	mode := sagemaker.InferenceExecutionModeSerial
	if in.InferenceExecutionConfig != nil {
		mode = *in.InferenceExecutionConfig.Mode
	}
	if err := refuse(
		feature{len(containers) > 1, "A model of several containers"},
		feature{mode == sagemaker.InferenceExecutionModeDirect, "InferenceExecutionConfig with the mode Direct"},
	); err != nil {
		return err
	}
	for _, c := range containers {
		var src sagemaker.S3ModelDataSource
		if c.ModelDataSource != nil && c.ModelDataSource.S3DataSource != nil {
			src = *c.ModelDataSource.S3DataSource
		}
		if err := refuse(
			feature{shape.Val(c.Mode) == sagemaker.ContainerModeMultiModel, "A container of the mode MultiModel"},
			feature{c.ModelPackageName != nil, "ModelPackageName"},
			feature{c.InferenceSpecificationName != nil, "InferenceSpecificationName"},
			feature{len(c.AdditionalModelDataSources) > 0, "AdditionalModelDataSources"},
			feature{isWeb(c.ModelDataUrl) || isWeb(src.S3Uri), "Model data at an https URL (s3 is)"},
			feature{src.ManifestS3Uri != nil, "ManifestS3Uri"},
			feature{src.HubAccessConfig != nil, "HubAccessConfig"},
			feature{
				shape.Val(src.CompressionType) == sagemaker.ModelCompressionTypeGzip &&
					shape.Val(src.S3DataType) == sagemaker.S3ModelDataTypeS3Prefix,
				"Compressed model data with the type S3Prefix",
			},
		); err != nil {
			return err
		}
	}
	return nil
}

func isWeb(url *string) bool { return strings.HasPrefix(shape.Val(url), "https:") }

func checkConfig(in sagemaker.CreateEndpointConfigInput) error {
	if err := refuse(
		feature{in.AsyncInferenceConfig != nil, "AsyncInferenceConfig"},
		feature{in.ExplainerConfig != nil, "ExplainerConfig"},
	); err != nil {
		return err
	}
	for _, v := range slices.Concat(in.ProductionVariants, in.ShadowProductionVariants) {
		scaling := v.ManagedInstanceScaling != nil &&
			shape.Val(v.ManagedInstanceScaling.Status) != sagemaker.ManagedInstanceScalingStatusDisabled
		if err := refuse(
			feature{v.ServerlessConfig != nil, "ServerlessConfig"},
			feature{v.ModelName == nil, "A production variant without a ModelName (inference components)"},
			feature{len(v.InstancePools) > 0, "InstancePools"},
			feature{scaling, "ManagedInstanceScaling"},
			feature{v.CoreDumpConfig != nil, "CoreDumpConfig"},
		); err != nil {
			return err
		}
	}
	return nil
}
