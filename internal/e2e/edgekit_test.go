package e2e

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"
)

const edgeBucket = "sagemaker-edge"

// must fails the test on an error.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// packageName is the job that packages a version of a model.
func packageName(model, version string) string {
	return model + "-" + strings.ReplaceAll(version, ".", "-")
}

// pack compiles and packages an ONNX model, and returns once the signed package
// is there. Jobs are called as packageName says.
func (c *sdk) pack(model, version string, archive []byte) {
	c.t.Helper()
	c.compile(packageName(model, version), archive, types.FrameworkOnnx)
	c.packageUp(packageName(model, version), model, version)
}

func (c *sdk) compile(name string, archive []byte, framework types.Framework) {
	c.t.Helper()
	ctx := c.t.Context()
	// it may be there; the next call tells
	_, _ = c.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String(edgeBucket)})
	must(
		c.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: aws.String(edgeBucket), Key: aws.String("in/" + name + ".tar.gz"), Body: bytes.NewReader(archive),
		}),
	)(c.t)
	must(c.sagemaker.CreateCompilationJob(ctx, &sagemaker.CreateCompilationJobInput{
		CompilationJobName: &name, RoleArn: aws.String(edgeRole),
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: aws.Int32(900)},
		InputConfig: &types.InputConfig{
			S3Uri: aws.String("s3://" + edgeBucket + "/in/" + name + ".tar.gz"), Framework: framework,
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: aws.String("s3://" + edgeBucket + "/compiled"),
			TargetPlatform: &types.TargetPlatform{
				Os: types.TargetPlatformOsLinux, Arch: types.TargetPlatformArchX8664,
			},
		},
	}))(c.t)
	eventually(c.t, time.Minute, name+" is compiled", func() bool {
		d := must(
			c.sagemaker.DescribeCompilationJob(ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: &name}),
		)(c.t)
		if d.CompilationJobStatus == types.CompilationJobStatusFailed {
			c.t.Fatal(aws.ToString(d.FailureReason))
		}
		return d.CompilationJobStatus == types.CompilationJobStatusCompleted
	})
}

// packageUp packages what the compilation job of that name made.
func (c *sdk) packageUp(name, model, version string) {
	c.t.Helper()
	ctx := c.t.Context()
	must(c.sagemaker.CreateEdgePackagingJob(ctx, &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: &name, CompilationJobName: &name, ModelName: &model, ModelVersion: &version,
		RoleArn:      aws.String(edgeRole),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: aws.String("s3://" + edgeBucket + "/packages")},
	}))(c.t)
	eventually(c.t, time.Minute, name+" is packaged", func() bool {
		d := must(
			c.sagemaker.DescribeEdgePackagingJob(
				ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: &name},
			),
		)(c.t)
		if d.EdgePackagingJobStatus == types.EdgePackagingJobStatusFailed {
			c.t.Fatal(aws.ToString(d.EdgePackagingJobStatusMessage))
		}
		return d.EdgePackagingJobStatus == types.EdgePackagingJobStatusCompleted
	})
}
