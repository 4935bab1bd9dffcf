package jobs

import (
	"context"
	"time"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createCompilation(
	ctx context.Context, in sagemaker.CreateCompilationJobRequest,
) (out sagemaker.CreateCompilationJobResponse, err error) {
	s, err := hostingapi.Scope(ctx, "CreateCompilationJob", arn.KindCompilationJob, *in.CompilationJobName)
	if err != nil {
		return out, err
	}
	c, err := compileIn(in)
	if err != nil {
		return out, err
	}
	id, err := a.jobs.CreateCompilation(ctx, s, *in.CompilationJobName, c, shape.Append(nil, in), tags.In(in.Tags))
	return sagemaker.CreateCompilationJobResponse{CompilationJobArn: &id}, err
}

// compileIn checks what the members must be to each other (spec §2.25).
func compileIn(in sagemaker.CreateCompilationJobRequest) (c domain.Compile, err error) {
	o := in.OutputConfig
	switch {
	case in.InputConfig != nil && in.ModelPackageVersionArn != nil:
		return c, fault.New(
			fault.Invalid, "InputConfig and ModelPackageVersionArn cannot be specified at the same time.",
		)
	case in.InputConfig == nil && in.ModelPackageVersionArn == nil:
		return c, fault.New(fault.Invalid, "Either InputConfig or ModelPackageVersionArn must be specified.")
	case in.InputConfig == nil:
		return c, awserr.Unsupported("ModelPackageVersionArn")
	case o.TargetDevice != nil && o.TargetPlatform != nil:
		return c, fault.New(fault.Invalid, "TargetDevice and TargetPlatform cannot be specified at the same time.")
	case o.TargetDevice == nil && o.TargetPlatform == nil:
		return c, fault.New(fault.Invalid, "Either TargetDevice or TargetPlatform must be specified.")
	}
	i := in.InputConfig
	c = domain.Compile{
		Input: *i.S3Uri, Shapes: shape.Val(i.DataInputConfig), Framework: string(*i.Framework),
		OutputAt: *o.S3OutputLocation,
		Target:   domain.Target{Device: string(shape.Val(o.TargetDevice))},
		MaxTime:  time.Duration(shape.Val(in.StoppingCondition.MaxRuntimeInSeconds)) * time.Second,
	}
	if p := o.TargetPlatform; p != nil {
		c.Target = domain.Target{
			OS: string(*p.Os), Arch: string(*p.Arch), Accelerator: string(shape.Val(p.Accelerator)),
		}
	}
	if o.CompilerOptions != nil {
		c.Optimize, err = domain.ParseOptimize(*o.CompilerOptions)
	}
	return c, err
}

func (a *api) describeCompilation(
	ctx context.Context, in sagemaker.DescribeCompilationJobRequest,
) (out sagemaker.DescribeCompilationJobResponse, err error) {
	s, err := hostingapi.Scope(ctx, "DescribeCompilationJob", arn.KindCompilationJob, *in.CompilationJobName)
	if err != nil {
		return out, err
	}
	j, err := a.jobs.Job(ctx, domain.Compilation, s, *in.CompilationJobName)
	if err != nil {
		return out, err
	}
	var doc sagemaker.CreateCompilationJobRequest
	if err := shape.Stored(j.Document, &doc); err != nil {
		return out, err
	}
	st := j.State
	out = sagemaker.DescribeCompilationJobResponse{
		CompilationJobName: &j.Name, CompilationJobArn: new(j.ARN()),
		CompilationJobStatus: new(sagemaker.CompilationJobStatus(st.Status)),
		CompilationStartTime: shape.At(st.Started), CompilationEndTime: shape.At(st.Ended),
		CreationTime: shape.At(st.Created), LastModifiedTime: shape.At(st.Modified),
		FailureReason: new(st.Reason), RoleArn: doc.RoleArn, InputConfig: doc.InputConfig,
		OutputConfig: doc.OutputConfig,
		VpcConfig:    doc.VpcConfig, StoppingCondition: doc.StoppingCondition,
		ModelPackageVersionArn: doc.ModelPackageVersionArn,
		ModelArtifacts:         &sagemaker.ModelArtifacts{S3ModelArtifacts: new(j.Compile.OutputURI())},
	}
	if r := j.Compile.Result; r != nil {
		out.ModelDigests = &sagemaker.ModelDigests{ArtifactDigest: new("sha256:" + r.SHA256)}
		if r.Derived != "" {
			out.DerivedInformation = &sagemaker.DerivedInformation{DerivedDataInputConfig: &r.Derived}
		}
	}
	return out, nil
}

func (a *api) listCompilations(
	ctx context.Context, in sagemaker.ListCompilationJobsRequest,
) (out sagemaker.ListCompilationJobsResponse, err error) {
	f := domain.Filter{
		Kind: domain.Compilation, NameContains: shape.Val(in.NameContains),
		Status:       domain.Status(shape.Val(in.StatusEquals)),
		CreatedAfter: shape.TimeOf(in.CreationTimeAfter), CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
		ModifiedAfter: shape.TimeOf(in.LastModifiedTimeAfter), ModifiedBefore: shape.TimeOf(in.LastModifiedTimeBefore),
		// Ascending is the documented default.
		SortBy: domain.ByCreated, Descending: shape.Val(in.SortOrder) == sagemaker.SortOrderDescending,
	}
	switch shape.Val(in.SortBy) {
	case sagemaker.ListCompilationJobsSortByName:
		f.SortBy = domain.ByName
	case sagemaker.ListCompilationJobsSortByStatus:
		f.SortBy = domain.ByStatus
	case sagemaker.ListCompilationJobsSortByCreationTime:
	}
	l, err := a.list(ctx, "ListCompilationJobs", arn.KindCompilationJob, f, in.NextToken, in.MaxResults)
	if err != nil {
		return out, err
	}
	out = sagemaker.ListCompilationJobsResponse{
		CompilationJobSummaries: []sagemaker.CompilationJobSummary{}, NextToken: l.next,
	}
	for _, j := range l.jobs {
		st, target := j.State, j.Compile.Target
		sum := sagemaker.CompilationJobSummary{
			CompilationJobName: &j.Name, CompilationJobArn: new(j.ARN()),
			CompilationJobStatus: new(sagemaker.CompilationJobStatus(st.Status)),
			CreationTime:         shape.At(st.Created), LastModifiedTime: shape.At(st.Modified),
			CompilationStartTime: shape.At(st.Started), CompilationEndTime: shape.At(st.Ended),
			CompilationTargetDevice:              shape.Text(sagemaker.TargetDevice(target.Device)),
			CompilationTargetPlatformOs:          shape.Text(sagemaker.TargetPlatformOs(target.OS)),
			CompilationTargetPlatformArch:        shape.Text(sagemaker.TargetPlatformArch(target.Arch)),
			CompilationTargetPlatformAccelerator: shape.Text(sagemaker.TargetPlatformAccelerator(target.Accelerator)),
		}
		out.CompilationJobSummaries = append(out.CompilationJobSummaries, sum)
	}
	return out, nil
}

func (a *api) stopCompilation(ctx context.Context, in sagemaker.StopCompilationJobRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "StopCompilationJob", arn.KindCompilationJob, *in.CompilationJobName)
	if err != nil {
		return out, err
	}
	return out, a.jobs.Stop(ctx, domain.Compilation, s, *in.CompilationJobName)
}

func (a *api) deleteCompilation(
	ctx context.Context, in sagemaker.DeleteCompilationJobRequest,
) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "DeleteCompilationJob", arn.KindCompilationJob, *in.CompilationJobName)
	if err != nil {
		return out, err
	}
	return out, a.jobs.DeleteCompilation(ctx, s, *in.CompilationJobName)
}
