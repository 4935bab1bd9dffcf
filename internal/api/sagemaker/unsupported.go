package sagemaker

import (
	"strings"

	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
)

// What the real API can do and Slipway cannot is refused here by its name. Being
// accepted and then ignored would look like success. Members that only describe
// AWS's own infrastructure (roles, networks, keys, volumes) are kept and echoed.

// lack is one such thing, and whether a request asks for it.
type lack struct {
	asked bool
	what  string
}

// refuse returns the first thing asked for, as a fault.
func refuse(lacks ...lack) error {
	for _, l := range lacks {
		if l.asked {
			return awserr.Unsupported(l.what)
		}
	}
	return nil
}

func lacksModel(in sagemaker.CreateModelInput, containers []sagemaker.ContainerDefinition) error {
	mode := sagemaker.InferenceExecutionModeSerial
	if in.InferenceExecutionConfig != nil {
		mode = *in.InferenceExecutionConfig.Mode
	}
	if err := refuse(
		lack{len(containers) > 1, "A model of several containers"},
		lack{mode == sagemaker.InferenceExecutionModeDirect, "InferenceExecutionConfig with the mode Direct"},
	); err != nil {
		return err
	}
	for _, c := range containers {
		var src sagemaker.S3ModelDataSource
		if c.ModelDataSource != nil && c.ModelDataSource.S3DataSource != nil {
			src = *c.ModelDataSource.S3DataSource
		}
		if err := refuse(
			lack{shape.Val(c.Mode) == sagemaker.ContainerModeMultiModel, "A container of the mode MultiModel"},
			lack{c.ModelPackageName != nil, "ModelPackageName"},
			lack{c.InferenceSpecificationName != nil, "InferenceSpecificationName"},
			lack{len(c.AdditionalModelDataSources) > 0, "AdditionalModelDataSources"},
			lack{isWeb(c.ModelDataUrl) || isWeb(src.S3Uri), "Model data at an https URL (s3 is)"},
			lack{src.ManifestS3Uri != nil, "ManifestS3Uri"},
			lack{src.HubAccessConfig != nil, "HubAccessConfig"},
			lack{
				shape.Val(src.CompressionType) == sagemaker.ModelCompressionTypeGzip && shape.Val(src.S3DataType) == sagemaker.S3ModelDataTypeS3Prefix,
				"Compressed model data with the type S3Prefix",
			},
		); err != nil {
			return err
		}
	}
	return nil
}

func isWeb(url *string) bool { return strings.HasPrefix(shape.Val(url), "https:") }

func lacksConfig(in sagemaker.CreateEndpointConfigInput) error {
	if err := refuse(
		lack{len(in.ShadowProductionVariants) > 0, "ShadowProductionVariants"},
		lack{in.AsyncInferenceConfig != nil, "AsyncInferenceConfig"},
		lack{in.ExplainerConfig != nil, "ExplainerConfig"},
		// Capture is on unless it is switched off.
		lack{in.DataCaptureConfig != nil && (in.DataCaptureConfig.EnableCapture == nil || *in.DataCaptureConfig.EnableCapture), "DataCaptureConfig"},
	); err != nil {
		return err
	}
	for _, v := range in.ProductionVariants {
		scaling := v.ManagedInstanceScaling != nil && shape.Val(v.ManagedInstanceScaling.Status) != sagemaker.ManagedInstanceScalingStatusDisabled
		if err := refuse(
			lack{v.ServerlessConfig != nil, "ServerlessConfig"},
			lack{v.ModelName == nil, "A production variant without a ModelName (inference components)"},
			lack{len(v.InstancePools) > 0, "InstancePools"},
			lack{scaling, "ManagedInstanceScaling"},
			lack{v.CoreDumpConfig != nil, "CoreDumpConfig"},
		); err != nil {
			return err
		}
	}
	return nil
}
