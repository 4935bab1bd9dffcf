package cloudwatch

import (
	"context"
	"errors"

	"github.com/slipway-ml/slipway/internal/domain/arn"
	"github.com/slipway-ml/slipway/internal/domain/fault"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape/cloudwatch"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

// owned returns the ARN of an alarm in the caller's own account and region. Any
// other does not exist for the caller.
func owned(ctx context.Context, op, resource string) (arn.Scope, string, error) {
	c, err := access.From(ctx)
	if err != nil {
		return arn.Scope{}, "", err
	}
	s, name, err := arn.ParseAlarm(resource)
	if err != nil {
		return s, "", err
	}
	if s != c.Scope() {
		return s, "", unknown(resource)
	}
	return s, s.Alarm(name), access.Allow(c, "cloudwatch:"+op, s.Alarm(name))
}

// unknown says that there is no such alarm. The model has no place for a
// sentence, so what typed clients can show is in its other members.
func unknown(resource string) error {
	e := awserr.Declared("ResourceNotFoundException", "Could not find alarm %q.", resource)
	e.Members = map[string]any{"ResourceType": "alarm", "ResourceId": resource}
	return e
}

// tagging is err as the operations on tags say it.
func tagging(resource string, err error) error {
	if errors.Is(err, fault.NotFound) {
		return unknown(resource)
	}
	return err
}

func (a *api) listTagsForResource(
	ctx context.Context, in cloudwatch.ListTagsForResourceInput,
) (out cloudwatch.ListTagsForResourceOutput, err error) {
	s, id, err := owned(ctx, "ListTagsForResource", *in.ResourceARN)
	if err != nil {
		return out, err
	}
	all, err := a.alarms.Tags(ctx, s, id)
	if errors.Is(err, fault.NotFound) {
		err = nil // as CloudWatch answers for an alarm that was deleted, whatever its reference declares
	}
	return cloudwatch.ListTagsForResourceOutput{Tags: tags.Out[cloudwatch.Tag](all)}, err
}

func (a *api) tagResource(
	ctx context.Context, in cloudwatch.TagResourceInput,
) (out cloudwatch.TagResourceOutput, err error) {
	s, id, err := owned(ctx, "TagResource", *in.ResourceARN)
	if err != nil {
		return out, err
	}
	return out, tagging(id, a.alarms.AddTags(ctx, s, id, tags.In(in.Tags)))
}

func (a *api) untagResource(
	ctx context.Context, in cloudwatch.UntagResourceInput,
) (out cloudwatch.UntagResourceOutput, err error) {
	s, id, err := owned(ctx, "UntagResource", *in.ResourceARN)
	if err != nil {
		return out, err
	}
	return out, tagging(id, a.alarms.RemoveTags(ctx, s, id, in.TagKeys))
}
