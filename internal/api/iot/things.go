package iot

import (
	"context"

	"github.com/slipway-ml/slipway/internal/domain/trust"
	"github.com/slipway-ml/slipway/internal/wire/access"
	"github.com/slipway-ml/slipway/internal/wire/awserr"
	"github.com/slipway-ml/slipway/internal/wire/shape"
	"github.com/slipway-ml/slipway/internal/wire/shape/iot"
	"github.com/slipway-ml/slipway/internal/wire/tags"
)

func (a *api) createThingType(
	ctx context.Context, in iot.CreateThingTypeRequest,
) (out iot.CreateThingTypeResponse, err error) {
	s, err := scope(ctx, "CreateThingType", thingType(*in.ThingTypeName))
	if err != nil {
		return out, err
	}
	t := trust.ThingType{Scope: s, Name: *in.ThingTypeName}
	if p := in.ThingTypeProperties; p != nil {
		if p.Mqtt5Configuration != nil {
			return out, awserr.Unsupported("mqtt5Configuration")
		}
		t.Description, t.Searchable = shape.Val(p.ThingTypeDescription), p.SearchableAttributes
	}
	t, err = a.ids.CreateThingType(ctx, t, tags.In(in.Tags))
	return iot.CreateThingTypeResponse{
		ThingTypeName: &t.Name, ThingTypeArn: new(t.ARN()), ThingTypeId: &t.ID,
	}, declared(err)
}

func (a *api) describeThingType(
	ctx context.Context, in iot.DescribeThingTypeRequest,
) (out iot.DescribeThingTypeResponse, err error) {
	s, err := scope(ctx, "DescribeThingType", thingType(*in.ThingTypeName))
	if err != nil {
		return out, err
	}
	t, err := a.ids.ThingType(ctx, s, *in.ThingTypeName)
	return iot.DescribeThingTypeResponse{
		ThingTypeName: &t.Name, ThingTypeId: &t.ID, ThingTypeArn: new(t.ARN()),
		ThingTypeProperties: &iot.ThingTypeProperties{
			ThingTypeDescription: shape.Text(t.Description), SearchableAttributes: t.Searchable,
		},
		ThingTypeMetadata: &iot.ThingTypeMetadata{Deprecated: new(false), CreationDate: shape.At(t.Created)},
	}, err
}

func (a *api) createThing(ctx context.Context, in iot.CreateThingRequest) (out iot.CreateThingResponse, err error) {
	s, err := scope(ctx, "CreateThing", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	if in.BillingGroupName != nil {
		return out, awserr.Unsupported("billingGroupName")
	}
	t := trust.Thing{Scope: s, Name: *in.ThingName, Type: shape.Val(in.ThingTypeName)}
	if in.AttributePayload != nil && len(in.AttributePayload.Attributes) > 0 {
		t.Attributes = in.AttributePayload.Attributes
	}
	t, err = a.ids.CreateThing(ctx, t)
	return iot.CreateThingResponse{ThingName: &t.Name, ThingArn: new(t.ARN()), ThingId: &t.ID}, declared(err)
}

func (a *api) describeThing(
	ctx context.Context, in iot.DescribeThingRequest,
) (out iot.DescribeThingResponse, err error) {
	s, err := scope(ctx, "DescribeThing", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	t, err := a.ids.Thing(ctx, s, *in.ThingName)
	out = iot.DescribeThingResponse{
		DefaultClientId: &t.Name, ThingName: &t.Name, ThingId: &t.ID, ThingArn: new(t.ARN()),
		ThingTypeName: shape.Text(t.Type), Attributes: t.Attributes, Version: &t.Version,
	}
	if out.Attributes == nil {
		out.Attributes = map[string]string{}
	}
	return out, err
}

func (a *api) deleteThing(ctx context.Context, in iot.DeleteThingRequest) (out iot.DeleteThingResponse, err error) {
	s, err := scope(ctx, "DeleteThing", thing(*in.ThingName))
	if err != nil {
		return out, err
	}
	return out, a.ids.DeleteThing(ctx, s, *in.ThingName, shape.Val(in.ExpectedVersion))
}

func (a *api) listThings(ctx context.Context, in iot.ListThingsRequest) (out iot.ListThingsResponse, err error) {
	s, err := scope(ctx, "ListThings", access.Everything)
	if err != nil {
		return out, err
	}
	f := trust.ThingFilter{
		Type: shape.Val(in.ThingTypeName), Attribute: shape.Val(in.AttributeName), Value: shape.Val(in.AttributeValue),
		Prefix: shape.Val(in.UsePrefixAttributeValue),
	}
	p, err := open("ListThings", s, f, in.NextToken, in.MaxResults)
	if err != nil {
		return out, err
	}
	f.After, f.Limit = p.after, p.limit+1
	ts, err := a.ids.Things(ctx, s, f)
	ts, out.NextToken = cut(p, ts, func(t trust.Thing) string { return t.Name })
	out.Things = []iot.ThingAttribute{}
	for _, t := range ts {
		out.Things = append(out.Things, iot.ThingAttribute{
			ThingName: &t.Name, ThingTypeName: shape.Text(t.Type), ThingArn: new(t.ARN()), Attributes: t.Attributes,
			Version: &t.Version,
		})
	}
	return out, err
}
