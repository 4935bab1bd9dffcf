package jobs_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sagemaker"
	"github.com/aws/aws-sdk-go-v2/service/sagemaker/types"

	"github.com/slipway-ml/slipway/internal/platform/store/storetest"
	"github.com/slipway-ml/slipway/models"
)

const role = "arn:aws:iam::000000000000:role/SageMakerRole"

func compileInput(name, in string) *sagemaker.CreateCompilationJobInput {
	return &sagemaker.CreateCompilationJobInput{
		CompilationJobName: &name, RoleArn: new(role),
		StoppingCondition: &types.StoppingCondition{MaxRuntimeInSeconds: new(int32(900))},
		InputConfig: &types.InputConfig{
			S3Uri: &in, Framework: types.FrameworkOnnx, DataInputConfig: new(`{'image': [1, 64]}`),
		},
		OutputConfig: &types.OutputConfig{
			S3OutputLocation: new("s3://models/compiled"),
			TargetPlatform: &types.TargetPlatform{
				Os: types.TargetPlatformOsLinux, Arch: types.TargetPlatformArchArm64,
			},
		},
	}
}

func packageInput(name, job, model, version string) *sagemaker.CreateEdgePackagingJobInput {
	return &sagemaker.CreateEdgePackagingJobInput{
		EdgePackagingJobName: &name, CompilationJobName: &job, ModelName: &model, ModelVersion: &version,
		RoleArn:      new(role),
		OutputConfig: &types.EdgeOutputConfig{S3OutputLocation: new("s3://models/packages/")}, ResourceKey: new("key"),
	}
}

func (w *world) compiled(name string) *sagemaker.DescribeCompilationJobOutput {
	w.t.Helper()
	for {
		d, err := w.DescribeCompilationJob(
			w.t.Context(), &sagemaker.DescribeCompilationJobInput{CompilationJobName: &name},
		)
		w.ok(err)
		if s := d.CompilationJobStatus; s != types.CompilationJobStatusStarting &&
			s != types.CompilationJobStatusInprogress && s != types.CompilationJobStatusStopping {
			return d
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (w *world) packaged(name string) *sagemaker.DescribeEdgePackagingJobOutput {
	w.t.Helper()
	for {
		d, err := w.DescribeEdgePackagingJob(
			w.t.Context(), &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: &name},
		)
		w.ok(err)
		if s := d.EdgePackagingJobStatus; s != types.EdgePackagingJobStatusStarting &&
			s != types.EdgePackagingJobStatusInProgress && s != types.EdgePackagingJobStatusStopping {
			return d
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAJobIsDescribedWithEverythingThatClientsRead(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		in := compileInput("digits", w.put("in/digits.tar.gz", models.Archive("v2")))
		in.Tags = []types.Tag{{Key: new("team"), Value: new("edge")}}
		out, err := w.CreateCompilationJob(t.Context(), in)
		w.ok(err)
		if *out.CompilationJobArn != "arn:aws:sagemaker:us-east-1:000000000000:compilation-job/digits" {
			t.Error(*out.CompilationJobArn)
		}
		if tags, err := w.db.Tags(t.Context(), *out.CompilationJobArn); err != nil || len(tags) != 1 {
			t.Errorf("tags %v, %v", tags, err)
		}
		c := w.compiled("digits")
		if c.CompilationJobStatus != types.CompilationJobStatusCompleted || *c.FailureReason != "" ||
			*c.ModelArtifacts.S3ModelArtifacts != "s3://models/compiled/digits-LINUX_ARM64.tar.gz" ||
			c.CompilationStartTime == nil || c.CompilationEndTime == nil || *c.RoleArn != role ||
			*c.StoppingCondition.MaxRuntimeInSeconds != 900 || c.DerivedInformation != nil ||
			*c.InputConfig.DataInputConfig != `{'image': [1, 64]}` ||
			!strings.HasPrefix(*c.ModelDigests.ArtifactDigest, "sha256:") {
			t.Errorf("%+v", c)
		}
		p := packageInput("pack", "digits", "dig", "2.0")
		p.OutputConfig.PresetDeploymentType = types.EdgePresetDeploymentTypeGreengrassV2Component
		_, err = w.CreateEdgePackagingJob(t.Context(), p)
		w.ok(err)
		d := w.packaged("pack")
		if d.EdgePackagingJobStatus != types.EdgePackagingJobStatusCompleted ||
			*d.ModelArtifact != "s3://models/packages/dig-2.0.tar.gz" ||
			!strings.Contains(*d.ModelSignature, "manifest_version") ||
			*d.EdgePackagingJobArn != "arn:aws:sagemaker:us-east-1:000000000000:edge-packaging-job/pack" ||
			*d.ResourceKey != "key" || !strings.Contains(*d.EdgePackagingJobStatusMessage, "fewer than 4") ||
			d.PresetDeploymentOutput.Status != types.EdgePresetDeploymentStatusCompleted || !strings.Contains(
			*d.PresetDeploymentOutput.Artifact, ":components:SagemakerEdgeManagerpack:versions:1.0.0",
		) {
			t.Errorf("%+v", d)
		}
		_, err = w.CreateCompilationJob(t.Context(), compileInput("bad", "s3://models/none.tar.gz"))
		w.ok(err)
		if c := w.compiled("bad"); c.CompilationJobStatus != types.CompilationJobStatusFailed ||
			*c.FailureReason != "ClientError: InputConfiguration: S3 object does not exist. Bucket: models, Key: "+
				"none.tar.gz" {
			t.Errorf("%+v", c)
		}
	})
}

func TestWhatIsWrongWithARequestIsSaidInTheAPIsOwnWords(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		in := w.put("m.tar.gz", models.Archive("v1"))
		with := func(change func(*sagemaker.CreateCompilationJobInput)) error {
			i := compileInput("x", in)
			change(i)
			_, err := w.CreateCompilationJob(ctx, i)
			return err
		}
		w.refused(
			with(func(i *sagemaker.CreateCompilationJobInput) { i.InputConfig = nil }), "ValidationException",
			"Either InputConfig or ModelPackageVersionArn must be specified.",
		)
		w.refused(with(func(i *sagemaker.CreateCompilationJobInput) {
			i.ModelPackageVersionArn = new("arn:aws:sagemaker:us-east-1:000000000000:model-package/x/1")
		}), "ValidationException", "InputConfig and ModelPackageVersionArn cannot be specified at the same time.")
		w.refused(
			with(
				func(i *sagemaker.CreateCompilationJobInput) { i.OutputConfig.TargetDevice = types.TargetDeviceRasp4b },
			),
			"ValidationException", "TargetDevice and TargetPlatform cannot",
		)
		w.refused(
			with(func(i *sagemaker.CreateCompilationJobInput) { i.OutputConfig.TargetPlatform = nil }),
			"ValidationException", "Either TargetDevice or TargetPlatform",
		)
		w.refused(with(func(i *sagemaker.CreateCompilationJobInput) {
			i.OutputConfig.CompilerOptions = new(`{"x-optimize":"no"}`)
		}), "ValidationException", "x-optimize")
		w.refused(
			with(func(i *sagemaker.CreateCompilationJobInput) { i.InputConfig.DataInputConfig = new("hm") }),
			"ValidationException", "DataInputConfig is not valid JSON",
		)
		w.refused(
			with(func(i *sagemaker.CreateCompilationJobInput) { i.InputConfig.S3Uri = new("https://models/x") }),
			"ValidationException", "s3://",
		)
		w.refused(
			with(func(i *sagemaker.CreateCompilationJobInput) { i.CompilationJobName = new("under_score") }),
			"ValidationException", "'compilationJobName' failed to satisfy constraint",
		)
		w.refused(with(func(i *sagemaker.CreateCompilationJobInput) {
			i.Tags = []types.Tag{{Key: new("aws:x"), Value: new("")}}
		}), "ValidationException", "reserved")
	})
}

func TestMissingJobsAndNamesInUseHaveTheirOwnErrors(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		in := compileInput("x", w.put("m.tar.gz", models.Archive("v1")))
		_, err := w.CreateCompilationJob(ctx, in)
		w.ok(err)
		_, err = w.CreateCompilationJob(ctx, in)
		var used *types.ResourceInUse
		if !errors.As(err, &used) ||
			used.ErrorMessage() != "Resource Already Exists: "+
				"arn:aws:sagemaker:us-east-1:000000000000:compilation-job/x" {
			t.Error(err)
		}
		w.compiled("x")

		_, err = w.DescribeCompilationJob(ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: new("none")})
		var missing *types.ResourceNotFound
		if !errors.As(err, &missing) || missing.ErrorMessage() != "Could not find compilation job 'none'." {
			t.Error(err)
		}
		_, err = w.in(
			"eu-west-1",
		).DescribeCompilationJob(ctx, &sagemaker.DescribeCompilationJobInput{CompilationJobName: new("x")})
		w.refused(err, "ResourceNotFound", "'x'")
		_, err = w.StopCompilationJob(ctx, &sagemaker.StopCompilationJobInput{CompilationJobName: new("none")})
		w.refused(err, "ResourceNotFound", "Could not find compilation job 'none'.")
		_, err = w.StopCompilationJob(ctx, &sagemaker.StopCompilationJobInput{CompilationJobName: new("x")})
		w.ok(err)
		_, err = w.DescribeEdgePackagingJob(
			ctx, &sagemaker.DescribeEdgePackagingJobInput{EdgePackagingJobName: new("none")},
		)
		w.refused(err, "ResourceNotFound", "Could not find edge packaging job 'none'.")
		_, err = w.StopEdgePackagingJob(ctx, &sagemaker.StopEdgePackagingJobInput{EdgePackagingJobName: new("none")})
		w.refused(err, "ResourceNotFound", "Could not find edge packaging job 'none'.")

		_, err = w.CreateEdgePackagingJob(ctx, packageInput("p", "none", "model", "1"))
		w.refused(err, "ValidationException", "Could not find compilation job 'none'.")
		_, err = w.CreateEdgePackagingJob(ctx, packageInput("p", "x", "model", "1-0"))
		w.refused(err, "ValidationException", "'modelVersion' failed to satisfy constraint")
		preset := packageInput("p", "x", "model", "1")
		preset.OutputConfig.PresetDeploymentConfig = new("{")
		_, err = w.CreateEdgePackagingJob(ctx, preset)
		w.refused(err, "ValidationException", "PresetDeploymentConfig is not valid JSON")
		for range 2 {
			_, err = w.CreateEdgePackagingJob(ctx, packageInput("p", "x", "model", "1"))
		}
		w.refused(
			err, "ResourceInUse",
			"Resource Already Exists: arn:aws:sagemaker:us-east-1:000000000000:edge-packaging-job/p",
		)

		_, err = w.DeleteCompilationJob(ctx, &sagemaker.DeleteCompilationJobInput{CompilationJobName: new("x")})
		w.ok(err)
		_, err = w.DeleteCompilationJob(ctx, &sagemaker.DeleteCompilationJobInput{CompilationJobName: new("x")})
		w.refused(err, "ResourceNotFound", "'x'")
	})
}

func TestJobsAreListedWithTheSDKsPaginators(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		in := w.put("m.tar.gz", models.Archive("v1"))
		for i := range 5 {
			_, err := w.CreateCompilationJob(ctx, compileInput(fmt.Sprintf("c-%d", i), in))
			w.ok(err)
		}
		for i := range 5 {
			w.compiled(fmt.Sprintf("c-%d", i))
			_, err := w.CreateEdgePackagingJob(
				ctx, packageInput(fmt.Sprintf("p-%d", i), "c-0", fmt.Sprintf("model-%d", 9-i), "1"),
			)
			w.ok(err)
		}
		list := func(i *sagemaker.ListCompilationJobsInput) (names []string) {
			t.Helper()
			i.MaxResults = new(int32(2))
			for p := sagemaker.NewListCompilationJobsPaginator(w, i); p.HasMorePages(); {
				page, err := p.NextPage(ctx)
				w.ok(err)
				for _, j := range page.CompilationJobSummaries {
					names = append(names, *j.CompilationJobName)
				}
			}
			return names
		}
		if got := list(&sagemaker.ListCompilationJobsInput{}); !slices.IsSorted(got) || len(got) != 5 {
			t.Errorf("oldest first: %v", got)
		}
		if got := list(
			&sagemaker.ListCompilationJobsInput{
				SortBy: types.ListCompilationJobsSortByName, SortOrder: types.SortOrderDescending,
				NameContains: new("c-"),
			},
		); got[0] != "c-4" {
			t.Errorf("by name, down: %v", got)
		}
		packs, err := w.ListEdgePackagingJobs(ctx, &sagemaker.ListEdgePackagingJobsInput{MaxResults: new(int32(3))})
		w.ok(err)
		if len(packs.EdgePackagingJobSummaries) != 3 ||
			*packs.EdgePackagingJobSummaries[0].EdgePackagingJobName != "p-4" || packs.NextToken == nil {
			t.Errorf("newest first: %+v", packs)
		}
		_, err = w.ListEdgePackagingJobs(
			ctx, &sagemaker.ListEdgePackagingJobsInput{NextToken: packs.NextToken, NameContains: new("p")},
		)
		w.refused(err, "ValidationException", "Invalid pagination token.")
		_, err = w.ListEdgePackagingJobs(ctx, &sagemaker.ListEdgePackagingJobsInput{MaxResults: new(int32(0))})
		w.refused(err, "ValidationException", "greater than or equal to 1")
		_, err = w.ListEdgePackagingJobs(ctx, &sagemaker.ListEdgePackagingJobsInput{MaxResults: new(int32(101))})
		w.refused(err, "ValidationException", "less than or equal to 100")
		by, err := w.ListEdgePackagingJobs(ctx, &sagemaker.ListEdgePackagingJobsInput{
			SortBy: types.ListEdgePackagingJobsSortByModelName, SortOrder: types.SortOrderAscending,
			ModelNameContains: new("model"),
		})
		w.ok(err)
		if s := by.EdgePackagingJobSummaries; len(s) != 5 || *s[0].ModelName != "model-5" ||
			*s[0].CompilationJobName != "c-0" || by.NextToken != nil {
			t.Errorf("by model: %+v", by)
		}
	})
}

func TestAJobThatNobodyWorksOnCanBeStoppedAndIsNotDeletedBefore(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), false)
	_, err := w.CreateCompilationJob(t.Context(), compileInput("x", "s3://models/m"))
	w.ok(err)
	_, err = w.DeleteCompilationJob(t.Context(), &sagemaker.DeleteCompilationJobInput{CompilationJobName: new("x")})
	w.refused(err, "ValidationException", "is STARTING; stop it before you delete it.")
	_, err = w.StopCompilationJob(t.Context(), &sagemaker.StopCompilationJobInput{CompilationJobName: new("x")})
	w.ok(err)
	d, err := w.DescribeCompilationJob(
		t.Context(), &sagemaker.DescribeCompilationJobInput{CompilationJobName: new("x")},
	)
	w.ok(err)
	if d.CompilationJobStatus != types.CompilationJobStatusStopping {
		t.Error(d.CompilationJobStatus)
	}
}
