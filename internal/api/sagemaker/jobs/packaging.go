package jobs

import (
	"cmp"
	"context"

	hostingapi "github.com/slipway-ml/slipway/internal/api/sagemaker"
	"github.com/slipway-ml/slipway/internal/domain/arn"
	domain "github.com/slipway-ml/slipway/internal/domain/packaging"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createPackaging(
	ctx context.Context, in sagemaker.CreateEdgePackagingJobRequest,
) (out shape.None, err error) {
	name := *in.EdgePackagingJobName
	s, err := hostingapi.Scope(ctx, "CreateEdgePackagingJob", arn.KindEdgePackagingJob, name)
	if err != nil {
		return out, err
	}
	o := in.OutputConfig
	p := domain.Pack{
		CompilationJob: *in.CompilationJobName, ModelName: *in.ModelName, ModelVersion: *in.ModelVersion,
		OutputAt: *o.S3OutputLocation, Preset: string(shape.Val(o.PresetDeploymentType)),
	}
	if p.Preset != "" || o.PresetDeploymentConfig != nil {
		if p.PresetConfig, err = domain.ParsePreset(shape.Val(o.PresetDeploymentConfig), name); err != nil {
			return out, err
		}
	}
	_, err = a.jobs.CreatePackaging(ctx, s, name, p, shape.Append(nil, in), tags.In(in.Tags))
	return out, err
}

func (a *api) describePackaging(
	ctx context.Context, in sagemaker.DescribeEdgePackagingJobRequest,
) (out sagemaker.DescribeEdgePackagingJobResponse, err error) {
	s, err := hostingapi.Scope(ctx, "DescribeEdgePackagingJob", arn.KindEdgePackagingJob, *in.EdgePackagingJobName)
	if err != nil {
		return out, err
	}
	j, err := a.jobs.Job(ctx, domain.Packaging, s, *in.EdgePackagingJobName)
	if err != nil {
		return out, err
	}
	var doc sagemaker.CreateEdgePackagingJobRequest
	if err := shape.Stored(j.Document, &doc); err != nil {
		return out, err
	}
	// Clients that print why a job failed look here.
	message := cmp.Or(j.State.Reason, j.Pack.Note())
	out = sagemaker.DescribeEdgePackagingJobResponse{
		EdgePackagingJobArn: new(j.ARN()), EdgePackagingJobName: &j.Name,
		EdgePackagingJobStatus:        new(sagemaker.EdgePackagingJobStatus(j.State.Status)),
		EdgePackagingJobStatusMessage: shape.Text(message), CreationTime: shape.At(j.State.Created),
		LastModifiedTime:   shape.At(j.State.Modified),
		CompilationJobName: doc.CompilationJobName, ModelName: doc.ModelName, ModelVersion: doc.ModelVersion,
		RoleArn: doc.RoleArn, OutputConfig: doc.OutputConfig, ResourceKey: doc.ResourceKey,
	}
	if r := j.Pack.Result; r != nil {
		out.ModelArtifact, out.ModelSignature = &r.URI, &r.Signature
		if p := r.Preset; p != nil {
			out.PresetDeploymentOutput = &sagemaker.EdgePresetDeploymentOutput{
				Type: doc.OutputConfig.PresetDeploymentType, Artifact: &p.ARN,
				Status: new(sagemaker.EdgePresetDeploymentStatusCompleted), StatusMessage: shape.Text(p.Message),
			}
		}
	}
	return out, nil
}

func (a *api) listPackagings(
	ctx context.Context, in sagemaker.ListEdgePackagingJobsRequest,
) (out sagemaker.ListEdgePackagingJobsResponse, err error) {
	f := domain.Filter{
		Kind: domain.Packaging, NameContains: shape.Val(in.NameContains),
		ModelNameContains: shape.Val(in.ModelNameContains), Status: domain.Status(shape.Val(in.StatusEquals)),
		CreatedAfter: shape.TimeOf(in.CreationTimeAfter), CreatedBefore: shape.TimeOf(in.CreationTimeBefore),
		ModifiedAfter: shape.TimeOf(in.LastModifiedTimeAfter), ModifiedBefore: shape.TimeOf(in.LastModifiedTimeBefore),
		// Descending is the default (edge spec §11, Q19).
		SortBy: domain.ByCreated, Descending: shape.Val(in.SortOrder) != sagemaker.SortOrderAscending,
	}
	switch shape.Val(in.SortBy) {
	case sagemaker.ListEdgePackagingJobsSortByName:
		f.SortBy = domain.ByName
	case sagemaker.ListEdgePackagingJobsSortByModelName:
		f.SortBy = domain.ByModelName
	case sagemaker.ListEdgePackagingJobsSortByLastModifiedTime:
		f.SortBy = domain.ByModified
	case sagemaker.ListEdgePackagingJobsSortByStatus:
		f.SortBy = domain.ByStatus
	case sagemaker.ListEdgePackagingJobsSortByCreationTime:
	}
	l, err := a.list(ctx, "ListEdgePackagingJobs", arn.KindEdgePackagingJob, f, in.NextToken, in.MaxResults)
	if err != nil {
		return out, err
	}
	out = sagemaker.ListEdgePackagingJobsResponse{
		EdgePackagingJobSummaries: []sagemaker.EdgePackagingJobSummary{}, NextToken: l.next,
	}
	for _, j := range l.jobs {
		out.EdgePackagingJobSummaries = append(out.EdgePackagingJobSummaries, sagemaker.EdgePackagingJobSummary{
			EdgePackagingJobArn: new(j.ARN()), EdgePackagingJobName: &j.Name,
			EdgePackagingJobStatus: new(sagemaker.EdgePackagingJobStatus(j.State.Status)),
			CompilationJobName:     &j.Pack.CompilationJob, ModelName: &j.Pack.ModelName,
			ModelVersion: &j.Pack.ModelVersion,
			CreationTime: shape.At(j.State.Created), LastModifiedTime: shape.At(j.State.Modified),
		})
	}
	return out, nil
}

func (a *api) stopPackaging(ctx context.Context, in sagemaker.StopEdgePackagingJobRequest) (out shape.None, err error) {
	s, err := hostingapi.Scope(ctx, "StopEdgePackagingJob", arn.KindEdgePackagingJob, *in.EdgePackagingJobName)
	if err != nil {
		return out, err
	}
	return out, a.jobs.Stop(ctx, domain.Packaging, s, *in.EdgePackagingJobName)
}
