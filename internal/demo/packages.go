package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const (
	edgeBucket = "sagemaker-edge"
	fleetName  = "plant"
	edgeRole   = "arn:aws:iam::000000000000:role/SageMakerDevices"
)

// golden writes the inputs that every device tries a new model on before
// anything depends on it, and what it must answer.
func golden(images [][]float32, labels []int) ([]byte, error) {
	type tensor struct {
		Name     string `json:"name"`
		Datatype string `json:"datatype"`
		Shape    []int  `json:"shape"`
		Data     any    `json:"data"`
	}
	type sample struct {
		Inputs  []tensor `json:"inputs"`
		Outputs []tensor `json:"outputs"`
	}
	var all struct {
		Cases []sample `json:"cases"`
	}
	for i, image := range images {
		all.Cases = append(all.Cases, sample{
			[]tensor{{"image", "FP32", []int{1, len(image)}, image}},
			[]tensor{{"label", "INT64", []int{1}, []int{labels[i]}}},
		})
	}
	return json.Marshal(all)
}

// pack compiles and packages a version: it returns once the signed package is
// there.
func (c *clients) pack(ctx context.Context, version string, archive []byte) error {
	if err := c.put(ctx, edgeBucket, "in/"+version+".tar.gz", archive); err != nil {
		return err
	}
	name := aws.String(configOf(version))
	_, err := c.sagemaker.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: name, RoleArn: aws.String(edgeRole),
		InputConfig: &types.InputConfig{
			S3Uri: aws.String("s3://" + edgeBucket + "/in/" + version + ".tar.gz"), Framework: types.FrameworkOnnx,
			DataInputConfig: aws.String(`{"image": [1, 64]}`),
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://" + edgeBucket + "/compiled"),
			TargetPlatform: &types.TargetPlatform{
				Os: types.TargetPlatformOsLinux, Arch: types.TargetPlatformArchX8664,
			},
		},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(900)},
	})
	if err != nil {
		return err
	}
	err = poll(ctx, func() (bool, error) {
		out, err := c.sagemaker.DescribeCompilationJob(
			ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: name},
		)
		if err == nil && out.CompilationJobStatus == types.CompilationJobStatusFailed {
			err = errors.New("the compilation failed: " + aws.ToString(out.FailureReason))
		}
		return err == nil && out.CompilationJobStatus == types.CompilationJobStatusCompleted, err
	})
	if err != nil {
		return err
	}
	_, err = c.sagemaker.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: name, CompilationJobName: name, ModelName: aws.String(endpoint),
		ModelVersion: aws.String(version), RoleArn: aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/packages")},
	})
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		out, err := c.sagemaker.DescribeEdgePackagingJob(
			ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: name},
		)
		if err == nil && out.EdgePackagingJobStatus == types.EdgePackagingJobStatusFailed {
			err = errors.New("the packaging failed: " + aws.ToString(out.EdgePackagingJobStatusMessage))
		}
		return err == nil && out.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted, err
	})
}

// poll asks until the answer is yes, for half a minute.
func poll(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if yes, err := done(); err != nil || yes {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it took too long: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// plan makes a deployment plan of a version.
func (c *clients) plan(ctx context.Context, version string, stages ...types.DeploymentStage) error {
	_, err := c.sagemaker.CreateEdgeDeploymentPlan(ctx, &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: aws.String(configOf(version)), DeviceFleetName: aws.String(fleetName), Stages: stages,
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String(endpoint), EdgePackagingJobName: aws.String(configOf(version))},
		},
	})
	return err
}

// byName is a stage for named devices; everyone is one for all that are left.
func byName(stage string, devices ...string) types.DeploymentStage {
	return types.DeploymentStage{StageName: &stage, DeviceSelectionConfig: &types.DeviceSelectionConfig{
		DeviceSubsetType: types.DeviceSubsetTypeSelection, DeviceNames: devices,
	}}
}

func everyone(stage string) types.DeploymentStage {
	return types.DeploymentStage{StageName: &stage, DeviceSelectionConfig: &types.DeviceSelectionConfig{
		DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: aws.Int32(100),
	}}
}

// carryOut starts a stage and returns how it ended.
func (c *clients) carryOut(ctx context.Context, version, stage string) (*types.EdgeDeploymentStatus, error) {
	name := aws.String(configOf(version))
	if _, err := c.sagemaker.StartEdgeDeploymentStage(
		ctx, &sagemaker.StartEdgeDeploymentStageInput{EdgeDeploymentPlanName: name, StageName: &stage},
	); err != nil {
		return nil, err
	}
	var end *types.EdgeDeploymentStatus
	return end, poll(ctx, func() (bool, error) {
		out, err := c.sagemaker.DescribeEdgeDeploymentPlan(
			ctx, &sagemaker.DescribeEdgeDeploymentPlanInput{EdgeDeploymentPlanName: name},
		)
		if err != nil {
			return false, err
		}
		for _, s := range out.Stages {
			if aws.ToString(s.StageName) == stage {
				end = s.DeploymentStatus
			}
		}
		return end != nil &&
			(end.StageStatus == types.StageStatusDeployed || end.StageStatus == types.StageStatusFailed), nil
	})
}
