package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/openload"
	"github.com/slipway-ml/slipway/models"
)

const (
	benchPlan    = "bench"
	benchPackage = "bench"
	benchRole    = "arn:aws:iam::000000000000:role/SageMakerDevices"
)

// pack compiles and packages a real model, through the API.
func (s *benchServer) pack(ctx context.Context) error {
	if err := s.upload(ctx); err != nil {
		return err
	}
	_, err := s.api.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: aws.String(benchPackage), RoleArn: aws.String(benchRole),
		InputConfig: &types.InputConfig{
			S3Uri: aws.String("s3://bench/in.tar.gz"), Framework: types.FrameworkOnnx,
			DataInputConfig: aws.String(`{"image": [1, 64]}`),
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://bench/compiled"),
			TargetPlatform: &types.TargetPlatform{
				Os: types.TargetPlatformOsLinux, Arch: types.TargetPlatformArchX8664,
			},
		},
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(900)},
	})
	if err != nil {
		return err
	}
	err = until(ctx, time.Minute, func() (bool, error) {
		out, err := s.api.DescribeCompilationJob(
			ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: aws.String(benchPackage)},
		)
		if err == nil && out.CompilationJobStatus == types.CompilationJobStatusFailed {
			err = errors.New("the compilation failed: " + aws.ToString(out.FailureReason))
		}
		return err == nil && out.CompilationJobStatus == types.CompilationJobStatusCompleted, err
	})
	if err != nil {
		return err
	}
	_, err = s.api.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: aws.String(benchPackage), CompilationJobName: aws.String(benchPackage),
		RoleArn:   aws.String(benchRole),
		ModelName: aws.String("digits"), ModelVersion: aws.String("1.0"),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://bench/packages")},
	})
	if err != nil {
		return err
	}
	return until(ctx, time.Minute, func() (bool, error) {
		out, err := s.api.DescribeEdgePackagingJob(
			ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: aws.String(benchPackage)},
		)
		if err == nil && out.EdgePackagingJobStatus == types.EdgePackagingJobStatusFailed {
			err = errors.New("the packaging failed: " + aws.ToString(out.EdgePackagingJobStatusMessage))
		}
		return err == nil && out.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted, err
	})
}

// upload puts the model where the compilation finds it.
func (s *benchServer) upload(ctx context.Context) error {
	objects := s3.NewFromConfig(s.aws, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := objects.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bench")}); err != nil {
		return err
	}
	_, err := objects.PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String("bench"), Key: aws.String("in.tar.gz"), Body: bytes.NewReader(models.Archive("v1")),
	})
	return err
}

// plan makes a plan of one stage for so many percent of the fleet.
func (p *plant) plan(ctx context.Context, percent int32) error {
	_, err := p.api.CreateEdgeDeploymentPlan(ctx, &sagemaker.CreateEdgeDeploymentPlanInput{
		EdgeDeploymentPlanName: aws.String(benchPlan), DeviceFleetName: aws.String(benchPlant),
		ModelConfigs: []types.EdgeDeploymentModelConfig{
			{ModelHandle: aws.String("digits"), EdgePackagingJobName: aws.String(benchPackage)},
		},
		Stages: []types.DeploymentStage{{
			StageName: aws.String("all"),
			DeviceSelectionConfig: &types.DeviceSelectionConfig{
				DeviceSubsetType: types.DeviceSubsetTypePercentage, Percentage: aws.Int32(percent),
			},
		}},
	})
	return err
}

// serverTimes prints how long the server says that calls of devices took, from
// its own log: from the request's first byte to the answer, without the network
// and without waiting for a processor on the devices' side.
func serverTimes(ctx context.Context, path string, devices int) error {
	// Every device calls once in it: what came before has drawn some of them together.
	const length = 66 * time.Second
	if err := sleep(ctx, 10*time.Second); err != nil { // devices find the server again
		return err
	}
	log, err := os.Open(path)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := log.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if err := sleep(ctx, length); err != nil {
		return err
	}
	times := map[string]*openload.Histogram{"SendHeartbeat": {}, "GetDeployments": {}}
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		var call struct {
			Op       string        `json:"op"`
			Status   int           `json:"status"`
			Duration time.Duration `json:"duration"`
		}
		if json.Unmarshal(lines.Bytes(), &call) != nil {
			continue // the last line may be half written
		}
		if h := times[call.Op]; h != nil && call.Status == 200 {
			h.Add(call.Duration)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	fmt.Printf("%d devices, for %s, by the server's own log of every call:\n", devices, length)
	for _, op := range []string{"SendHeartbeat", "GetDeployments"} {
		h := times[op]
		fmt.Printf(
			"  %s: %d calls, p50 %s, p99 %s (aim < 50ms), max %s\n", op, h.Len(),
			h.Quantile(0.5).Round(time.Microsecond), h.Quantile(0.99).Round(time.Microsecond),
			h.Max().Round(time.Microsecond),
		)
	}
	return nil
}
