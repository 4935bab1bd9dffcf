package sagemaker

import (
	"context"
	"strings"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/domain/hosting"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/page"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/sagemaker"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

// owned returns the ARN of a resource in the caller's own account and region.
// Any other does not exist for the caller.
func owned(ctx context.Context, op, resource string) (string, error) {
	c, err := access.From(ctx)
	if err != nil {
		return "", err
	}
	_, kind, name, err := arn.ParseSageMaker(resource)
	if err != nil {
		return "", err
	}
	own := c.Scope().SageMaker(kind, name)
	if !strings.EqualFold(own, resource) {
		return "", missing(kind, resource)
	}
	return own, access.Allow(c, "sagemaker:"+op, own)
}

func missing(kind, resource string) error {
	switch kind {
	case arn.KindModel:
		return hosting.NoModel(resource)
	case arn.KindEndpointConfig:
		return hosting.NoEndpointConfig(resource)
	case arn.KindEndpoint:
		return hosting.NoEndpoint(resource)
	}
	return fault.New(fault.NotFound, "Could not find resource %q.", resource)
}

func (a *api) addTags(ctx context.Context, in sagemaker.AddTagsInput) (out sagemaker.AddTagsOutput, err error) {
	id, err := owned(ctx, "AddTags", *in.ResourceArn)
	if err != nil {
		return out, err
	}
	all, err := a.ctl.AddTags(ctx, id, tags.In(in.Tags))
	return sagemaker.AddTagsOutput{Tags: tags.Out[sagemaker.Tag](all)}, err
}

// listTags has one page: a resource has at most 50 tags, which is the smallest
// page that may be asked for.
func (a *api) listTags(ctx context.Context, in sagemaker.ListTagsInput) (out sagemaker.ListTagsOutput, err error) {
	id, err := owned(ctx, "ListTags", *in.ResourceArn)
	if err != nil {
		return out, err
	}
	if shape.Val(in.NextToken) != "" {
		return out, page.Invalid()
	}
	all, err := a.ctl.Tags(ctx, id)
	return sagemaker.ListTagsOutput{Tags: tags.Out[sagemaker.Tag](all)}, err
}

func (a *api) deleteTags(
	ctx context.Context, in sagemaker.DeleteTagsInput,
) (out sagemaker.DeleteTagsOutput, err error) {
	id, err := owned(ctx, "DeleteTags", *in.ResourceArn)
	if err != nil {
		return out, err
	}
	return out, a.ctl.DeleteTags(ctx, id, in.TagKeys)
}
